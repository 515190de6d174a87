"""What a session asks of a driver. `host` and `device` have a class `Driver` each that keeps to it; none inherits."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from pbrl.runs.layout import Layout
from pbrl.runs.run import Run
from pbrl.train.guard import Guard
from pbrl.train.learn import Learner


class Driver(Protocol):
    """Environments and agents of a process' share of a run, as far as they have got.

    A driver takes steps, with all that belongs to them, and judges policies. It knows no log and no folder, and not
    when evaluations or checkpoints are due. Arrays are over the streams of its share, `[N, ...]`.
    """

    run: Run
    """The share: the run with the seeds of this process alone."""
    guard: Guard
    """Which streams are given up. The driver tells it what it sees; a session saves and restores it."""

    layout: Layout
    """Sizes and bounds of the environment, which checkpoints state."""

    @property
    def step(self) -> int:
        """Return how many environment steps have been taken."""
        ...

    @property
    def learner(self) -> Learner:
        """Return all streams' learners, stacked. The next `advance` takes their memory."""
        ...

    def begin(self, change: Callable[[Learner], Learner] = lambda learner: learner) -> None:
        """Make fresh agents, changed by `change`, and environments. This or `put_back` comes before any step."""
        ...

    def contents(self) -> dict[str, Any]:
        """Return what a checkpoint holds: `learner`, and `streams`, the live environments."""
        ...

    def shapes(self, capacity: int) -> dict[str, Any]:
        """Return what `contents` would for a replay buffer of `capacity` rows: arrays or their shapes."""
        ...

    def put_back(self, contents: dict[str, Any], step: int) -> None:
        """Go on from `step`, whose checkpoint had these contents. `learner` lies where programs keep it already."""
        ...

    def advance(self, limit: int) -> None:
        """Take environment steps, one or more but none after step `limit`, with all that belongs to them.

        Raises `Diverged` where updates have failed for good, and `EnvError` where an environment has. To call it again
        goes on from there, by broken steps.
        """
        ...

    def park(self) -> None:
        """Leave the training environments alone from here on: every step is a broken one, and none is saved."""
        ...

    def scores(self) -> dict[str, np.ndarray]:
        """Play whole episodes with every policy's mode: `eval/return` and `eval/length`, `[N]`."""
        ...

    def newest_metrics(self) -> dict[str, Any]:
        """Return the newest metrics `[N]` of each phase that has run."""
        ...

    def episode_returns(self) -> np.ndarray:
        """Return that of each stream's last whole training episode `[N]`, NaN before there was one.

        Rewards of transitions that replay has refused are not in it.
        """
        ...

    def close(self) -> None:
        """Let go of environments."""
        ...
