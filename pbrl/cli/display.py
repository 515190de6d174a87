"""What a user sees of a run: a live panel on a terminal, one line now and then anywhere else, final statistics."""

import contextlib
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from pbrl.report import stats

if TYPE_CHECKING:
    from pbrl.runs.run import Run
    from pbrl.train.journal import Progress

LOSSES = {"critic": "critic/loss", "actor": "actor/loss", "model": "model/loss"}
SKIPPED = "train/skipped_updates"


def say(line: str) -> None:
    """Print a line, unless nobody reads any more, such as `head`: no reason to stop training."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


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


def report(run: "Run") -> Report:
    """Choose the live panel where standard output is a terminal, plain lines where it is not."""
    return Panel(run) if sys.stdout.isatty() else Lines(run)


class Lines:
    """Prints a line for every evaluation, and after 10 s without one the return of the last training episode."""

    INTERVAL = 10.0

    def __init__(self, run: "Run"):
        self.run, self.speed = run, Speed()
        self.evaluation: Mapping[str, Any] | None = None
        self.printed = time.perf_counter()

    def __call__(self, progress: "Progress") -> None:
        """Print a line where it is time for one."""
        self.speed.update(progress)
        now = time.perf_counter()
        if progress.evaluation is self.evaluation and now - self.printed < self.INTERVAL:
            return
        shown = f"training episode {spread(progress.episode_return) or '-'}"
        if progress.evaluation is not self.evaluation:
            shown = f"return {returns(progress)}"
        self.evaluation, self.printed = progress.evaluation, now
        parts = [f"step {progress.step}/{progress.total_steps}", shown, losses(progress)]
        parts += [self.speed.text(progress.total_steps)]
        say("  ".join(part for part in parts if part))

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Panel:
    """A live panel: progress bar, returns by seed, losses, skipped updates, speed and time left."""

    def __init__(self, run: "Run"):
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.run, self.speed = run, Speed()
        columns = (
            SpinnerColumn(),
            BarColumn(40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self.bar = Bar(*columns)
        self.task = self.bar.add_task("making environments, compiling …", total=run.schedule.total_steps)
        self.live = Live(self._panel([]), refresh_per_second=8, transient=True)  # a run without news leaves no trace

    def __call__(self, progress: "Progress") -> None:
        """Bring the panel up to date."""
        self.live.transient = False
        self.speed.update(progress)
        self.bar.update(self.task, completed=progress.step, description=self.speed.text(progress.total_steps))
        self.live.update(self._panel(self._rows(progress)))

    def _rows(self, progress: "Progress") -> list[tuple[str, str]]:
        name = f"return, evaluated at step {progress.evaluated_step}"
        rows = [(name, returns(progress)) if progress.evaluation else ("", "")]
        if progress.evaluation and self.run.trials:
            rows.append(("best trials", best(progress.evaluation["eval/return"], len(self.run.trials))))
        elif progress.evaluation and len(self.run.seeds) > 1:
            rows.append(("by seed", " ".join(f"{x:.1f}" for x in progress.evaluation["eval/return"])))
        rows.append(("return, last training episode", spread(progress.episode_return)))
        rows.append(("losses", losses(progress) or "none yet: warming up with random actions"))
        return [row for row in rows if row[1]]

    def _panel(self, rows: list[tuple[str, str]]) -> Any:
        from rich.console import Group
        from rich.panel import Panel as Frame
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, value in rows:
            table.add_row(f"[dim]{name}[/dim]", value)
        seeds = counted(len(self.run.seeds), "seed")
        trials = f"{len(self.run.trials)} trials of " if self.run.trials else ""
        title = f"{self.run.title} · {self.run.task} · {trials}{seeds}"
        return Frame(Group(self.bar, table), title=title, title_align="left", expand=False)

    def __enter__(self) -> "Panel":
        self.live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.bar.stop_task(self.task)
        with contextlib.suppress(OSError):  # the terminal is gone
            self.live.__exit__(*exception)


class Speed:
    """Steps per second over the last half minute: warm-up and compilation would mislead an average."""

    WINDOW = 30.0

    def __init__(self) -> None:
        self.points: deque[tuple[float, int]] = deque()
        self.phases: set[str] = set()

    def update(self, progress: "Progress") -> None:
        """Note which step has been reached; start anew where a phase of training has begun since."""
        if self.phases != progress.metrics.keys():
            self.phases = set(progress.metrics)
            self.points.clear()
        self.points.append((time.perf_counter(), progress.step))
        while self.points[-1][0] - self.points[0][0] > self.WINDOW:
            self.points.popleft()

    def text(self, total_steps: int) -> str:
        """Return steps per second and the time left at that speed."""
        (begun, first), (now, last) = self.points[0], self.points[-1]
        if last == first:
            return ""
        rate = (last - first) / (now - begun)
        left = round((total_steps - last) / rate)
        hours, minutes, seconds = left // 3600, left // 60 % 60, left % 60
        return f"{rate:.1f} steps/s  ETA {f'{hours}:' if hours else ''}{minutes:02d}:{seconds:02d}"


def returns(progress: "Progress") -> str:
    """Return the last evaluation's mean return over seeds, with its standard deviation."""
    return (spread(progress.evaluation["eval/return"]) if progress.evaluation else "") or "-"


def spread(values: np.ndarray) -> str:
    """Return `mean ± standard deviation` of what is not NaN, "" where there is nothing."""
    values = np.asarray(values)[np.isfinite(values)]
    if not values.size:
        return ""
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if values.size > 1 else "")


def best(scores: np.ndarray, trials: int, count: int = 3) -> str:
    """Return a sweep's leading trials and their mean returns; `scores [trials * seeds]`."""
    means = np.asarray(scores).reshape(trials, -1).mean(1)
    order = [i for i in np.argsort(-means, kind="stable") if np.isfinite(means[i])]
    return "  ".join(f"trial {i}: {means[i]:.1f}" for i in order[:count])


def losses(progress: "Progress") -> str:
    """Return the losses of what is trained, means over seeds, and the number of skipped updates in all of them."""
    known = {name: progress.metrics[key] for name, key in LOSSES.items() if key in progress.metrics}
    text = "  ".join(f"{name} {np.mean(value):.3g}" for name, value in known.items())
    if SKIPPED in progress.metrics:
        text += f"  skipped updates {int(np.sum(progress.metrics[SKIPPED]))}"
    return text


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return `1 seed`, `2 seeds`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def played(evaluation: Mapping[str, Any], asked: int) -> str:
    """Say how many whole episodes an evaluation holds: `10 episodes for each seed`, or what broken ones left.

    Trials that a sweep has given up do not count.
    """
    counts = np.asarray(evaluation.get("eval/episodes", ()), float)
    counts = counts[~np.isnan(counts)]
    if not counts.size:
        return "whole episodes of each seed"  # of before they were counted
    low, high = int(counts.min()), int(counts.max())
    if low == high == asked:
        return f"{counted(asked, 'episode')} for each seed"
    whole = counted(low, "whole episode") if low == high else f"{low} to {high} whole episodes"
    none = f"; none in {int((counts == 0).sum())} of {counts.size} seeds" if low == 0 else ""
    return f"{whole} of {asked} for each seed, broken ones left out{none}"


def statistics_line(returns: ArrayLike) -> str:
    """Return mean and interquartile mean over seeds and, from two seeds on, their bootstrap intervals as one line.

    Seeds without a whole episode, NaN, are left out, and said.
    """
    every = np.asarray(returns, float)
    there = every[~np.isnan(every)]
    left = every.size - there.size
    out = f"; {left} of {every.size} seeds left out, which have no whole episode" if left else ""
    if not there.size:
        return "no seed has a whole episode"
    a = stats.aggregate(there)
    if a.n < 2:
        return f"mean {a.mean:.1f} (one seed: no interval{out})"
    mean = f"mean {a.mean:.1f} [{a.low:.1f}, {a.high:.1f}]"
    iqm = f"interquartile mean {a.iqm:.1f} [{a.iqm_low:.1f}, {a.iqm_high:.1f}]"
    return f"{mean}, {iqm} (95 % bootstrap intervals over {a.n} seeds{out})"
