"""How a run meets the process that it runs in: what steps its environments, how seeds share a device, whose seeds."""

from dataclasses import replace

from pbrl.errors import RunError
from pbrl.runs.run import Run


def default_seed_mode() -> str:
    """Return the way of sharing the device among seeds that suits it: see `parallel.devices.over_seeds`."""
    import jax

    return "map" if jax.default_backend() == "cpu" else "vmap"


def default_driver(env_id: str) -> str:
    """Return the driver that suits an environment: "device" where the id is one in JAX."""
    from pbrl.envs import registry

    return "device" if registry.is_jax(env_id) else "host"


def share(run: Run) -> Run:
    """Return a run of this process' seeds alone, the same number for each process of a job, in order.

    Raises `RunError` for seeds that do not come out even, and for a sweep.
    """
    import jax

    count, n = jax.process_count(), len(run.seeds)
    if count == 1:
        return run
    if run.trials:
        raise RunError("a sweep trains within one process; give each host one of its own, with another --draw-seed")
    if n % count:
        raise RunError(f"{n} seeds cannot be shared among {count} hosts; expected a multiple of {count}")
    first = jax.process_index() * (n // count)
    return replace(run, seeds=run.seeds[first : first + n // count])


def require_width(run: Run) -> None:
    """Raise `RunError` where JAX computes in another width than the run: arrays of both would mix."""
    import jax

    if jax.config.read("jax_enable_x64") != run.float64:
        want, have = ("float64", "float32") if run.float64 else ("float32", "float64")
        raise RunError(
            f"this run computes in {want}, jax in {have}: pass --float64, or unset JAX_ENABLE_X64; in a program of "
            f"your own, jax.config.update('jax_enable_x64', {run.float64}) before anything else"
        )
