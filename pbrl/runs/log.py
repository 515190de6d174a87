"""What a run writes down: `metrics.jsonl` always, CSV and TensorBoard beside it, Weights & Biases on request.

The JSONL file is the record; the others are made from the same rows and may fail without hurting training.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pbrl.runs import files, rows
from pbrl.runs.rows import read_rows
from pbrl.runs.sinks import Csv, Record, Sink, TensorBoard, WandB

__all__ = ["SINKS", "RunLog", "read_rows"]

SINKS = ("jsonl", "csv", "tensorboard", "wandb")


class RunLog:
    """The log of one run folder. A sink that fails is reported once, counted in `failures`, and left out.

    The record and its CSV copies are tried again with every row: a full disk may have room later.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sinks: Sequence[str] = ("jsonl", "csv", "tensorboard"),
        resume_step: int | None = None,
    ):
        """Open the sinks; rows of steps after `resume_step` (-1: all) are set aside first (`rows.go_on_from`).

        Raises `ValueError` for a sink that there is not, and for a CSV without the JSONL that it is made from, and
        `RunError` where the record cannot be brought back.
        """
        folder = Path(folder)
        self.failures: dict[str, int] = {}
        self._sinks: dict[str, Sink] = {}
        if not set(sinks) <= set(SINKS) or ("csv" in sinks and "jsonl" not in sinks):
            raise ValueError(f"expected sinks among {', '.join(SINKS)}, csv only beside jsonl, got {', '.join(sinks)}")
        known = rows.go_on_from(folder, resume_step) if resume_step is not None else None
        record = Record(folder)
        makers: dict[str, Callable[[], Sink]] = {
            "jsonl": lambda: record,
            "csv": lambda: Csv(record, known),
            "tensorboard": lambda: TensorBoard(folder, resume_step),
            "wandb": lambda: WandB(folder),
        }
        for name in sinks:
            self._guard(name, lambda name=name: self._sinks.__setitem__(name, makers[name]()))

    def write(self, kind: str, step: int, metrics: Mapping[str, ArrayLike]) -> None:
        """Append one row of a kind, one of `rows.KINDS`; a value is a scalar or one number for each seed.

        Values that are not finite are written as null, since JSON has no word for them; `read_rows` and the CSV
        show them as NaN, and the trackers leave them out.
        """
        row = {"kind": kind, "step": int(step), "time": time.time()}
        row |= {name: rows.plain(np.asarray(value, float).tolist()) for name, value in metrics.items()}
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
            again = name == "jsonl" or (name == "csv" and isinstance(error, OSError))
            if name not in self.failures:
                then = "its rows are kept, and written once it can be" if again else "training goes on without it"
                reason = files.reason(error)
                warnings.warn(f"the {name} log failed and {then}: {reason}", stacklevel=3)
            self.failures[name] = self.failures.get(name, 0) + 1
            if not again:
                self._sinks.pop(name, None)
