"""Streams that diverge: each is given up by itself, and the others train on; a run ends when none is left."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.errors import Diverged
from pbrl.runs.run import Run

NEVER = -1


class Guard:
    """Watches N streams of a run.

    A stream is given up once `max_skipped_updates` updates in a row were not sound (each was undone), once its policy's
    actions are not finite, or once its state holds a number that is not. From there on it acts by zeros, its
    evaluations are NaN, and it stays given up: trained by itself, it would have ended there.
    """

    def __init__(self, run: Run):
        self.run = run
        self.limit = run.schedule.max_skipped_updates
        self.since = np.full(len(run.stream_seeds), NEVER)  # i64[N], the step at which a stream was given up
        self.any = False  # whether some has been: nearly always not, and each step asks

    def check(self, streaks: np.ndarray, step: int) -> None:
        """Look at `streaks [N]`, the updates in a row that were undone; raise `Diverged` where no stream is left."""
        if streaks.max() >= self.limit:
            self._give_up(streaks >= self.limit, step, f"the last {self.limit} updates were not sound, and were undone")
        self.require_one()

    def take_over(self, since: np.ndarray) -> None:
        """Take note of the steps `since [N]` at which streams were lost, where that was seen elsewhere; as `check`."""
        why = f"the last {self.limit} updates or more were not sound, and were undone, or its actions are not finite"
        for step in np.unique(since[since != NEVER]):
            self._give_up(np.atleast_1d(since == step), int(step), why)
        self.require_one()

    def actions(self, actions: np.ndarray, step: int) -> np.ndarray:
        """Return `actions [N, *, A]` with zeros for the streams that are given up now or were before."""
        if not math.isfinite(actions.sum()):  # they lie within ±1
            bad = np.atleast_1d(~np.isfinite(actions).reshape(len(actions), -1).all(1))
            self._give_up(bad, step, "its policy's actions are not finite")
        if not self.any:
            return actions
        return np.where(self._lost(actions), 0.0, actions).astype(actions.dtype)

    def worth_saving(self, agent: Any, step: int) -> bool:
        """Look at all streams' states, stacked, give up those that are not finite, and return whether any is."""
        finite = np.asarray(_finite(agent))
        self._give_up(~finite, step, "its networks or statistics hold NaN or infinity")
        return bool(finite.any())

    def require_one(self) -> None:
        """Raise `Diverged` where no stream is left to train."""
        if self.any and (self.since != NEVER).all():
            streams = "every trial has" if self.run.trials else f"seeds {list(self.run.seeds)} have"
            rates = "lower the learning rates, or rescale large rewards, with another --out"
            remedy = "narrow the --space" if self.run.trials else rates
            raise Diverged(
                f"{streams} diverged by step {self.since.max()}; {remedy}, or resume an older checkpoint by --from-step"
            )

    def mask(self, evaluation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return an evaluation, each value `[N]`, with NaN for the streams that are given up."""
        return {name: np.where(self._lost(value), np.nan, value) for name, value in evaluation.items()}

    def metrics(self) -> dict[str, np.ndarray]:
        """Return what is logged: the step at which each stream was given up, -1 for never."""
        return {"train/diverged_at": self.since.copy()}

    def restore(self, since: Sequence[int]) -> None:
        """Go back to what `since` was."""
        self.since = np.array(since)
        self.any = bool((self.since != NEVER).any())

    def _give_up(self, bad: np.ndarray, step: int, why: str) -> None:
        new = bad & (self.since == NEVER)
        if new.any() and not self.run.trials:  # a sweep expects as much, and ranks them last
            seeds = [seed for seed, is_new in zip(self.run.seeds, new, strict=True) if is_new]
            warnings.warn(f"seeds {seeds} are given up at step {step}: {why}", stacklevel=3)
        self.since = np.where(new, step, self.since)
        self.any = bool((self.since != NEVER).any())

    def _lost(self, like: np.ndarray) -> np.ndarray:
        return (self.since != NEVER).reshape(-1, *[1] * (like.ndim - 1))


@jax.jit
def _finite(agent: Any) -> jax.Array:
    """Return whether each stream's state `[N, ...]` is finite; hyper-parameters, which may be infinite, aside."""
    leaves = jax.tree.leaves(agent.replace(config=None))
    each = [jnp.isfinite(leaf).reshape(leaf.shape[0], -1).all(1) for leaf in leaves]
    return jnp.stack(each).all(0)
