"""Learned model or truth: returns of both, and how gradients through either agree, from `results/oracle-*-gap.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from card.evidence import read_json
from tables.markdown import NONE, grid, listed, number, origin, section, spread
from tables.suite import suite

HORIZONS = ("1", "2", "4", "8", "16")
NORMS = {"norm": "gradient through the model", "true_norm": "gradient through the truth"}


def gap(name: str, title: str) -> str:
    """Return the section of a suite with what was measured while it trained."""
    report = read_json(f"{name}-gap")
    runs = report["runs"]
    diagnosed = [run for run in runs if "last_by_horizon" in run]
    return "\n\n".join([
        suite(name, title),
        section("Over the steps that both have", origin(report["command"]), shared(report), level=3),
        section("Cosines and errors of the agents' own gradients", NOTE, along(diagnosed), level=3),
        section("Cosines and norms by horizon", BY_HORIZON, by_horizon(diagnosed), level=3),
        section("Lengths of episodes", "Mean over the episodes of an evaluation, by seed.", lengths(runs), level=3),
    ])  # fmt: skip


NOTE = """Between the gradient through the learned model and that through the truth, by seed, at each diagnosis.
`∇ₐ` is MAGE's, of r + γQ in the action, by the median over states. A dash: not diagnosed at that step."""
BY_HORIZON = """Of the gradient of the value expansion in the policy. Cosines in the first row are medians over seeds
and all diagnoses. The other rows are medians over seeds at the last diagnosis."""


def shared(report: Mapping[str, Any]) -> str:
    """Return areas and last returns of runs over the steps that all of a pair have."""
    rows = []
    for pair in report["shared"]:
        for kind in (key for key in pair if key not in ("what", "steps")):
            cells = [spread(pair[kind][key]) for key in ("area", "final")]
            rows.append([pair["what"], kind, f"{pair['steps']:,}", *cells])
    return grid(["agent, task", "dynamics", "steps", "area under the curve", "last return"], rows)


def along(runs: list[dict[str, Any]]) -> str:
    """Return cosines and relative errors by seed and step."""
    rows, steps = [], _steps(runs, "cosine")
    for run in runs:
        of = run["cosine"]["of"].removeprefix("diagnose/").removeprefix("cosine_h")
        for what in ("cosine", "error", "agree"):
            if what in run:
                words = {"cosine": "cosine", "error": "relative error", "agree": "share of states that agree"}[what]
                where = "∇ₐ" if "action" in of else f"H = {of}"
                rows.append([f"{run['label']}, {run['env']}", f"{words}, {where}", *_by_step(run[what], steps, 2)])
    return grid(["agent, task", "of", *(f"step {x:,}" for x in steps)], rows)


def _steps(runs: list[dict[str, Any]], what: str) -> list[int]:
    return sorted({step for run in runs for step in run[what]["steps"]})


def _by_step(series: Mapping[str, Any], steps: list[int], digits: int) -> list[str]:
    """Return a cell for each step: the numbers of all seeds there."""
    found = dict(zip(series["steps"], np.array(series["per_seed"]).T.tolist(), strict=True))
    return [listed(found[step], digits) if step in found else NONE for step in steps]


def by_horizon(runs: list[dict[str, Any]]) -> str:
    """Return the median cosine along the training, then cosine and norms at its end, by horizon."""
    rows = []
    for run in runs:
        where, last = f"{run['label']}, {run['env']}", run["last_by_horizon"]
        rows.append([where, "cosine, all along", *(number(run["cosine_all_along"][h], 2) for h in HORIZONS)])
        rows.append(["", "cosine", *(number(float(np.median(last["cosine"][h])), 2) for h in HORIZONS)])
        for key, words in NORMS.items():
            rows.append(["", f"norm of the {words}", *(number(float(np.median(last[key][h])), 1) for h in HORIZONS)])
        for key in ("imagined", "real"):
            rows.append(["", f"{key} rewards", *(number(float(np.median(last[key][h])), 1) for h in HORIZONS)])
    return grid(["agent, task", "", *(f"H = {h}" for h in HORIZONS)], rows)


def lengths(runs: list[dict[str, Any]]) -> str:
    """Return the mean length of an evaluation's episodes by seed and step, where any episode ends early."""
    rows, steps = [], _steps(runs, "length")
    for run in runs:
        if len(np.unique(np.array(run["length"]["per_seed"]))) > 1:
            rows.append([f"{run['label']}, {run['env']}", *_by_step(run["length"], steps, 0)])
    if not rows:
        return "All episodes have their full length."
    return grid(["agent, task", *(f"step {x:,}" for x in steps)], rows)
