"""A claim of a paper, and the verdict that follows from a rule's finding."""

from collections.abc import Callable
from dataclasses import dataclass

from card.rules import Finding, Outcome
from suites import SUITES

REPRODUCED = "reproduced"
SMALLER = "reproduced at smaller sizes"
FAILED = "not reproduced"
OPEN = "undecided"
UNTESTED = "cannot be tested here"
VERDICTS = (REPRODUCED, SMALLER, FAILED, OPEN, UNTESTED)

SECONDS_A_STEP = {
    "mage, paper": 0.723,
    "svg, paper": 0.426,
    "maac, paper": 0.16,
    "mage, cpu": 0.027,
    "svg, cpu": 0.0066,
    "maac, cpu": 0.03,
}
"""Of an environment step with its updates: at the paper's sizes of HalfCheetah on two cores, at `cpu` sizes on one."""


@dataclass(frozen=True)
class Claim:
    """One row of the page."""

    where: str
    """Table, figure or text of the paper."""
    text: str
    published: str
    find: Callable[[], Finding]
    command: str
    takes: str = ""
    """What a test would take, where there is none."""
    steps: int = 0
    """Environment steps of the paper; 0 where it does not say, or where nothing is trained."""
    seeds: int = 5
    """The fewest seeds that a result needs: five, or the paper's where it has fewer."""
    same_task: bool = True
    """Whether ours is measured on the paper's own task; one that stands in for it is named in the text."""


def verdict(claim: Claim, finding: Finding) -> str:
    """Return the verdict: reproduced only with seeds enough, and fully only on the paper's task, sizes and steps."""
    if finding.outcome is Outcome.MISSING:
        return UNTESTED
    if finding.outcome is Outcome.FAILS:
        return FAILED
    if finding.outcome is Outcome.OPEN or (finding.seeds is not None and finding.seeds < claim.seeds):
        return OPEN
    whole = claim.same_task and finding.sizes in ("paper", "") and finding.steps >= claim.steps
    return REPRODUCED if whole else SMALLER


def train(suite: str, env: str = "", steps: int = 0) -> str:
    """Return the command that trains a suite, or one task of it so long; nothing for a task that it has not."""
    if env and env not in {row.env for row in SUITES[suite].rows}:
        return ""
    options = (f" --env {env}" if env else "") + (f" --steps {steps}" if steps else "")
    return f"learning_curves.py --suite {suite}{options}"


def hours(agent: str, sizes: str, steps: int, seeds: int, *, runs: int = 1) -> str:
    """Return how long runs of an agent take on the CPU, in words."""
    total = SECONDS_A_STEP[f"{agent}, {sizes}"] * steps * seeds * runs / 3600
    cores = "of two cores at the paper's sizes" if sizes == "paper" else "of one core at `cpu` sizes"
    return f"about {round(total):,} hours {cores}" if round(total) > 1 else f"about an hour {cores}"
