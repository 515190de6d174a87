"""Training with environments that run on the host: N seeds in one process, one program a phase for all of them."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl import checkpoint, replay
from pbrl import config as configs
from pbrl.envs.gym import GymEnv
from pbrl.log import RunLog, read_rows
from pbrl.train import fitting, learn, model_data
from pbrl.train.evaluate import Evaluator
from pbrl.train.guard import Diverged, Guard
from pbrl.train.learn import Learner
from pbrl.train.run import Run, agent_module, locked, prepare, refuse_another
from pbrl.train.stopping import Stop, Stopped
from pbrl.train.streams import Streams
from pbrl.types import EnvSpec


@dataclass
class Progress:
    """Where a run stands. Arrays are over streams, `[N]`: seeds, or every trial's seeds in a sweep."""

    step: int
    total_steps: int
    steps_per_second: float
    episode_return: np.ndarray  # of the last whole training episode, NaN before there was one
    evaluation: dict[str, np.ndarray]
    metrics: dict[str, np.ndarray]
    agent: Any  # every seed's state, stacked; the next step takes its memory, so copy what is to be kept


class Programs:
    """The compiled phases. Keys derive from (seed, step, phase), so that a resumed run draws what it would have."""

    def __init__(self, run: Run, spec: EnvSpec, extras: dict[str, Any]):
        agent, schedule = agent_module(run.agent), run.schedule
        over = partial(learn.over_seeds, mode=run.seed_mode)
        roots, oracle = jnp.asarray(run.stream_seeds, jnp.uint32), run.dynamics()

        def keys(step: int, phase: int) -> jax.Array:
            key = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(0), seed))(roots)
            return jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, step), phase))(key)

        def start(capacity: int) -> Learner:
            def one(key: jax.Array, leaves: dict[str, jax.Array]) -> Learner:
                config = configs.replace_leaves(run.config, leaves)
                return learn.start(agent, key, spec, config, capacity, schedule.imagined_capacity, oracle, extras)

            # The one place where trials differ: a state carries its own config from here on.
            swept = {path: jnp.asarray(values, jnp.result_type(float)) for path, values in run.swept().items()}
            return jax.vmap(one)(keys(0, 0), swept)

        def fit(learner: Learner, step: int, batches: int) -> tuple[Learner, dict]:
            return over(lambda one, key: fitting.fit(agent, one, key, batches, schedule))(learner, keys(step, 1))

        def imagine(learner: Learner, step: int, length: int) -> Learner:
            return over(lambda one, key: model_data.imagine(agent, one, key, length, schedule))(learner, keys(step, 5))

        def update(learner: Learner, step: int) -> tuple[Learner, dict]:
            return over(lambda one, key: learn.learn(agent, one, key, schedule))(learner, keys(step, 2))

        def act(learner: Learner, obs: jax.Array, step: int) -> jax.Array:
            return jax.vmap(partial(agent.act, explore=True))(learner.agent, obs, keys(step, 3))

        def random(step: int) -> jax.Array:
            draw = partial(jax.random.uniform, shape=(spec.action_size,), minval=-1.0, maxval=1.0)
            return jax.vmap(draw)(keys(step, 4))

        def mode(learner: Learner, obs: jax.Array) -> jax.Array:
            unused = jax.random.key(0)  # the mode draws nothing
            return jax.vmap(lambda state, obs: agent.act(state, obs, unused, explore=False))(learner.agent, obs)

        self.start = jax.jit(start, static_argnums=0)
        self.collect = jax.jit(jax.vmap(partial(learn.collect, agent)), donate_argnums=0)
        self.fit = jax.jit(fit, donate_argnums=0)
        self.imagine = jax.jit(imagine, donate_argnums=0)
        self.update = jax.jit(update, donate_argnums=0)
        self.act, self.random, self.mode = jax.jit(act), jax.jit(random), jax.jit(mode)


def train(run: Run, report: Callable[[Progress], None] = lambda progress: None) -> Progress:
    """Train to the end of the schedule, resuming where the run's folder left off; return where it stands.

    `report` is called after every step at which something was logged, and about once a second between.

    Raises `RunError` for a folder that holds another run or belongs to another process, `EnvError` and
    `CheckpointError` as their modules say, `Diverged` after `max_skipped_updates` non-finite updates in a row (of all
    streams, in a sweep), and `Stopped` on Ctrl-C or SIGTERM; before these two a checkpoint is saved.
    """
    check(run)
    with locked(run.folder), Stop() as stop:
        prepare(run)
        training = Training(run)
        try:
            return training.run_to_end(stop, report)
        finally:
            training.close()


def check(run: Run) -> None:
    """Raise `RunError` or `EnvError` for a run that cannot be, before anything is written."""
    run.validate()
    GymEnv(run.env).close()
    refuse_another(run)


class Training:
    """One process' work on a run: everything that changes while it trains."""

    def __init__(self, run: Run):
        self.run, self.checkpoints = run, run.folder / "checkpoints"
        self.streams, self.guard = Streams.start(run.env, run.stream_seeds, extras=run.oracle), Guard(run)
        self.programs = Programs(run, self.streams.envs[0].spec, self.streams.example())
        self.step, self.seconds = 0, 0.0
        if checkpoint.steps(self.checkpoints):
            self.learner = self._resume()
        else:
            self.learner = self.programs.start(run.schedule.capacity)
        self.saved = self.began_step = self.step
        self.began = self.saved_at = time.perf_counter()
        self.log = RunLog(run.folder, sinks=run.sinks, resume_step=self.step)
        self.evaluator = Evaluator(lambda: GymEnv(run.env), run.stream_seeds, run.schedule.eval_episodes)
        evaluations = read_rows(run.folder, "eval")
        last = evaluations[-1] if evaluations else {}
        self.evaluation = {name: np.asarray(value) for name, value in last.items() if name.startswith("eval/")}
        self.metrics: dict[str, Any] = {}

    def _resume(self) -> Learner:
        """Restore the newest checkpoint; its buffer is smaller where the run has been made longer since."""
        info, _ = checkpoint.read_info(self.checkpoints)
        learner = jax.eval_shape(partial(self.programs.start, info["capacity"]))
        template = {"learner": learner, "streams": self.streams.snapshot()}
        tree, info, self.step = checkpoint.restore(self.checkpoints, template)
        learner, self.seconds = jax.tree.map(jnp.asarray, tree["learner"]), info["seconds"]
        self.guard.restore(info)
        if not self.streams.restore(tree["streams"]):
            warnings.warn(f"{self.run.env} cannot be saved in mid-episode: new episodes begin here", stacklevel=2)
            cut = replace(learner.replay, cuts=learner.replay.cuts + 1)  # no sequence runs from the old into the new
            learner = replace(learner, replay=cut)
        return replace(
            learner, replay=jax.vmap(partial(replay.grow, capacity=self.run.schedule.capacity))(learner.replay)
        )

    def save(self) -> None:
        """Write a checkpoint of everything: agents, buffers, live environments and counters."""
        if self.saved == self.step:
            return
        tree = {"learner": self.learner, "streams": self.streams.snapshot()}
        info = {
            "run": self.run.identity(),
            "seconds": self.elapsed,
            "capacity": self.learner.replay.capacity,
            **self.guard.snapshot(),
        }
        checkpoint.save(self.checkpoints, self.step, tree, info)
        self.saved, self.saved_at = self.step, time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self.seconds + time.perf_counter() - self.began

    def run_to_end(self, stop: Stop, report: Callable[[Progress], None]) -> Progress:
        """Step until the schedule ends, a signal comes, or updates fail for good."""
        schedule = self.run.schedule
        if self.step == 0:
            self._evaluate()
        reported = 0.0
        while self.step < schedule.total_steps:
            self._advance()
            logged = self._log_and_evaluate()
            if stop.signal is not None:
                self.save()
                raise Stopped(f"stopped at step {self.step}, saved; the same command resumes", stop.exit_code)
            if self.step % schedule.checkpoint_every == 0 or self._overdue():
                self.save()
            if logged or time.perf_counter() - reported > 1.0:
                report(self.progress())
                reported = time.perf_counter()
        self.save()
        return self.progress()

    def _overdue(self) -> bool:
        minutes = self.run.schedule.checkpoint_minutes
        return minutes > 0 and time.perf_counter() - self.saved_at > 60 * minutes

    def _advance(self) -> None:
        """Take one environment step, fit the model where it is due, and update the agents."""
        schedule, programs = self.run.schedule, self.programs
        self.step += 1
        step = self.step
        if step <= schedule.warmup_steps:
            actions = programs.random(step)
        else:
            actions = programs.act(self.learner, self.streams.obs, step)
        batch, last = self.streams.step(self.guard.actions(np.asarray(actions), step))
        self.learner = programs.collect(self.learner, batch, last)
        batches = 0 if self.run.oracle else fitting.fit_batches(self.run.config, schedule, step)
        if batches:
            self.learner, metrics = programs.fit(self.learner, step, batches)
            self.metrics |= metrics
        if length := schedule.imagined_steps(step):
            self.learner = programs.imagine(self.learner, step, length)
        if schedule.updates_per_step and step >= schedule.warmup_steps:
            self.learner, metrics = programs.update(self.learner, step)
            self.metrics |= metrics
            self._check_streaks()

    def _check_streaks(self) -> None:
        try:
            streaks = np.maximum(np.asarray(self.learner.streak), np.asarray(self.learner.fit_streak))
            self.guard.check(streaks, self.step)
        except Diverged:
            self.save()
            raise

    def _log_and_evaluate(self) -> bool:
        schedule, due = self.run.schedule, False
        last = self.step == schedule.total_steps
        if self.step % schedule.log_every == 0 or last:
            row = {**self._metrics(), "train/return": self.streams.finished, "train/seconds": self.elapsed}
            self.log.write("train", self.step, row)
            due = True
        if schedule.eval_every and (self.step % schedule.eval_every == 0 or last):
            self._evaluate()
            due = True
        return due

    def _metrics(self) -> dict[str, np.ndarray]:
        counters = {
            "train/skipped_updates": self.learner.skipped,
            "train/refused_rows": self.learner.replay.refused,
        }
        return jax.tree.map(np.asarray, {**self.metrics, **counters})

    def _evaluate(self) -> None:
        def act(obs: np.ndarray) -> np.ndarray:
            return self.guard.actions(np.asarray(self.programs.mode(self.learner, obs)), self.step)

        self.evaluation = self.guard.mask(self.evaluator.run(act, self.step))
        self.log.write("eval", self.step, {**self.evaluation, **self.guard.metrics(), "eval/seconds": self.elapsed})

    def progress(self) -> Progress:
        """Return where the run stands."""
        return Progress(
            step=self.step,
            total_steps=self.run.schedule.total_steps,
            steps_per_second=(self.step - self.began_step) / max(time.perf_counter() - self.began, 1e-9),
            episode_return=self.streams.finished.copy(),
            evaluation=self.evaluation,
            metrics=self._metrics(),
            agent=self.learner.agent,
        )

    def close(self) -> None:
        """Close environments and logs."""
        self.evaluator.close()
        self.streams.close()
        self.log.close()
