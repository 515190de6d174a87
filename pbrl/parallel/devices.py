"""Many devices: seeds spread over those of a process and of a job, one after the other or side by side on each.

Nothing here knows of agents, and no agent knows of this. Seeds need nothing of each other, so that a program over them
holds no collective: each device runs its own copy of it on its own seeds, with loops that end when its own are done.
Hosts (`pbrl.parallel.hosts`) meet between programs, to log, to save and to stop at one step.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pbrl.parallel import hosts

SEEDS = "seeds"
"""The axis of a mesh over which seeds are spread."""
DATA = "data"
"""The axis of a mesh over which batches are split."""
F = TypeVar("F", bound=Callable)


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
            jax.config.update("jax_num_cpu_devices", sharers(n, cores()))


def accelerated() -> bool:
    """Return whether jax has a device that is no CPU.

    Without a plugin for one, or with `JAX_PLATFORMS=cpu`, jax is not asked, so that `use_cores` can still do its work.
    """
    if (jax.config.jax_platforms or "").split(",")[0] == "cpu":  # pyright: ignore[reportAttributeAccessIssue]
        return False
    plugins = importlib.metadata.entry_points(group="jax_plugins") or importlib.util.find_spec("jax_plugins")
    return bool(plugins or importlib.util.find_spec("libtpu")) and jax.default_backend() != "cpu"


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


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def over_seeds(function: Callable, mode: str) -> Callable:
    """Map a function of one seed over a leading axis: all at once, or (`"map"`) one after the other in one program.

    One after the other is the faster way on a CPU, where seeds side by side want a device each (`use_cores`), and it
    makes a seed's numbers independent of its neighbours; all at once (`"vmap"`) is what an accelerator wants.
    """
    if mode == "vmap":
        return jax.vmap(function)
    return lambda *args: jax.lax.map(lambda xs: function(*xs), args)


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
