"""The result of a sweep: trials ranked by their last evaluation, with bootstrap intervals over seeds. NumPy only."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pbrl.report import stats
from pbrl.runs import files


@dataclass(frozen=True)
class Result:
    """One trial. NaN where there is nothing to tell: an interval from one seed, a return of a trial that diverged."""

    rank: int  # from 1
    trial: int  # from 0
    values: Mapping[str, float]
    final: float  # mean return of the last evaluation
    final_low: float
    final_high: float
    area: float  # area under the evaluation curve, over its length: the mean return while training
    area_low: float
    area_high: float
    overlaps_best: bool | None  # whether the intervals of `final` do; None where there are none
    diverged_at: int | None  # the step at which the first of its seeds was given up
    skipped_updates: int  # of all its seeds
    missing: int  # evaluations, of all its seeds, that have no return
    returns: tuple[float, ...]  # the last evaluation, by seed


def rank(
    trials: Sequence[Mapping[str, float]],
    steps: np.ndarray,
    returns: np.ndarray,
    diverged_at: np.ndarray,
    skipped: np.ndarray,
) -> list[Result]:
    """Rank trials by mean return at the last of `steps [T]`, the best first.

    A trial that has lost the last return of a seed comes last. `returns [trials, seeds, T]` are evaluations, NaN from
    where a seed diverged on, and where one broke; `diverged_at [trials, seeds]` is
    the step at which it did, -1 for never; `skipped [trials, seeds]` counts undone updates.
    """
    areas, results = _area(steps, returns), list[Result]()
    for i in stats.order(returns[..., -1]):
        final, area = _interval(returns[i, :, -1]), _interval(areas[i])
        lost = diverged_at[i][diverged_at[i] >= 0]
        best = results[0] if results else None
        overlaps = None if math.isnan(final[1]) else best is None or final[2] >= best.final_low
        results.append(
            Result(
                rank=len(results) + 1,
                trial=i,
                values=dict(trials[i]),
                final=final[0], final_low=final[1], final_high=final[2],
                area=area[0], area_low=area[1], area_high=area[2],
                overlaps_best=overlaps,
                diverged_at=int(lost.min()) if lost.size else None,
                skipped_updates=int(skipped[i].sum()),
                missing=int(np.isnan(returns[i]).sum()),
                returns=tuple(returns[i, :, -1].tolist()),
            )
        )  # fmt: skip
    return results


def _area(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    length = steps[-1] - steps[0]
    return np.trapezoid(returns, steps, axis=-1) / length if length else returns[..., -1]


def _interval(scores: np.ndarray) -> tuple[float, float, float]:
    """Return mean, low and high of `scores [seeds]`; NaN for the ends of one seed alone."""
    if len(scores) < 2 or np.isnan(scores).any():
        return float(scores.mean()), math.nan, math.nan
    low, high = stats.bootstrap_interval(scores)
    return float(scores.mean()), float(low), float(high)


def table(results: Sequence[Result]) -> list[str]:
    """Return the ranking as lines of text, a heading first."""
    paths = list(results[0].values)
    rows = [["rank", "trial", "final return", "mean over training", *(p.removeprefix("config.") for p in paths), ""]]
    for r in results:
        rows.append(
            [
                str(r.rank),
                str(r.trial),
                _bracket(r.final, r.final_low, r.final_high),
                _bracket(r.area, r.area_low, r.area_high),
                *(f"{r.values[path]:.4g}" for path in paths),
                _note(r),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _note(result: Result) -> str:
    """Say what sets a trial apart: that it is the best or close to it, or why it cannot be ranked."""
    if result.diverged_at is not None:
        return f"diverged at step {result.diverged_at}"
    lost = f"{result.missing} of its evaluations have no return" if result.missing else ""
    if math.isnan(result.final):
        return f"{lost}, the last one included: not ranked"
    best = ("best" if result.rank == 1 else "~ best") if result.overlaps_best else ""
    return ", ".join(filter(None, (best, lost)))


def _bracket(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" + ("" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]")


def write(folder: Path, results: Sequence[Result], about: Mapping[str, object]) -> None:
    """Write `sweep.csv` and `sweep.json`, whole or not at all; `about` goes before the results of the latter."""
    plain = [{k: _plain(v) for k, v in asdict(r).items()} for r in results]
    text = json.dumps({**about, "results": plain}, indent=2) + "\n"
    files.write(folder / "sweep.json", text)
    with files.whole(folder / "sweep.csv") as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        rows = [
            {k: v for k, v in asdict(r).items() if k not in ("values", "returns")} | dict(r.values) for r in results
        ]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no word for NaN
