"""What a run writes down: `metrics.jsonl` always, CSV and TensorBoard beside it, Weights & Biases on request.

The JSONL file is the record; the others are made from the same rows and may fail without hurting training.
"""

import csv
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

JSONL = "metrics.jsonl"
SINKS = ("jsonl", "csv", "tensorboard", "wandb")
KINDS = ("train", "eval", "diagnose")


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
        """Open the sinks; rows of steps after `resume_step`, which a crash left behind, are dropped first.

        Raises `ValueError` for a sink that there is not, and for a CSV without the JSONL that it is made from.
        """
        folder = Path(folder)
        self.failures: dict[str, int] = {}
        self._sinks: dict[str, Sink] = {}
        makers: dict[str, Callable[[], Sink]] = {
            "jsonl": lambda: _Jsonl(folder),
            "csv": lambda: _Csv(folder),
            "tensorboard": lambda: _TensorBoard(folder, resume_step),
            "wandb": lambda: _WandB(folder),
        }
        if not set(sinks) <= set(SINKS) or ("csv" in sinks and "jsonl" not in sinks):
            raise ValueError(f"expected sinks among {', '.join(SINKS)}, csv only beside jsonl, got {', '.join(sinks)}")
        if resume_step is not None:
            self._guard("jsonl", lambda: _truncate(folder, resume_step))
        for name in sinks:
            self._guard(name, lambda name=name: self._sinks.__setitem__(name, makers[name]()))

    def write(self, kind: str, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Append one row of `kind`, one of `KINDS`; a value is a scalar or one number for each seed.

        Values that are not finite are written as null, since JSON has no word for them; `read_rows` and the CSV
        show them as NaN, and the trackers leave them out.
        """
        row = {"kind": kind, "step": int(step), "time": time.time()}
        row |= {name: _plain(np.asarray(value, float).tolist()) for name, value in metrics.items()}
        for name, sink in list(self._sinks.items()):
            self._guard(name, lambda sink=sink: sink.write(row))

    def close(self) -> None:
        """Close every sink."""
        for name, sink in list(self._sinks.items()):
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
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and {"kind", "step"} <= row.keys():
            rows.append(_with_nan(row))
    return rows


def _truncate(folder: Path, step: int) -> None:
    rows = _rows(folder)
    kept = [row for row in rows if row["step"] <= step]
    text = "".join(json.dumps({k: _plain(v) for k, v in row.items()}) + "\n" for row in kept)
    if (folder / JSONL).exists() and text != (folder / JSONL).read_text("utf-8", errors="replace"):
        partial = folder / f"{JSONL}.tmp"
        partial.write_text(text, "utf-8")
        partial.replace(folder / JSONL)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with NaN for each null."""

    def number(value: Any) -> Any:
        return math.nan if value is None else value

    return {n: [number(x) for x in value] if isinstance(value, list) else number(value) for n, value in row.items()}


class _Jsonl:
    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / JSONL

    def write(self, row: dict[str, Any]) -> None:
        with open(self.path, "ab+") as file:
            torn = file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            # One write: a line that a crash or a full disk has torn must not swallow this one.
            file.write((b"\n" if torn else b"") + json.dumps(row).encode() + b"\n")

    def close(self) -> None:
        pass


class _Csv:
    """One file a kind, one line a step and seed. A new column rewrites the file from the record."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.columns: dict[str, list[str]] = {}
        for kind in filter(lambda kind: self._path(kind).exists(), KINDS):
            self._rewrite(kind, read_rows(folder, kind))  # an earlier process may have got further than its checkpoint

    def write(self, row: dict[str, Any]) -> None:
        kind, row = row["kind"], _with_nan(row)
        if row.keys() - {"kind"} <= set(self.columns.get(kind, [])):
            with open(self._path(kind), "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(self._lines(row))
            return
        rows = read_rows(self.folder, kind)
        if not rows or rows[-1].get("time") != row["time"]:  # the record could not take this row
            rows.append(row)
        self._rewrite(kind, rows)

    def _rewrite(self, kind: str, rows: list[dict[str, Any]]) -> None:
        self.columns[kind] = list(dict.fromkeys(name for row in rows for name in row if name != "kind"))
        partial = self._path(kind).with_suffix(".csv.tmp")
        with open(partial, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["seed_index", *self.columns[kind]])
            for row in rows:
                csv.writer(file).writerows(self._lines(row))
        partial.replace(self._path(kind))

    def _path(self, kind: str) -> Path:
        return self.folder / f"{kind}.csv"

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
    def __init__(self, folder: Path, resume_step: int | None):
        from tensorboardX import SummaryWriter

        purge = None if resume_step is None else resume_step + 1
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

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
