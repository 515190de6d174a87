"""What planning can be told. Imports nothing heavy, so that `pbrl eval --help` is quick."""

import math
from dataclasses import dataclass

from pbrl import config as configs


@dataclass(frozen=True)
class Config(configs.Frozen):
    """Hyper-parameters of the cross-entropy method; the defaults are those of MAAC's released code, but for one."""

    horizon: int = 5
    """Model steps before the critic takes over; 0 searches the critic alone."""
    iterations: int = 5
    """Rounds of drawing candidates and refitting; 0 leaves the policy's own action."""
    candidates: int = 256
    """Action sequences drawn in a round (MAAC's planning script; its training script has 100)."""
    elite_fraction: float = 0.1
    """Share of them, rounded down, that the next round's distribution is fitted to."""
    smoothing: float = 0.1
    """Weight of the old mean and variance in the new ones."""
    particles: int = 1
    """Rollouts that a candidate's value is the mean of, where the model is stochastic."""
    initial_deviation: float = 0.5
    """Standard deviation of the action at the start, for a deterministic policy: a quarter of the range, as in PETS."""

    @property
    def elites(self) -> int:
        """Number of candidates that the next round's distribution is fitted to."""
        return math.floor(self.elite_fraction * self.candidates + 1e-9)  # 0.29 · 100 is a little less than 29

    def validate(self) -> "Config":
        """Return self, or raise `ValueError` naming the field, what was expected and what came."""
        configs.check(
            self,
            "mpc",
            horizon=(0, 1_000),
            iterations=(0, 1_000),
            candidates=(1, 1_000_000),
            elite_fraction=(0, 1),
            smoothing=(0, 1),
            particles=(1, 10_000),
            initial_deviation=(0, 0.99),
        )
        if self.elites < 1:
            raise ValueError(
                f"mpc.elite_fraction: expected a share that leaves at least one of {self.candidates} candidates, "
                f"got {self.elite_fraction}; raise it, or mpc.candidates"
            )
        return self
