"""The phases of training for one seed, as pure functions: collect, fit the model, update. The only scan over updates.

A loop maps them over its seeds with `over_seeds` and jits each once, donating the learner.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import optim, replay
from pbrl.replay import Replay
from pbrl.train.schedule import Schedule
from pbrl.types import Agent, Array, EnvSpec, Key, Metrics, Transition


@flax.struct.dataclass
class Learner:
    """One seed's agent, its experience, and how its updates fare."""

    agent: Any
    replay: Replay
    skipped: Array  # i32[], non-finite updates so far, each of them undone
    streak: Array  # i32[], how many of the last updates in a row were


def start(agent: Agent, key: Key, spec: EnvSpec, config: Any, capacity: int, oracle: Any = None) -> Learner:
    """Make a fresh agent with an empty buffer."""
    example = Transition(
        obs=jnp.zeros(spec.obs_size),
        action=jnp.zeros(spec.action_size),
        reward=jnp.zeros(()),
        discount=jnp.zeros(()),
        next_obs=jnp.zeros(spec.obs_size),
    )
    return Learner(
        agent=agent.init(key, spec, config, oracle=oracle),
        replay=replay.init(example, capacity),
        skipped=jnp.zeros((), jnp.int32),
        streak=jnp.zeros((), jnp.int32),
    )


def collect(agent: Agent, learner: Learner, batch: Transition, last: Array) -> Learner:
    """Store new transitions `[B]` and fold them into the agent's statistics; `last [B]` marks the ends of episodes.

    The buffer refuses rows that are not finite; statistics skip a batch that holds one.
    """
    seen, finite = agent.observe(learner.agent, batch), optim.all_finite(batch)
    return replace(
        learner,
        replay=replay.add(learner.replay, batch, last),
        agent=jax.tree.map(lambda new, old: _keep_if(finite, new, old), seen, learner.agent),
    )


def fit_batches(config: Any, schedule: Schedule, step: int) -> int:
    """Return how many gradient steps the model makes at an environment step (1, 2, ...); 0 where none is due.

    A model that learns from transitions makes whole epochs until there are `schedule.model_min_batches`, from the first
    steps on (MAGE). One that learns from sequences takes as many windows at random, once the warm-up is over (SVG).
    """
    if not schedule.model_every or step % schedule.model_every:
        return 0
    length = getattr(config, "sequence_length", None)
    if length is None:
        rows = min(step, schedule.capacity)
        return replay.epoch_batches(rows, schedule.model_batch_size, schedule.model_min_batches)
    return schedule.model_min_batches if length and step >= schedule.warmup_steps else 0


def fit(agent: Agent, learner: Learner, key: Key, batches: Array | int, schedule: Schedule) -> tuple[Learner, Metrics]:
    """Make `batches` gradient steps on the model, in epochs over the whole buffer or on windows drawn from it.

    `batches` may be traced, so that one program serves a growing buffer: see `fit_batches`. A buffer without any window
    of the model's length leaves the model as it is.
    """
    config, order_key, step_key = learner.agent.config, *jax.random.split(key)
    length = getattr(config, "sequence_length", None)
    if length:
        batches = jnp.where(replay.count_sequences(learner.replay, length) > 0, batches, 0)

    def sample(i: Array) -> Transition:
        if length is None:
            return replay.sample_epoch(learner.replay, order_key, i, config.ensemble_size, schedule.model_batch_size)
        draw = jax.random.fold_in(order_key, i)
        return replay.sample_sequences(learner.replay, draw, schedule.model_batch_size, max(length, 1))

    def step(i: Array, state: tuple) -> tuple:
        return _attempt(agent.update_model, *state, sample(i), jax.random.fold_in(step_key, i))

    row = replay.take(learner.replay, jnp.zeros((1,) if length is None else (1, 1), jnp.int32))
    return _finish(learner, jax.lax.fori_loop(0, batches, step, _begin(agent.update_model, learner, row)))


def learn(agent: Agent, learner: Learner, key: Key, schedule: Schedule) -> tuple[Learner, Metrics]:
    """Make one environment step's worth of updates, each on a fresh batch."""

    def step(state: tuple, key: Key) -> tuple[tuple, None]:
        sample_key, update_key = jax.random.split(key)
        batch = replay.sample(learner.replay, sample_key, schedule.batch_size)
        return _attempt(agent.update, *state, batch, update_key), None

    keys = jax.random.split(key, schedule.updates_per_step)
    row = replay.take(learner.replay, jnp.zeros((1,), jnp.int32))
    return _finish(learner, jax.lax.scan(step, _begin(agent.update, learner, row), keys)[0])


def _begin(update: Callable, learner: Learner, row: Transition) -> tuple:
    """Start the carry: agent, skipped, streak, and sums of metrics over the updates that were kept."""
    metrics = jax.eval_shape(update, learner.agent, row, jax.random.key(0))[1]
    sums = {name: jnp.zeros(value.shape) for name, value in metrics.items()}
    return learner.agent, learner.skipped, learner.streak, jnp.zeros(()), sums


def _attempt(update: Callable, agent: Any, skipped: Array, streak: Array, kept: Array, sums: Metrics, *args) -> tuple:
    """Update, or change nothing at all where a loss, a gradient norm or any other metric is not finite.

    Metrics hold every loss and gradient norm, so that non-finite parameters cannot arise without showing there.
    """
    new, metrics = update(agent, *args)
    finite = optim.all_finite(metrics)
    agent = jax.tree.map(lambda new, old: _keep_if(finite, new, old), new, agent)
    sums = {name: total + jnp.where(finite, metrics[name], 0.0) for name, total in sums.items()}
    return agent, skipped + ~finite, jnp.where(finite, 0, streak + 1), kept + finite, sums


def _keep_if(condition: Array, new: Array, old: Array) -> Array:
    return old if new is old else jnp.where(condition, new, old)  # leaves that nothing touched cost nothing


def _finish(learner: Learner, state: tuple) -> tuple[Learner, Metrics]:
    agent, skipped, streak, kept, sums = state
    metrics = {name: total / jnp.maximum(kept, 1.0) for name, total in sums.items()}
    return replace(learner, agent=agent, skipped=skipped, streak=streak), metrics


def over_seeds(function: Callable, mode: str) -> Callable:
    """Map a function of one seed over a leading axis: all at once, or (`"map"`) one after the other in one program.

    One after the other is the faster way on a CPU, whose cores a single seed's products keep busy, and it makes a
    seed's numbers independent of its neighbours; all at once is what an accelerator wants.
    """
    if mode == "vmap":
        return jax.vmap(function)
    return lambda *args: jax.lax.map(lambda xs: function(*xs), args)
