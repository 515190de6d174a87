"""Learn through a model, and through the true dynamics in its place: what does the model cost?

    python examples/oracle_or_model.py [FOLDER]     # about three minutes on one core

MAAC learns Pendulum twice. The second run imagines with the environment's own differentiable dynamics, its oracle: the
update, seeds and sizes are the same. `pbrl diagnose FOLDER/model` then holds the model's gradients against the truth's.
"""

import sys
from dataclasses import replace
from pathlib import Path

from pbrl import maac
from pbrl.presets.lookup import preset
from pbrl.presets.overrides import apply
from pbrl.report.curves import evaluation_curve
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.host import train

SIZES = {"schedule.total_steps": 2_000}


def main(folder, seeds=(0, 1), **changes):
    """Train both; return their evaluation curves by name."""
    config, schedule = apply(maac.Config(), Schedule(), preset("cpu", "maac", "Pendulum-v1") | SIZES | changes)
    model = Run("maac", "Pendulum-v1", seeds, config, schedule, folder / "model")
    oracle = replace(model, oracle="fidelity", folder=folder / "oracle")
    curves = {}
    for run in (model, oracle):
        train(run)
        steps, returns = curves[run.folder.name] = evaluation_curve(run.folder)
        told = ", ".join(f"{mean:.0f} at {step}" for step, mean in zip(steps, returns.mean(0), strict=True))
        print(f"{run.folder.name}: return {told}")
    return curves


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["runs/oracle_or_model"]))
