"""Streams that diverge: an ordinary run stops at the first, a sweep gives that stream up and trains the others on."""

from typing import Any

import numpy as np

from pbrl.errors import Diverged
from pbrl.runs.run import Run

NEVER = -1


class Guard:
    """Watches N streams of a run. It does nothing to an ordinary run but stop it.

    In a sweep, a stream is given up once `max_skipped_updates` updates in a row were not finite (each was undone), or
    once its policy's actions are not finite. From there on it acts by zeros, its evaluations are NaN, and it stays
    given up: trained by itself, this trial would have ended there.
    """

    def __init__(self, run: Run):
        self.run = run
        self.since = np.full(len(run.stream_seeds), NEVER)  # i64[N], the step at which a stream was given up

    def check(self, streaks: np.ndarray, step: int) -> None:
        """Look at `streaks [N]`, the non-finite updates in a row; raise `Diverged` where the run cannot go on."""
        self.take_over(np.where(streaks >= self.run.schedule.max_skipped_updates, step, NEVER), step)

    def take_over(self, since: np.ndarray, step: int) -> None:
        """Take note of the steps `since [N]` at which streams were lost, where that was seen elsewhere; as `check`."""
        lost = since != NEVER
        if not self.run.trials and lost.any():
            seeds = [seed for seed, is_lost in zip(self.run.seeds, lost, strict=True) if is_lost]
            limit = self.run.schedule.max_skipped_updates
            raise Diverged(
                f"seeds {seeds}: the last {limit} updates or more were not finite, and were undone, or "
                "the policy's actions are not finite. Lower the learning rates, or leave the seeds out"
            )
        self.since = np.where(self.since == NEVER, since, self.since)
        if (self.since != NEVER).all():
            raise Diverged(f"every trial has diverged by step {step}; narrow the --space")

    def actions(self, actions: np.ndarray, step: int) -> np.ndarray:
        """Return `actions [N, *, A]`, in a sweep with zeros for the streams that are given up now or were before."""
        if not self.run.trials:
            return actions
        self._give_up(np.array([not np.isfinite(one).all() for one in actions]), step)
        return np.where(self._lost(actions), 0.0, actions).astype(actions.dtype)

    def mask(self, evaluation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return an evaluation, each value `[N]`, with NaN for the streams that are given up."""
        if not self.run.trials:
            return evaluation
        return {name: np.where(self._lost(value), np.nan, value) for name, value in evaluation.items()}

    def metrics(self) -> dict[str, np.ndarray]:
        """Return what a sweep logs: the step at which each stream was given up, -1 for never."""
        return {"train/diverged_at": self.since.copy()} if self.run.trials else {}

    def snapshot(self) -> dict[str, Any]:
        """Return what a sweep's checkpoint must hold, as JSON."""
        return {"diverged_at": self.since.tolist()} if self.run.trials else {}

    def restore(self, info: dict[str, Any]) -> None:
        """Go back to what `snapshot` returned."""
        if self.run.trials:
            self.since = np.array(info["diverged_at"])

    def _give_up(self, bad: np.ndarray, step: int) -> None:
        self.since = np.where(bad & (self.since == NEVER), step, self.since)

    def _lost(self, like: np.ndarray) -> np.ndarray:
        return (self.since != NEVER).reshape(-1, *[1] * (like.ndim - 1))
