"""`pbrl plot`: the learning curves of runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pbrl.cli import display, progress, words
from pbrl.errors import RunError
from pbrl.report import plots
from pbrl.report.series import RETURN, Quantity
from pbrl.runs import files

MOST_POINTS = 1_000_000
"""Of `--smooth`: more than any log holds."""


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl plot` with the words after it. Raises as `plot`."""
    words.call(plot, argv, "pbrl plot")


def plot(
    runs: tuple[Path, ...],
    /,
    *,
    out: Path = Path("curves.png"),
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    metric: str = RETURN,
    x: Literal["steps", "hours", "updates"] = "steps",
    smooth: int = 1,
    by: Literal["settings", "agent"] = "settings",
    labels: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD …")] = (),
    log: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Draw the learning curves of runs: the mean over seeds, and its bootstrap band.

    Args:
        runs: Folders of runs; those that differ in nothing but seeds and length add up their seeds. Others get a curve
            each, which names what differs.
        out: The picture to write, whose ending says its format.
        force: Write it over a file that is there.
        metric: What to draw: any number of the log (docs/reference/metrics.md), such as critic/loss.
        x: Over what: environment steps, hours of training, or updates of the agent.
        smooth: Average each point with those before it, so many in all.
        by: What makes a curve: its settings, or the agent alone, whatever the settings.
        labels: A name for each run, in order, instead; runs of one name make one curve.
        log: A logarithmic axis of values.
    """
    if not runs:
        raise RunError("which runs? For example: pbrl plot runs/mage-Pendulum-v1-1seeds-0123abcd")
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise RunError(f"--out: expected a name that ends in .png, .pdf or .svg, got {str(out)!r}")
    if out.exists() and not force:
        raise RunError(f"{out} is there already; write elsewhere with --out, or over it with --force")
    words.require("--smooth", smooth, 1, MOST_POINTS)
    said: list[str] = []
    at = f"reading and drawing {display.counted(len(runs), 'run')}"
    with progress.shown(at), files.whole(out) as partial:
        plots.run_curves(runs, partial, said.append, what=Quantity(metric, x, smooth), by=by, labels=labels, log=log)
    for word in said:
        print(f"pbrl: warning: {word}", file=sys.stderr)
    print(out)
