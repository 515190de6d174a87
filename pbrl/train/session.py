"""One process' work on a run, whichever driver steps its environments: folder, log, evaluations and checkpoints.

Several hosts each train their share of the seeds. They meet at the same steps (`pbrl.train.host_sync`), where logs and
checkpoints of all are put together; between meetings each goes its own pace.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from pbrl.data import replay
from pbrl.diagnose import diagnosis
from pbrl.diagnose.watch import Watch
from pbrl.errors import Diverged, EnvError, RunError, Stopped
from pbrl.parallel import devices, hosts
from pbrl.runs import checkpoint
from pbrl.runs.folder import locked, prepare, refuse_another
from pbrl.runs.log import RunLog, read_rows
from pbrl.runs.run import Run, require_width, share
from pbrl.train import host_sync
from pbrl.train.guard import Guard
from pbrl.train.learn import Learner
from pbrl.train.stopping import Stop


@dataclass
class Progress:
    """Where a run stands. Arrays are over streams, `[N]`: seeds, or every trial's seeds in a sweep.

    On several hosts they are those of this process, but `evaluation` is of all.
    """

    step: int
    total_steps: int
    steps_per_second: float
    episode_return: np.ndarray  # of the last whole training episode, NaN before there was one
    evaluation: dict[str, np.ndarray]
    evaluated_step: int
    metrics: dict[str, np.ndarray]
    agent: Any  # every seed's state, stacked; the next step takes its memory, so copy what is to be kept


def check(run: Run, driver: str) -> None:
    """Raise `RunError` for a run that cannot be, or not with this driver, before anything is written."""
    run.validate()
    if run.driver != driver:
        raise RunError(f"this run's driver is {run.driver!r}; train it with pbrl.train.{run.driver}.train")
    require_width(run)
    refuse_another(run)
    share(run)
    if run.schedule.diagnose_every:
        diagnosis.check(run)


def train(run: Run, session: "Callable[[Run], Session]", report: Callable[[Progress], None]) -> Progress:
    """Hold the run's folder, and train to the end of the schedule in a session of the driver's.

    On several hosts, each trains its share of the seeds, and the first holds and writes the folder that all see.
    """
    with hosts.together(), contextlib.ExitStack() as held, Stop() as stop:

        def begin() -> None:
            if hosts.is_first():
                held.enter_context(locked(run.folder))
                prepare(run)

        hosts.all_or_none(begin)
        hosts.all_or_none(lambda: host_sync.agree_on(run))
        training = session(run)
        try:
            return training.run_to_end(stop, report)
        finally:
            training.close()


class Session:
    """Everything that changes while a process trains a run.

    A driver's own session says what is under "The driver's part": how steps are taken, how policies are judged, and
    what a checkpoint holds.
    """

    learner: Learner

    def __init__(self, run: Run):
        """Go on from the newest checkpoint, or begin. A driver's session makes its programs first."""
        self.whole, self.run = run, share(run)
        self.checkpoints, self.guard = run.folder / "checkpoints", Guard(self.run)
        self.meetings, self.step, self.seconds = host_sync.Meetings(run.schedule), 0, 0.0
        self.watch = Watch(self.run)
        newest = None
        if hosts.is_first() and checkpoint.steps(self.checkpoints):
            newest = checkpoint.read_info(self.checkpoints)
        newest = hosts.everyone(newest)[0]
        if newest is None:
            self.begin()
        else:
            self._resume(*newest)
        self.saved = self.began_step = self.step
        self.began = self.saved_at = time.perf_counter()
        if hosts.is_first():
            self.log = RunLog(run.folder, sinks=run.sinks, resume_step=self.step)
        else:
            self.log = RunLog(run.folder, sinks=())
        evaluations = read_rows(run.folder, "eval")
        last = evaluations[-1] if evaluations else {}
        self.evaluation = {name: np.asarray(value) for name, value in last.items() if name.startswith("eval/")}
        self.evaluated_step = last.get("step", 0)

    # The driver's part

    def begin(self) -> None:
        """Make fresh agents and environments."""
        raise NotImplementedError

    def tree(self, capacity: int | None = None) -> dict[str, Any]:
        """Return what a checkpoint holds: `learner`, and `streams`, the live environments.

        With a capacity, only the shapes, for a buffer of that size.
        """
        raise NotImplementedError

    def put_back(self, tree: dict[str, Any]) -> None:
        """Go back to such a tree, as a checkpoint had it."""
        raise NotImplementedError

    def advance(self, limit: int) -> None:
        """Take environment steps, one or more but none after step `limit`, with all that belongs to them.

        Raises `Diverged` where updates have failed for good.
        """
        raise NotImplementedError

    def scores(self) -> dict[str, np.ndarray]:
        """Play whole episodes with every policy's mode: `eval/return` and `eval/length`, `[N]`."""
        raise NotImplementedError

    def newest_metrics(self) -> dict[str, Any]:
        """Return the newest metrics `[N]` of each phase that has run."""
        raise NotImplementedError

    @property
    def episode_return(self) -> np.ndarray:
        """Return of each stream's last whole training episode `[N]`, NaN before there was one."""
        raise NotImplementedError

    def close(self) -> None:
        """Close environments and logs."""
        self.watch.close()
        self.log.close()

    # What the drivers share

    def _resume(self, info: dict[str, Any], step: int) -> None:
        """Restore the checkpoint of `step`; its buffer is smaller where the run has been made longer since."""
        hosts.visible(self.checkpoints / str(step))
        tree, info, self.step = checkpoint.restore(self.checkpoints, self.tree(info["capacity"]), step=step)
        self.seconds = info["seconds"]
        self.guard.restore(info)
        n, capacity = len(self.run.stream_seeds), self.run.schedule.capacity
        learner = devices.lay(tree["learner"], n)
        grown = devices.lay(jax.vmap(partial(replay.grow, capacity=capacity))(learner.replay), n)
        self.put_back({**tree, "learner": replace(learner, replay=grown)})

    def save(self) -> None:
        """Write a checkpoint of everything: agents, buffers, live environments and counters."""
        if self.saved == self.step:
            return
        info = {
            "run": self.whole.identity(),
            "seconds": self.elapsed,
            "capacity": self.learner.replay.capacity,
            **self.guard.snapshot(),
        }
        checkpoint.save(self.checkpoints, self.step, self.tree(), info)
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
            error = self._advance()
            signal, overdue = self.meetings.agree(self.step, stop.signal, self._overdue(), error)
            logged = self._log_and_evaluate()
            signal = stop.signal if hosts.alone() else signal  # hosts hear of it when they meet
            if signal is not None:
                self.save()
                raise Stopped(f"stopped at step {self.step}, saved; the same command resumes", 128 + signal)
            if self.step % schedule.checkpoint_every == 0 or overdue:
                self.save()
            if logged or time.perf_counter() - reported > 1.0:
                report(self.progress())
                reported = time.perf_counter()
        self.save()
        return self.progress()

    def _advance(self) -> Exception | None:
        """Step on, with other hosts to the next meeting; return what went wrong."""
        limit = self.meetings.following(self.step)
        try:
            self.advance(limit)
            while self.step < limit and not hosts.alone():
                self.advance(limit)
        except (Diverged, EnvError) as error:
            if not hosts.alone():
                return error
            self.save()
            return type(error)(f"{error}; what was learned is saved at step {self.step}")
        return None

    def _overdue(self) -> bool:
        minutes = self.run.schedule.checkpoint_minutes
        return minutes > 0 and time.perf_counter() - self.saved_at > 60 * minutes

    def _log_and_evaluate(self) -> bool:
        schedule, due = self.run.schedule, False
        last = self.step == schedule.total_steps
        if self.step % schedule.log_every == 0 or last:
            row = {**self._metrics(), "train/return": self.episode_return, "train/seconds": self.elapsed}
            self.log.write("train", self.step, hosts.joined(row))
            due = True
        if schedule.eval_every and (self.step % schedule.eval_every == 0 or last):
            self._evaluate()
            due = True
        if schedule.due_after_warmup(self.step, schedule.diagnose_every):
            learner = self.learner
            if row := self.watch.row(learner.agent, learner.replay, self.step):
                self.log.write("diagnose", self.step, row)
        return due

    def _metrics(self) -> dict[str, np.ndarray]:
        counters = {
            "train/skipped_updates": self.learner.skipped,
            "train/refused_rows": self.learner.replay.refused,
        }
        return jax.tree.map(np.asarray, {**self.newest_metrics(), **counters})

    def _evaluate(self) -> None:
        scores = self.guard.mask(self.scores())
        row = hosts.joined({**scores, **self.guard.metrics(), "eval/seconds": self.elapsed})
        self.evaluation, self.evaluated_step = {name: row[name] for name in scores}, self.step
        self.log.write("eval", self.step, row)

    def progress(self) -> Progress:
        """Return where the run stands."""
        return Progress(
            step=self.step,
            total_steps=self.run.schedule.total_steps,
            steps_per_second=(self.step - self.began_step) / max(time.perf_counter() - self.began, 1e-9),
            episode_return=self.episode_return.copy(),
            evaluation=self.evaluation,
            evaluated_step=self.evaluated_step,
            metrics=self._metrics(),
            agent=self.learner.agent,
        )
