"""Learning curves: mean over seeds with a bootstrap band, one panel a task."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from pbrl.report import stats
from pbrl.runs.log import read_rows
from pbrl.runs.run import titled

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Label -> (steps [T], returns [N seeds, T])."""

LEADERS = 5  # of a sweep's trials
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
    ylabel: str = "evaluation return",
    log: bool = False,
    one_legend: bool = False,
) -> Path:
    """Draw one panel for each task of `groups` and save it, in the format that the path's ending says; return the path.

    A task without curves leaves a gap. A label has one colour in all panels.
    A line is `statistic` over seeds (`stats.mean` or `stats.iqm`), the band its 95 % bootstrap interval.
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
        figure.suptitle(title, fontsize=12)
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
        colour, centre = colours[label], statistic(returns.T)
        axis.plot(steps, centre, color=colour, linewidth=1.8, label=f"{label} (n = {len(returns)})")
        if len(returns) > 1:
            axis.fill_between(steps, *stats.bootstrap_band(returns, statistic), color=colour, alpha=0.16, linewidth=0)
    for label, value in references.items():
        axis.axhline(value, color="0.45", linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
        axis.annotate(
            label, (0.01, value), xycoords=axis.get_yaxis_transform(), textcoords="offset points", xytext=(0, 3),
            fontsize=8, color="0.35",
        )  # fmt: skip
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axis.set_title(task, fontsize=11)
    axis.set_xlabel("environment steps")
    finish(axis)


def finish(axis: Any, legend: int = 9) -> None:
    """Give a panel the look of all: no box, a faint grid, a legend without a frame, of that size."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.legend(frameon=False, fontsize=legend)


def evaluation_curve(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return evaluation steps `[T]` and returns `[N, T]` of a run so far."""
    rows = read_rows(folder, "eval")
    returns = [np.atleast_1d(row["eval/return"]) for row in rows]
    return np.array([row["step"] for row in rows]), np.array(returns, float).T


def merge(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Put the seeds of several runs on one grid, `(steps [T], returns [N, T])`.

    The grid holds every evaluation step that all of them have reached; between its own, a run is interpolated.
    Raises `ValueError` where runs have no step in common.
    """
    first, last = max(s[0] for s, _ in curves), min(s[-1] for s, _ in curves)
    grid = np.unique(np.concatenate([s for s, _ in curves]))
    grid = grid[(grid >= first) & (grid <= last)]
    if not len(grid):
        raise ValueError(f"expected runs that overlap, got one that starts at step {first} and one that ends at {last}")
    return grid, np.concatenate([[np.interp(grid, steps, one) for one in returns] for steps, returns in curves])


def run_curves(folders: Sequence[Path], path: Path) -> Path:
    """Draw run folders: runs of one agent on one task add up their seeds, tasks get a panel each.
    With an oracle, on the device or in float64 an agent counts as another.

    Of a sweep, the `LEADERS` best trials so far get a curve each.

    Raises `ValueError` where a folder holds no evaluation yet.
    """
    collected: dict[str, dict[str, list]] = {}
    for folder in folders:
        config = json.loads((Path(folder) / "config.json").read_text())
        steps, returns = evaluation_curve(Path(folder))
        if not len(steps):
            raise ValueError(f"{folder} holds no evaluation yet; wait for the first, or lower schedule.eval_every")
        about = {name: config[name] for name in ("agent", "oracle", "driver", "float64") if name in config}
        agents, title = collected.setdefault(config["env"], {}), titled(**about)
        if trials := config.get("trials"):
            by_trial = returns.reshape(len(trials), -1, len(steps))
            for i in stats.order(by_trial[..., -1])[:LEADERS]:
                label = f"{title}, trial {i}: {_written(trials[i])}"
                agents.setdefault(label, []).append((steps, by_trial[i]))
        else:
            agents.setdefault(title, []).append((steps, returns))
    groups = {task: {agent: merge(runs) for agent, runs in agents.items()} for task, agents in collected.items()}
    return panels(groups, path)


def _written(trial: Mapping[str, float]) -> str:
    """Return a sweep's draw as `actor_lr 0.0003, tau 0.005`."""
    return ", ".join(f"{leaf.removeprefix('config.')} {value:.3g}" for leaf, value in trial.items())
