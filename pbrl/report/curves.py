"""The learning curves of run folders: which runs are of one kind, and what a reader must know of the mean over them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.report import series, stats
from pbrl.report.series import Quantity
from pbrl.runs import record
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run

LEADERS = 5  # of a sweep's trials
LENGTH = 48
"""Longest list of settings that a label takes in; a longer one is told in words beside the picture."""
UNMOVING = {
    "seed_mode",
    *(f"schedule.{name}" for name in ("eval_every", "log_every", "diagnose_every", "max_skipped_updates")),
    *(f"schedule.{name}" for name in ("checkpoint_every", "checkpoint_minutes")),
}
"""Settings that move no return beyond rounding: runs that differ in these alone add up their seeds."""


@dataclass(frozen=True)
class Part:
    """The seeds of one folder that go into a curve."""

    folder: Path
    seeds: tuple[int, ...]  # [N]
    x: np.ndarray  # [T], steps unless something else was asked for
    values: np.ndarray  # [N, T], NaN where a seed has none
    settings: Mapping[str, Any]  # leaf's path -> value


def gather(
    folders: Sequence[Path],
    what: Quantity = Quantity(),
    *,
    by: Literal["settings", "agent"] = "settings",
    labels: Sequence[str] = (),
) -> tuple[dict[str, dict[str, tuple[np.ndarray, np.ndarray]]], list[str]]:
    """Return task -> label -> (x `[T]`, values `[N, T]`), and sentences on what a reader would not see in them.

    Runs on one task that differ in nothing but their seeds, their length and `UNMOVING` add up their seeds. Others get
    a curve each, whose label names what differs. A folder given twice counts once, and so does a seed of equal settings
    in two folders. Of a sweep, the `LEADERS` best trials so far get a curve each.

    By "agent", runs of one agent are one curve whatever their settings, and a sentence says which differ. `labels` name
    the folders, in order; equal ones are one curve.

    Raises `RunError` where a folder holds no run, or no evaluation yet, or none that has a return, and for labels that
    are not one for each folder or that a legend would leave out.
    """
    if labels and len(labels) != len(folders):
        raise RunError(f"labels: expected one for each of {len(folders)} folders, got {len(labels)}")
    for label in labels:
        if not label.strip() or label.startswith("_"):
            raise RunError(f"labels: expected names that do not begin with _, which no legend shows, got {label!r}")
    words: list[str] = []
    kinds: dict[str, dict[str, dict[str, list[Part]]]] = {}  # task -> title -> settings -> parts
    for i, folder in _once(folders, words):
        for task, title, part in _read(folder, what, labels[i] if labels else ""):
            kind = json.dumps({k: v for k, v in part.settings.items() if k not in UNMOVING}, sort_keys=True)
            kinds.setdefault(task, {}).setdefault(title, {}).setdefault(kind, []).append(part)
    groups: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for task, titles in kinds.items():
        for title, settings in titles.items():
            parts = list(settings.values())
            names = [title] * len(parts) if labels or by == "agent" else _labels(title, task, parts, words)
            curves: dict[str, list[Part]] = {}
            for label, of_one in zip(names, parts, strict=True):
                curves.setdefault(label, []).extend(_each_seed_once(of_one, f"{label} on {task}", words))
            for label, kept in curves.items():
                words += _remarks(kept, f"{label} on {task}", what)
                groups.setdefault(task, {})[label] = merge([(part.x, part.values) for part in kept])
    return groups, words


def evaluation_curve(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return evaluation steps `[T]` and returns `[N, T]` of a run so far; a return that is not finite reads as NaN.

    Lines that are no evaluation, or of another number of seeds, are left out with a warning (`read_rows`).
    """
    rows = {row["step"]: np.atleast_1d(np.asarray(row["eval/return"], float)) for row in read_rows(folder, "eval")}
    steps = np.array(sorted(rows), int)
    returns = np.array([rows[step] for step in steps], float).T
    return steps, np.where(np.isfinite(returns), returns, np.nan)


def merge(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Put the seeds of several runs on one grid, `(x [T], values [N, T])`.

    The grid holds every place of any of them. Between its own steps a run is interpolated; before its first
    and after its last it has NaN.
    """
    grid = np.unique(np.concatenate([steps for steps, _ in curves]))
    rows = [
        np.interp(grid, steps, one, left=np.nan, right=np.nan) for steps, returns in curves for one in returns
    ]  # fmt: skip
    return grid, np.array(rows)


def _once(folders: Sequence[Path], words: list[str]) -> Iterator[tuple[int, Path]]:
    """Give each folder once, whatever path leads there, with its number among those given."""
    seen: set[Path] = set()
    for i, folder in enumerate(map(Path, folders)):
        if folder.resolve() in seen:
            words.append(f"{folder} was given twice; it counts once")
        else:
            seen.add(folder.resolve())
            yield i, folder


def _read(folder: Path, what: Quantity, given: str) -> Iterator[tuple[str, str, Part]]:
    """Give (task, title, part) of a run, or of the best trials of a sweep, `given` a title. Raises `RunError`."""
    run = record.run_of(folder)
    x, values = series.read(run, folder, what)
    if not np.isfinite(values).any():
        why = "is of broken episodes or lost seeds" if what.metric == series.RETURN else "is NaN or infinite"
        missing = "return" if what.metric == series.RETURN else what.metric
        raise RunError(f"{folder} has no {missing} to draw: every one so far {why}")
    title = given or run.title
    if not run.trials:
        yield run.env, title, Part(folder, run.seeds, x, values, settings(run))
        return
    by_trial = values.reshape(len(run.trials), -1, len(x))
    drawn = [i for i in stats.order(by_trial[..., -1]) if np.isfinite(by_trial[i]).any()]
    for i in drawn[:LEADERS]:
        label = f"{title}, trial {i}: {_written(run.trials[i])}"
        yield run.env, label, Part(folder, run.seeds, x, by_trial[i], settings(run) | dict(run.trials[i]))


def settings(run: Run) -> dict[str, Any]:
    """Return what moves a run's numbers, but for seeds, trials and length, as leaves by path."""
    schedule = configs.to_json(run.schedule)
    for name in ("total_steps", "step_timeout"):
        schedule.pop(name)
    tree = {"seed_mode": run.seed_mode, "config": configs.to_json(run.config), "schedule": schedule}
    if run.env_kwargs or run.wrap:
        tree |= {"env_kwargs": run.env_kwargs, "wrap": run.wrap}
    return dict(_flat(tree))


def _flat(tree: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value


def _labels(title: str, task: str, groups: Sequence[Sequence[Part]], words: list[str]) -> list[str]:
    """Name groups of one title by the settings in which they differ, or by a folder where that takes too long."""
    firsts = [parts[0].settings for parts in groups]
    paths = {path for settings in firsts for path in settings} - UNMOVING
    differing = sorted(p for p in paths if any(s.get(p) != firsts[0].get(p) for s in firsts))
    told = [_written({path: settings.get(path) for path in differing}) for settings in firsts]
    if len(groups) == 1:
        return [title]
    if max(map(len, told)) <= LENGTH and len(set(told)) == len(told):
        return [f"{title} ({said})" for said in told]
    labels = [f"{title} ({parts[0].folder})" for parts in groups]
    words += [f"{label} on {task}: {said}" for label, said in zip(labels, told, strict=True)]
    return labels


def _each_seed_once(parts: Sequence[Part], label: str, words: list[str]) -> list[Part]:
    """Leave out seeds that another folder has run as far: equal seeds of equal settings are one run twice."""
    kept: list[Part] = []
    for part in sorted(parts, key=lambda part: -part.x[-1]):  # stable: the first given of equally long ones
        taken = {seed: other.folder for other in kept for seed in other.seeds}
        fresh = [i for i, seed in enumerate(part.seeds) if seed not in taken]
        if len(fresh) < len(part.seeds):
            twice = [seed for seed in part.seeds if seed in taken]
            where = sorted({str(taken[seed]) for seed in twice})
            words.append(
                f"{label}: {_some('seed', twice)} of {part.folder} count once, from {', '.join(where)}; equal seeds of "
                "equal settings are one run twice"
            )
        if fresh:
            seeds = tuple(part.seeds[i] for i in fresh)
            kept.append(Part(part.folder, seeds, part.x, part.values[fresh], part.settings))
    return kept


def _remarks(parts: Sequence[Part], label: str, what: Quantity) -> list[str]:
    """Say where a curve is not the mean over all of its seeds, and which settings were taken for equal."""
    words, last = [], max(part.x[-1] for part in parts)
    for part in parts:
        if part.x[-1] < last:
            words.append(
                f"{label}: {part.folder} ends at {what.place(part.x[-1])}, others at {what.place(last)}; from there on "
                "the line is dashed, the mean over those that went on"
            )
        for seed, one in zip(part.seeds, part.values, strict=True):
            lost = part.x[np.isnan(one)]
            if len(lost) and what == Quantity():
                words.append(
                    f"{label}: seed {seed} of {part.folder} has no return at {_some('step', lost.tolist())} (a broken "
                    "evaluation, or a seed that diverged); there the line is dashed, the mean over the others"
                )
    for path in sorted({path for part in parts for path in part.settings}):
        values = {json.dumps(part.settings.get(path)) for part in parts}
        if len(values) > 1:
            words.append(f"{label}: runs with {path} of {' and '.join(sorted(values))} are drawn as one kind")
    return words


def _some(noun: str, values: Sequence[Any]) -> str:
    """Return `seeds 0, 1`, the first few of many."""
    shown = ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
    return f"{noun}{'s' if len(values) > 1 else ''} {shown}"


def _written(values: Mapping[str, Any]) -> str:
    """Return settings or a sweep's draw as `actor_lr 0.0003, tau 0.005`; names lose `config.` and `schedule.`."""
    return ", ".join(f"{path.partition('.')[2] or path} {_short(value)}" for path, value in values.items())


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(_short, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
