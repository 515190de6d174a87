"""The curves of a suite: what its run folders hold, and what is committed of earlier ones, as one CSV and JSON.

A machine that trains a suite on need not have the folders of those that trained before: `results/<suite>.csv` has every
evaluation, `results/<suite>.json` the settings. What is stored counts as long as the suite still has those settings.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from suites import Row

from pbrl.report.curves import UNMOVING, evaluation_curve, settings
from pbrl.runs import config_file, record
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run

RESULTS = Path(__file__).parent / "results"
SHOWN = ("critic/q", "temperature/alpha")
"""Of the last row of training: what shows that something diverges."""


@dataclass(frozen=True)
class Curve:
    """One seed's evaluations."""

    steps: np.ndarray  # [T]
    returns: np.ndarray  # [T]
    alpha: np.ndarray  # [T], the temperature, NaN where an agent has none or none was logged yet
    last: Mapping[str, float]
    """`SHOWN`, as last logged, and the hours that training took to there."""

    def until(self, step: int) -> "Curve":
        """Return what of it lies at or before a step."""
        kept = self.steps <= step
        return Curve(self.steps[kept], self.returns[kept], self.alpha[kept], self.last)

    @property
    def end(self) -> int:
        """The last step that was evaluated."""
        return int(self.steps[-1])


@dataclass
class Entry:
    """A row of a suite: its seeds' curves, and `config.json` of a run of it."""

    row: Row
    seeds: dict[int, Curve]
    details: Mapping[str, Any]


def gather(name: str, rows: Sequence[tuple[Row, Sequence[Run]]]) -> tuple[list[Entry], list[str]]:
    """Return what there is of each row, of stored and present curves the longer, and sentences on what is left out."""
    stored, words = _stored(name), []
    entries = []
    for row, runs in rows:
        entry = Entry(row, {}, {})
        if old := stored.get((row.env, row.label)):
            if changed := differing(old.details, runs[0]):
                words.append(
                    f"{row.label} on {row.env}: stored curves are of other settings ({', '.join(changed)}); left out"
                )
            else:
                entry.seeds, entry.details = dict(old.seeds), old.details
        for run in runs:
            _add(entry, run)
        entries.append(entry)
    return entries, words


def _add(entry: Entry, run: Run) -> None:
    """Take in what a run's folder holds, where it is longer than what is there."""
    if not (run.folder / "config.json").exists():
        return
    details = config_file.read(run.folder)
    steps, returns = evaluation_curve(run.folder)
    if not len(steps):
        return  # another process has just begun it
    logged, seconds = read_rows(run.folder, "train"), read_rows(run.folder, "eval")[-1].get("eval/seconds")
    hours = {} if seconds is None else {"hours": float(seconds) / 3_600.0}
    for i, seed in enumerate(run.seeds):
        last = {k: float(np.atleast_1d(row[k])[i]) for row in logged[-1:] for k in SHOWN if k in row} | hours
        warm = [(row["step"], np.atleast_1d(row[SHOWN[1]])[i]) for row in logged if SHOWN[1] in row] or [(0, np.nan)]
        alpha = np.interp(steps, *zip(*warm, strict=True), left=np.nan)
        curve = Curve(steps, returns[i], alpha, last).until(run.schedule.total_steps)
        known = entry.seeds.get(seed)
        if len(curve.steps) and (known is None or known.end <= curve.end):
            entry.seeds[seed] = curve
            entry.details = details


def differing(details: Mapping[str, Any], run: Run) -> list[str]:
    """Return the settings in which a stored run is not this one: length and seeds, and what moves no return, aside."""
    try:
        old, new = settings(record.parse(details, run.folder)), settings(run)
    except ValueError as error:  # of a version with other fields
        return [str(error)]
    return sorted(k for k in {*old, *new} - UNMOVING if old.get(k) != new.get(k))


def finished(entry: Entry, steps: int) -> dict[int, Curve]:
    """Return the seeds that count: those that have all steps, or all of them cut to what each has."""
    whole = {seed: curve for seed, curve in entry.seeds.items() if curve.end >= steps}
    counted = whole or entry.seeds
    until = min(steps, *(curve.end for curve in counted.values())) if counted else 0
    return {seed: curve.until(until) for seed, curve in sorted(counted.items())} if until else {}


def write_csv(name: str, entries: Sequence[Entry]) -> None:
    """Write every evaluation of every seed, those under way included."""
    with open(RESULTS / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["env", "label", "seed", "step", "return", "alpha"])
        for entry in entries:
            for seed, curve in sorted(entry.seeds.items()):
                for step, value, alpha in zip(curve.steps, curve.returns, curve.alpha, strict=True):
                    warm = f"{alpha:.4g}" if np.isfinite(alpha) else ""
                    writer.writerow([entry.row.env, entry.row.label, seed, step, f"{value:.3f}", warm])


def _stored(name: str) -> dict[tuple[str, str], Entry]:
    """Return the committed entries of a suite by task and label."""
    table, report = RESULTS / f"{name}.csv", RESULTS / f"{name}.json"
    if not (table.exists() and report.exists()):
        return {}
    points: dict[tuple[str, str], dict[int, list[tuple[int, float, float]]]] = {}
    with open(table, newline="") as file:
        for line in csv.DictReader(file):
            seeds = points.setdefault((line["env"], line["label"]), {})
            point = int(line["step"]), float(line["return"]), float(line.get("alpha") or "nan")
            seeds.setdefault(int(line["seed"]), []).append(point)
    entries = {}
    for run in json.loads(report.read_text())["runs"]:
        key, last = (run["env"], run["label"]), run.get("last", {})
        curves = {}
        for seed, of_seed in points.get(key, {}).items():
            steps, returns, alpha = map(np.array, zip(*sorted(of_seed), strict=True))
            curves[seed] = Curve(steps, returns, alpha, last.get(str(seed), {}))
        entries[key] = Entry(Row(run["label"], run["settings"]["agent"], run["env"]), curves, run["settings"])
    return entries
