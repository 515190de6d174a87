"""What a user sees of a run: the live panel's numbers (`panel`), one line now and then elsewhere, final statistics."""

import contextlib
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pbrl.report import stats

if TYPE_CHECKING:
    from pbrl.runs.run import Run
    from pbrl.train.journal import Progress

LOSSES = {"critic": "critic/loss", "actor": "actor/loss", "model": "model/loss"}
SKIPPED = "train/skipped_updates"


def say(line: str) -> None:
    """Print a line, unless nobody reads any more, such as `head`: no reason to stop training."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


class Lines:
    """Prints a line for every evaluation, and after 10 s without one the return of the last training episode."""

    INTERVAL = 10.0

    def __init__(self, run: "Run"):
        self.speed = Speed(run)
        self.evaluation: Mapping[str, Any] | None = None
        self.printed = time.perf_counter()

    def __call__(self, progress: "Progress") -> None:
        """Print a line where it is time for one."""
        self.speed.update(progress)
        now = time.perf_counter()
        if progress.evaluation is self.evaluation and now - self.printed < self.INTERVAL:
            return
        shown = f"training episode {spread(progress.episode_return) or '-'}"
        if progress.evaluation is not self.evaluation:
            shown = f"return {returns(progress)}"
        self.evaluation, self.printed = progress.evaluation, now
        parts = [f"step {progress.step}/{progress.total_steps}", shown, losses(progress)]
        parts += [self.speed.text().strip()]
        say("  ".join(part for part in parts if part))

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Speed:
    """Steps per second over the last half minute, and the time left at the pace since updates began.

    The time of a step changes with what is done in it, so that a pace of before counts for nothing; evaluations and
    fits of the model come in lumps, so that all since then counts.
    """

    WINDOW = 30.0

    def __init__(self, run: "Run"):
        self.schedule = run.schedule
        self.points: deque[tuple[float, int]] = deque()
        self.began = 0.0, 0
        self.phases: set[str] = set()

    def update(self, progress: "Progress") -> None:
        """Note which step has been reached; start anew where a phase of training has begun since."""
        here = time.perf_counter(), progress.step
        if self.phases != progress.metrics.keys() or not self.points:
            self.phases = set(progress.metrics)
            self.points.clear()
            self.began = here
        self.points.append(here)
        while self.points[-1][0] - self.points[0][0] > self.WINDOW:
            self.points.popleft()

    def text(self) -> str:
        """Return steps per second and the time left; in the warm-up, which has no updates, when that is known."""
        schedule, (begun, first), (now, last) = self.schedule, self.points[0], self.points[-1]
        rate = f"{(last - first) / (now - begun):,.1f} steps/s" if last > first else ""
        if schedule.updates_per_step and last < schedule.warmup_steps:
            left = f"ETA from step {schedule.warmup_steps} on, when updates begin"
        elif last == self.began[1]:
            left = ""
        else:
            pace = (now - self.began[0]) / (last - self.began[1])
            left = f"ETA {clock(pace * (schedule.total_steps - last))}"
        return "  ".join(part for part in (f"{rate:>15}" if rate else "", left) if part)


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds, such as `1:02:03`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def returns(progress: "Progress") -> str:
    """Return the last evaluation's mean return over seeds, with its standard deviation."""
    return (spread(progress.evaluation["eval/return"]) if progress.evaluation else "") or "-"


def spread(values: np.ndarray) -> str:
    """Return `mean ± standard deviation` of what is not NaN, "" where there is nothing."""
    values = np.asarray(values)[np.isfinite(values)]
    if not values.size:
        return ""
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if values.size > 1 else "")


def best(scores: np.ndarray, trials: int, count: int = 3) -> str:
    """Return a sweep's leading trials and their mean returns; `scores [trials * seeds]`."""
    means = np.asarray(scores).reshape(trials, -1).mean(1)
    order = [i for i in np.argsort(-means, kind="stable") if np.isfinite(means[i])]
    return "  ".join(f"trial {i}: {means[i]:.1f}" for i in order[:count])


def losses(progress: "Progress") -> str:
    """Return the losses of what is trained, means over seeds, and the number of skipped updates in all of them."""
    known = {name: progress.metrics[key] for name, key in LOSSES.items() if key in progress.metrics}
    parts = [f"{name} {np.mean(value):.3g}" for name, value in known.items()]
    if SKIPPED in progress.metrics:
        parts.append(f"skipped updates {int(np.sum(progress.metrics[SKIPPED]))}")
    return "  ".join(parts)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return `1 seed`, `2 seeds`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def played(evaluation: Mapping[str, Any], asked: int) -> str:
    """Say how many whole episodes an evaluation holds: `10 episodes for each seed`, or what broken ones left.

    Trials that a sweep has given up do not count.
    """
    counts = np.asarray(evaluation.get("eval/episodes", ()), float)
    counts = counts[~np.isnan(counts)]
    if not counts.size:
        return "whole episodes of each seed"  # of before they were counted
    low, high = int(counts.min()), int(counts.max())
    if low == high == asked:
        return f"{counted(asked, 'episode')} for each seed"
    whole = counted(low, "whole episode") if low == high else f"{low} to {high} whole episodes"
    none = f"; none in {int((counts == 0).sum())} of {counts.size} seeds" if low == 0 else ""
    return f"{whole} of {asked} for each seed, broken ones left out{none}"


def statistics_line(returns: ArrayLike) -> str:
    """Return mean and interquartile mean over seeds and, from two seeds on, their bootstrap intervals as one line.

    Seeds without a whole episode, NaN, are left out, and said.
    """
    every = np.asarray(returns, float)
    there = every[~np.isnan(every)]
    left = every.size - there.size
    out = f"; {left} of {every.size} seeds left out, which have no whole episode" if left else ""
    if not there.size:
        return "no seed has a whole episode"
    a = stats.aggregate(there)
    if a.n < 2:
        return f"mean {a.mean:.1f} (one seed: no interval{out})"
    mean = f"mean {a.mean:.1f} [{a.low:.1f}, {a.high:.1f}]"
    iqm = f"interquartile mean {a.iqm:.1f} [{a.iqm_low:.1f}, {a.iqm_high:.1f}]"
    return f"{mean}, {iqm} (95 % bootstrap intervals over {a.n} seeds{out})"
