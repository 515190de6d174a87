"""Train on one task, and go on from there on a changed one, which a function makes.

    python examples/fine_tune.py [FOLDER]     # about two minutes on one core

SAC learns Pendulum. Then the pole becomes half as heavy again, and two runs learn that: from what the first has
learned, and from nothing. On the command line the first of them is `pbrl train … --init RUN`.
"""

import sys
from dataclasses import replace
from pathlib import Path

import gymnasium

from pbrl import sac
from pbrl.presets.lookup import preset
from pbrl.presets.overrides import apply
from pbrl.report.curves import evaluation_curve
from pbrl.runs.initial import Initial
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.host import train


def heavy_pendulum(**kwargs):
    """Make Pendulum with a mass of 1.5 instead of 1."""
    env = gymnasium.make("Pendulum-v1", **kwargs)
    env.unwrapped.m = 1.5  # pyright: ignore[reportAttributeAccessIssue]
    return env


SIZES = {"schedule.total_steps": 4_000, "schedule.warmup_steps": 500, "schedule.eval_every": 500}


def main(folder, seeds=(0,), **changes):
    """Train three runs; return their evaluation steps and returns by name."""
    config, schedule = apply(sac.Config(), Schedule(), preset("cpu", "sac", "Pendulum-v1") | SIZES | changes)
    first = Run("sac", "Pendulum-v1", seeds, config, schedule, folder / "first")
    train(first)
    fresh = Run("sac", heavy_pendulum, seeds, config, schedule, folder / "fresh")
    # Without a warm-up, whose actions are random: the policy acts from the first step on.
    tuned = replace(fresh, folder=folder / "tuned", schedule=replace(schedule, warmup_steps=0))
    tuned = replace(tuned, initial=Initial.newest(first.folder))
    train(fresh)
    train(tuned)
    curves = {run.folder.name: evaluation_curve(run.folder) for run in (first, fresh, tuned)}
    for name, (steps, returns) in curves.items():
        told = ", ".join(f"{mean:.0f} at {step}" for step, mean in zip(steps, returns.mean(0), strict=True))
        print(f"{name}: return {told}")
    return curves


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["runs/fine_tune"]))
