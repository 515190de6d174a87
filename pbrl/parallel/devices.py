"""Many devices and many hosts: seeds spread over the devices of a mesh, and processes that train one run together.

Nothing here knows of agents, and no agent knows of this. Seeds need nothing of each other, so that a program over them
holds no collective: each device runs its own copy of it on its own seeds, with loops that end when its own are done.
Hosts (`pbrl.parallel.hosts`) meet between programs, to log, to save and to stop at one step.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pbrl.errors import RunError
from pbrl.parallel import hosts
from pbrl.runs.run import Run

SEEDS, DATA = "seeds", "data"
F = TypeVar("F", bound=Callable)


# Devices


def use_cores(n: int) -> None:
    """Make the cores of this machine as many devices of jax as suit `n` streams, which then train side by side.

    One seed's products are too small to keep several cores busy. Call it before jax looks for its devices: later it
    does nothing. Nor does it where their number has been chosen (`JAX_NUM_CPU_DEVICES`, XLA's flag), or in a job of
    several hosts, some of which may share a machine. Devices that are no CPU are what they were.
    """
    chosen = jax.config.jax_num_cpu_devices != -1  # pyright: ignore[reportAttributeAccessIssue]
    chosen |= "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not (chosen or jax.distributed.is_initialized()):
        with contextlib.suppress(RuntimeError):  # it has them already
            jax.config.update("jax_num_cpu_devices", sharers(n, _cores()))


def sharers(n: int, cores: int) -> int:
    """Return on how many devices `n` streams, equally many each, keep `cores` busy: the least that does.

    That may be more devices than cores, up to four times as many: 5 streams on 2 cores take 5, which share them well.
    Where no such number divides `n`, as for 11 streams on 2 cores, it is the largest below that does.
    """
    enough = (d for d in range(min(n, cores), min(n, 4 * cores) + 1) if n % d == 0)
    return next(enough, _most(n, cores))


def _most(n: int, limit: int) -> int:
    """Return the largest number up to a limit that divides `n`."""
    return max(d for d in range(1, min(n, limit) + 1) if n % d == 0)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mesh(seeds: int | None = None, data: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Return a mesh of `seeds` times `data` devices, axes `SEEDS` and `DATA`; by default of all devices of the job.

    Raises `ValueError` where there are fewer.
    """
    devices = jax.devices() if devices is None else devices
    seeds = max(len(devices) // max(data, 1), 1) if seeds is None else seeds
    if min(seeds, data) < 1 or seeds * data > len(devices):
        raise ValueError(f"a mesh of {seeds} x {data} (seeds x data) is not to be had from {len(devices)} devices")
    return Mesh(np.array(devices[: seeds * data]).reshape(seeds, data), (SEEDS, DATA), axis_types=(AxisType.Auto,) * 2)


def place(tree: Any, mesh: Mesh, *axes: str | None) -> Any:
    """Lay arrays and keys over a mesh: their leading axes over the named ones of its own, whole where none is named.

    `place(states, mesh, SEEDS)` gives each device its seeds; `place(batch, mesh, DATA)` cuts one batch,
    `place(batches, mesh, SEEDS, DATA)` one for each seed; `place(state, mesh)` copies. A jitted, for several seeds
    vmapped, `update` of an agent then runs on all of them: with every device on the axis of seeds without a
    collective, else with what sums the gradients.
    """
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))


def spread(function: F, mesh: Mesh | None) -> F:
    """Let every device run a function of arrays `[N, ...]` (all arguments, all results) on its part of the seeds.

    What the function closes over is copied to all. Without a mesh it stays what it is.
    """
    if mesh is None:
        return function
    seeds = PartitionSpec(SEEDS)
    # Without the check of varying axes, which refuses ordinary code of agents; nothing is reduced over devices.
    return jax.shard_map(function, mesh=mesh, in_specs=seeds, out_specs=seeds, check_vma=False)  # pyright: ignore


def own_mesh(n: int) -> Mesh | None:
    """Return a mesh of this process' devices for `n` streams, equally many each: of as many as allow it, None for one.

    A CPU is one device, unless `use_cores` made it several.
    """
    own = _devices(jax.process_index())
    count = _most(n, len(own))
    return mesh(count, devices=own[:count]) if count > 1 else None


def _devices(process: int) -> list[Any]:
    """Return a process' devices, in the one order that every process sees."""
    return sorted((d for d in jax.devices() if d.process_index == process), key=lambda d: d.id)


def lay(tree: Any, n: int) -> Any:
    """Put arrays over `n` streams where programs keep them: spread over `own_mesh(n)`, or on the first device."""
    own = own_mesh(n)
    return place(tree, own, SEEDS) if own else jax.tree.map(jnp.asarray, tree)


# Hosts


def start_hosts(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Join the processes of a job, one for each host; call it before anything else touches jax.

    Without arguments jax finds out by itself on TPU pods and under SLURM, Open MPI and Kubernetes. Elsewhere give
    `coordinator` (HOST:PORT of process 0), the number of `processes`, and which one this is, from 0. Training
    then gives every process its share of a run's seeds (`share`).

    Raises `RunError` where the job cannot be joined; a coordinator that does not answer is waited for five minutes.
    """
    given = (coordinator, processes, process)
    if any(x is None for x in given) and any(x is not None for x in given):
        raise RunError(f"hosts: expected a coordinator, the number of processes and this one's, or none, got {given}")
    if coordinator is not None:
        _await(coordinator, there=process == 0)
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM to itself
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (ValueError, RuntimeError) as error:
        raise RunError(
            f"this process cannot join a job of several hosts: {' '.join(str(error).split())[:300]}. Start it where "
            "jax knows the cluster (TPU pod, SLURM, Open MPI, Kubernetes), or give coordinator, processes and process"
        ) from None
    hosts.connect()


def _await(coordinator: str, there: bool, seconds: float = 300.0) -> None:
    """Wait until a coordinator listens: jax itself would abort the process. It need not yet where it is `there`."""
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise RunError(f"coordinator: expected HOST:PORT, such as 10.0.0.1:8476, got {coordinator!r}")
    end = time.monotonic() + seconds
    while not there:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise RunError(f"nobody answers at the coordinator {coordinator} ({error}); start process 0") from None
            time.sleep(0.5)


def share(run: Run) -> Run:
    """Return a run of this process' seeds alone, the same number for each process, in order.

    Raises `RunError` for seeds that do not come out even, and for a sweep.
    """
    count, n = jax.process_count(), len(run.seeds)
    if count == 1:
        return run
    if run.trials:
        raise RunError("a sweep trains within one process; give each host one of its own, with another --draw-seed")
    if n % count:
        raise RunError(f"{n} seeds cannot be shared among {count} hosts; expected a multiple of {count}")
    first = jax.process_index() * (n // count)
    return replace(run, seeds=run.seeds[first : first + n // count])


# Arrays that no process holds whole, for checkpoints


def whole(tree: Any) -> Any:
    """Return arrays `[N, ...]` over all processes' seeds from this one's: jax' own as shards, NumPy's as copies."""
    if hosts.alone():
        return tree
    leaves, structure = jax.tree.flatten(tree)
    hosted = hosts.joined({str(i): x for i, x in enumerate(leaves) if not isinstance(x, jax.Array)})
    return structure.unflatten([hosted[str(i)] if str(i) in hosted else _global(x) for i, x in enumerate(leaves)])


def layout(n: int) -> NamedSharding:
    """Return how arrays over `n` streams in all lie over the devices of all processes."""
    here = own_mesh(n // jax.process_count())
    count = here.size if here else 1
    devices = [d for process in range(jax.process_count()) for d in _devices(process)[:count]]
    return NamedSharding(mesh(devices=devices), PartitionSpec(SEEDS))


def part(x: Any) -> np.ndarray:
    """Return this process' rows of an array over all seeds: of one that lies as `layout` says, or of a whole copy."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        return np.concatenate([np.asarray(shard.data) for shard in shards])
    n = len(x) // jax.process_count()
    return np.asarray(x)[jax.process_index() * n :][:n]


def _global(x: jax.Array) -> jax.Array:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_global(jax.random.key_data(x)), impl=jax.random.key_impl(x))
    shape = (x.shape[0] * jax.process_count(), *x.shape[1:])
    here = own_mesh(len(x))
    x = place(x, here, SEEDS) if here else x
    return jax.make_array_from_single_device_arrays(shape, layout(shape[0]), [s.data for s in x.addressable_shards])
