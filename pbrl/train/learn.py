"""The phases of training for one seed, as pure functions: collect, update. The only scan over updates.

`fitting` holds the phase that fits a model, `model_data` the one that imagines transitions. A driver maps all of them
over its seeds (`pbrl.parallel.devices.over_seeds`) and jits each once, donating the learner.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from pbrl.data import replay, soundness
from pbrl.data.replay import Replay, count_up
from pbrl.data.soundness import Experience
from pbrl.equations.expansion import words
from pbrl.runs.schedule import Schedule
from pbrl.types import Agent, Array, EnvSpec, Key, Metrics, RememberingAgent, Transition, unknown


@flax.struct.dataclass
class Learner:
    """One seed's agent, its experience, and how its updates fare."""

    agent: Any
    """Its state."""
    replay: Replay
    """Real transitions."""
    imagined: Replay | None
    """Transitions that the model made up, where the schedule wants them."""
    experience: Experience
    """What sizes the real ones have, and which was refused last."""
    fitted: Array | None
    """i32[], gradient steps of the model so far; `None` where there is no model to wait for."""
    skipped: Array
    """i32[], updates so far that were not sound, each of them undone."""
    streak: Array
    """i32[], how many of the last updates of the agent in a row were not sound."""
    fit_streak: Array
    """i32[], how many of the last steps of the model in a row were not sound."""


def start(
    agent: Agent,
    key: Key,
    spec: EnvSpec,
    config: Any,
    capacity: int,
    imagined: int = 0,
    oracle: Any = None,
    extras: dict[str, Array] | None = None,
) -> Learner:
    """Make a fresh agent with empty buffers; `imagined` is the capacity of the one for imagined transitions.

    `extras` are an example of what the environment gives each transition besides, without a batch axis.
    """
    example = Transition(
        obs=jnp.zeros(spec.obs_size),
        action=jnp.zeros(spec.action_size),
        reward=jnp.zeros(()),
        discount=jnp.zeros(()),
        next_obs=jnp.zeros(spec.obs_size),
        extras=extras or {},
    )
    state = agent.init(key, spec, config, oracle=oracle)
    waits = agent.abilities(state.config).trains_model and oracle is None
    return Learner(
        agent=state,
        replay=replay.init(_remembered(agent, state, example), capacity),
        imagined=replay.init(example, imagined) if imagined else None,
        experience=Experience.init(),
        fitted=jnp.zeros((), jnp.int32) if waits else None,
        skipped=jnp.zeros((), jnp.int32),
        streak=jnp.zeros((), jnp.int32),
        fit_streak=jnp.zeros((), jnp.int32),
    )


def _remembered(agent: Agent | RememberingAgent, state: Any, batch: Transition) -> Transition:
    """Add to transitions what the agent wants replayed besides, such as the density of the action as it was chosen."""
    if not agent.abilities(state.config).remembers:
        return batch
    return replace(batch, extras={**batch.extras, **agent.remember(state, batch)})  # pyright: ignore


def random_action(spec: EnvSpec, key: Key) -> Array:
    """Draw the action `[A]` of a step in the warm-up, uniform within ±1."""
    return jax.random.uniform(key, (spec.action_size,), minval=-1.0, maxval=1.0)


def collect(agent: Agent, learner: Learner, batch: Transition, last: Array) -> Learner:
    """Store new transitions `[B]` and fold them into the agent's statistics; `last [B]` marks the ends of episodes.

    The buffer refuses rows that are not to be believed (`pbrl.data.soundness`); statistics skip a batch that holds one.
    Raises `ValueError` for other shapes, as the agent's `observe` does.
    """
    if jnp.shape(last) != jnp.shape(batch.reward):
        raise ValueError(f"last: expected one flag for each of {list(batch.reward.shape)} rows, got {list(last.shape)}")
    return store(agent, learner, _remembered(agent, learner.agent, batch), last)


def store(agent: Agent, learner: Learner, batch: Transition, last: Array) -> Learner:
    """Do as `collect` with transitions `[B]` that hold already what the agent wants remembered."""
    seen, (experience, believed) = agent.observe(learner.agent, batch), learner.experience.judge(batch)
    return replace(
        learner,
        replay=replay.add(learner.replay, batch, last, sound=believed),
        experience=experience,
        agent=jax.tree.map(lambda new, old: _keep_if(believed.all(), new, old), seen, learner.agent),
    )


def learn(agent: Agent, learner: Learner, key: Key, schedule: Schedule) -> tuple[Learner, Metrics]:
    """Make one environment step's worth of updates, each on a fresh batch; none, and NaN metrics, before it can.

    There must be a transition of each kind that a batch holds, and a model that has been trained, where one is.
    """
    ready = learner.replay.size > 0
    if learner.fitted is not None:
        ready &= learner.fitted > 0
    if learner.imagined is not None:
        ready &= learner.imagined.size > 0

    def step(state: tuple, raw: Array) -> tuple[tuple, None]:
        sample_key, update_key = jax.random.split(key_of(raw))
        batch = _mixture(learner, sample_key, schedule)
        return attempt(agent.update, *state, batch, update_key, ready=ready), None

    keys, key_of = words(jax.random.split(key, schedule.updates_per_step))
    row = replay.take(learner.replay, jnp.zeros((1,), jnp.int32))
    learner, streak, metrics = finish(
        learner, jax.lax.scan(step, begin(agent.update, learner, learner.streak, row), keys)[0]
    )
    return replace(learner, streak=streak), metrics


def _mixture(learner: Learner, key: Key, schedule: Schedule) -> Transition:
    """Draw a batch: real transitions, and imagined ones for the rest where there are any."""
    if learner.imagined is None:
        return replay.sample(learner.replay, key, schedule.batch_size)
    real_key, imagined_key = jax.random.split(key)
    real = int(schedule.batch_size * schedule.real_fraction)
    parts = [replay.sample(learner.imagined, imagined_key, schedule.batch_size - real)]
    if real:
        parts.append(replay.sample(learner.replay, real_key, real))
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)


def begin(update: Callable, learner: Learner, streak: Array, row: Transition) -> tuple:
    """Start the carry: agent, skipped, streak, and sums of metrics over the updates that were kept.

    The streak is the phase's own: model steps that fare well must not hide that the agent's updates never do.
    """
    metrics = jax.eval_shape(update, learner.agent, row, jax.random.key(0))[1]
    sums = {name: jnp.zeros(value.shape) for name, value in metrics.items()}
    return learner.agent, learner.skipped, streak, jnp.zeros(()), sums


def attempt(
    update: Callable,
    agent: Any,
    skipped: Array,
    streak: Array,
    kept: Array,
    sums: Metrics,
    *args: Any,
    ready: Array | bool = True,
) -> tuple:
    """Update, or change nothing at all where a loss, a gradient norm or any other metric is not sound.

    Metrics hold every loss and gradient norm, so that unsound parameters cannot arise without showing there. Finite is
    not enough: a Huber loss of 1e30 has a gradient of 1. One that is not `ready` to be made changes nothing either, and
    is not counted: no condition around it, which would cost more than it ever saves.
    """
    new, metrics = update(agent, *args)
    sound = soundness.sound(metrics)
    good, bad = sound & ready, ~sound & ready
    agent = jax.tree.map(lambda new, old: _keep_if(good, new, old), new, agent)
    sums = {name: total + jnp.where(good, metrics[name], 0.0) for name, total in sums.items()}
    return agent, count_up(skipped, bad), jnp.where(good, 0, count_up(streak, bad)), kept + good, sums


def _keep_if(condition: Array, new: Array, old: Array) -> Array:
    return old if new is old else jnp.where(condition, new, old)  # leaves that nothing touched cost nothing


def finish(learner: Learner, state: tuple) -> tuple[Learner, Array, Metrics]:
    """Return the learner, the phase's streak and the mean metrics of a finished carry: NaN where it kept nothing."""
    agent, skipped, streak, kept, sums = state
    metrics = {name: jnp.where(kept > 0, total / jnp.maximum(kept, 1.0), unknown()) for name, total in sums.items()}
    return replace(learner, agent=agent, skipped=skipped), streak, metrics
