"""What is committed of our results, as one number a seed, cut to what can be compared."""

import csv
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from suites import SUITES

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Sample:
    """One number for each seed, and what it was measured on."""

    name: str
    values: np.ndarray  # [N seeds]
    steps: int = 0
    """Environment steps behind it; 0 where nothing was trained."""
    sizes: str = ""
    """The preset: `paper` or `cpu`; empty where none has a part in it."""
    digits: int = 0

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Curves:
    """Evaluations of one row of a suite."""

    name: str
    steps: np.ndarray  # [T]
    returns: np.ndarray  # [N seeds, T]
    sizes: str
    last: tuple[dict[str, float], ...] = ()
    """For each seed, what training logged last."""

    def until(self, step: int) -> "Curves":
        """Return what there is up to a step."""
        kept = self.steps <= step
        return replace(self, steps=self.steps[kept], returns=self.returns[:, kept])


Measure = Callable[[Curves], np.ndarray]
"""Curves -> one number for each seed."""


def area(curves: Curves) -> np.ndarray:
    """Return each seed's mean return over the steps of its curve."""
    return np.trapezoid(curves.returns, curves.steps, axis=-1) / (curves.steps[-1] - curves.steps[0])


def final(curves: Curves) -> np.ndarray:
    """Return each seed's last return."""
    return curves.returns[:, -1]


def peak(curves: Curves) -> np.ndarray:
    """Return each seed's return at the step where the mean over seeds is highest."""
    return curves.returns[:, np.argmax(curves.returns.mean(0))]


@functools.cache
def suite(name: str) -> dict[tuple[str, str], Curves]:
    """Return the curves of a suite by task and label; nothing where nothing is committed.

    Of each row the seeds that its JSON counts (all, where it does not say), to the steps that all of them have.
    """
    report, table = read_json(name), read_csv(name)
    points: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for line in table:
        seeds = points.setdefault((line["env"], line["label"]), {})
        seeds.setdefault(int(line["seed"]), {})[int(line["step"])] = float(line["return"])
    found = {}
    for run in report.get("runs", []):
        key = (run["env"], run["label"])
        counted = [s for s in run.get("seeds", sorted(points.get(key, {}))) if s in points.get(key, {})]
        if not counted:
            continue
        common = set.intersection(*(set(points[key][s]) for s in counted))
        steps = sorted(t for t in common if t <= run["steps"])
        returns = np.array([[points[key][s][t] for t in steps] for s in counted])
        last = tuple(run.get("last", {}).get(str(s), {}) for s in counted)
        if len(steps) > 1:
            found[key] = Curves(run["label"], np.array(steps), returns, SUITES[name].preset, last)
    return found


def samples(name: str, env: str, labels: Sequence[str], measure: Measure = area) -> list[Sample] | None:
    """Return one sample for each label on a task, all to the same step; `None` where one of them has no result."""
    rows = suite(name)
    if not all((env, label) in rows for label in labels):
        return None
    curves = [rows[env, label] for label in labels]
    end = min(int(c.steps[-1]) for c in curves)
    curves = [c.until(end) for c in curves]
    if any(len(c.steps) < 2 for c in curves):
        return None
    return [Sample(c.name, measure(c), end, c.sizes) for c in curves]


@functools.cache
def read_json(name: str) -> dict[str, Any]:
    """Return a committed report, empty where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


@functools.cache
def read_csv(name: str) -> list[dict[str, str]]:
    """Return the rows of a committed table, none where there is none."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def column(
    name: str, where: dict[str, str], of: str, label: str, *, steps: int = 0, sizes: str = "", digits: int = 0
) -> Sample | None:
    """Return a column of a committed table, one value a seed, of the rows that hold the values of `where`."""
    rows = [row for row in read_csv(name) if all(row[k] == v for k, v in where.items())]
    values = np.array([float(row[of]) for row in sorted(rows, key=lambda row: int(row["seed"]))])
    return Sample(label, values, steps, sizes, digits) if rows else None
