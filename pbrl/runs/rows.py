"""The rows of `metrics.jsonl`, the record of a run: read with doubt, and brought back to where a run goes on.

A last line that a crash has torn is left out without a word. Any other line that is no row is named, and kept aside
(`metrics.jsonl.damaged`) when the run goes on; so are rows of steps that will be taken again (`metrics.jsonl.dropped`).
"""

import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pbrl.errors import RunError
from pbrl.runs import config_file, files

JSONL = "metrics.jsonl"
KINDS = ("train", "eval", "diagnose")
NEEDED = {"eval": "eval/return"}
"""What a row of a kind is for."""
MAX_BYTES = 2**31
Row = dict[str, Any]


class Line(NamedTuple):
    """One line of the record: its number, from 1, its bytes, and the row that it holds, `None` where it holds none."""

    number: int
    raw: bytes
    row: Row | None


def read_rows(folder: Path, kind: str) -> list[Row]:
    """Return the rows of one kind, in order, one for each step; nulls read as NaN.

    Of several rows of one step (earlier versions of pbrl could leave some) the last counts. Lines that are no rows
    are reported by a warning. Raises `RunError` for what is no file.
    """
    lines = read(Path(folder))
    if damaged := [line for line in lines if line.row is None]:
        # All from this line, so that Python shows the same one once, however often the record is read.
        warnings.warn(f"{_named(Path(folder), damaged)}, and left out here", stacklevel=1)
    rows = [with_nan(row) for row in _newest(lines) if row["kind"] == kind]
    return sorted(rows, key=lambda row: row["step"])


def read(folder: Path) -> list[Line]:
    """Return every line of the record but empty ones and a torn last one."""
    *whole, last = _content(folder).split(b"\n")
    lines = [Line(i, raw, _row(raw)) for i, raw in enumerate(whole, 1) if raw.strip()]
    if (row := _row(last)) is not None:
        lines.append(Line(len(whole) + 1, last, row))
    lengths = Counter(n for line in lines if line.row and (n := _length(line.row)) is not None)
    streams = _streams(folder) or (lengths.most_common(1)[0][0] if lengths else None)
    return [
        line._replace(row=None) if line.row and _length(line.row) not in (None, streams) else line for line in lines
    ]


def _streams(folder: Path) -> int | None:
    """Return how many streams a folder's `config.json` says that its run has; nothing where it does not say."""
    try:
        run = config_file.read(folder)
        return len(run["seeds"]) * max(len(run.get("trials", ())), 1)
    except (RunError, KeyError, TypeError):
        return None


def go_on_from(folder: Path, step: int) -> set[tuple[str, int]]:
    """Bring the record back to `step`, that of a checkpoint, or to nothing by -1; return what it held before.

    That is the kind and step of every row. Warns of all that is lost or set aside, but of the first evaluation of a
    run that has no checkpoint yet, which will be the same again. Raises `RunError` where the folder cannot be written.
    """
    path, lines = folder / JSONL, read(folder)
    newest = _newest(lines)
    last = {id(row) for row in newest}
    damaged = [line for line in lines if line.row is None]
    later = [line for line in lines if line.row and line.row["step"] > step]
    kept = [line.raw for line in lines if line.row and line.row["step"] <= step and id(line.row) in last]
    doubled = len(lines) - len(damaged) - len(later) - len(kept)
    if step > 0 and not path.exists():
        warnings.warn(f"{path} is missing: the run goes on from step {step}, its earlier rows are lost", stacklevel=3)
    try:
        if damaged:
            files.append(_beside(path, "damaged"), _text([line.raw for line in damaged]))
            warnings.warn(f"{_named(folder, damaged)}; kept in {_beside(path, 'damaged')}", stacklevel=3)
        reach = max((line.row["step"] for line in later if line.row), default=0)
        if reach > 0:
            files.append(_beside(path, "dropped"), _text([line.raw for line in later]))
            whence = (
                f"from step {step}, that of its checkpoint" if step >= 0 else "from the start, without a checkpoint"
            )
            warnings.warn(
                f"{path} reaches step {reach}, and the run goes on {whence}: what was logged later is "
                f"moved to {_beside(path, 'dropped')}, and will be written again",
                stacklevel=3,
            )
        if doubled:
            warnings.warn(f"{path} held {doubled} row(s) of steps that have a later one; those are gone", stacklevel=3)
        if _text(kept) != _content(folder):  # a torn last line goes as well
            files.write(path, _text(kept))
    except OSError as error:
        raise RunError(
            f"{path} cannot be brought back to step {step}: {files.reason(error)}; make room there"
        ) from None
    return {(row["kind"], row["step"]) for row in newest}


def _content(folder: Path) -> bytes:
    try:
        return files.read(folder / JSONL, MAX_BYTES)
    except FileNotFoundError:
        return b""


def plain(value: Any) -> Any:
    """Return a value, or a list of them, with `None` for what JSON has no word for."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(row: Row) -> Row:
    """Return a row with NaN for each null."""

    def number(value: Any) -> Any:
        return math.nan if value is None else value

    return {n: [number(x) for x in value] if isinstance(value, list) else number(value) for n, value in row.items()}


def _newest(lines: Sequence[Line]) -> list[Row]:
    """Return the last row of each kind and step, in the order of the record."""
    found: dict[tuple[str, int], Row] = {}
    for line in lines:
        if line.row is not None:
            key = line.row["kind"], line.row["step"]
            found.pop(key, None)
            found[key] = line.row
    return list(found.values())


def _row(raw: bytes) -> Row | None:
    """Return the row that a line holds, or nothing where some value is not what `RunLog.write` writes."""
    try:
        row = json.loads(raw)
        if not isinstance(row, dict) or row["kind"] not in KINDS or type(row["step"]) is not int:
            return None
        values = [value for name, value in row.items() if name != "kind"]
        numbers = [x for value in values for x in (value if isinstance(value, list) else [value])]
        lengths = {len(value) for value in values if isinstance(value, list)}
        sound = all(x is None or (type(x) in (int, float) and float(x) is not None) for x in numbers)
        sound = sound and len(lengths) <= 1 and 0 not in lengths and NEEDED.get(row["kind"], "step") in row
        return row if sound and 0 <= row["step"] < 2**63 else None
    except (ValueError, KeyError, OverflowError, RecursionError):
        return None


def _length(row: Row) -> int | None:
    """Return how many streams a row has values of; nothing where it has numbers alone."""
    return next((len(value) for value in row.values() if isinstance(value, list)), None)


def _named(folder: Path, damaged: Sequence[Line]) -> str:
    numbers = ", ".join(str(line.number) for line in damaged[:5]) + ", …" * (len(damaged) > 5)
    plural = "lines are" if len(damaged) > 1 else "line is"
    return f"{folder / JSONL}: {len(damaged)} {plural} damaged ({numbers})"


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _text(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
