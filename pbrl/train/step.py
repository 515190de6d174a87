"""One environment step of one seed as a pure function, with all that a schedule lets follow it; and evaluation.

The order is that of the host driver: act, step, store, fit the model, imagine, update. The step counter comes from
outside the state, so that a `vmap` over states leaves it alone and what is not due is skipped, not masked.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from pbrl.data import soundness
from pbrl.envs.jax_env import JaxEnv
from pbrl.equations.expansion import words
from pbrl.runs import seeding
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting, learn, model_data
from pbrl.train.guard import NEVER
from pbrl.train.learn import Learner
from pbrl.train.streams import MAX_FAULTS
from pbrl.types import Array, Dynamics, Key, Metrics, Transition, unknown


class Task(NamedTuple):
    """What does not change while an agent trains: parts of the program, all hashable but the config's leaves."""

    agent: Any  # a module of `pbrl.agents`
    env: JaxEnv
    config: Any
    schedule: Schedule
    oracle: Dynamics | None = None


class Plan(NamedTuple):
    """What is due at each step, `[total_steps + 1]`; nothing at step 0, before the first."""

    fit_batches: np.ndarray  # as `fitting.fit_batches` says
    imagined_steps: np.ndarray
    updates: np.ndarray

    @classmethod
    def of(cls, task: Task) -> "Plan":
        """Ask the host's own functions, once, for every step: what the drivers do at a step cannot differ."""
        schedule, count = task.schedule, task.schedule.total_steps + 1
        abilities = task.agent.abilities(task.config)
        fits = lambda step: 0 if task.oracle else fitting.fit_batches(abilities, schedule, step)  # noqa: E731

        def row(due: Callable[[int], int]) -> np.ndarray:
            return np.fromiter((due(step) if step else 0 for step in range(count)), np.int32, count)

        return cls(row(fits), row(schedule.imagined_steps), row(schedule.updates_at))


@flax.struct.dataclass
class State:
    """One seed's learner, its live environment, and what is known of both."""

    learner: Learner
    env: Any  # the environment's own state
    length: Array  # i32[], steps of the current episode so far
    so_far: Array  # f32[], its return so far, without rewards that replay has refused
    finished: Array  # f32[], return of the last whole episode; NaN before there was one
    faults: Array  # i32[], steps in a row whose observation or reward is not sound; MAX_FAULTS are not forgotten
    lost: Array  # i32[], step at which the stream diverged, see `advance`; -1 for never
    metrics: Metrics  # newest of each phase, NaN before there were any


def start(task: Task, capacity: int, root: Key) -> State:
    """Make a fresh agent and begin an episode; `root` is the seed's, of `pbrl.runs.seeding`."""
    agent, env, config, schedule, oracle = task
    first = _reset(env, seeding.at(root, 0, seeding.RESET))
    learner = learn.start(
        agent, seeding.at(root, 0, seeding.START), env.spec, config, capacity, schedule.imagined_capacity, oracle,
        _extras(task, first),
    )  # fmt: skip

    def phases(learner: Learner, fit_key: Key, update_key: Key) -> Metrics:
        fitted = fitting.fit(agent, learner, fit_key, 1, schedule)[1] if _fits(task) else {}
        updated = learn.learn(agent, learner, update_key, schedule)[1] if schedule.updates_per_step else {}
        return {**fitted, **updated}

    shapes = jax.eval_shape(phases, learner, root, root)
    return State(
        learner=learner,
        env=first,
        length=jnp.zeros((), jnp.int32),
        so_far=jnp.zeros(()),
        finished=jnp.full((), unknown(), float),
        faults=jnp.zeros((), jnp.int32),
        lost=jnp.full((), NEVER, jnp.int32),
        metrics={name: jnp.full(x.shape, unknown(), x.dtype) for name, x in shapes.items()},
    )


def advance(task: Task, plan: Plan, state: State, root: Key, step: Array) -> State:
    """Take environment step `step` (1, 2, ...), and do what `plan` has for it.

    A stream is lost once `max_skipped_updates` updates in a row were not finite (each was undone), or once its
    policy's action is not; from there on it acts by zeros, and its evaluations are NaN.
    """
    agent, _, _, schedule, _ = task
    due = jax.tree.map(lambda x: jnp.asarray(x)[step], plan)
    state = state if schedule.offline else _collect(task, state, root, step)

    def fit(learner: Learner) -> tuple[Learner, Metrics]:
        return fitting.fit(agent, learner, seeding.at(root, step, seeding.FIT), due.fit_batches, schedule)

    def imagine(learner: Learner) -> tuple[Learner, Metrics]:
        key = seeding.at(root, step, seeding.IMAGINE)
        return model_data.imagine(agent, learner, key, due.imagined_steps, schedule), {}

    def update(learner: Learner) -> tuple[Learner, Metrics]:
        return learn.learn(agent, learner, seeding.at(root, step, seeding.UPDATE), schedule)

    if _fits(task):
        state = _when(due.fit_batches > 0, fit, state)
    if schedule.imagine_every:
        state = _when(due.imagined_steps > 0, imagine, state)
    if schedule.updates_per_step:
        state = _when(due.updates > 0, update, state)
    failing = jnp.maximum(state.learner.streak, state.learner.fit_streak) >= schedule.max_skipped_updates
    return _lost_if(failing & (due.updates > 0), state, step)


SCORES = ("eval/return", "eval/length", "eval/return_std", "eval/return_min", "eval/return_max", "eval/episodes")
"""What `evaluate` returns, as `evaluate.statistics` for the host."""


def evaluate(task: Task, state: State, root: Key, step: Array) -> Metrics:
    """Play episodes with the policy's mode; return `SCORES` over those that are whole, f32[].

    One whose observation or reward is not sound is broken, ends there and is left out. First states and noise hang on
    the seed and on `step` alone.
    """
    agent, env, _, schedule, _ = task
    episode_keys = jax.random.split(seeding.at(root, step, seeding.EVALUATE), schedule.eval_episodes)
    unused = jax.random.key(0)  # the mode draws nothing

    def episodes_step(carry: tuple) -> tuple:
        t, at, running, whole, returns, lengths = carry
        action = agent.act(state.learner.agent, jax.vmap(env.observe)(at), unused, explore=False)
        noise = jax.vmap(lambda key: jax.random.fold_in(key, t))(episode_keys)
        at, reward, discount = jax.vmap(lambda *args: _step(env, *args))(at, action, noise)
        sound = jax.vmap(soundness.sound)((reward, jax.vmap(env.observe)(at)))
        returns = returns + jnp.where(running & sound, reward, 0.0)
        whole &= sound | ~running
        return t + 1, at, running & (discount > 0) & sound, whole, returns, lengths + running

    def going_on(carry: tuple) -> Array:
        return (carry[0] <= env.spec.episode_length) & carry[2].any()

    first = jax.vmap(lambda key: _reset(env, jax.random.fold_in(key, 0)))(episode_keys)
    sound = jax.vmap(soundness.sound)(jax.vmap(env.observe)(first))
    nothing = jnp.zeros(schedule.eval_episodes)
    begin = (jnp.ones((), jnp.int32), first, sound, sound, nothing, nothing)
    *_, whole, returns, lengths = jax.lax.while_loop(going_on, episodes_step, begin)
    whole &= state.lost == NEVER
    count = whole.sum().astype(returns.dtype)
    mean, length = (jnp.where(whole, x, 0.0).sum() / jnp.maximum(count, 1.0) for x in (returns, lengths))
    spread = jnp.where(whole, jnp.square(returns - mean), 0.0).sum() / jnp.maximum(count, 1.0)
    low, high = (jnp.where(whole, returns, sign * jnp.inf) for sign in (1.0, -1.0))
    values = mean, length, jnp.sqrt(spread), low.min(), high.max()
    scores = dict(zip(SCORES, (jnp.where(count > 0, x, unknown()) for x in values), strict=False))
    return {**scores, "eval/episodes": count}


def _collect(task: Task, state: State, root: Key, step: Array) -> State:
    """Act, step the environment, store what came of it, and begin a new episode where this one ended."""
    agent, env, _, schedule, _ = task
    obs = env.observe(state.env)
    policy = agent.act(state.learner.agent, obs, seeding.at(root, step, seeding.ACT), explore=True)
    random = learn.random_action(env.spec, seeding.at(root, step, seeding.RANDOM))
    action = jnp.where(step <= schedule.warmup_steps, random, policy)
    state = _lost_if(soundness.sound(obs) & ~jnp.isfinite(action).all(), state, step)
    action = jnp.where(state.lost == NEVER, action, 0.0)

    after, reward, discount = _step(env, state.env, action, seeding.at(root, step, seeding.STEP))
    next_obs, length = env.observe(after), state.length + 1
    sound = soundness.sound((obs, next_obs, reward))
    ended = (discount == 0) | (length >= env.spec.episode_length)
    last = ended | ~sound  # a broken step is no end that counts: its row is refused, a new episode begins
    row = Transition(obs, action, reward, discount, next_obs, _extras(task, state.env))
    learner = learn.collect(agent, state.learner, jax.tree.map(lambda x: x[None], row), last[None])

    refused = learner.replay.refused > state.learner.replay.refused
    so_far = state.so_far + jnp.where(refused, 0.0, reward)  # what is not believed is in no return
    raw, key_of = words(seeding.at(root, step, seeding.RESET))
    return replace(
        state,
        learner=learner,
        env=jax.lax.cond(last, lambda raw: _reset(env, key_of(raw)), lambda raw: after, raw),
        length=jnp.where(last, 0, length),
        so_far=jnp.where(last, 0.0, so_far),
        finished=jnp.where(ended & sound, so_far, state.finished),
        faults=jnp.where(sound & (state.faults < MAX_FAULTS), 0, state.faults + 1),
    )


def _when(due: Array, phase: Any, state: State) -> State:
    """Run a phase where it is due: `learner -> (learner, metrics)`."""

    def run(learner: Learner, metrics: Metrics) -> tuple[Learner, Metrics]:
        learner, new = phase(learner)
        return learner, {**metrics, **new}

    learner, metrics = jax.lax.cond(due, run, lambda *same: same, state.learner, state.metrics)
    return replace(state, learner=learner, metrics=metrics)


def _lost_if(condition: Array, state: State, step: Array) -> State:
    return replace(state, lost=jnp.where(condition & (state.lost == NEVER), step, state.lost))


def _fits(task: Task) -> bool:
    """Return whether a model is ever fitted: there may be none, an oracle, or no step through it."""
    trains = task.agent.abilities(task.config).trains_model
    return trains and task.schedule.model_every > 0 and task.oracle is None


def _extras(task: Task, at: Any) -> dict[str, Array]:
    """Return what an oracle needs of the environment's state; nothing without one, since it may be large."""
    return task.env.extras(at) if task.oracle is not None else {}


def _reset(env: JaxEnv, key: Key) -> Any:
    return jax.tree.map(_strong, env.reset(key))


def _step(env: JaxEnv, at: Any, action: Array, key: Key) -> tuple[Any, Array, Array]:
    after, reward, discount = env.step(at, action, key)
    return jax.tree.map(_strong, after), jnp.asarray(reward, float), jnp.asarray(discount, float)


def _strong(x: Array) -> Array:
    """Let a state's types not hang on Python numbers in it, since a weak type would cost a second trace."""
    return jax.lax.convert_element_type(x, jnp.asarray(x).dtype)
