"""The few rules by which a claim is judged. Each takes samples, one number a seed, and says what follows.

An interval is the 95 % percentile bootstrap over seeds, 2,000 resamples. That of a difference resamples both sides on
their own, or seed by seed where both were measured on the same thing (`paired`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from card.evidence import Sample
from tables.markdown import number

from pbrl.report import stats

Samples = Sequence[Sample] | None
"""The first is what the claim is about, the others what it is held against; `None`: something is missing."""


class Outcome(Enum):
    """What a rule says of the numbers."""

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "undecided"
    MISSING = "no result"


@dataclass(frozen=True)
class Finding:
    """A rule's outcome, the numbers in words, and what they were measured on."""

    rule: str
    outcome: Outcome
    numbers: str = ""
    seeds: int | None = None
    """The fewest seeds behind any of the numbers; `None` where seeds have no part in it."""
    steps: int = 0
    sizes: str = ""


def interval(sample: Sample) -> tuple[float, float]:
    """Return the interval of a sample's mean."""
    low, high = stats.bootstrap_interval(sample.values)
    return float(low), float(high)


def difference(a: Sample, b: Sample, paired: bool = False) -> tuple[float, float, float]:
    """Return the difference of two means and its interval."""
    if paired:
        low, high = stats.bootstrap_interval(a.values - b.values)
    else:
        rng = np.random.default_rng(0)
        one, two = (s.values[rng.integers(0, len(s.values), (2_000, len(s.values)))].mean(-1) for s in (a, b))
        low, high = np.quantile(one - two, [0.025, 0.975])
    return a.mean - b.mean, float(low), float(high)


def at_or_above(found: Samples, *, slack: float = 0.0) -> Finding:
    """At or above: the mean is at least every other's; else open while the difference's interval reaches 0.

    `slack` lets the mean be lower by that share of the other's size.
    """
    rule = f"at or above, within {slack:.0%}" if slack else "at or above"
    if not found:
        return Finding(rule, Outcome.MISSING)
    outcomes = []
    for other in found[1:]:
        mean, _, high = difference(found[0], other)
        room = slack * abs(other.mean)
        outcomes.append(Outcome.HOLDS if mean >= -room else Outcome.OPEN if high >= -room else Outcome.FAILS)
    return _finding(rule, worst(outcomes), found, _compared(found))


def above(found: Samples, *, paired: bool = False) -> Finding:
    """Above: the difference's interval lies above 0 for every other; it fails where the mean is not higher."""
    return _strict("above", found, 1.0, paired)


def below(found: Samples, *, paired: bool = False) -> Finding:
    """Below: the same the other way round, for errors and norms."""
    return _strict("below", found, -1.0, paired)


def alike(found: Samples, *, share: float = 0.2) -> Finding:
    """Alike: the difference's interval lies within `share` of the other's size; it fails beyond that and beyond 0."""
    rule = f"alike, within {share:.0%}"
    if not found:
        return Finding(rule, Outcome.MISSING)
    outcomes = [decide_alike(*difference(found[0], other), share * abs(other.mean)) for other in found[1:]]
    return _finding(rule, worst(outcomes), found, _compared(found))


def decide_above(mean: float, low: float) -> Outcome:
    """Decide whether a difference is above 0, from its mean and the lower end of its interval."""
    return Outcome.HOLDS if low > 0 else Outcome.OPEN if mean > 0 else Outcome.FAILS


def decide_alike(mean: float, low: float, high: float, room: float) -> Outcome:
    """Decide whether a difference is within `room` of 0, from its mean and interval."""
    if -room <= low and high <= room:
        return Outcome.HOLDS
    return Outcome.FAILS if abs(mean) > room and not low <= 0 <= high else Outcome.OPEN


def reaches(found: Samples, value: float, by: int = 0) -> Finding:
    """Reaches: the mean is at least `value`; open while its interval reaches it, or, below `by` steps, no result."""
    rule = f"reaches {number(value, found[0].digits if found else 0)}"
    if not found:
        return Finding(rule, Outcome.MISSING)
    ours = found[0]
    outcome = Outcome.HOLDS if ours.mean >= value else Outcome.OPEN if interval(ours)[1] >= value else Outcome.FAILS
    if outcome is not Outcome.HOLDS and ours.steps < by:
        return _finding(rule, Outcome.MISSING, found, f"{told(ours)}, after {ours.steps:,} of {by:,} steps")
    return _finding(rule, outcome, found, told(ours))


def after(steps: int, finding: Finding) -> Finding:
    """After `steps`: what is claimed of the end of long training is no result of a shorter one."""
    if finding.outcome is Outcome.MISSING or finding.steps >= steps:
        return finding
    return replace(
        finding, outcome=Outcome.MISSING, numbers=f"{finding.numbers}, after {finding.steps:,} of {steps:,} steps"
    )


def within_factor(name: str, ours: float | None, low: float, high: float, factor: float, sizes: str = "") -> Finding:
    """Within a factor: one number of ours lies within the published range, widened by `factor` at either end."""
    rule = "within the range" if factor == 1 else f"within a factor of {factor:g}"
    if ours is None:
        return Finding(rule, Outcome.MISSING)
    inside = low / factor <= ours <= high * factor
    return Finding(rule, Outcome.HOLDS if inside else Outcome.FAILS, f"{name}: {ours:.2f}", sizes=sizes)


def equal(name: str, ours: np.ndarray, published: np.ndarray, tolerance: float) -> Finding:
    """Equal: numbers that follow from a formula differ by at most `tolerance` anywhere."""
    if not ours.size:
        return Finding("equal", Outcome.MISSING)
    largest = float(np.abs(ours - published).max())
    outcome = Outcome.HOLDS if largest <= tolerance else Outcome.FAILS
    return Finding("equal", outcome, f"{name}: {ours.size} numbers, largest difference {largest:.1g}")


def untested(rule: str) -> Finding:
    """Return what is said of a claim that no result here is about."""
    return Finding(rule, Outcome.MISSING)


def at_least(count: int, findings: Mapping[str, Finding]) -> Finding:
    """At least `count` of several findings hold, by task; it fails once too few can."""
    names = {o: [task for task, f in findings.items() if f.outcome is o] for o in Outcome}
    first = next(iter(findings.values()))
    if len(names[Outcome.HOLDS]) >= count:
        outcome = Outcome.HOLDS
    elif len(findings) - len(names[Outcome.FAILS]) < count:
        outcome = Outcome.FAILS
    elif len(names[Outcome.HOLDS]) + len(names[Outcome.OPEN]) >= count:
        outcome = Outcome.OPEN
    else:
        outcome = Outcome.MISSING
    there = [f for f in findings.values() if f.outcome is not Outcome.MISSING]
    rule = f"{first.rule}, on {count} of {len(findings)}"
    text = "; ".join(f"{o.value} on {', '.join(tasks)}" for o, tasks in names.items() if tasks)
    seeds = min((f.seeds for f in there if f.seeds is not None), default=None)
    sizes = next((f.sizes for f in there), "")
    return Finding(rule, outcome, text if there else "", seeds, min((f.steps for f in there), default=0), sizes)


def scaled(sample: Sample, factor: float, name: str) -> Sample:
    """Return a sample times a factor: "much smaller" is held against half."""
    return replace(sample, values=sample.values * factor, name=name)


def both(*findings: Finding) -> Finding:
    """Every finding holds; the numbers of all are told."""
    rule = "; ".join(dict.fromkeys(f.rule for f in findings))
    numbers = "; ".join(f.numbers for f in findings if f.numbers)
    seeds = min((f.seeds for f in findings if f.seeds is not None), default=None)
    first = findings[0]
    return Finding(rule, worst([f.outcome for f in findings]), numbers, seeds, first.steps, first.sizes)


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """Return what several outcomes come to: one that fails decides, then one that is missing, then one that is open."""
    for outcome in (Outcome.FAILS, Outcome.MISSING, Outcome.OPEN):
        if outcome in outcomes:
            return outcome
    return Outcome.HOLDS


def told(sample: Sample) -> str:
    """Return a sample in words: its name, mean and interval."""
    if len(sample.values) < 2:
        return f"{sample.name}: {number(sample.mean, sample.digits)}"
    low, high = (number(x, sample.digits) for x in interval(sample))
    return f"{sample.name}: {number(sample.mean, sample.digits)} [{low}, {high}]"


def _strict(rule: str, found: Samples, sign: float, paired: bool) -> Finding:
    if not found:
        return Finding(rule, Outcome.MISSING)
    outcomes = []
    for other in found[1:]:
        mean, *ends = difference(found[0], other, paired)
        outcomes.append(decide_above(sign * mean, min(sign * end for end in ends)))
    return _finding(rule, worst(outcomes), found, _compared(found, paired))


def _compared(found: Sequence[Sample], paired: bool = False) -> str:
    """Return the first sample in words, and by how much it is ahead of each other."""
    parts = []
    for other in found[1:]:
        mean, low, high = (number(x, found[0].digits) for x in difference(found[0], other, paired))
        parts.append(f"{told(other)} (difference {mean} [{low}, {high}])")
    return f"{told(found[0])}; {', '.join(parts)}"


def _finding(rule: str, outcome: Outcome, found: Sequence[Sample], numbers: str) -> Finding:
    seeds = min(len(s.values) for s in found)
    broken = any(not np.isfinite(s.values).all() for s in found)
    if (seeds < 2 or broken) and outcome is not Outcome.MISSING:
        outcome = Outcome.OPEN  # one seed has no interval, and one that diverged no number
    sizes = "paper" if all(s.sizes == "paper" for s in found) else found[0].sizes
    return Finding(rule, outcome, numbers, seeds, min(s.steps for s in found), sizes)
