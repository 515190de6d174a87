"""The published numbers, from `benchmarks/published`."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "published"


@dataclass(frozen=True)
class Mark:
    """One published number: mean, deviation and seeds where the source has them."""

    where: str
    env: str
    label: str
    step: int | None
    mean: float
    sd: float | None
    source: str
    hours: float | None = None
    """Of a GPU until then, where the source has them."""

    def __str__(self) -> str:
        """Return the number as the page writes it."""
        mean = f"{self.mean:,.0f}" if abs(self.mean) >= 10 else f"{self.mean:g}"
        return mean if self.sd is None else f"{mean} ± {self.sd:,.0f}"


@functools.cache
def marks(name: str) -> list[Mark]:
    """Return the rows of a file."""
    with open(FOLDER / f"{name}.csv", newline="") as file:
        return [
            Mark(
                row["where"], row["env"], row["label"], int(row["step"]) if row["step"] else None,
                float(row["mean"]), float(row["sd"]) if row["sd"] else None, row["source"],
                float(row["hours"]) if row.get("hours") else None,
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def mark(name: str, where: str, env: str, label: str, step: int | None = None) -> Mark:
    """Return one number; raises `LookupError` where the file has none or several."""
    rows = [m for m in marks(name) if (m.where, m.env, m.label) == (where, env, label) and step in (None, m.step)]
    if len(rows) != 1:
        raise LookupError(f"expected one row of {where}, {env}, {label} in {name}.csv, got {len(rows)}")
    return rows[0]


def curve(where: str, env: str, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return steps, means and deviations (NaN where there are none) of a published curve, empty where there is none."""
    rows = sorted(
        (m.step or 0, m.mean, np.nan if m.sd is None else m.sd)
        for m in (*marks("curves"), *marks("frontier"))
        if (m.where, m.env, m.label) == (where, env, label)
    )
    steps, means, deviations = np.array(rows).reshape(-1, 3).T
    return steps, means, deviations


def at(where: str, env: str, label: str, step: int) -> float:
    """Return a published curve's mean at a step, by linear interpolation."""
    steps, means, _ = curve(where, env, label)
    if not steps.size or not steps[0] <= step <= steps[-1]:
        raise LookupError(f"the curve {where}, {env}, {label} has no step {step}")
    return float(np.interp(step, steps, means))
