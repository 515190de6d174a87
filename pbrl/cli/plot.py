"""`pbrl plot`: the learning curves of runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pbrl.cli import words
from pbrl.errors import RunError
from pbrl.report import plots


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl plot` with the words after it. Raises as `plot`."""
    words.call(plot, argv, "pbrl plot")


def plot(runs: tuple[Path, ...], /, *, out: Path = Path("curves.png")) -> None:
    """Draw the learning curves of runs: the mean over seeds, and its bootstrap band.

    Args:
        runs: Folders of runs; those that differ in nothing but seeds and length add up their seeds. Others get a curve
            each, which names what differs.
        out: The picture to write, whose ending says its format.
    """
    if not runs:
        raise RunError("which runs? For example: pbrl plot runs/mage-Pendulum-v1-1seeds-0123abcd")
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise RunError(f"--out: expected a name that ends in .png, .pdf or .svg, got {str(out)!r}")
    plots.run_curves(list(runs), out, lambda word: print(f"pbrl: warning: {word}", file=sys.stderr))
    print(out)
