"""Training with environments that run on the host: N seeds in one process, one program a phase for all of them."""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from pbrl import config as configs
from pbrl.data.soundness import doubtful
from pbrl.parallel import devices, hosts
from pbrl.runs import seeding
from pbrl.runs.layout import Layout
from pbrl.runs.placement import share
from pbrl.runs.run import Run, agent_module
from pbrl.train import fitting, footprint, learn, model_data, session
from pbrl.train.evaluate import Evaluator
from pbrl.train.footprint import Footprint
from pbrl.train.guard import Guard
from pbrl.train.journal import Progress
from pbrl.train.learn import Learner
from pbrl.train.notices import require_windows
from pbrl.train.streams import Streams
from pbrl.types import EnvSpec


class Programs:
    """The compiled phases, of all streams, which are spread over the devices of the process."""

    def __init__(self, run: Run, spec: EnvSpec, extras: dict[str, Any]):
        agent, schedule = agent_module(run.agent), run.schedule
        spread = partial(devices.spread, mesh=devices.own_mesh(len(run.stream_seeds)))
        over = lambda function: spread(devices.over_seeds(function, run.seed_mode))  # noqa: E731
        every = lambda function: spread(jax.vmap(function))  # noqa: E731
        at, oracle = partial(seeding.of_streams, run.stream_seeds), run.dynamics()

        def start(capacity: int) -> Learner:
            def one(key: jax.Array, leaves: dict[str, jax.Array]) -> Learner:
                config = configs.replace_leaves(run.config, leaves)
                return learn.start(agent, key, spec, config, capacity, schedule.imagined_capacity, oracle, extras)

            return every(one)(at(0, seeding.START), run.swept_leaves())

        def fit(learner: Learner, step: int, batches: int) -> tuple[Learner, dict]:
            fit = over(lambda one, key: fitting.fit(agent, one, key, batches, schedule))
            return fit(learner, at(step, seeding.FIT))

        def imagine(learner: Learner, step: int, length: int) -> Learner:
            imagine = over(lambda one, key: model_data.imagine(agent, one, key, length, schedule))
            return imagine(learner, at(step, seeding.IMAGINE))

        def update(learner: Learner, step: int) -> tuple[Learner, dict]:
            return over(lambda one, key: learn.learn(agent, one, key, schedule))(learner, at(step, seeding.UPDATE))

        def act(learner: Learner, obs: jax.Array, step: int) -> jax.Array:
            return every(partial(agent.act, explore=True))(learner.agent, obs, at(step, seeding.ACT))

        def random(step: int) -> jax.Array:
            return jax.vmap(partial(learn.random_action, spec))(at(step, seeding.RANDOM))

        def mode(learner: Learner, obs: jax.Array) -> jax.Array:
            unused = jax.random.key(0)  # the mode draws nothing
            return every(lambda state, obs: agent.act(state, obs, unused, explore=False))(learner.agent, obs)

        self.start = jax.jit(start, static_argnums=0)
        self.collect = jax.jit(every(partial(learn.collect, agent)), donate_argnums=0)
        self.fit = jax.jit(fit, donate_argnums=0)
        self.imagine = jax.jit(imagine, donate_argnums=0)
        self.update = jax.jit(update, donate_argnums=0)
        self.act, self.random, self.mode = jax.jit(act), jax.jit(random), jax.jit(mode)


def train(run: Run, report: session.Report = lambda progress: None) -> Progress:
    """Train to the end of the schedule, resuming where the run's folder left off; return where it stands.

    `report` is called after every step at which something was logged, and about once a second between. Where it returns
    what is true, the run is saved and ends there; called again, it goes on.

    Raises `RunError` for a folder that holds another run or belongs to another process, `EnvError` and
    `CheckpointError` as their modules say, `Diverged` when every stream has been given up (`train.guard`), and
    `Stopped` on a signal (`train.stopping`); before these two a checkpoint is saved, if its state is sound.
    """
    hosts.all_or_none(lambda: check(run))
    return session.train(run, Driver, report)


def check(run: Run) -> Footprint:
    """Return the memory that a run needs; raise `RunError` or `EnvError` where it cannot be, before it is begun.

    What it makes for that, an environment, and where there is evaluation another beside it, is closed again.
    """
    session.check(run, "host")
    schedule, extras = run.schedule, {}
    with contextlib.closing(run.make_env()) as env:
        require_windows(run, env.spec)
        if run.oracle:
            env.reset(0)
            extras = env.extras()
        need = footprint.require(footprint.of(run, env.spec, extras))
        if schedule.eval_every and not schedule.eval_on_training_env:
            Evaluator(run.make_env, (0,), 1).make().close()
        return need


def template(run: Run, capacity: int) -> dict[str, Any]:
    """Return what a run's checkpoints hold, as shapes, for buffers of `capacity` rows. It makes one environment."""
    n = len(run.stream_seeds)
    with contextlib.closing(Streams.start(run.make_env, run.stream_seeds[:1], extras=bool(run.oracle))) as streams:
        shapes = _shapes(Programs(run, streams.envs[0].spec, streams.example()), streams, capacity)
    every = jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape[1:]), x.dtype), shapes["streams"])
    return {**shapes, "streams": every}


def _shapes(programs: Programs, streams: Streams, capacity: int) -> dict[str, Any]:
    return {"learner": jax.eval_shape(partial(programs.start, capacity)), "streams": streams.snapshot()}


class Driver:
    """Takes steps with an environment of Gymnasium's for each stream (`pbrl.train.contract`)."""

    learner: Learner

    def __init__(self, run: Run):
        """Take this process' share of a run, and make its environments and programs."""
        self.run = share(run)
        self.guard, self.step = Guard(self.run), 0
        self.abilities = agent_module(run.agent).abilities(run.config)
        seeds = self.run.stream_seeds
        self.streams = Streams.start(run.make_env, seeds, extras=bool(run.oracle))
        env = self.streams.envs[0]
        self.layout = Layout.of(env.spec, env.low, env.high)
        self.programs = Programs(self.run, env.spec, self.streams.example())
        lent = self.streams.envs if run.schedule.eval_on_training_env else ()
        self.evaluator = Evaluator(run.make_env, seeds, run.schedule.eval_episodes, borrow=lent)
        self.metrics: dict[str, Any] = {}
        self.refused = np.zeros(len(seeds), int)  # rows of each stream so far

    def begin(self, change: Callable[[Learner], Learner] = lambda learner: learner) -> None:
        """Make fresh agents, changed by `change`; the environments have just begun."""
        self.learner = change(self.programs.start(self.run.schedule.capacity))

    def contents(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"learner": self.learner, "streams": self.streams.snapshot()}

    def shapes(self, capacity: int) -> dict[str, Any]:
        """Return what `contents` would for a replay buffer of `capacity` rows, the learner as shapes."""
        return _shapes(self.programs, self.streams, capacity)

    def put_back(self, contents: dict[str, Any], step: int) -> None:
        """Go on from `step`; where an environment's state cannot be put back, new episodes begin, with a warning."""
        self.learner, self.step = contents["learner"], step
        self.refused = np.array(self.learner.replay.refused)
        if not self.streams.restore(contents["streams"]):
            warnings.warn(f"{self.run.env} was not or cannot be saved exactly: new episodes begin here", stacklevel=2)
            self._cut()

    def _cut(self) -> None:
        """Let no sequence of the buffer run from the episodes of before into new ones."""
        buffer = self.learner.replay
        self.learner = replace(self.learner, replay=replace(buffer, cuts=buffer.cuts + 1))

    def advance(self, limit: int) -> None:
        """Take one environment step, fit the model where it is due, imagine, and update the agents."""
        schedule, programs = self.run.schedule, self.programs
        step = self.step + 1
        if not schedule.offline:
            self._play(step)
        self.step = step
        batches = 0 if self.run.oracle else fitting.fit_batches(self.abilities, schedule, step)
        if batches:
            self.learner, metrics = programs.fit(self.learner, step, batches)
            self.metrics |= metrics
        if length := schedule.imagined_steps(step):
            self.learner = programs.imagine(self.learner, step, length)
        if schedule.updates_at(step):
            self.learner, metrics = programs.update(self.learner, step)
            self.metrics |= metrics
            streaks = np.maximum(np.asarray(self.learner.streak), np.asarray(self.learner.fit_streak))
            self.guard.check(streaks, step)
        self.guard.require_one()

    def _play(self, step: int) -> None:
        """Act in every environment once, and store what comes of it."""
        programs = self.programs
        if step <= self.run.schedule.warmup_steps:
            actions = programs.random(step)
        else:
            actions = programs.act(self.learner, self.streams.obs, step)
        batch, last = self.streams.step(self.guard.actions(np.asarray(actions), step))
        self.learner = programs.collect(self.learner, batch, last)
        if doubtful(batch):  # else none is refused, and nothing has to wait for the device
            refused = np.array(self.learner.replay.refused)
            self.streams.take_back(refused > self.refused, batch, last)
            self.refused = refused

    def park(self) -> None:
        """Leave the training environments alone from here on."""
        self.streams.parked = True

    def scores(self) -> dict[str, np.ndarray]:
        """Play whole episodes with every policy's mode, in environments of their own or between training's episodes."""

        def act(obs: np.ndarray, _: dict) -> np.ndarray:
            return self.guard.actions(np.asarray(self.programs.mode(self.learner, obs)), self.step)

        scores = self.evaluator.run(act, self.step)
        if self.evaluator.borrowed:
            self._cut()
            self.streams.begin_again()
        return scores

    def newest_metrics(self) -> dict[str, Any]:
        """Return the newest metrics of each phase that has run in this process."""
        return self.metrics

    def episode_returns(self) -> np.ndarray:
        """Return that of each stream's last whole episode, NaN before there was one."""
        return self.streams.finished

    def close(self) -> None:
        """Close all environments."""
        self.evaluator.close()
        self.streams.close()
