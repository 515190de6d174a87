"""Fitting a model, for one seed: so many gradient steps, or epochs until every member's held-out rows say stop."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pbrl.data import replay, validation
from pbrl.data.replay import count_up
from pbrl.models.ensemble_world import keep_members
from pbrl.runs.schedule import Schedule
from pbrl.train import learn
from pbrl.train.learn import Learner
from pbrl.types import Abilities, Agent, Array, Key, Metrics, SelfStoppingAgent, Transition, unknown

MAX_HELD_OUT = 5_000  # rows that judge a member after every epoch (MBPO code, `bnn.py`; MAAC's takes all)
PATIENCE, IMPROVEMENT = 5, 0.01  # epochs, and share of the best loss (MBPO code, `bnn.py`)
# An epoch's order hangs on one key, which every batch of it asks again: `clone` tells `jax_debug_key_reuse` so.


def fit_batches(abilities: Abilities, schedule: Schedule, step: int) -> int:
    """Return how many gradient steps the model makes at an environment step (1, 2, ...); 0 where none is due.

    A model that fits by epochs makes whole ones until there are `schedule.model_min_batches`, from the first steps on
    (MAGE), but no more steps than `schedule.model_max_batches`. One that fits on windows takes as many windows, once
    the warm-up is over (SVG). One that stops by itself is fitted from the end of the warm-up on, and the number means
    nothing (MAAC). Where a dataset is there, all begin with the first step that they may.
    """
    if not schedule.model_every:
        return 0
    if abilities.fits == "until stopped":
        due = schedule.due_after_warmup(step, schedule.model_every)
        return int(due and schedule.rows_at(step) >= validation.BLOCK)
    if step % schedule.model_every and not schedule.begins_at(step):
        return 0
    if abilities.fits == "windows":
        return schedule.model_min_batches if abilities.window and step >= schedule.warmup_steps else 0
    rows = min(schedule.rows_at(step), schedule.capacity)
    batches = replay.epoch_batches(rows, schedule.model_batch_size, schedule.model_min_batches)
    return min(batches, schedule.model_max_batches or batches)


def fit(agent: Any, learner: Learner, key: Key, batches: Array | int, schedule: Schedule) -> tuple[Learner, Metrics]:
    """Fit the model in the way that the agent declares (`Abilities.fits`).

    `batches` is the number of gradient steps that `fit_batches` returns; it may be traced, so that one program serves a
    growing buffer. A model that stops by itself makes as many epochs as it likes. Without data to fit to, nothing
    changes and metrics are NaN.
    """
    fits = agent.abilities(learner.agent.config).fits
    if fits == "until stopped":
        return _fit_until_stopped(agent, learner, key, schedule)
    how = _fit_on_windows if fits == "windows" else _fit_in_epochs
    return how(agent, learner, key, batches, schedule)


def _fit_in_epochs(
    agent: Agent, learner: Learner, key: Key, batches: Array | int, schedule: Schedule
) -> tuple[Learner, Metrics]:
    """Make `batches` gradient steps in epochs over the whole buffer, every member in an order of its own."""
    members = agent.abilities(learner.agent.config).members
    order_key, step_key = jax.random.split(key)
    batches = jnp.where(learner.replay.size > 0, batches, 0)

    def sample(i: Array) -> Transition:
        return replay.sample_epoch(learner.replay, jax.random.clone(order_key), i, members, schedule.model_batch_size)

    row = replay.take(learner.replay, jnp.zeros((1,), jnp.int32))
    return _gradient_steps(agent, learner, sample, row, step_key, batches)


def _fit_on_windows(
    agent: Agent, learner: Learner, key: Key, batches: Array | int, schedule: Schedule
) -> tuple[Learner, Metrics]:
    """Make `batches` gradient steps on windows of consecutive transitions, drawn at random with replacement.

    A buffer without any window of that length leaves the model as it is; `model/windows` says how many there were.
    """
    length = agent.abilities(learner.agent.config).window
    order_key, step_key = jax.random.split(key)
    windows = replay.count_sequences(learner.replay, length)
    batches = jnp.where(windows > 0, batches, 0)

    def sample(i: Array) -> Transition:
        draw = jax.random.fold_in(order_key, i)
        return replay.sample_sequences(learner.replay, draw, schedule.model_batch_size, length)

    row = replay.take(learner.replay, jnp.zeros((1, 1), jnp.int32))
    learner, metrics = _gradient_steps(agent, learner, sample, row, step_key, batches)
    return learner, {**metrics, "model/windows": windows * 1.0}


def _gradient_steps(
    agent: Agent,
    learner: Learner,
    sample: Callable[[Array], Transition],
    row: Transition,
    key: Key,
    batches: Array | int,
) -> tuple[Learner, Metrics]:
    """Make `batches` steps of `update_model`, step i on `sample(i)`; `row` has the rank of a sample's leading axes."""

    def step(i: Array, state: tuple) -> tuple:
        return learn.attempt(agent.update_model, *state, sample(i), jax.random.fold_in(key, i))

    nothing = learn.begin(agent.update_model, learner, learner.fit_streak, row)
    return _finish(learner, jax.lax.fori_loop(0, batches, step, nothing))


def _finish(learner: Learner, carry: tuple) -> tuple[Learner, Metrics]:
    """Return the learner after a fit, its gradient steps counted, and the fit's mean metrics."""
    fitted = None if learner.fitted is None else count_up(learner.fitted, carry[3].astype(jnp.int32))
    learner, streak, metrics = learn.finish(learner, carry)
    return replace(learner, fit_streak=streak, fitted=fitted), metrics


class _Course(NamedTuple):
    """How a fit goes: its best state so far, and what each member's held-out rows say."""

    best: Any  # the agent, its members as they were at their best
    best_loss: Array  # f32[E]
    average: Array  # f32[E]
    active: Array  # bool[E], members that still train
    stale: Array  # i32[], epochs since any member improved by 1 %
    epoch: Array  # i32[]


def _fit_until_stopped(
    agent: SelfStoppingAgent, learner: Learner, key: Key, schedule: Schedule
) -> tuple[Learner, Metrics]:
    """Train in epochs until held-out rows stop every member; go back to each member's best, and choose the elites.

    "average": a member stops when the running average of its loss rises (MAAC code, `mlp_dynamics_ensemble.py`).
    "patience": all stop when none has improved by 1 % for more than 5 epochs (MBPO code, `bnn.py`). A member that has
    stopped no longer changes; one that never got better keeps what it came with. No epoch begins after
    `schedule.model_max_batches` steps.
    """
    if learner.agent.world is None:
        return learner, {}
    rows, config = learner.replay, learner.agent.config
    members, size = agent.abilities(config).members, schedule.model_batch_size
    order_key, step_key, judge_key = jax.random.split(key, 3)
    per_epoch = validation.training_batches(rows, size)
    there = validation.blocks(rows)[1] > 0
    judged = jnp.clip(-(-jnp.minimum(validation.blocks(rows)[1], MAX_HELD_OUT) // size), 1)

    def judge(state: Any) -> Array:
        def add(i: Array, total: Array) -> Array:
            batch = validation.sample_held_out(rows, jax.random.clone(judge_key), i, members, size)
            return total + agent.model_losses(state, batch)

        return jax.lax.fori_loop(0, judged, add, jnp.zeros(members)) / judged

    def epoch(carry: tuple[tuple, _Course]) -> tuple[tuple, _Course]:
        training, course = carry

        def update(state: Any, batch: Transition, key: Key) -> tuple[Any, Metrics]:
            new, metrics = agent.update_model(state, batch, key)
            return keep_members(course.active, new, state), metrics

        def step(i: Array, training: tuple) -> tuple:
            i = course.epoch * per_epoch + i
            batch = validation.sample_training(rows, jax.random.clone(order_key), i, members, size)
            return learn.attempt(update, *training, batch, jax.random.fold_in(step_key, i))

        training = jax.lax.fori_loop(0, per_epoch, step, training)
        return training, _judged(course, training[0], judge(training[0]), config)

    def going_on(carry: tuple[tuple, _Course]) -> Array:
        course, most = carry[1], schedule.model_max_batches
        room = course.epoch * per_epoch < most if most else True
        return course.active.any() & (course.epoch < config.max_epochs) & there & room

    row = replay.take(rows, jnp.zeros((1,), jnp.int32))
    loss = judge(learner.agent)
    start = _Course(
        best=learner.agent,
        best_loss=loss,
        average=loss,  # until the first epoch
        active=jnp.ones(members, bool),
        stale=jnp.zeros((), jnp.int32),
        epoch=jnp.zeros((), jnp.int32),
    )
    training, course = jax.lax.while_loop(
        going_on,
        epoch,
        (learn.begin(agent.update_model, learner, learner.fit_streak, row), start),
    )
    learner, metrics = _finish(learner, training)
    chosen = keep_members(jnp.zeros(members, bool), learner.agent, course.best)
    learner = replace(learner, agent=agent.choose_elites(chosen, course.best_loss))
    held_out = jnp.where(there, course.best_loss.mean(), unknown())
    return learner, metrics | {"model/held_out_loss": held_out, "model/epochs": course.epoch * 1.0}


def _judged(course: _Course, state: Any, loss: Array, config: Any) -> _Course:
    """Take the members' losses `[E]` after an epoch into account."""
    first = course.epoch == 0
    better = loss < course.best_loss
    # Both start above the first loss, so that no member stops on its noise (the code's factors 1.5 and 2).
    scaled = lambda factor: jnp.where(loss > 0, factor * loss, loss / factor)  # noqa: E731
    before = jnp.where(first, scaled(2.0), course.average)
    average = jnp.where(first, scaled(1.5), course.average)
    average = config.persistence * average + (1.0 - config.persistence) * loss
    improved = (course.best_loss - loss > IMPROVEMENT * jnp.abs(course.best_loss)).any()
    stale = jnp.where(improved, 0, course.stale + 1)
    going_on = average <= before if config.stopping == "average" else jnp.full(loss.shape, stale <= PATIENCE)
    return _Course(
        best=keep_members(better, state, course.best),
        best_loss=jnp.where(better, loss, course.best_loss),
        average=average,
        active=course.active & going_on,
        stale=stale,
        epoch=course.epoch + 1,
    )
