"""Where rows go: `metrics.jsonl`, which is the record, and CSV, TensorBoard and Weights & Biases beside it."""

import csv
import io
import json
import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pbrl.errors import RunError
from pbrl.runs import config_file, files
from pbrl.runs.rows import JSONL, KINDS, Row, read_rows, with_nan

MAX_PENDING = 100_000
"""Rows that wait for a disk to have room."""


class Sink(Protocol):
    """Somewhere that rows go."""

    def write(self, row: Row) -> None:
        """Take one row: `kind`, `step`, `time`, and metrics, each a number or a list over seeds."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Record:
    """`metrics.jsonl`. Rows that it cannot take, on a full disk, wait in memory, and are written with a later one."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / JSONL
        self.pending: deque[Row] = deque(maxlen=MAX_PENDING)
        self.lost = 0

    def write(self, row: Row) -> None:
        """Write this row and those that wait. Raises `OSError` and `RunError` where they have to wait on."""
        self.lost += len(self.pending) == MAX_PENDING
        self.pending.append(row)
        files.append(self.path, b"".join(json.dumps(row).encode() + b"\n" for row in self.pending))
        self.pending.clear()

    def rows(self, kind: str) -> list[Row]:
        """Return all rows of a kind, those that wait as well."""
        return read_rows(self.folder, kind) + [with_nan(row) for row in self.pending if row["kind"] == kind]

    def close(self) -> None:
        """Write what waits, or warn of what is lost."""
        if not self.pending:
            return
        try:
            self.write(self.pending.pop())
        except (OSError, RunError) as error:
            steps = [row["step"] for row in self.pending]
            warnings.warn(
                f"{len(steps) + self.lost} row(s) of the log are lost, the last ones of steps {min(steps)} to "
                f"{max(steps)}: {self.path} cannot be written ({files.reason(error)})",
                stacklevel=2,
            )


class Csv:
    """One file a kind, one line a step and seed, made from the record. A new column rewrites the file."""

    def __init__(self, record: Record, known: set[tuple[str, int]] | None = None):
        """Take the record, and what it held (kind, step) before it was brought back to where the run goes on."""
        self.record, self.columns = record, dict[str, list[str]]()
        for kind in filter(lambda kind: self._path(kind).exists(), KINDS):
            # An earlier process may have got further than its checkpoint.
            self._rewrite(kind, {step for its_kind, step in known or () if its_kind == kind})

    def write(self, row: Row) -> None:
        """Append the lines of a row, which the record has been given before."""
        kind, row = row["kind"], with_nan(row)
        if row.keys() - {"kind"} <= set(self.columns.get(kind, [])):
            columns = self.columns.pop(kind)
            files.append(self._path(kind), self._text(_csv_lines(row, columns)))
            self.columns[kind] = columns  # where that has failed, the next row rewrites all
            return
        self._rewrite(kind)

    def close(self) -> None:
        """Do nothing: no file is open."""

    def _rewrite(self, kind: str, known: set[int] | None = None) -> None:
        self.columns.pop(kind, None)  # a rewrite that fails is made up for with the next row
        rows = self.record.rows(kind)
        self._keep_what_is_more(kind, {row["step"] for row in rows} | (known or set()))
        columns = list(dict.fromkeys(name for row in rows for name in row if name != "kind"))
        lines = [["seed_index", *columns]] + [line for row in rows for line in _csv_lines(row, columns)]
        files.write(self._path(kind), self._text(lines))
        self.columns[kind] = columns

    def _keep_what_is_more(self, kind: str, known: set[int]) -> None:
        """Set a file aside that has steps which the record has not."""
        path = self._path(kind)
        if not path.exists():
            return
        missing = _csv_steps(path) - known
        if missing:
            kept = files.set_aside(path, "kept")
            warnings.warn(
                f"{path} has {len(missing)} step(s) that {self.record.path} lacks, from {min(missing)} to "
                f"{max(missing)}; it is kept as {kept.name}, and a new one made from the record",
                stacklevel=2,
            )

    def _path(self, kind: str) -> Path:
        return self.record.folder / f"{kind}.csv"

    @staticmethod
    def _text(lines: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(lines)
        return text.getvalue().encode()


def _csv_lines(row: Row, columns: Sequence[str]) -> list[list[Any]]:
    count = max((len(v) for v in row.values() if isinstance(v, list)), default=1)
    values = [row.get(name, "") for name in columns]
    return [[i, *(v[i] if isinstance(v, list) else v for v in values)] for i in range(count)]


def _csv_steps(path: Path) -> set[int]:
    """Return the steps that a CSV file has lines of, as far as it can be read."""
    text = files.read(path, 2**31).decode(errors="replace")
    try:
        found = [line.get("step") or "" for line in csv.DictReader(io.StringIO(text, newline=""))]
    except csv.Error:
        return {0}
    return {int(step) for step in found if step.isascii() and step.isdigit() and len(step) < 19}


def scalars(row: Row) -> dict[str, float]:
    """Return a row's mean over seeds under each name, and every seed's own under `name/seed<i>`."""
    found = {}
    for name, value in row.items():
        if name in ("kind", "step", "time") or value is None:
            continue
        values = [v for v in value if v is not None] if isinstance(value, list) else [value]
        if values:
            found[name] = float(np.mean(values))
        if isinstance(value, list) and len(value) > 1:
            found |= {f"{name}/seed{i}": v for i, v in enumerate(value) if v is not None}
    return found


class TensorBoard:
    """Event files. Without tensorboardX' `SummaryWriter`: its thread dies on a full disk, and its queue then blocks."""

    def __init__(self, folder: Path, resume_step: int | None):
        from tensorboardX import event_file_writer
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        self.writer = event_file_writer.EventsWriter(str(files.folder(folder / "tensorboard") / "events"))
        if resume_step is not None:  # steps from here on that an earlier process has written are hidden
            start = SessionLog(status=SessionLog.START)
            self.writer.write_event(Event(step=resume_step + 1, session_log=start))

    def write(self, row: Row) -> None:
        """Write all values of a row, and flush."""
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.summary import scalar

        for name, value in scalars(row).items():
            self.writer.write_event(Event(step=row["step"], wall_time=row["time"], summary=scalar(name, value)))
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


class WandB:
    """Weights & Biases. The id of its run lies in the folder (`wandb-id`), so that a resumed run goes on in it."""

    def __init__(self, folder: Path):
        import wandb  # pyright: ignore[reportMissingImports]

        config = config_file.read(folder)
        directory = files.folder(folder / "wandb").parent
        self.run = wandb.init(
            project="pbrl", dir=str(directory), config=config, name=folder.name, id=_wandb_id(folder), resume="allow"
        )

    def write(self, row: Row) -> None:
        """Send all values of a row. W&B keeps the first value of a step that comes twice."""
        self.run.log(scalars(row), step=row["step"])

    def close(self) -> None:
        """Finish the run there."""
        self.run.finish()


def _wandb_id(folder: Path) -> str:
    """Return the id of the folder's W&B run, drawn when it is asked for first."""
    import secrets

    path = folder / "wandb-id"
    with_id = files.read(path, 1000).decode(errors="replace").strip() if path.exists() else ""
    if not (with_id.isascii() and with_id.isalnum() and len(with_id) <= 64):
        with_id = secrets.token_hex(8)
        files.write(path, with_id + "\n")
    return with_id
