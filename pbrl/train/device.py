"""Training with environments in JAX: steps, replay, fits, updates and evaluation in one program.

`run` is the whole of it as a pure function of a key. `train` does the same in epochs, for runs with a folder: it logs,
evaluates, saves and stops between them, and cuts them where it likes, since a step's numbers hang on no cut.
"""

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl import config as configs
from pbrl.envs import jax_env, registry
from pbrl.envs.gym import GymEnv
from pbrl.envs.jax_env import JaxEnv
from pbrl.errors import EnvError, RunError
from pbrl.parallel import devices, hosts
from pbrl.runs import seeding
from pbrl.runs.feasible import check as check_settings
from pbrl.runs.layout import Layout
from pbrl.runs.placement import share
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule
from pbrl.train import footprint, session, step
from pbrl.train.footprint import Footprint
from pbrl.train.guard import NEVER, Guard
from pbrl.train.journal import Progress
from pbrl.train.learn import Learner
from pbrl.train.notices import require_windows
from pbrl.train.step import Plan, State, Task
from pbrl.train.streams import MAX_FAULTS
from pbrl.types import LARGEST, Array, Dynamics, Key, Metrics, unknown

EPOCH_SECONDS = 1.0
"""About how long an epoch lasts, so that a signal or a clock is heard; shorter where something is due."""
UNSOUND = f"not sound (NaN, infinite or beyond {LARGEST:g})"


def run(
    agent: Any, env: JaxEnv, config: Any, schedule: Schedule, key: Key, *, oracle: Dynamics | None = None
) -> tuple[State, Metrics]:
    """Train one seed from its first step to its last, with everything in the program that calls it.

    Pure: `jit` it with agent, environment, schedule and oracle static, `vmap` it over keys, or over leaves of `config`.
    Seed s of a run with a folder is `key=pbrl.runs.seeding.root(s)` here, up to rounding.

    Args:
        agent: a module of `pbrl.agents`.
        env: reset, step and observe in JAX.
        config: the agent's `Config`; its leaves may be traced.
        schedule: cadences and sizes; `checkpoint_every` and `checkpoint_minutes` mean nothing here.
        key: typed, for everything that is random.
        oracle: imagine with these dynamics, such as `env.oracle`, instead of a learned model.

    Returns:
        The final state, whose `learner.agent` the agent's functions take, and metrics `[T]`, a row for every
        `schedule.log_every` steps and one for the last: `step`, each phase's newest metrics, `train/return` (of the
        last whole episode), `pbrl.train.step.SCORES` (of the last evaluation's whole episodes), and
        `train/skipped_updates`, `train/refused_rows`, `train/diverged_at` (-1: never). NaN is what was not yet.

    Raises:
        ValueError: for settings that cannot work, by the names of the fields.
        EnvError: for an environment whose functions do not fit together.
    """
    check_settings(agent, config, schedule, oracle)
    if schedule.data_rows:
        raise ValueError(f"schedule.data_rows: expected 0 without a run's folder, got {schedule.data_rows}")
    jax_env.check(env, "this environment")
    task = Task(agent, env, config, schedule, oracle)
    plan, total, every = Plan.of(task), schedule.total_steps, schedule.log_every

    def evaluate(state: State, scores: Metrics, t: Array) -> Metrics:
        due = (t % schedule.eval_every == 0) | (t == total)
        return jax.lax.cond(due, lambda: step.evaluate(task, state, key, t), lambda: scores)

    def take(i: Array, carry: tuple[State, Metrics, Metrics]) -> tuple[State, Metrics, Metrics]:
        state, scores, rows = carry
        state = step.advance(task, plan, state, key, i + 1)
        if schedule.eval_every:
            scores = evaluate(state, scores, i + 1)
        row = {"step": i + 1, **_row(state), **scores}  # the last to write into a row stays there
        return state, scores, {name: rows[name].at[i // every].set(value) for name, value in row.items()}

    state = step.start(task, schedule.capacity, key)
    names = step.SCORES if schedule.eval_every else ()
    scores = {name: jnp.full((), unknown(), float) for name in names}
    row = {"step": jnp.zeros((), jnp.int32), **_row(state), **scores}
    rows = {name: jnp.zeros((-(-total // every), *x.shape), x.dtype) for name, x in row.items()}
    state, _, rows = jax.lax.fori_loop(0, total, take, (state, scores, rows))
    return state, rows


def _row(state: State) -> Metrics:
    return {
        **state.metrics,
        "train/return": state.finished,
        "train/skipped_updates": state.learner.skipped,
        "train/refused_rows": state.learner.replay.refused,
        "train/diverged_at": state.lost,
    }


class Programs:
    """The compiled epoch of all streams, and their evaluation; `traces` counts how often the epoch was traced.

    Streams are spread over the devices of the process.
    """

    def __init__(self, run: Run):
        self.task = task = task_of(run)
        roots = seeding.bits(run.stream_seeds)
        self.mesh = devices.own_mesh(len(roots))
        spread = partial(devices.spread, mesh=self.mesh)
        over = lambda function: spread(devices.over_seeds(function, run.seed_mode))  # noqa: E731
        self.plan, self.traces = Plan.of(task), 0

        def start(capacity: int) -> State:
            def one(seed: Array, leaves: dict[str, Array]) -> State:
                config = configs.replace_leaves(run.config, leaves)
                return step.start(task._replace(config=config), capacity, seeding.root(seed))

            return spread(jax.vmap(one))(roots, run.swept_leaves())

        def epoch(state: State, plan: Plan, done: Array, count: Array) -> State:
            self.traces += 1

            def one(state: State, seed: Array) -> State:
                # Neither the step nor the plan has an axis of seeds, so that what is not due is skipped under vmap.
                take = lambda i, state: step.advance(task, plan, state, seeding.root(seed), done + i + 1)  # noqa: E731
                return jax.lax.fori_loop(0, count, take, state)

            return over(one)(state, roots)

        def evaluate(state: State, at: Array) -> Metrics:
            return over(lambda one, seed: step.evaluate(task, one, seeding.root(seed), at))(state, roots)

        self.start = jax.jit(start, static_argnums=0)
        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.evaluate = jax.jit(evaluate)


def task_of(run: Run) -> Task:
    """Return the parts of a run. Raises `EnvError` for an environment that is not in JAX and has no twin that is."""
    return Task(agent_module(run.agent), registry.find(run.env), run.config, run.schedule, run.dynamics())


def train(run: Run, report: session.Report = lambda progress: None) -> Progress:
    """Train to the end of the schedule, resuming where the run's folder left off; return where it stands.

    As `pbrl.train.host.train`, which says what is reported and raised. What takes a step is an epoch here: a signal
    is heard, and a stream that diverges or an environment that breaks is noticed, when it ends.
    """
    hosts.all_or_none(lambda: check(run))
    return session.train(run, Driver, report)


def check(run: Run) -> Footprint:
    """Return the memory that a run needs; raise `RunError` or `EnvError` where it cannot be, before it is begun."""
    session.check(run, "device")
    if run.schedule.eval_on_training_env or run.schedule.step_timeout:
        raise RunError(
            "schedule.eval_on_training_env, schedule.step_timeout: expected False and 0 with --driver device, whose "
            "environments are arrays; both are for Gymnasium's environments"
        )
    task = task_of(run)
    jax_env.check(task.env, run.env)
    require_windows(run, task.env.spec)
    first = jax.eval_shape(task.env.reset, seeding.root(0))
    extras = jax.eval_shape(task.env.extras, first) if run.oracle else {}
    return footprint.require(footprint.of(run, task.env.spec, extras))


def layout_of(env_id: str, env: JaxEnv) -> Layout:
    """Return sizes and bounds; those of a twin are the environment's of Gymnasium, which is made for it."""
    if registry.is_jax(env_id):
        return Layout.of(env.spec, [-1.0] * env.spec.action_size, [1.0] * env.spec.action_size)
    with contextlib.closing(GymEnv(env_id)) as original:
        return Layout.of(env.spec, original.low, original.high)


def template(run: Run, capacity: int) -> dict[str, Any]:
    """Return what a run's checkpoints hold, as shapes, for buffers of `capacity` rows."""
    return _contents(jax.eval_shape(partial(Programs(run).start, capacity)))


def _contents(state: State) -> dict[str, Any]:
    return {"learner": state.learner, "streams": replace(state, learner=None)}


class Driver:
    """Takes steps with streams on the device, in epochs (`pbrl.train.contract`)."""

    state: State

    def __init__(self, run: Run):
        """Take this process' share of a run, and make its programs."""
        self.run = share(run)
        self.guard, self.step = Guard(self.run), 0
        self.programs, self.longest = Programs(self.run), 1  # steps of the longest epoch that may come next
        self.layout = layout_of(run.env, self.programs.task.env)

    @property
    def learner(self) -> Learner:
        """All streams' learners, stacked."""
        return self.state.learner

    def begin(self, change: Callable[[Learner], Learner] = lambda learner: learner) -> None:
        """Make fresh agents, changed by `change`, and begin episodes."""
        state = self.programs.start(self.run.schedule.capacity)
        self.state = replace(state, learner=change(state.learner))

    def contents(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return _contents(self.state)

    def shapes(self, capacity: int) -> dict[str, Any]:
        """Return `contents` as shapes, for a replay buffer of `capacity` rows."""
        return _contents(jax.eval_shape(partial(self.programs.start, capacity)))

    def put_back(self, contents: dict[str, Any], step: int) -> None:
        """Go on from `step` exactly."""
        streams = devices.lay(contents["streams"], len(self.run.stream_seeds))
        self.state, self.step = replace(streams, learner=contents["learner"]), step

    def advance(self, limit: int) -> None:
        """Run one epoch: as far as one gets in about a second."""
        count = min(self.longest, limit - self.step)
        began = time.perf_counter()
        self.state = self.programs.epoch(self.state, self.programs.plan, self.step, count)
        lost = np.asarray(self.state.lost)  # waits for the epoch
        fits = count * EPOCH_SECONDS / max(time.perf_counter() - began, 1e-9)
        self.step += count
        self.longest = max(1, min(2 * count, int(fits)))
        if self.step == self.run.schedule.warmup_steps:
            self.longest = 1  # steps take longer from here on
        self.guard.take_over(lost)
        broken = np.asarray(self.state.faults) >= MAX_FAULTS
        if broken.any():
            seeds = [seed for seed, is_broken in zip(self.run.stream_seeds, broken, strict=True) if is_broken]
            raise EnvError(
                f"{self.run.env}: seeds {seeds}: the last {MAX_FAULTS} steps or more gave an observation or a reward "
                f"that is {UNSOUND}; see what the environment does there"
            )

    def park(self) -> None:
        """Do nothing: what hangs is no environment here."""

    def scores(self) -> dict[str, np.ndarray]:
        """Play whole episodes with every policy's mode, in one program; warn of seeds some of whose were broken."""
        scores = {name: np.asarray(x, float) for name, x in self.programs.evaluate(self.state, self.step).items()}
        asked, played = self.run.schedule.eval_episodes, scores["eval/episodes"]
        lost = (played < asked) & (np.asarray(self.state.lost) == NEVER)
        if lost.any():
            seeds = [seed for seed, is_lost in zip(self.run.stream_seeds, lost, strict=True) if is_lost]
            warnings.warn(
                f"evaluation at step {self.step}: seeds {seeds}: {int((asked - played[lost]).sum())} of "
                f"{asked * int(lost.sum())} episodes left out, since a reward or an observation of {self.run.env} is "
                f"{UNSOUND}, or an action not finite",
                stacklevel=2,
            )
        return scores

    def newest_metrics(self) -> dict[str, Any]:
        """Return the newest metrics of each phase that has run in some stream."""
        metrics = {name: np.asarray(value) for name, value in self.state.metrics.items()}
        return {name: value for name, value in metrics.items() if not np.isnan(value).all()}

    def episode_returns(self) -> np.ndarray:
        """Return that of each stream's last whole episode, NaN before there was one."""
        return np.asarray(self.state.finished)

    def close(self) -> None:
        """Do nothing: these environments are arrays."""
