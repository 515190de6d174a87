"""What came of a sweep: its trials, ranked by the log of its run, and the run that measures the best one afresh."""

from dataclasses import replace

import numpy as np

from pbrl.report.curves import evaluation_curve
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.sweep import ranking
from pbrl.sweep.ranking import Result

FRESH_SEEDS = 5
"""Least number of seeds that a winner is measured on."""


def ranked(run: Run) -> tuple[int, list[Result]]:
    """Return the step of the last evaluation of a finished sweep, and all its trials by it, the best first."""
    shape = (len(run.trials), len(run.seeds))
    steps, returns = evaluation_curve(run.folder)
    diverged_at = np.reshape(read_rows(run.folder, "eval")[-1]["train/diverged_at"], shape)
    skipped = np.reshape(read_rows(run.folder, "train")[-1]["train/skipped_updates"], shape)
    return int(steps[-1]), ranking.rank(run.trials, steps, returns.reshape(*shape, -1), diverged_at, skipped)


def winner(run: Run, trial: int) -> Run:
    """Return the ordinary run that measures one trial on seeds that the sweep has not used."""
    first = max(run.seeds) + 1
    return replace(run.trial(trial), seeds=tuple(range(first, first + max(FRESH_SEEDS, len(run.seeds)))))
