"""A run's checkpoints while it trains: going on from the newest, and saving what a driver has."""

import time
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from pbrl.data import replay
from pbrl.errors import CheckpointError, Diverged
from pbrl.parallel import devices, hosts
from pbrl.runs import checkpoint, record
from pbrl.runs.run import Run
from pbrl.train import best, from_data, graft
from pbrl.train.best import Best
from pbrl.train.contract import Driver
from pbrl.train.learn import Learner

RETRY = 60.0
"""Seconds after which a save that failed is tried again; twice as many after each further failure, up to `LONGEST`."""
LONGEST = 600.0


def begin_at(run: Run) -> int:
    """Return the step that a run goes on from, 0 for none; by `from_step`, set later checkpoints aside first.

    Raises `CheckpointError` where there is no good checkpoint of `from_step`.
    """
    folder = run.folder / "checkpoints"
    if run.from_step is not None and (aside := checkpoint.go_back(folder, run.from_step)):
        best.set_aside_later(run, run.from_step)
        warnings.warn(
            f"{run.folder} goes on from step {run.from_step}; later checkpoints are set aside as "
            f"{', '.join(path.name for path in aside)}",
            stacklevel=3,
        )
    return checkpoint.read_info(folder)[1] if checkpoint.steps(folder) else 0


class Checkpoints:
    """Reads and writes the checkpoints of a run, one for all hosts, each of which has a driver of its share."""

    def __init__(self, run: Run, driver: Driver):
        """Take the whole run, of all hosts."""
        self.run, self.driver, self.folder = run, driver, run.folder / "checkpoints"
        self.best = Best(run, driver)
        self.saved, self.saved_at = 0, 0.0  # step and clock of the newest
        self.failed_at, self.wait = 0.0, 0.0  # clock of the last save that failed, and seconds from it to the next

    def begin_or_resume(self) -> float:
        """Let the driver go on from the newest good checkpoint, or begin; return the seconds trained so far."""
        newest = None
        if hosts.is_first() and checkpoint.steps(self.folder):
            newest = checkpoint.read_info(self.folder)
        newest = hosts.everyone(newest)[0]
        seconds = 0.0
        if newest is None and (self.run.initial is not None or self.run.data is not None):
            self.driver.begin(self._with_the_past)
        elif newest is None:
            self.driver.begin()
        else:
            seconds = self._resume(*newest)
        self.saved, self.saved_at = self.driver.step, time.perf_counter()
        return seconds

    def _with_the_past(self, learner: Learner) -> Learner:
        """Return fresh learners with what the run is to begin with: another run's parts, and a dataset's rows."""
        run = self.driver.run
        if run.initial is not None:
            learner = graft.onto(run, learner)
        if run.data is not None:
            learner = from_data.onto(run, self.driver.layout, learner)
        return learner

    def _resume(self, info: dict[str, Any], step: int) -> float:
        """Restore the checkpoint of `step`, and let its buffer grow where the run has been made longer since."""
        record.require_same(info, self.run, step, "Give the old values to resume it, or another folder with --out")
        hosts.visible(self.folder / str(step))
        shapes = self.driver.shapes(info["capacity"])
        contents, info, step = checkpoint.restore(self.folder, shapes, step=step)
        share = self.driver.run
        n, capacity = len(share.stream_seeds), share.schedule.capacity
        first = self.run.stream_seeds.index(share.stream_seeds[0])
        self.driver.guard.restore(info["diverged_at"][first : first + n])
        learner = devices.lay(contents["learner"], n)
        grown = devices.lay(jax.vmap(partial(replay.grow, capacity=capacity))(learner.replay), n)
        self.driver.put_back({**contents, "learner": replace(learner, replay=grown)}, step)
        self.best.restore(step)
        return info["seconds"]

    def save(self, seconds: float) -> None:
        """Write a checkpoint of everything, unless this step has one: agents, buffers, environments and counters.

        Raises `CheckpointError` where that fails, and `Diverged`, having written nothing, where no stream's state is
        sound: it must not take the place of one that is.
        """
        driver = self.driver
        if self.saved == driver.step:
            return
        if not any(hosts.everyone(driver.guard.worth_saving(driver.learner.agent, driver.step))):
            stands = f"the checkpoint of step {self.saved} stands" if self.saved else "there is no checkpoint before"
            raise hosts.agreed(
                Diverged(
                    f"the state of every seed is not finite at step {driver.step}, and was not saved: {stands}. "
                    "Lower the learning rates, with another --out, or resume an older checkpoint by --from-step"
                )
            )
        info = {
            "run": self.run.identity(),
            "layout": driver.layout.to_json(),
            "seconds": seconds,
            "capacity": driver.learner.replay.capacity,
            "diverged_at": [step for steps in hosts.everyone(driver.guard.since.tolist()) for step in steps],
        }
        checkpoint.save(self.folder, driver.step, driver.contents(), info)
        self.best.save(info)
        self.saved, self.saved_at = driver.step, time.perf_counter()
        if self.wait:
            warnings.warn(f"saving works again: there is a checkpoint of step {self.saved}", stacklevel=2)
        self.wait = 0.0

    def try_to_save(self, seconds: float) -> None:
        """Save; where that fails, on a full disk for example, warn once and try again before long (`overdue`)."""
        try:
            self.save(seconds)
        except CheckpointError as error:
            if not self.wait:
                warnings.warn(
                    f"{error}. Training goes on, and saving is tried again within minutes; until it works, what was "
                    f"learned after step {self.saved} is in memory alone",
                    stacklevel=2,
                )
            self.failed_at, self.wait = time.perf_counter(), min(2 * self.wait or RETRY, LONGEST)

    def save_at_last(self, seconds: float, why: str) -> None:
        """Save before this process ends; `why` begins the sentence of the `CheckpointError` where that fails."""
        try:
            self.save(seconds)
        except CheckpointError as error:
            lost = CheckpointError(
                f"{why} at step {self.driver.step}, but what was learned after step {self.saved} could not be saved "
                f"and is lost: {error}. Make room, then start the same command again: it goes on from there"
            )
            raise hosts.agreed(lost) from error

    def overdue(self) -> bool:
        """Return whether the newest is older than `checkpoint_minutes`, or a save that failed is to be tried again."""
        if self.wait:
            return time.perf_counter() - self.failed_at > self.wait
        minutes = self.run.schedule.checkpoint_minutes
        return minutes > 0 and time.perf_counter() - self.saved_at > 60 * minutes
