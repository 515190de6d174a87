"""An agent that learns nothing and remembers at which step each phase was called, so that drivers can be compared."""

from dataclasses import replace
from typing import Any

import flax.struct
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.config import static
from pbrl.types import Abilities

STEPS = 200


@flax.struct.dataclass
class Config:
    model_lr: float = 0.0
    bad_from: float = 1e9
    """Step from which on updates are not finite."""
    ensemble_size: int = static(2)
    precision: str = static("highest")


@flax.struct.dataclass
class State:
    seen: Any  # i32[], transitions observed, which is the step
    updates: Any  # i32[STEPS], by the step at which they came
    fits: Any
    imagined: Any
    config: Config


def abilities(config):
    return Abilities(fits="epochs", members=config.ensemble_size, imagines=True)


def init(key, spec, config=Config(), *, oracle=None):
    zeros = lambda: jnp.zeros(STEPS, jnp.int32)  # noqa: E731
    return State(jnp.zeros((), jnp.int32), zeros(), zeros(), zeros(), configs.cast(config))


def act(state, obs, key, *, explore):
    return jnp.sin(3.0 * obs[..., :1])


def observe(state, batch):
    return replace(state, seen=state.seen + batch.reward.shape[0])


def update_model(state, batch, key):
    return replace(state, fits=state.fits.at[state.seen].add(1)), {"model/loss": jnp.float32(state.seen)}


def update(state, batch, key):
    loss = jnp.where(state.seen >= state.config.bad_from, jnp.nan, jnp.float32(state.seen))
    return replace(state, updates=state.updates.at[state.seen].add(1)), {"critic/loss": loss}


def imagine(state, batch, key):
    return replace(batch, obs=batch.obs, reward=batch.reward + state.seen), batch
