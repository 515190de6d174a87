"""Statistics over few runs, NumPy only (Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice")."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
"""`scores [..., n] -> [...]`, over the last axis."""


def mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis."""
    return np.mean(scores, axis=-1)


def iqm(scores: np.ndarray, axis: int | None = -1) -> np.ndarray:
    """Return the interquartile mean over `axis` (`None`: all): the mean without the lowest and the highest quarter.

    `floor(n / 4)` scores go at either end, so that with fewer than four it is the mean. A NaN, such as the return of
    a seed that diverged, makes it NaN: sorted to the high end, it would be cut off as if it had been the best.
    """
    scores = np.asarray(scores, float)
    scores = np.moveaxis(scores.ravel() if axis is None else scores, -1 if axis is None else axis, -1)
    cut = scores.shape[-1] // 4
    middle = np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut].mean(-1)
    return np.where(np.isnan(scores).any(-1), np.nan, middle)


def of_those_there(function: Callable[[np.ndarray], np.ndarray], curves: np.ndarray) -> np.ndarray:
    """Return `function` `[n, t] -> [t]` of curves `[seeds, T]` at each step over the seeds that are finite there.

    NaN `[T]` at steps where none is. Steps at which the same seeds are there are computed together.
    """
    curves = np.asarray(curves, float)
    there, out = np.isfinite(curves), np.full(curves.shape[1], np.nan)
    for seeds in np.unique(there, axis=1).T:
        if seeds.any():
            at = (there == seeds[:, None]).all(0)
            out[at] = function(curves[seeds][:, at])
    return out


def order(scores: np.ndarray) -> list[int]:
    """Return groups from best to worst by the mean of `scores [groups, n]`; one with a NaN comes last."""
    means = scores.mean(-1)
    return np.argsort(np.where(np.isnan(means), np.inf, -means), kind="stable").tolist()


def bootstrap_interval(
    scores: np.ndarray, statistic: Statistic = mean, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval `(low, high)` of a statistic.

    `scores [seeds]`, or `[seeds, tasks]`: then seeds are resampled within each task on its own (stratified), and the
    statistic is taken over all of the resampled scores together. Raises `ValueError` where there is no score.
    """
    scores = np.asarray(scores, float)
    if not scores.size:
        raise ValueError(f"expected at least one score, got an array of shape {scores.shape}")
    table = scores.reshape(scores.shape[0], -1)
    draws = np.random.default_rng(seed).integers(0, table.shape[0], (resamples, *table.shape))
    resampled = table[draws, np.arange(table.shape[1])]
    low, high = np.quantile(
        statistic(resampled.reshape(resamples, -1)), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0
    )
    return low, high


def bootstrap_band(curves: np.ndarray, statistic: Statistic = mean, **options: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pointwise interval `(low [T], high [T])` of curves `[seeds, T]`; whole curves are resampled."""
    curves = np.asarray(curves, float)
    count = int(options.get("resamples", 2_000))
    confidence = options.get("confidence", 0.95)
    draws = np.random.default_rng(int(options.get("seed", 0))).integers(0, len(curves), (count, len(curves)))
    values = statistic(np.moveaxis(curves[draws], 1, -1))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> float:
    """Return the chance that a run of x beats a run of y, ties counting half (Mann-Whitney U over its maximum)."""
    x, y = np.asarray(x, float).ravel()[:, None], np.asarray(y, float).ravel()[None]
    return float(np.mean((x > y) + 0.5 * (x == y)))


@dataclass(frozen=True)
class Aggregate:
    """A group of `n` seeds' scores: their mean and `iqm`, the interquartile mean, each within its bounds.

    `low` and `high` bound the mean, `iqm_low` and `iqm_high` the IQM.
    """

    n: int
    mean: float
    low: float
    high: float
    iqm: float
    iqm_low: float
    iqm_high: float


def aggregate(scores: np.ndarray) -> Aggregate:
    """Return mean and IQM of `scores [seeds]` or `[seeds, tasks]` with their 95 % bootstrap intervals."""
    scores = np.asarray(scores, float)
    flat = scores.ravel()
    ends = [float(x) for statistic in (mean, iqm) for x in bootstrap_interval(scores, statistic)]
    return Aggregate(len(scores), float(mean(flat)), ends[0], ends[1], float(iqm(flat)), ends[2], ends[3])
