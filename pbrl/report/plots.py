"""Learning curves: mean over seeds with a bootstrap band, one panel a task."""

import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from pbrl.errors import RunError
from pbrl.report import series, stats
from pbrl.report.curves import gather
from pbrl.report.series import Quantity

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Label -> (steps [T], returns [N seeds, T])."""

COLOURS = (
    "#3b6fb6", "#d1703c", "#4b9a5f", "#8b62b0", "#b8494f", "#7a6a53", "#d18fb5", "#6c757d", "#b5a32c", "#3aa6a6",
)  # fmt: skip


def panels(
    groups: Mapping[str, Curves],
    path: Path,
    title: str = "",
    *,
    columns: int = 3,
    statistic: stats.Statistic = stats.mean,
    references: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    limits: Mapping[str, tuple[float, float]] = MappingProxyType({}),
    xlabel: str = "environment steps",
    ylabel: str = "evaluation return",
    log: bool = False,
    one_legend: bool = False,
) -> Path:
    """Draw one panel for each task of `groups` and save it, in the format that the path's ending says; return the path.

    A task without curves leaves a gap. A label has one colour in all panels.
    A line is `statistic` over seeds (`stats.mean` or `stats.iqm`), the band its 95 % bootstrap interval; where some
    seeds have no return (NaN), it is dashed and over the others.
    `references` maps tasks to labelled returns, such as published ones, drawn as dashed lines; `limits` maps those
    whose axis should not follow the data to its ends. `one_legend` stands above all panels, in place of one in each.
    """
    from matplotlib.figure import Figure  # without pyplot, whose backend is the caller's affair
    from matplotlib.lines import Line2D

    wide = max(min(len(groups), columns), 1)
    tall = -(-max(len(groups), 1) // wide)
    figure = Figure(figsize=(5.2 * wide + 0.4, 3.8 * tall + 0.3), layout="constrained")  # leaves room for the title
    axes = figure.subplots(tall, wide, squeeze=False)
    for axis in axes.flat[len(groups) :]:
        axis.axis("off")
    colours = _colours(groups)
    for axis, (task, curves) in zip(axes.flat, groups.items(), strict=False):
        if not curves:
            axis.axis("off")
            continue
        _panel(axis, task, curves, statistic, references.get(task, {}), colours)
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        axis.set_yscale("log" if log else "linear")
        axis.set_ylim(*limits.get(task, (None, None)))
        if one_legend:
            axis.get_legend().remove()
            seeds = sorted({len(returns) for _, returns in curves.values()})
            axis.set_title(f"{task} (n = {', '.join(map(str, seeds))})", fontsize=11)
    if one_legend:  # with the title, which would else stand in the same place
        lines = [Line2D([], [], color=colour, linewidth=1.8, label=label) for label, colour in colours.items()]
        look = {"ncols": len(lines), "frameon": False, "fontsize": 12, "title_fontsize": 12}
        figure.legend(handles=lines, loc="outside upper center", title=title, **look)
    elif title:
        figure.suptitle(textwrap.fill(title, 60 * wide), fontsize=12)
    figure.savefig(path, dpi=130)
    return Path(path)


def _colours(groups: Mapping[str, Curves]) -> dict[str, str]:
    """Give each label a colour that its first panel has not, if there is one, or no panel at all."""
    colours: dict[str, str] = {}
    for curves in groups.values():
        for label in curves:
            if label not in colours:
                anywhere, here = list(colours.values()), [colours[x] for x in curves if x in colours]
                colours[label] = min(COLOURS, key=lambda c, a=anywhere, h=here: (h.count(c), a.count(c)))
    return colours


def _panel(
    axis: Any,
    task: str,
    curves: Curves,
    statistic: stats.Statistic,
    references: Mapping[str, float],
    colours: Mapping[str, str],
) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for label, (steps, returns) in curves.items():
        colour, there = colours[label], np.isfinite(returns).sum(0)
        centre = stats.of_those_there(lambda x: statistic(x.T), returns)
        whole = there == len(returns)
        count = str(len(returns)) if whole.all() else f"{there.min()} to {there.max()}"
        look: Any = {"color": colour, "linewidth": 1.8}
        axis.plot(
            steps, np.where(whole, centre, np.nan), label=f"{label.replace('$', chr(92) + '$')} (n = {count})", **look
        )
        if not whole.all():  # dashed, on from the last step that all seeds reach
            beside = ~whole | np.append(~whole[1:], False) | np.append(False, ~whole[:-1])
            axis.plot(steps, np.where(beside, centre, np.nan), linestyle=(0, (3, 2)), **look)
        if there.max(initial=0) > 1:
            low, high = (stats.of_those_there(lambda x, end=end: _band(x, statistic)[end], returns) for end in (0, 1))
            axis.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
    for label, value in references.items():
        axis.axhline(value, color="0.45", linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
        axis.annotate(
            label, (0.01, value), xycoords=axis.get_yaxis_transform(), textcoords="offset points", xytext=(0, 3),
            fontsize=8, color="0.35",
        )  # fmt: skip
    if max(steps[-1] for steps, _ in curves.values() if len(steps)) >= 1_000:  # of hours, m would be thousandths
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axis.set_title(task, fontsize=11)
    finish(axis)


def _band(returns: np.ndarray, statistic: stats.Statistic) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the bootstrap band, NaN where one seed alone has none."""
    nothing = np.full(returns.shape[1], np.nan)
    return stats.bootstrap_band(returns, statistic) if len(returns) > 1 else (nothing, nothing)


def finish(axis: Any, legend: int = 9) -> None:
    """Give a panel the look of all: no box, a faint grid, a legend without a frame, of that size."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.legend(frameon=False, fontsize=legend)


def _below_zero(groups: Mapping[str, Curves]) -> list[str]:
    """Say what a logarithmic axis leaves out. Raises `RunError` where that is all there is."""
    words = []
    for task, curves in groups.items():
        for label, (_, values) in curves.items():
            there = values[np.isfinite(values)]
            if (there <= 0).all():
                raise RunError(f"log: {label} on {task} has no value above 0, as such an axis needs; leave it out")
            if below := int((there <= 0).sum()):
                words.append(f"{label} on {task}: {below} of {there.size} values are not above 0, and left out")
    return words


def run_curves(
    folders: Sequence[Path],
    path: Path,
    say: Callable[[str], object] = warnings.warn,
    *,
    what: Quantity = Quantity(),
    by: Literal["settings", "agent"] = "settings",
    labels: Sequence[str] = (),
    log: bool = False,
    references: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> Path:
    """Draw run folders, a panel for each task, a curve for each kind of run (`curves.gather`); return the path.

    `say` takes a sentence for each thing that a reader would not see in the picture, such as a run that ended early.
    `what` is drawn, `log` makes its axis logarithmic, and `by` and `labels` say what makes a curve; `references` are
    as `panels` has them. Raises `RunError` as `gather`, and for a logarithmic axis of what is never above 0.
    """
    groups, words = gather(folders, what, by=by, labels=labels)
    for word in words + (_below_zero(groups) if log else []):
        say(word)
    return panels(groups, path, xlabel=series.LABELS[what.x], ylabel=what.ylabel, log=log, references=references)
