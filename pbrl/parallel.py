"""Many devices and many hosts: seeds spread over the devices of a mesh, and processes that train one run together.

Nothing here knows of agents, and no agent knows of this. Seeds need nothing of each other, so that a program over them
holds no collective: each device runs its own copy of it on its own seeds, with loops that end when its own are done.
Hosts meet between programs, to log, to save and to stop at one step.
"""

import atexit
import contextlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pbrl import cli
from pbrl.train.run import Run, RunError
from pbrl.train.stopping import Stopped

SEEDS, DATA = "seeds", "data"
UNANSWERED = re.compile(r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|[Bb]arrier|heartbeat")
"""In the runtime's errors, some of them `ValueError`; storage has errors of the same kinds."""
F = TypeVar("F", bound=Callable)
E = TypeVar("E", bound=Exception)


class HostLost(RuntimeError):
    """Another process of the job has ended or cannot be reached, so that this one ends as well."""


# Devices


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

    A CPU is one device, whatever its cores.
    """
    own = _devices(jax.process_index())
    count = max(d for d in range(1, min(n, len(own)) + 1) if n % d == 0)
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
    atexit.register(_leave)  # after jax's own, so before it
    everyone("is here")  # connects all, while all are here: on CPUs that may take no longer than 30 s


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


def visible(path: Path, seconds: float = 60.0) -> bool:
    """Return whether a file that another host has written can be seen; network folders show it after a while."""
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


_broken: int | None = None
"""The code to leave with, once the job is."""


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Mark what all hosts do alike: where one of them fails in it by itself, the others are told by its leaving.

    An error that all of them raise (`agreed`) and `Stopped` end the job in order.
    """
    global _broken
    try:
        yield
    except BaseException as error:
        if not (alone() or isinstance(error, Stopped) or getattr(error, "agreed", False)):
            _broken = cli.exit_code(error) or 1
        raise


def all_or_none(function: Callable[[], None]) -> None:
    """Call a function on every host; where it fails on some, raise the first of these errors on all."""
    mine = None
    try:
        function()
    except Exception as error:
        if alone():
            raise
        mine = error
    told = everyone(None if mine is None else [cli.exit_code(mine), str(mine)])
    failed = [(i, *one) for i, one in enumerate(told) if one is not None]
    if failed:
        i, code, text = failed[0]
        error = mine or RunError(f"host {i}: {text}")
        error.exit_code = code or 1  # pyright: ignore[reportAttributeAccessIssue]
        raise agreed(error)


def agreed(error: E) -> E:
    """Return an error that all hosts raise at this point."""
    error.agreed = True  # pyright: ignore[reportAttributeAccessIssue]
    return error


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Raise `HostLost` where another host does not answer."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        if alone() or not UNANSWERED.search(reason):
            raise
        raise HostLost(
            f"another host of this job has ended or cannot be reached ({reason}); its own output says why. Start the "
            "same command again on all hosts: it resumes from the last checkpoint"
        ) from None


def _leave() -> None:
    """End a broken job without jax' farewell, which would wait until the heartbeat of a host that is gone times out."""
    if _broken is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_broken)


def alone() -> bool:
    """Return whether this process trains by itself."""
    return jax.process_count() == 1


def is_first() -> bool:
    """Return whether this process writes what is written once: log, pictures, folders, the terminal."""
    return jax.process_index() == 0


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


def everyone(message: Any) -> list[Any]:
    """Return the messages (JSON) that all processes pass to the same call, in their order; it waits for all.

    Raises `HostLost` where one does not come.
    """
    return [json.loads(text) for text in _exchange(json.dumps(message).encode())]


def everyones_arrays(arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Return the named arrays of all processes, to the bit; as `everyone`."""
    if alone():
        return [arrays]
    written = BytesIO()
    np.savez(written, **{str(i): x for i, x in enumerate(arrays.values())}, names=np.array(list(arrays), str))  # pyright: ignore
    found = []
    for text in _exchange(written.getvalue()):
        with np.load(BytesIO(text), allow_pickle=False) as read:
            found.append({str(name): read[str(i)] for i, name in enumerate(read["names"])})
    return found


def joined(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return arrays over all seeds `[N, ...]` from those over each process' own; numbers stay this process' own.

    A name that a process does not have reads NaN for its seeds.
    """
    mine = {name: np.asarray(x) for name, x in arrays.items()}
    parts = everyones_arrays(mine)
    if len(parts) == 1:
        return mine
    whole = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        there = next(part[name] for part in parts if name in part)
        if there.ndim:
            missing = np.full(there.shape, np.nan)
            whole[name] = np.concatenate([part.get(name, missing) for part in parts])
        else:
            whole[name] = mine.get(name, there)
    return whole


def _exchange(mine: bytes) -> list[bytes]:
    if alone():
        return [mine]
    from jax.experimental import multihost_utils

    with answered():
        sizes = np.asarray(multihost_utils.process_allgather(np.array(len(mine), np.int32)))
        padded = np.zeros(sizes.max(), np.uint8)
        padded[: len(mine)] = np.frombuffer(mine, np.uint8)
        rows = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


# Arrays that no process holds whole, for checkpoints


def whole(tree: Any) -> Any:
    """Return arrays `[N, ...]` over all processes' seeds from this one's: jax' own as shards, NumPy's as copies."""
    if alone():
        return tree
    leaves, structure = jax.tree.flatten(tree)
    hosted = joined({str(i): x for i, x in enumerate(leaves) if not isinstance(x, jax.Array)})
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
