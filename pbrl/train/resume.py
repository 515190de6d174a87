"""A run's checkpoints while it trains: going on from the newest, and saving what a driver has."""

import time
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from pbrl.data import replay
from pbrl.parallel import devices, hosts
from pbrl.runs import checkpoint
from pbrl.runs.run import Run
from pbrl.train.contract import Driver


class Checkpoints:
    """Reads and writes the checkpoints of a run, one for all hosts, each of which has a driver of its share."""

    def __init__(self, run: Run, driver: Driver):
        """Take the whole run, of all hosts."""
        self.run, self.driver, self.folder = run, driver, run.folder / "checkpoints"
        self.saved, self.saved_at = 0, 0.0  # step and clock of the newest

    def begin_or_resume(self) -> float:
        """Let the driver go on from the newest good checkpoint, or begin; return the seconds trained so far."""
        newest = None
        if hosts.is_first() and checkpoint.steps(self.folder):
            newest = checkpoint.read_info(self.folder)
        newest = hosts.everyone(newest)[0]
        seconds = 0.0
        if newest is None:
            self.driver.begin()
        else:
            seconds = self._resume(*newest)
        self.saved, self.saved_at = self.driver.step, time.perf_counter()
        return seconds

    def _resume(self, info: dict[str, Any], step: int) -> float:
        """Restore the checkpoint of `step`, and let its buffer grow where the run has been made longer since."""
        hosts.visible(self.folder / str(step))
        shapes = self.driver.shapes(info["capacity"])
        contents, info, step = checkpoint.restore(self.folder, shapes, step=step)
        self.driver.guard.restore(info)
        share = self.driver.run
        n, capacity = len(share.stream_seeds), share.schedule.capacity
        learner = devices.lay(contents["learner"], n)
        grown = devices.lay(jax.vmap(partial(replay.grow, capacity=capacity))(learner.replay), n)
        self.driver.put_back({**contents, "learner": replace(learner, replay=grown)}, step)
        return info["seconds"]

    def save(self, seconds: float) -> None:
        """Write a checkpoint of everything, unless this step has one: agents, buffers, environments and counters.

        Raises `Diverged`, having written nothing, where no stream's state is sound: an older one must not make room.
        """
        driver = self.driver
        if self.saved == driver.step:
            return
        driver.guard.state(driver.learner.agent, driver.step)
        info = {
            "run": self.run.identity(),
            "seconds": seconds,
            "capacity": driver.learner.replay.capacity,
            **driver.guard.snapshot(),
        }
        checkpoint.save(self.folder, driver.step, driver.contents(), info)
        self.saved, self.saved_at = driver.step, time.perf_counter()

    def overdue(self) -> bool:
        """Return whether the newest is older than `checkpoint_minutes`."""
        minutes = self.run.schedule.checkpoint_minutes
        return minutes > 0 and time.perf_counter() - self.saved_at > 60 * minutes
