"""Search spaces of `pbrl sweep` and random draws from them. NumPy only.

A space is written `PATH=0.001,0.005,0.02` (choices), `PATH=uniform:LOW,HIGH`, `PATH=log:LOW,HIGH` (uniform in the
logarithm), or it has a name, such as `svg-entropy`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pbrl.config import suggest

Trial = dict[str, float]
"""Values of config leaves by path, such as `config.tau`."""


class Space(Protocol):
    """Where the values of one leaf, or of several that belong together, are drawn from."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The leaves that a draw sets."""
        ...

    def draw(self, rng: np.random.Generator) -> Trial:
        """Draw a value for each path."""
        ...

    def extremes(self) -> list[Trial]:
        """Return draws whose values bound all others: where these can work, every draw can."""
        ...

    def size(self) -> float:
        """Return how many different draws there are."""
        ...


@dataclass(frozen=True)
class Choices:
    """One of a few values, each as likely as the others."""

    path: str
    values: tuple[float, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """The leaf."""
        return (self.path,)

    def draw(self, rng: np.random.Generator) -> Trial:
        """Draw one of the values."""
        return {self.path: self.values[rng.integers(len(self.values))]}

    def extremes(self) -> list[Trial]:
        """Return every value."""
        return [{self.path: value} for value in self.values]

    def size(self) -> float:
        """Return the number of values."""
        return len(self.values)


@dataclass(frozen=True)
class Range:
    """A value between two, uniform in itself or in its logarithm; four digits, so that it can be typed again."""

    path: str
    low: float
    high: float
    log: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """The leaf."""
        return (self.path,)

    def draw(self, rng: np.random.Generator) -> Trial:
        """Draw from the interval."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = rng.uniform(low, high)
        rounded = float(f"{math.exp(value) if self.log else value:.4g}")
        return {self.path: min(max(rounded, self.low), self.high)}

    def extremes(self) -> list[Trial]:
        """Return both ends."""
        return [{self.path: self.low}, {self.path: self.high}]

    def size(self) -> float:
        """Return infinity."""
        return math.inf


@dataclass(frozen=True)
class EntropySchedules:
    """Target-entropy schedules `(ℋ_init, ℋ_final, β)` of SVG, App. A.2: ℋ_final is drawn given ℋ_init.

    ℋ_final is one of ℋ_init, ℋ_init - 1, ..., `lowest`, or of `far`. Where it equals ℋ_init, β has no effect (Table 4
    prints "–") and is 1, so that such draws count as one.
    """

    lowest: int
    far: tuple[float, ...]
    exponents: tuple[float, ...]
    initial: tuple[float, ...] = (1.0, 0.0, -1.0, -2.0)

    PATHS = ("config.initial_entropy", "config.final_entropy", "config.entropy_decay")

    @property
    def paths(self) -> tuple[str, ...]:
        """The three leaves."""
        return self.PATHS

    def finals(self, initial: float) -> tuple[float, ...]:
        """Return what ℋ_final may be after ℋ_init."""
        return (*(float(x) for x in range(int(initial), self.lowest - 1, -1)), *self.far)

    def draw(self, rng: np.random.Generator) -> Trial:
        """Draw ℋ_init, then ℋ_final given it, then β."""
        initial = self.initial[rng.integers(len(self.initial))]
        finals = self.finals(initial)
        final = finals[rng.integers(len(finals))]
        decay = self.exponents[rng.integers(len(self.exponents))]
        return dict(zip(self.PATHS, (initial, final, decay if final != initial else 1.0), strict=True))

    def extremes(self) -> list[Trial]:
        """Return both ends of each coordinate."""
        ends = [(self.initial[0], self.far[-1], self.exponents[0]), (self.initial[-1], self.lowest, self.exponents[-1])]
        return [dict(zip(self.PATHS, end, strict=True)) for end in ends]

    def size(self) -> float:
        """Return the number of schedules that differ."""
        return sum((len(self.finals(initial)) - 1) * len(self.exponents) + 1 for initial in self.initial)


NAMED: dict[str, Space] = {
    # Amos et al. 2021, App. A.2. It leaves the i of ℋ_final = -2^i open: those of the code that lie below -5.
    "svg-entropy": EntropySchedules(-5, (-8.0, -16.0, -32.0), tuple(2.0**i for i in range(7))),
    # The released `svg/sweeper.py`, which also draws the horizon: that is structural, so it is swept by separate runs.
    "svg-entropy-code": EntropySchedules(-4, (-8.0, -16.0, -32.0), tuple(2.0**i for i in range(-6, 7))),
}
"""Spaces by name. The paper made 20 draws a task, its code 50 with 10 seeds each."""


def parse(path: str, spec: Any) -> Space:
    """Read the space of one path: `a,b,c`, `uniform:LOW,HIGH` or `log:LOW,HIGH`, or (from YAML) a list of numbers.

    Raises `ValueError` with what was expected and what came.
    """
    kind, colon, rest = spec.partition(":") if isinstance(spec, str) else ("", "", spec)
    if colon and kind not in ("uniform", "log"):
        raise ValueError(f"{path}: there is no kind of space {kind!r}{suggest(kind, ('uniform', 'log'), 'kind')}")
    values = _numbers(path, rest if colon else spec)
    if not colon:
        return Choices(path, tuple(dict.fromkeys(values)))
    if len(values) != 2 or values[0] >= values[1]:
        raise ValueError(f"{path}: expected two numbers, the lower one first, such as {kind}:1e-5,1e-3, got {spec!r}")
    if kind == "log" and values[0] <= 0:
        raise ValueError(f"{path}: a logarithm needs bounds above 0, got {spec!r}; use uniform:LOW,HIGH")
    return Range(path, *values, log=kind == "log")


def _numbers(path: str, value: Any) -> list[float]:
    try:
        words = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        numbers = [float(word) for word in words if not isinstance(word, bool)]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or len(numbers) < len(words) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{path}: expected numbers such as 0.001,0.005 or log:1e-5,1e-3, got {value!r}")
    return numbers


def draw(spaces: Sequence[Space], count: int, seed: int) -> tuple[Trial, ...]:
    """Draw `count` different trials from the product of `spaces`; more of the same seed begin with the same ones.

    Raises `ValueError` where there are not so many.
    """
    size = math.prod(space.size() for space in spaces)
    if count > size:
        raise ValueError(f"--trials: expected at most {size:.0f}, all there are in the space, got {count}")
    rng, trials = np.random.default_rng(seed), dict[tuple, Trial]()
    for _ in range(1_000 * count):
        if len(trials) == count:
            break
        trial = {path: value for space in spaces for path, value in space.draw(rng).items()}
        trials.setdefault(tuple(trial.values()), trial)
    else:
        raise ValueError(
            f"--trials: only {len(trials)} different draws of {count} were found; the ranges are too narrow"
        )
    return tuple(trials.values())


def check_disjoint(spaces: Sequence[Space]) -> None:
    """Raise `ValueError` where two spaces set one leaf."""
    seen = set[str]()
    for path in (path for space in spaces for path in space.paths):
        if path in seen:
            raise ValueError(f"{path} is in two spaces; give each leaf once")
        seen.add(path)
