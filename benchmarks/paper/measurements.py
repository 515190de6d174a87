"""What a figure measures while its run trains: a line of JSON for each step in a file of the run's folder."""

import json
from pathlib import Path

import numpy as np


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
