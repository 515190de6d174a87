"""The best policies that a run has had, by its own evaluations: each seed's own, kept in `checkpoints/best`.

Only what acting needs is kept (`acting`). It is small, so that every save of the run can afford it. And seeds are best
at different steps, which a checkpoint of the whole run could not hold. To train on there are the checkpoints beside it.

A run that was killed goes on from its newest checkpoint, and with the best policies up to there.
"""

import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pbrl.errors import CheckpointError
from pbrl.parallel import hosts
from pbrl.runs import checkpoint, files, manifest
from pbrl.runs.run import Run, agent_module
from pbrl.train import acting
from pbrl.train.contract import Driver


def folder_of(run: Run) -> Path:
    """Return where the best policies lie: a folder of checkpoints, of which the newest counts."""
    return run.folder / "checkpoints" / "best"


def template(policy: Any, n: int) -> dict[str, Any]:
    """Return what such a checkpoint holds of `n` streams, for the `policy` of all of them, arrays or shapes.

    `step [N]` is that of each stream's best evaluation and `return [N]` what it came to: -1 and NaN before there was a
    sound one; then the policy is that of when another stream had its first.
    """
    of_each = {"step": jax.ShapeDtypeStruct((n,), np.int64), "return": jax.ShapeDtypeStruct((n,), np.float64)}
    return {"policy": policy, **of_each}


class Best:
    """Each stream's best policy so far, in memory, and saved with the run. Every host keeps those of its own seeds."""

    def __init__(self, run: Run, driver: Driver):
        """Take the whole run, of all hosts, and the driver of this one's share."""
        self.run, self.driver, self.folder = run, driver, folder_of(run)
        n, seeds = len(run.stream_seeds), driver.run.stream_seeds
        first = run.stream_seeds.index(seeds[0])
        self.own = slice(first, first + len(seeds))
        self.returns, self.steps = np.full(n, np.nan), np.full(n, -1)  # of all hosts
        self.policy: Any = None  # of this host's streams, once some evaluation was sound
        self.unsaved = self.warned = False

    def look(self, returns: np.ndarray) -> None:
        """Keep the policies of the streams that an evaluation of this step, `returns [N]` of all hosts, shows best."""
        better = np.isfinite(returns) & ~(returns <= self.returns)
        if not better.any():
            return
        self.returns = np.where(better, returns, self.returns)
        self.steps = np.where(better, self.driver.step, self.steps)
        layout, run = self.driver.layout, self.driver.run
        now = acting.part_of(agent_module(run.agent), self.driver.learner.agent, layout.obs_size)
        now, structure = jax.tree.flatten(now)
        now = [np.array(x) for x in now]  # copies: the next step takes the memory of these
        if self.policy is not None:  # by its leaves: one that was read knows no functions of the environment
            mine = [better[self.own].reshape(-1, *[1] * (x.ndim - 1)) for x in now]
            before = jax.tree.leaves(self.policy)
            now = [np.where(is_new, new, old) for is_new, new, old in zip(mine, now, before, strict=True)]
        self.policy, self.unsaved = structure.unflatten(now), True

    def save(self, info: dict[str, Any]) -> None:
        """Write what has changed since the last save, of which all hosts take part; a warning where that fails."""
        if not self.unsaved:
            return
        tree = {"policy": self.policy, "step": self.steps[self.own], "return": self.returns[self.own]}
        try:
            checkpoint.save(self.folder, self.driver.step, tree, info)
            self.unsaved = self.warned = False
        except CheckpointError as error:
            if not self.warned:
                warnings.warn(
                    f"the best policies so far are in memory alone, until saving works: {error}", stacklevel=2
                )
            self.warned = True

    def restore(self, step: int) -> None:
        """Go on with what was best when the run was saved at `step`; what cannot be read is told and done without."""
        newest = hosts.everyone(self._newest_good(step) if hosts.is_first() else -1)[0]
        if newest < 0:
            return
        hosts.visible(self.folder / str(newest))
        shapes = acting.shapes(self.driver.run, self.driver.layout)
        try:
            wanted = template(shapes, len(self.driver.run.stream_seeds))
            tree, _, _ = checkpoint.restore(self.folder, wanted, step=newest)
        except CheckpointError as error:
            warnings.warn(f"the best policies so far cannot be read, and are sought anew: {error}", stacklevel=2)
            return
        self.policy = tree["policy"]
        joined = hosts.joined({name: np.asarray(tree[name]) for name in ("step", "return")})
        self.steps, self.returns = joined["step"], joined["return"]

    def _newest_good(self, step: int) -> int:
        """Return the newest step up to `step` whose every byte is right, -1 for none; damage is told."""
        for at in [at for at in reversed(manifest.steps(self.folder)) if at <= step]:
            try:
                return checkpoint.read_info(self.folder, step=at)[1]
            except CheckpointError as error:
                warnings.warn(f"best policies are left out: {error}", stacklevel=2)
        return -1


def set_aside_later(run: Run, step: int) -> None:
    """Rename the best policies that were saved after `step`, from which a run goes on anew."""
    folder = folder_of(run)
    for later in manifest.steps(folder):
        if later > step:
            files.set_aside(folder / str(later), "aside")
