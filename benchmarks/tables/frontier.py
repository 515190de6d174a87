"""The frontier: ours and the published returns on MBPO's tasks at 50,000 and 100,000 steps."""

import numpy as np
from card.evidence import suite
from card.published import Mark, at, marks
from suites import SUITES
from tables.markdown import NONE, grid, number, spread

from pbrl.report import stats

STEPS = (50_000, 100_000)
PUBLISHED = {"DHMBPO": "DHMBPO", "SVG(2)": "SVG", "MBPO": "MBPO", "SAC": "SAC", "XQC": "XQC"}
"""What the sources call our rows."""


def table() -> str:
    """Return returns of ours with intervals, the published means, and hours of both, by task and agent."""
    found, rows = suite("frontier"), []
    for row in SUITES["frontier"].rows:
        ours = found.get((row.env, row.label))
        cells = [row.env.removeprefix("pbrl/Mbpo").removesuffix("-v0"), row.label]
        for step in STEPS:
            here = np.zeros(0) if ours is None else ours.returns[:, ours.steps == step].ravel()
            cells.append(spread(vars(stats.aggregate(here))) if here.size else NONE)
        cells.append(str(len(ours.returns)) if ours is not None else NONE)
        took = [] if ours is None else [last["hours"] for last in ours.last if "hours" in last]
        cells.append(number(float(np.mean(took)), 1) if took else NONE)
        published = of(row.env, PUBLISHED.get(row.label, ""))
        cells += [_mean(row.env, published, step) for step in STEPS]
        cells.append(_hours(published))
        rows.append(cells)
    head = ["task", "agent", *(f"ours, {step:,}" for step in STEPS), "seeds", "our core-hours a seed"]
    return grid([*head, *(f"published, {step:,}" for step in STEPS), "published GPU-hours to 100,000"], rows)


def of(env: str, label: str) -> list[Mark]:
    """Return the published points of an agent on a task, in order."""
    return sorted((m for m in marks("frontier") if (m.env, m.label) == (env, label)), key=lambda m: m.step or 0)


def _mean(env: str, published: list[Mark], step: int) -> str:
    if not published or not (published[0].step or 0) <= step <= (published[-1].step or 0):
        return NONE
    return number(at(published[0].where, env, published[0].label, step))


def _hours(published: list[Mark]) -> str:
    ends = [m for m in published if m.hours is not None and (m.step or 0) <= STEPS[-1]]
    return number(ends[-1].hours or 0.0, 1) if ends else NONE
