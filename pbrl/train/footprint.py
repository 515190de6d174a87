"""How much memory a run will need, said and compared with what there is before anything of that size is made."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from pbrl.errors import RunError
from pbrl.parallel import memory
from pbrl.runs.placement import share
from pbrl.runs.run import Run, agent_module
from pbrl.train import learn
from pbrl.types import EnvSpec

GIB = 2**30


@dataclass(frozen=True)
class Footprint:
    """Bytes that this process' share of a run needs at least: what lives as long as the run, and its largest batch."""

    replay: int
    imagined: int
    agents: int
    batches: int
    plan: int = 0  # what is due at each step, of the device driver

    @property
    def total(self) -> int:
        """All of it."""
        return self.replay + self.imagined + self.agents + self.batches + self.plan

    def __str__(self) -> str:
        parts = {"replay": self.replay, "imagined": self.imagined, "agents": self.agents, "batches": self.batches}
        parts["plan"] = self.plan
        said = ", ".join(f"{name} {_size(count)}" for name, count in parts.items() if count)
        return f"{_size(self.total)} ({said})"


def of(run: Run, spec: EnvSpec, extras: dict[str, Any] | None = None) -> Footprint:
    """Work out what a run needs on an environment of these sizes; `extras` are what its transitions carry besides.

    By shapes alone: nothing is allocated.
    """
    schedule, own = run.schedule, share(run)
    start = partial(
        learn.start, agent_module(run.agent), spec=spec, config=run.config, capacity=schedule.capacity,
        imagined=schedule.imagined_capacity, oracle=run.dynamics(),
    )  # fmt: skip
    learner = jax.eval_shape(lambda key, extras: start(key, extras=extras), jax.random.key(0), extras or {})
    n = len(own.stream_seeds)
    replay = _bytes(learner.replay)
    imagined = schedule.imagine_batch if schedule.imagine_every else 0
    largest = max(schedule.batch_size, imagined, schedule.model_batch_size if schedule.model_every else 0)
    together = n if run.seed_mode == "vmap" else 1
    return Footprint(
        replay=n * replay,
        imagined=n * _bytes(learner.imagined),
        agents=n * _bytes(learner.agent),
        batches=together * largest * replay // schedule.capacity,
        plan=12 * schedule.total_steps if run.driver == "device" else 0,
    )


def require(need: Footprint) -> Footprint:
    """Return it, or raise `RunError` where it is more than there is."""
    there = memory.available()
    if there is not None and need.total > there:
        raise RunError(
            f"this run needs memory of at least {need}, and {_size(there)} are free here. Lower "
            "--schedule.buffer-size (the replay buffer keeps every step of a run by default), "
            "--schedule.imagine-buffer or --seeds, or take a machine with more"
        )
    return need


def _bytes(tree: Any) -> int:
    def count(leaf: Any) -> int:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return leaf.size * leaf.dtype.itemsize

    return sum(count(leaf) for leaf in jax.tree.leaves(tree))


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"
