"""What is drawn of a run: a number of its log, over steps, hours or updates, smoothed or as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.runs.log import read_rows
from pbrl.runs.rows import KINDS
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule

RETURN = "eval/return"
LABELS = {"steps": "environment steps", "hours": "hours of training", "updates": "updates of the agent"}


@dataclass(frozen=True)
class Quantity:
    """A metric by its name in the log, what it is drawn over, and how many points in a row are averaged.

    An average is of a point and those before it, each seed's own. Updates are those that the schedule asks for.
    """

    metric: str = RETURN
    x: Literal["steps", "hours", "updates"] = "steps"
    smooth: int = 1

    @property
    def ylabel(self) -> str:
        """What the vertical axis is called."""
        name = "evaluation return" if self.metric == RETURN else self.metric
        return f"{name} (mean of {self.smooth} in a row)" if self.smooth > 1 else name

    def place(self, x: float) -> str:
        """Name a place on the horizontal axis."""
        return {"steps": f"step {x:.0f}", "hours": f"{x:.2f} h", "updates": f"update {x:.0f}"}[self.x]


def read(run: Run, folder: Path, what: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Return a run's `(x [T], values [N, T])`; what is not finite reads as NaN.

    Raises `RunError` where nothing of that name is in the log, with the nearest name that is, and where nothing says
    when a row was written.
    """
    rows = _rows(folder, what.metric)
    steps = np.array([row["step"] for row in rows], int)
    streams = len(run.stream_seeds)
    values = np.array([np.broadcast_to(np.asarray(row[what.metric], float), streams) for row in rows], float).T
    values = np.where(np.isfinite(values), values, np.nan)
    x = _x(run, folder, rows, steps, what)
    last = np.append(np.diff(x) > 0, True)  # several rows before the first update are one place
    return x[last], smoothed(values[:, last], what.smooth)


def smoothed(values: np.ndarray, count: int) -> np.ndarray:
    """Average each of `values [N, T]` with the `count - 1` before it, leaving NaN out; what is NaN itself stays so."""
    count = max(min(count, values.shape[1]), 1)  # wider windows hold nothing more, and memory goes with their width
    padded = np.pad(values, ((0, 0), (count - 1, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, count, axis=1)  # [N, T, count]
    there = np.isfinite(windows)
    means = np.where(there, windows, 0.0).sum(-1) / np.maximum(there.sum(-1), 1)
    return np.where(np.isfinite(values), means, np.nan)


def updates(schedule: Schedule, steps: np.ndarray) -> np.ndarray:
    """Return how many updates a schedule asks for in the first `steps`, i64[T]."""
    return schedule.updates_per_step * np.maximum(steps - max(schedule.warmup_steps, 1) + 1, 0)


def _rows(folder: Path, metric: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows that hold a metric: those of the first kind that has any."""
    names: set[str] = set()
    for kind in ("eval", *KINDS):
        every = read_rows(folder, kind)
        if "/" in metric and (found := [row for row in every if metric in row]):
            return found
        names |= {name for row in every for name in row if "/" in name}
    if metric == RETURN:
        raise RunError(f"{folder} holds no evaluation yet; wait for the first, or set schedule.eval_every above 0")
    raise RunError(f"{folder} has logged no {metric!r}{configs.suggest(metric, names, 'metric')}")


def _x(run: Run, folder: Path, rows: Sequence[Mapping[str, Any]], steps: np.ndarray, what: Quantity) -> np.ndarray:
    if what.x == "steps":
        return steps
    if what.x == "updates":
        return updates(run.schedule, steps)
    seconds = [row.get("eval/seconds", row.get("train/seconds")) for row in rows]
    if any(x is None for x in seconds):
        raise RunError(f"{folder}: rows with {what.metric} say no time; draw them over --x steps")
    return np.array([np.nanmax(x) for x in seconds], float) / 3600.0
