"""One picture a paper: published curves and marks in grey, behind ours with 95 % bootstrap bands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from card.evidence import RESULTS, suite
from card.published import Mark, at, curve, mark

from pbrl.report import plots, stats

GREY = "0.45"
STYLES = {
    "SVG(2)": "-", "SAC": (0, (1, 1.2)), "MBPO": (0, (4, 2)),
    "DHMBPO": "-", "SVG": (0, (5, 1, 1, 1)), "XQC": (0, (8, 3)),
}  # fmt: skip
"""Of published curves."""
SAME = {"H = 0": "SAC", "H = 1": "SVG(1)", "H = 2": "SVG(2)", "H = 4": "SVG(4)"}
"""What the suites call the same agent."""
FIRST_OF_RERUN = 25_000
"""Where the first evaluation of the authors' re-run was, which their picture draws at step 0."""


@dataclass(frozen=True)
class Panel:
    """A task: which of our curves, and which published ones lie behind."""

    title: str
    env: str
    suite: str
    labels: tuple[str, ...]
    end: int
    """Where the axis of steps ends."""
    curves: tuple[tuple[str, str], ...] = ()
    """(figure, label) of published curves."""
    levels: tuple[tuple[str, Mark], ...] = ()
    """(words, number) of published returns that came later than the axis ends, or at no known step."""
    points: tuple[Mark, ...] = ()
    """Published returns at a step."""


def mage() -> list[Panel]:
    """MAGE's tasks; numbers are published for HalfCheetah alone."""
    labels = ("MAGE", "Dyna-TD3", "TD3 ×10", "TD3")
    panels = []
    for task in ("HalfCheetah", "Hopper", "Walker2d", "Swimmer", "Pusher"):
        env = f"pbrl/Mage{task}-v0"
        table = (("MAGE after 3M steps", mark("mage", "Table 1", env, "MAGE")),) if task == "HalfCheetah" else ()
        panels.append(Panel(task, env, "mage-mujoco", labels, 100_000, levels=table))
    return [*panels, Panel("Pendulum, paper's sizes", "pbrl/MagePendulum-v0", "mage-classic", labels, 5_000)]


def maac() -> list[Panel]:
    """MAAC's tasks, with Table 1, what the text says, and SAC's return in mbbl."""
    labels = ("MAAC", "MBPO", "STEVE", "SVG(1)", "SAC", "SAC, MAAC's updates")
    panels = []
    for task in ("HalfCheetah", "Ant", "Hopper", "Walker2d"):
        env = f"pbrl/Maac{task}-v0"
        levels = (
            ("MAAC, converged (Table 1)", mark("maac", "Table 1", env, "MAAC")),
            ("SAC after 200k steps (mbbl)", mark("maac", "benchmark", env, "SAC", 200_000)),
        )
        points = (mark("maac", "text", env, "MAAC"),) if task == "HalfCheetah" else ()
        panels.append(Panel(task, env, "maac-mujoco", labels, 50_000, levels=levels, points=points))
    return panels


def svg() -> list[Panel]:
    """MBPO's tasks with the published curves, and two of POPLIN's."""
    panels = []
    for task in ("HalfCheetah", "Hopper", "Walker2d", "Ant"):
        env = f"pbrl/Mbpo{task}-v0"
        behind = (("re-run", "SVG(2)"), ("MBPO tasks", "SAC"), ("Fig. 2", "MBPO"))
        panels.append(Panel(f"MBPO's {task}", env, "svg-mujoco", ("SVG(2)", "SAC", "MVE critic"), 100_000, behind))
    for task in ("Swimmer", "Hopper"):
        env = f"pbrl/Poplin{task}-v0"
        behind = (("Fig. 5", "SVG(2)"), ("Fig. 5", "SAC"))
        labels = ("H = 2", "H = 0", "H = 1", "H = 4")
        panels.append(Panel(f"POPLIN's {task}", env, "svg-poplin", labels, 50_000, behind))
    return panels


def frontier() -> list[Panel]:
    """MBPO's five tasks, with the curves that DHMBPO's and XQC's authors release."""
    labels = ("DHMBPO", "SVG(2)", "MAAC", "MAGE", "MBPO", "SAC", "XQC")
    behind = [("4kubo/erl_lib", label) for label in ("DHMBPO", "SVG", "MBPO", "SAC")]
    panels = []
    for task in ("HalfCheetah", "Hopper", "Walker2d", "Ant", "Humanoid"):
        rows = behind + ([("danielpalenicek/xqc", "XQC")] if task != "Humanoid" else [])  # there of 376 numbers
        panels.append(Panel(f"MBPO's {task}", f"pbrl/Mbpo{task}-v0", "frontier", labels, 100_000, tuple(rows)))
    return panels


PICTURES = {
    "mage": ("MAGE at `cpu` sizes, and what its paper has in numbers", mage, 3),
    "maac": ("MAAC at `cpu` sizes, and what is published in numbers", maac, 2),
    "svg": ("SVG(H) at `cpu` sizes, and the published curves", svg, 3),
    "frontier": ("The frontier on MBPO's tasks at `cpu` sizes, and the curves that authors release", frontier, 3),
}


def draw() -> list[Path]:
    """Draw every picture; return their paths."""
    return [
        _draw(RESULTS / f"report-{name}.png", title, make(), wide) for name, (title, make, wide) in PICTURES.items()
    ]


def _draw(path: Path, title: str, panels: Sequence[Panel], wide: int) -> Path:
    from matplotlib.figure import Figure

    tall = -(-len(panels) // wide)
    figure = Figure(figsize=(5.0 * wide + 0.4, 3.7 * tall + 0.9), layout="constrained")
    labels = list(dict.fromkeys(label for panel in panels for label in panel.labels))
    colours = dict(zip(dict.fromkeys(SAME.get(label, label) for label in labels), plots.COLOURS, strict=False))
    axes = list(figure.subplots(tall, wide).flat)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis, panel in zip(axes, panels, strict=False):
        seeds = _ours(axis, panel, colours)
        if not (seeds or panel.curves or panel.levels):
            axis.axis("off")
            axis.text(0.5, 0.5, f"{panel.title}: no result yet,\nno numbers published", ha="center", color="0.3")
            continue
        _behind(axis, panel)
        axis.set_xlim(0, panel.end)
        axis.set_title(f"{panel.title} ({seeds or 'ours: no result yet'})", fontsize=11)
        _finish(axis)
    handles = _legend(colours, panels)
    figure.suptitle(title.replace("`", ""), fontsize=12)
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8), frameon=False, fontsize=10)
    figure.savefig(path, dpi=110)
    return path


def _ours(axis: Any, panel: Panel, colours: Mapping[str, str]) -> str:
    """Draw our curves; return how many seeds there are, in words, empty where there is no curve."""
    counts = []
    for label in panel.labels:
        rows = suite(panel.suite).get((panel.env, label))
        if rows is None:
            continue
        counts.append(len(rows.returns))
        colour = colours[SAME.get(label, label)]
        axis.plot(rows.steps, rows.returns.mean(0), color=colour, linewidth=1.9, zorder=4)
        if counts[-1] > 1:
            low, high = stats.bootstrap_band(rows.returns)
            axis.fill_between(rows.steps, low, high, color=colour, alpha=0.18, linewidth=0, zorder=3)
    if not counts:
        return ""
    return f"n = {min(counts)}" if min(counts) == max(counts) else f"n = {min(counts)} to {max(counts)}"


def _behind(axis: Any, panel: Panel) -> None:
    """Draw what is published, with the deviation of the first curve that has one."""
    hatched = False
    for where, label in panel.curves:
        steps, means, deviations = curve(where, panel.env, label)
        steps = np.maximum(steps, FIRST_OF_RERUN) if where == "re-run" else steps
        inside = steps <= panel.end
        if steps.size and steps[-1] > panel.end:  # the curve goes on past the axis
            steps = np.append(steps[inside], panel.end)
            means = np.append(means[inside], at(where, panel.env, label, panel.end))
            deviations = np.append(deviations[inside], deviations[inside][-1:])
        axis.plot(steps, means, color=GREY, linestyle=STYLES[label], linewidth=1.5, zorder=2)
        if np.isfinite(deviations).all() and steps.size and not hatched:
            hatched = True
            low, high = means - deviations, means + deviations
            axis.fill_between(steps, low, high, facecolor="none", edgecolor="0.75", hatch="////", linewidth=0, zorder=1)
    for words, level in panel.levels:
        axis.axhline(level.mean, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
        axis.annotate(
            f"published: {words}, {level}", (0.98, level.mean), xycoords=axis.get_yaxis_transform(), ha="right",
            xytext=(0, 3), textcoords="offset points", fontsize=8.5, color="0.25", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )  # fmt: skip
    for point in panel.points:
        axis.plot([point.step], [point.mean], marker="D", color=GREY, markersize=8, clip_on=False, zorder=2)
    if not (panel.curves or panel.levels):
        note = {"xycoords": "axes fraction", "va": "bottom", "fontsize": 8.5, "color": "0.3"}
        axis.annotate("no numbers published", (0.02, 0.02), **note)


def _finish(axis: Any) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.margins(y=0.1)
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_xlabel("environment steps")
    axis.set_ylabel("evaluation return")


def _legend(colours: Mapping[str, str], panels: Sequence[Panel]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linewidth=1.9, label=label) for label, colour in colours.items()]
    drawn = dict.fromkeys(label for panel in panels for _, label in panel.curves)
    for label in drawn:
        handles.append(Line2D([], [], color=GREY, linestyle=STYLES[label], linewidth=1.5, label=f"published: {label}"))
    if any(panel.points for panel in panels):
        words = "published: MAAC, text"
        handles.append(Line2D([], [], color=GREY, marker="D", linestyle="", markersize=8, label=words))
    return handles
