"""How long a run will take, from a few of its updates measured here; what it needs of memory is `footprint`'s."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.data import validation
from pbrl.envs import registry
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting
from pbrl.train.host import Programs
from pbrl.train.learn import Learner
from pbrl.types import EnvSpec, Transition

ROWS = 8_192  # of buffers while measuring: what a draw costs hangs little on how many there are
IMAGINED = 2_048  # states to imagine from while measuring; what it takes grows with them
BATCHES = 10  # gradient steps of the model
REPEATS = 2
MOST_EPOCHS = 20  # taken for a fit that stops by itself: the first, here, goes on for longer than most


class Cost(NamedTuple):
    """Seconds of a whole run by what they are spent on, and those that its programs took to compile here."""

    parts: dict[str, float]
    compile_s: float

    @property
    def total(self) -> float:
        """All but compilation."""
        return sum(self.parts.values())


def measure(run: Run, spec: EnvSpec, rows: Transition, step_s: float) -> Cost:
    """Return what a run costs on this machine; `rows [B]` are real transitions, `step_s` seconds of one live step.

    Made are `REPEATS` calls of each phase, for all seeds, in buffers of at most `ROWS`. Fits that stop by themselves
    are taken to make as many epochs as the first here, or `MOST_EPOCHS`.
    """
    schedule, n = run.schedule, len(run.stream_seeds)
    small = replace(
        schedule, imagine_batch=min(schedule.imagine_batch, IMAGINED),
        imagine_buffer=min(schedule.imagine_buffer, IMAGINED * max(schedule.imagine_length[2:], default=1)),
    )  # fmt: skip
    programs = Programs(replace(run, schedule=small), spec, jax.tree.map(lambda x: x[0], rows.extras))
    clock = Clock()
    given = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), (n, *np.shape(x))), rows)
    learner = programs.start(min(schedule.capacity, ROWS))
    learner = programs.collect(learner, given, jnp.zeros(given.reward.shape, bool))
    one, last = jax.tree.map(lambda x: x[:, :1], given), jnp.zeros((n, 1), bool)
    learner, collect_s = clock.of(lambda x: programs.collect(x, one, last), learner)
    _, act_s = clock.of(lambda _: programs.act(learner, one.obs[:, 0], 1), None)
    learner, fit_s = _fits(run, programs, clock, learner, len(rows.reward))
    learner, imagine_s = _imagined(schedule, small, programs, clock, learner)
    updates = schedule.total_steps - schedule.warmup_steps + 1 if schedule.updates_per_step else 0
    update_s = 0.0
    if updates:
        learner, update_s = clock.of(lambda x: programs.update(x, 1)[0], learner)
    if run.driver == "device":  # where acting and storing are within one program, and next to nothing
        step_s, collect_s, act_s = _device_step(run, clock), 0.0, 0.0
    played = _evaluated_steps(schedule, spec)
    parts = {
        "environments": schedule.total_steps * (n * step_s + collect_s + act_s),
        "updates": updates * update_s,
        "fits of the model": fit_s,
        "imagination": imagine_s,
        "evaluations": played * (n * schedule.eval_episodes * step_s + act_s),
    }
    return Cost({name: seconds for name, seconds in parts.items() if seconds}, clock.compile_s)


class Clock:
    """Times phases after a first call, which compiles; `compile_s` sums up those."""

    def __init__(self) -> None:
        self.compile_s = 0.0

    def of(self, phase: Callable[[Any], Any], state: Any) -> tuple[Any, float]:
        """Return the state after `REPEATS` calls of a phase and one to compile, and the seconds of one."""
        began = time.perf_counter()
        state = jax.block_until_ready(phase(state))
        compiled = time.perf_counter()
        for _ in range(REPEATS):
            state = jax.block_until_ready(phase(state))
        each = (time.perf_counter() - compiled) / REPEATS
        self.compile_s += max(compiled - began - each, 0.0)
        return state, each


def _device_step(run: Run, clock: Clock) -> float:
    """Return the seconds of one step of an environment in JAX, within a program."""
    env, key = registry.find(run.env), jax.random.key(0)
    action = jnp.zeros(env.spec.action_size)
    many = jax.jit(lambda state: jax.lax.fori_loop(0, ROWS, lambda _, at: env.step(at, action, key)[0], state))
    return clock.of(many, jax.jit(env.reset)(key))[1] / ROWS


def _fits(run: Run, programs: Programs, clock: Clock, learner: Learner, rows: int) -> tuple[Learner, float]:
    """Return the seconds of all fits of a run."""
    schedule, abilities = run.schedule, agent_module(run.agent).abilities(run.config)
    every = range(schedule.model_every, schedule.total_steps + 1, schedule.model_every) if schedule.model_every else ()
    due = [step for step in every if not run.oracle and fitting.fit_batches(abilities, schedule, step)]
    if not due:
        return learner, 0.0
    if abilities.fits != "until stopped":
        learner, seconds = clock.of(lambda x: programs.fit(x, 1, BATCHES)[0], learner)
        return learner, seconds / BATCHES * sum(fitting.fit_batches(abilities, schedule, step) for step in due)
    began = time.perf_counter()
    learner, _ = jax.block_until_ready(programs.fit(learner, 1, 1))
    between = time.perf_counter()
    learner, metrics = jax.block_until_ready(programs.fit(learner, 2, 1))
    seconds, epochs = time.perf_counter() - between, float(np.nanmax(metrics["model/epochs"]))
    clock.compile_s += max(between - began - seconds, 0.0)
    per_row = seconds / max(epochs * max(rows, validation.BLOCK), 1.0)
    return learner, per_row * min(max(epochs, 1.0), MOST_EPOCHS) * sum(min(step, schedule.capacity) for step in due)


def _imagined(
    schedule: Schedule, small: Schedule, programs: Programs, clock: Clock, learner: Learner
) -> tuple[Learner, float]:
    """Return the seconds of all that a run imagines as data."""
    if not schedule.imagine_every:
        return learner, 0.0
    lengths = [
        schedule.imagined_steps(step)
        for step in range(schedule.imagine_every, schedule.total_steps + 1, schedule.imagine_every)
    ]
    learner, seconds = clock.of(lambda x: programs.imagine(x, 1, 1), learner)
    return learner, seconds * sum(lengths) * schedule.imagine_batch / small.imagine_batch


def _evaluated_steps(schedule: Schedule, spec: EnvSpec) -> int:
    """Return how many steps all evaluations play, each of all episodes at once, where none ends early."""
    if not schedule.eval_every:
        return 0
    return (schedule.total_steps // schedule.eval_every + 1) * spec.episode_length
