"""How far a command is, on standard error, so that what it prints stays as scripts expect it."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

INTERVAL = 10.0
"""Seconds between two plain lines; what is done sooner prints none."""
F = TypeVar("F", bound=Callable)


@contextlib.contextmanager
def shown(first: str) -> Iterator[Callable[[str], None]]:
    """Show what a command is at, from `first` on, until it is done; give what changes the words.

    On a terminal it is one line with the time so far, which moves on while nothing is said, and is wiped in the end.
    Elsewhere a line is printed where `INTERVAL` has passed.
    """
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(first, total=None)
        yield lambda words: bar.update(task, description=words)


def _plain() -> Callable[[str], None]:
    began = last = time.perf_counter()

    def show(words: str) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= INTERVAL:
            last = now
            with contextlib.suppress(OSError, ValueError):
                print(f"{words} ({now - began:.0f} s so far)", file=sys.stderr, flush=True)

    return show


def counting(act: F, show: Callable[[str], None], words: str, most: int) -> F:
    """Return what acts, such that `show` is told of every call: `words`, and which step of at most `most` it is."""
    steps = itertools.count(1)

    def counted(*seen):
        show(f"{words}: step {next(steps)} of at most {most}")
        return act(*seen)

    return counted  # pyright: ignore[reportReturnType]
