"""The live panel of a terminal: how far a run is, how good, and what is being compiled."""

import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pbrl.cli import display
from pbrl.runs.log import read_rows

if TYPE_CHECKING:
    from pbrl.cli.reference import Reference
    from pbrl.runs.run import Run
    from pbrl.train.journal import Progress

WIDTH = 100
"""Of the panel, where the terminal has as much; it stays so, whatever the numbers."""
NAMES = 22  # columns of the names, a third of a narrow terminal's
BLOCKS = "▁▂▃▄▅▆▇█"
EXPLAINED = (
    "A return is the sum of an episode's rewards, mean ± deviation over seeds: higher is better. Evaluations play the "
    "policy without noise, training with it. Losses are of one batch, and need not fall: judge by the return."
)
PROGRAMS = {
    "start": "fresh agents",
    "act": "acting",
    "mode": "acting",
    "collect": "storage of transitions",
    "fit": "fits of the model",
    "imagine": "imagination",
    "update": "updates",
    "epoch": "the whole loop: environment, fits and updates",
    "evaluate": "evaluation",
}
"""What the drivers' programs are called, in words."""


class Report(Protocol):
    """The `report` callback of a driver's `train`, open while it is used as a context."""

    def __call__(self, progress: "Progress") -> None:
        """Show where a run stands."""
        ...

    def __enter__(self) -> "Report":
        """Begin to show."""
        ...

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        ...


def report(run: "Run", reference: "Reference | None" = None) -> Report:
    """Choose the live panel where standard output is a terminal, plain lines where it is not.

    The panel shows what returns compare with (`pbrl.cli.reference.of`).
    """
    return Panel(run, reference) if sys.stdout.isatty() else display.Lines(run)


class Panel:
    """Progress bar and time left, curves of returns and what they compare with, losses; it ticks by itself."""

    def __init__(self, run: "Run", reference: "Reference | None" = None):
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.run, self.reference, self.speed = run, reference, display.Speed(run)
        self.progress: Progress | None = None
        self.curve: dict[int, float] = {}  # step of an evaluation, mean return over seeds
        self.trained: list[float] = []  # mean returns of training episodes, as they came
        self.compiling = Compiling()
        console = Console()
        self.width = min(console.width, WIDTH)
        self.names = min(NAMES, self.width // 3)
        self.bar = Bar(SpinnerColumn(), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn(), expand=True)
        self.task = self.bar.add_task("", total=run.schedule.total_steps)
        self.live = Live(self, console=console, refresh_per_second=8, transient=True)  # without news it leaves no trace

    def __call__(self, progress: "Progress") -> None:
        """Take in where the run stands."""
        if self.progress is None and progress.evaluation:
            for row in read_rows(self.run.folder, "eval"):
                self._note(row["step"], row["eval/return"])
        if progress.evaluation:
            self._note(progress.evaluated_step, progress.evaluation["eval/return"])
        if (mean := _mean(progress.episode_return)) is not None:
            self.trained += [mean] if self.trained[-1:] != [mean] else []
        self.live.transient = False
        self.speed.update(progress)
        self.bar.update(self.task, completed=progress.step)
        self.progress = progress

    def _note(self, step: int, returns: Any) -> None:
        if (mean := _mean(returns)) is not None:
            self.curve[step] = mean

    def _rows(self) -> list[tuple[str, str]]:
        progress = self.progress
        doing = self.speed.text() if progress else "making environments, compiling"
        rows = [("now", self.compiling.text() or doing or "…")]
        if progress is not None and progress.evaluation:
            returns = progress.evaluation["eval/return"]
            rows += [("evaluation return", f"{display.returns(progress)}, evaluated at step {progress.evaluated_step}")]
            rows += [("", self._drawn(list(self.curve.values())))]
            if self.run.trials:
                rows.append(("best trials", display.best(returns, len(self.run.trials))))
            elif len(self.run.seeds) > 1:
                rows.append(("by seed", " ".join(f"{x:.1f}" for x in returns)))
        if self.reference is not None and str(self.reference):
            rows.append(("to compare with", str(self.reference)))
        if progress is not None:
            rows += [("training return", f"{display.spread(progress.episode_return) or '-'}, last whole episode")]
            rows += [("", self._drawn(self.trained))]
            known = set(display.LOSSES.values()) & progress.metrics.keys()
            rows.append(("losses", display.losses(progress) if known else "none yet: warming up with random actions"))
        return [row for row in rows if row[1]]

    def _drawn(self, values: list[float]) -> str:
        if len(values) < 2:
            return ""
        room = self.width - self.names - 8
        ends = f"  {min(values):.1f} to {max(values):.1f}"
        return sparkline(values, max(room - len(ends), 8)) + ends

    def __rich__(self) -> Any:
        """Draw what is known; rich asks eight times a second."""
        from rich.console import Group
        from rich.markup import escape
        from rich.panel import Panel as Frame
        from rich.table import Table

        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(width=self.names, style="dim")
        table.add_column(ratio=1)
        for name, value in self._rows():
            table.add_row(name, escape(value))
        seeds = display.counted(len(self.run.seeds), "seed")
        trials = f"{len(self.run.trials)} trials of " if self.run.trials else ""
        title = escape(f"{self.run.title} · {self.run.task} · {trials}{seeds}")
        return Frame(
            Group(self.bar, table, f"[dim]{EXPLAINED}[/dim]"), title=title, title_align="left", width=self.width
        )

    def __enter__(self) -> "Panel":
        self.compiling.__enter__()
        self.live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.bar.stop_task(self.task)
        self.compiling.__exit__()
        with contextlib.suppress(OSError):  # the terminal is gone
            self.live.__exit__(*exception)


def _mean(returns: Any) -> float | None:
    """Return the mean of what is finite, `None` where nothing is."""
    there = np.asarray(returns, float)
    there = there[np.isfinite(there)]
    return float(there.mean()) if there.size else None


def sparkline(values: list[float], width: int) -> str:
    """Draw numbers as a row of blocks, from the least to the largest; of more than `width`, means of neighbours."""
    parts = np.array_split(np.asarray(values, float), min(len(values), width))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    levels = (means - low) / (high - low) * (len(BLOCKS) - 1) if high > low else np.zeros(len(means))
    return "".join(BLOCKS[round(level)] for level in levels)


class Compiling(logging.Handler):
    """Hears from jax' own log which program it is compiling; where a jax logs otherwise, there is nothing to hear."""

    LOGGERS = ("jax._src.interpreters.pxla", "jax._src.dispatch")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.name_of, self.began = "", 0.0
        self._before: list[tuple[logging.Logger, int, bool]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note what begins and what has ended."""
        if record.msg.startswith("Compiling ") and record.args:
            name = str(record.args[0] if isinstance(record.args, tuple) else record.args)
            self.name_of, self.began = name.removeprefix("jit(").removesuffix(")"), time.perf_counter()
        elif record.msg.startswith("Finished XLA"):
            self.name_of = ""

    def text(self) -> str:
        """Say what has been compiling for a second or more, and for how long."""
        seconds = time.perf_counter() - self.began
        if not self.name_of or seconds < 1.0:
            return ""
        return f"compiling {PROGRAMS.get(self.name_of, self.name_of)}, {seconds:.0f} s so far"

    def __enter__(self) -> "Compiling":
        for logger in map(logging.getLogger, self.LOGGERS):
            self._before.append((logger, logger.level, logger.propagate))
            logger.addHandler(self)
            logger.setLevel(logging.DEBUG)
            logger.propagate = False  # what is only for us shall appear nowhere else
        return self

    def __exit__(self, *_: object) -> None:
        for logger, level, propagate in self._before:
            logger.removeHandler(self)
            logger.setLevel(level)
            logger.propagate = propagate
