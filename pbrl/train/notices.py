"""What a log alone would hide: rows that were refused, and phases that are due and have nothing to work with."""

import warnings

import numpy as np

from pbrl.data.soundness import JUMPS
from pbrl.errors import RunError
from pbrl.runs.run import Run, agent_module
from pbrl.train.learn import Learner
from pbrl.types import EnvSpec

LARGE = 1e7
"""Size of usual observations or rewards from which on somebody should know."""


class Notices:
    """Warns about each kind of thing once, and about refused rows at every row of the log that has seen new ones."""

    def __init__(self, run: Run, learner: Learner):
        """Begin with the learners that a run goes on from: what was refused before has been told."""
        self.run, self.said = run, set()
        self.abilities = agent_module(run.agent).abilities(run.config)
        self.refused = np.asarray(learner.replay.refused).astype(int)

    def look(self, learner: Learner, step: int) -> None:
        """Look at all streams' learners, stacked, as a row of the log is written."""
        self._refused(learner)
        for i, what in enumerate(("Observation", "Reward")):
            large = np.asarray(learner.experience.usual)[:, i] > LARGE
            self._say(
                large,
                f"{what.lower()}s beyond {LARGE:g} are usual here: networks learn badly from them; divide them in the "
                f"environment, such as by gymnasium.wrappers.Transform{what}",
            )
        if self.run.schedule.updates_at(step):
            self._idle(learner)

    def _refused(self, learner: Learner) -> None:
        at, sizes = np.asarray(learner.experience.refused_at), np.asarray(learner.experience.refused)
        new = np.asarray(learner.replay.refused) - self.refused
        for i in np.nonzero(new > 0)[0]:
            size = f"its largest observation is {sizes[i, 0]:g}, its reward {sizes[i, 1]:g} in magnitude"
            wild = f"{size}, more than {JUMPS[0]:g} or {JUMPS[1]:g} times what is usual; if it is right, rescale it"
            why = wild if np.isfinite(sizes[i]).all() else "the environment broke, or returned what is not finite"
            seed, count = self.run.stream_seeds[i], f"{new[i]} more transition{'s' * int(new[i] > 1)}"
            warnings.warn(f"seed {seed}: {count} refused, the last that of step {at[i]}: {why}", stacklevel=4)
        self.refused += new

    def _idle(self, learner: Learner) -> None:
        empty = np.asarray(learner.replay.size) == 0
        self._say(empty, "no transition is stored: every one so far was refused, so that nothing is updated")
        if learner.imagined is not None:
            unimagined = (np.asarray(learner.imagined.size) == 0) & ~empty
            self._say(
                unimagined, "no imagined transition is stored, none yet or all refused, so that nothing is updated"
            )
        if learner.fitted is not None:
            untrained = (np.asarray(learner.fitted) == 0) & ~empty
            window = f"no episode so far holds {self.abilities.window} steps in a row, the window that it learns from"
            waits = "it has had no data, or its first fit is not due before schedule.model_every"
            why = window if self.abilities.window else waits
            self._say(untrained, f"the model is not trained, so that nothing is updated: {why}")

    def _say(self, which: np.ndarray, what: str) -> None:
        if which.any() and what not in self.said:
            self.said.add(what)
            seeds = [seed for seed, is_it in zip(self.run.stream_seeds, which, strict=True) if is_it]
            warnings.warn(f"seeds {seeds}: {what}", stacklevel=5)


def require_windows(run: Run, spec: EnvSpec) -> None:
    """Raise `RunError` where no episode can be as long as the windows that a model is to be trained on."""
    window = agent_module(run.agent).abilities(run.config).window
    if not run.oracle and window > spec.episode_length:
        raise RunError(
            f"{run.agent}'s model is trained on windows of {window} steps within an episode, but those of {run.env} "
            f"end after {spec.episode_length}; give a shorter --config.horizon"
        )
