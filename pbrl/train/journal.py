"""What a run writes down as it trains: metrics, evaluations and diagnoses as rows of its log, notices as warnings.

On several hosts, rows are of all; every host takes part in each, and the first writes it.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pbrl.diagnose.watch import Watch
from pbrl.parallel import hosts
from pbrl.runs.log import RunLog, read_rows
from pbrl.runs.run import Run
from pbrl.train.contract import Driver
from pbrl.train.notices import Notices


@dataclass
class Progress:
    """Where a run stands. Arrays are over streams, `[N]`: seeds, or every trial's seeds in a sweep.

    On several hosts they are those of this process, but `evaluation` is of all.
    """

    step: int
    """Environment steps so far, of `total_steps`."""
    total_steps: int
    """Those of the whole run."""
    steps_per_second: float
    """Since this process began."""
    episode_return: np.ndarray
    """Of the last whole training episode, NaN before there was one."""
    evaluation: dict[str, np.ndarray]
    """Scores of the last evaluation, at `evaluated_step`; empty before the first."""
    evaluated_step: int
    """Where the last evaluation was."""
    metrics: dict[str, np.ndarray]
    """The newest metrics of each phase."""
    agent: Any
    """Every seed's state, stacked; the next step takes its memory, so copy what is to be kept."""


class Journal:
    """Writes what is due where a driver stands, and says how far the run is."""

    def __init__(self, run: Run, driver: Driver, seconds: float):
        """Open the log where the driver stands; `run` is the whole one, trained for `seconds` before."""
        self.run, self.driver = driver.run, driver
        self.notices, self.watch = Notices(driver.run, driver.learner), Watch(driver.run)
        self.seconds, self.began_step, self.began = seconds, driver.step, time.perf_counter()
        self.stage = ""  # "evaluation" or "diagnosis" while in one, which a rescue has to know
        if hosts.is_first():
            self.log = RunLog(run.folder, sinks=run.sinks, resume_step=driver.step or -1)
        else:
            self.log = RunLog(run.folder, sinks=())
        evaluations = read_rows(run.folder, "eval")
        last = evaluations[-1] if evaluations else {}
        self.evaluation = {name: np.asarray(value) for name, value in last.items() if name.startswith("eval/")}
        self.evaluated_step = last.get("step", 0)

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, those before an interruption included."""
        return self.seconds + time.perf_counter() - self.began

    def progress(self) -> Progress:
        """Return where the run stands."""
        step = self.driver.step
        return Progress(
            step=step,
            total_steps=self.run.schedule.total_steps,
            steps_per_second=(step - self.began_step) / max(time.perf_counter() - self.began, 1e-9),
            episode_return=self.driver.episode_returns().copy(),
            evaluation=self.evaluation,
            evaluated_step=self.evaluated_step,
            metrics=self._metrics(),
            agent=self.driver.learner.agent,
        )

    def write_due(self) -> bool:
        """Write what is due at this step; return whether anything but a diagnosis was."""
        schedule, step, due = self.run.schedule, self.driver.step, False
        last = step == schedule.total_steps
        if step % schedule.log_every == 0 or last:
            row = {**self._metrics(), "train/return": self.driver.episode_returns(), "train/seconds": self.elapsed}
            self.log.write("train", step, hosts.joined(row))
            self.notices.look(self.driver.learner, step)
            due = True
        if schedule.eval_every and (step % schedule.eval_every == 0 or last):
            self.evaluate()
            due = True
        if schedule.due_after_warmup(step, schedule.diagnose_every):
            learner = self.driver.learner
            with self._during("diagnosis"):
                if row := self.watch.row(learner.agent, learner.replay, step):
                    self.log.write("diagnose", step, row)
        return due

    def _metrics(self) -> dict[str, np.ndarray]:
        learner = self.driver.learner
        counters = {"train/skipped_updates": learner.skipped, "train/refused_rows": learner.replay.refused}
        return jax.tree.map(np.asarray, {**self.driver.newest_metrics(), **counters})

    def evaluate(self) -> None:
        """Judge the policies, and write what came of it. Raises `EnvError` for environments that cannot be used."""
        with self._during("evaluation"):
            scores = self.driver.guard.mask(self.driver.scores())
        self.write_evaluation(scores)

    def write_evaluation(self, scores: dict[str, np.ndarray]) -> None:
        """Put all hosts' scores `[N]` together; without any these seeds' are NaN."""
        step = self.driver.step
        row = hosts.joined({**scores, **self.driver.guard.metrics(), "eval/seconds": self.elapsed})
        self.evaluation, self.evaluated_step = {name: row[name] for name in scores}, step
        self.log.write("eval", step, row)

    @contextlib.contextmanager
    def _during(self, stage: str) -> Iterator[None]:
        self.stage = stage
        try:
            yield
        finally:
            self.stage = ""

    def close(self) -> None:
        """Close the log and the environments of diagnoses."""
        self.log.close()  # first: what an environment does when it is closed costs no row
        self.watch.close()
