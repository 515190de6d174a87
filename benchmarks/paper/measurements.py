"""What a figure measures while its run trains, a line of JSON a step in its folder; and the facts of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pbrl.runs.log import read_rows


def append(path: Path, step: int, **values: np.ndarray) -> None:
    """Note every seed's value `[N]` of some quantities at a step."""
    row = {"step": step, **{name: np.asarray(x).tolist() for name, x in values.items()}}
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def read(path: Path) -> dict[str, np.ndarray]:
    """Return `step [T]`, and every quantity `[N, T]`; a step that was repeated after a resume counts once."""
    rows = {row["step"]: row for row in map(json.loads, path.read_text().splitlines())}
    ordered = [rows[step] for step in sorted(rows)]
    return {name: np.array([row[name] for row in ordered]).T for name in ordered[0]}


def facts(folder: Path) -> dict[str, Any]:
    """Return a run's settings, and the seconds that its training took."""
    seconds = np.max(read_rows(folder, "train")[-1]["train/seconds"])
    settings = json.loads((folder / "config.json").read_text())
    return {"settings": settings, "training_seconds": round(float(seconds), 1)}
