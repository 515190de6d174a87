"""What a run writes down: `metrics.jsonl` always, CSV and TensorBoard beside it, Weights & Biases on request.

The JSONL file is the record; the others are made from the same rows and may fail without hurting training.
"""

import csv
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

JSONL = "metrics.jsonl"
SINKS = ("jsonl", "csv", "tensorboard", "wandb")


class Sink(Protocol):
    """Somewhere that rows go."""

    def write(self, row: dict[str, Any]) -> None:
        """Take one row: `kind`, `step`, `time`, and metrics, each a number or a list over seeds."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class RunLog:
    """The log of one run folder. A sink that fails is reported once, counted in `failures`, and left out."""

    def __init__(
        self,
        folder: Path,
        *,
        sinks: Sequence[str] = ("jsonl", "csv", "tensorboard"),
        resume_step: int | None = None,
    ):
        """Open the sinks; rows of steps after `resume_step`, which a crash left behind, are dropped first."""
        self.failures: dict[str, int] = {}
        self._sinks: dict[str, Sink] = {}
        makers: dict[str, Callable[[Path], Sink]] = {
            "jsonl": _Jsonl, "csv": _Csv, "tensorboard": _TensorBoard, "wandb": _WandB,
        }  # fmt: skip
        if resume_step is not None:
            self._guard("jsonl", lambda: _truncate(Path(folder), resume_step))
        for name in sinks:
            self._guard(name, lambda name=name: self._sinks.__setitem__(name, makers[name](Path(folder))))

    def write(self, kind: str, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Append one row of `kind` ("train" or "eval"); a value is a scalar or one number for each seed.

        Values that are not finite are written as null, since JSON has no word for them.
        """
        row = {"kind": kind, "step": int(step), "time": time.time()}
        row |= {name: _plain(np.asarray(value, float).tolist()) for name, value in metrics.items()}
        for name, sink in list(self._sinks.items()):
            self._guard(name, lambda sink=sink: sink.write(row))

    def close(self) -> None:
        """Close every sink."""
        for name, sink in self._sinks.items():
            self._guard(name, sink.close)

    def _guard(self, name: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever a tracker raises, training goes on
            if name not in self.failures:
                warnings.warn(f"the {name} log failed and training goes on without it: {error}", stacklevel=3)
            self.failures[name] = self.failures.get(name, 0) + 1
            if name != "jsonl":  # the record itself is tried again: a full disk may have room later
                self._sinks.pop(name, None)


def read_rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the rows of one kind, in order; nulls read as NaN, and a last line torn by a crash is skipped."""
    return [row for row in _rows(Path(folder)) if row["kind"] == kind]


def _rows(folder: Path) -> list[dict[str, Any]]:
    path, rows = folder / JSONL, []
    if not path.exists():
        return rows
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and {"kind", "step"} <= row.keys():
            rows.append({name: _with_nan(value) for name, value in row.items()})
    return rows


def _truncate(folder: Path, step: int) -> None:
    rows = _rows(folder)
    kept = [row for row in rows if row["step"] <= step]
    text = "".join(json.dumps({k: _plain(v) for k, v in row.items()}) + "\n" for row in kept)
    if (folder / JSONL).exists() and text != (folder / JSONL).read_text(errors="replace"):
        partial = folder / f"{JSONL}.tmp"
        partial.write_text(text)
        partial.replace(folder / JSONL)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(value: Any) -> Any:
    return [_with_nan(v) for v in value] if isinstance(value, list) else math.nan if value is None else value


class _Jsonl:
    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / JSONL

    def write(self, row: dict[str, Any]) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        pass


class _Csv:
    """One file a kind, one line a step and seed. A new column rewrites the file from the record."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.columns: dict[str, list[str]] = {}

    def write(self, row: dict[str, Any]) -> None:
        kind = row["kind"]
        new = [name for name in row if name != "kind" and name not in self.columns.get(kind, [])]
        path = self.folder / f"{kind}.csv"
        if new:
            rows = read_rows(self.folder, kind)  # the record already holds this row
            self.columns[kind] = list(dict.fromkeys(n for r in [*rows, row] for n in r if n != "kind"))
            with open(path, "w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["seed_index", *self.columns[kind]])
                for old in rows or [row]:
                    writer.writerows(self._lines(old))
            return
        with open(path, "a", newline="") as file:
            csv.writer(file).writerows(self._lines(row))

    def _lines(self, row: dict[str, Any]) -> list[list[Any]]:
        count = max((len(v) for v in row.values() if isinstance(v, list)), default=1)
        columns = [row.get(name, "") for name in self.columns[row["kind"]]]
        return [[i, *(v[i] if isinstance(v, list) else v for v in columns)] for i in range(count)]

    def close(self) -> None:
        pass


def _scalars(row: dict[str, Any]) -> dict[str, float]:
    """Return a row's mean over seeds under each name, and every seed's own under `name/seed<i>`."""
    scalars = {}
    for name, value in row.items():
        if name in ("kind", "step", "time") or value is None:
            continue
        values = [v for v in value if v is not None] if isinstance(value, list) else [value]
        if values:
            scalars[name] = float(np.mean(values))
        if isinstance(value, list) and len(value) > 1:
            scalars |= {f"{name}/seed{i}": v for i, v in enumerate(value) if v is not None}
    return scalars


class _TensorBoard:
    def __init__(self, folder: Path):
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, row: dict[str, Any]) -> None:
        for name, value in _scalars(row).items():
            self.writer.add_scalar(name, value, row["step"], walltime=row["time"])
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _WandB:
    def __init__(self, folder: Path):
        import wandb  # pyright: ignore[reportMissingImports]

        config = json.loads((folder / "config.json").read_text())
        self.run = wandb.init(project="pbrl", dir=str(folder), config=config, name=folder.name, resume="allow")

    def write(self, row: dict[str, Any]) -> None:
        self.run.log(_scalars(row), step=row["step"])

    def close(self) -> None:
        self.run.finish()
