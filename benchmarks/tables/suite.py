"""A suite of learning curves: its stored results, and in what settings they differ from the suite of today."""

from collections.abc import Mapping, Sequence
from typing import Any

from card.evidence import read_json
from curves import differing
from suites import SUITES, Suite, make_runs
from tables.markdown import NONE, grid, listed, origin, picture, section, spread

FIRST = "first_step_at_or_above_-200"


def suite(name: str, title: str = "", *, also: str = "") -> str:
    """Return the section of a suite: command, sizes, machine, table, picture; that nothing is there where nothing is.

    `also` is a paragraph before the table.
    """
    what, report = SUITES[name], read_json(name)
    command = f"python benchmarks/learning_curves.py --suite {name}"
    runs: list[dict[str, Any]] = report.get("runs", [])
    wanted = f"The suite asks for {what.seeds} seeds and {what.steps:,} steps, at `{what.preset}` sizes"
    if not runs:
        return section(title or what.title, origin(command, wanted, "No result is committed"))
    facts = [wanted, machines(runs), *others(name, what, runs), absent(what, runs)]
    return section(title or what.title, origin(command, *facts), also, table(runs), picture(name, what.title))


def machines(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the classes of machine that trained, as recorded."""
    settings = [run["settings"] for run in runs]
    kinds = dict.fromkeys(f"{s['device'].partition(': ')[2]}, {s['cpu_cores']} cores" for s in settings)
    versions = dict.fromkeys(s["versions"]["jax"] for s in settings)
    return f"Trained on: {'; '.join(kinds)}, jax {' and '.join(versions)}"


def others(name: str, what: Suite, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each set of settings in which stored runs are not those that the suite would train."""
    rows = {(row.env, row.label): row for row in what.rows}
    kinds: dict[str, list[str]] = {}
    for run in runs:
        row = rows.get((run["env"], run["label"]))
        if row is None:
            kinds.setdefault("a row that the suite no longer has", []).append(run["label"])
            continue
        today = make_runs(what, name, row, 1, what.steps)[0]
        if found := differing(run["settings"], today):
            kinds.setdefault(", ".join(f"`{path}`" for path in found), []).append(run["label"])
    if len(kinds) == 1 and len(next(iter(kinds.values()))) == len(runs):
        return [f"Made with other settings than the suite's of today: {next(iter(kinds))}"]
    return [
        f"Made with other settings than the suite's of today ({'; '.join(dict.fromkeys(labels))}): {settings}"
        for settings, labels in kinds.items()
    ]


def absent(what: Suite, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return which rows of the suite have no result."""
    there = {(run["env"], run["label"]) for run in runs}
    told = []
    for env in dict.fromkeys(row.env for row in what.rows):
        labels = [row.label for row in what.rows if row.env == env]
        if missing := [label for label in labels if (env, label) not in there]:
            told.append(env if missing == labels else f"{env} ({'; '.join(missing)})")
    return f"No result yet: {', '.join(told)}" if told else ""


def seeds_of(run: Mapping[str, Any]) -> str:
    """Return how many seeds count, and how far the others are."""
    under_way = "; ".join(f"seed {seed} at {step:,}" for seed, step in run.get("under_way", {}).items())
    return str(run["area"]["n"]) + (f" (under way: {under_way})" if under_way else "")


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return areas and last returns, with the columns that any of the runs has."""
    head = ["task", "agent", "area under the curve", "last return", "last return by seed", "steps", "seeds"]
    reached, q = (any(_q(run) if key == "q" else key in run for run in runs) for key in (FIRST, "q"))
    head += ["first step at −200 or above, by seed"] * reached + ["mean Q at the end, by seed"] * q
    rows = []
    for run in runs:
        cells = [run["env"], run["label"], spread(run["area"]), spread(run["final"]), listed(run["final_per_seed"])]
        cells += [f"{run['steps']:,}", seeds_of(run)]
        cells += [listed(run[FIRST]) if FIRST in run else NONE] * reached + [listed(_q(run)) or NONE] * q
        rows.append(cells)
    return grid(head, rows)


def _q(run: Mapping[str, Any]) -> list[float]:
    if "last_q_per_seed" in run:
        return run["last_q_per_seed"]
    last = run.get("last", {})
    found = [last.get(str(seed), {}).get("critic/q") for seed in run.get("seeds", [])]
    return [value for value in found if value is not None]
