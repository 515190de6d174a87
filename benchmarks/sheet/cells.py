"""What a part of the accelerator sheet has measured: cells by name, in a JSON file that is written with every one."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from timing import machine

SHOWN = 4
"""Values of a cell that are printed when it is there."""


class Cells:
    """The cells of one part, those of earlier calls included; `left()` says how many seconds the part still has."""

    def __init__(self, path: Path, seconds: float, quick: bool):
        """Read what there is. Raises `SystemExit` for a file that other hardware or other sizes have filled."""
        self.path, self.until, self.quick = path, time.monotonic() + seconds, quick
        here = {"machine": machine(), "quick": quick}
        self.report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {**here, "cells": {}}
        kind = lambda report: (report["machine"]["device"], report["quick"])  # noqa: E731
        if kind(self.report) != kind(here):
            raise SystemExit(f"{path} was filled by {kind(self.report)}, this is {kind(here)}; give another --out")

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.report["cells"][name]

    def has(self, name: str) -> bool:
        """Say whether a cell has been measured; one that failed has not."""
        return name in self.report["cells"] and "error" not in self[name]

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return those of these cells that are to be measured yet."""
        return [name for name in names if not self.has(name)]

    def left(self) -> float:
        """Return the seconds until this part is ended from outside."""
        return self.until - time.monotonic()

    def record(self, name: str, row: dict[str, Any]) -> None:
        """Keep a cell, write the file, and print the cell."""
        self.report["cells"][name] = row
        self.write()
        values = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in list(row.items())[:SHOWN])
        print(f"  [{self.left():4.0f} s left] {name}: {', '.join(values)}", flush=True)

    def failed(self, name: str, error: BaseException) -> None:
        """Keep why there is no number: memory that ran out, say. Another call tries again."""
        text = str(error).strip() or type(error).__name__
        self.record(name, {"error": f"{type(error).__name__}: {text.splitlines()[0][:200]}"})

    def fact(self, name: str, value: Any) -> None:
        """Keep something about the whole part."""
        self.report[name] = value
        self.write()

    def write(self) -> None:
        """Write the file in one move, since the part may be killed at any moment."""
        draft = self.path.with_suffix(".tmp")
        draft.write_text(json.dumps(self.report, indent=1) + "\n")
        os.replace(draft, self.path)
