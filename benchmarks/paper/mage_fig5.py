"""MAGE, Fig. 5: without the TD error (λ = 0) the critic's action gradient collapses, and nothing is learned.

    python benchmarks/paper/mage_fig5.py                  # train what is missing, then draw; resumes
    python benchmarks/paper/mage_fig5.py --summary        # only draw what there is

MAGE-DDPG (one critic, no delay) on Pendulum with its true dynamics in the model's place, as in the paper, for λ in
{0, 0.05, 0.2}: returns, and the mean ‖∇_a Q(s, π(s))‖ of the batches. `cpu` preset, 5 seeds.

Writes benchmarks/results/mage-fig5.{csv,json,png}.
"""

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import measurements
import numpy as np

from pbrl.agents import mage
from pbrl.parallel import devices
from pbrl.presets import lookup, overrides
from pbrl.report import plots, stats
from pbrl.report.curves import evaluation_curve
from pbrl.runs.log import read_rows
from pbrl.runs.placement import default_seed_mode
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule

RESULTS = Path(__file__).parents[1] / "results"
ENV, SEEDS, STEPS, EVERY, METRIC = "pbrl/MagePendulum-v0", 5, 3_000, 250, "critic/action_gradient"
SCALES = {0.0: 20.0, 0.05: 20.0, 0.2: 5.0}  # λ: scale of the loss, 1/λ as released; at λ = 0 that of 0.05


def make_run(lam: float, root: Path) -> Run:
    """Return the run of one λ."""
    changes = {**lookup.preset("cpu", "mage", ENV), "config.lam": lam, "config.loss_scale": SCALES[lam]}
    changes |= {"config.critics": 1, "config.policy_delay": 1}
    changes |= {"schedule.total_steps": STEPS, "schedule.log_every": EVERY, "schedule.eval_every": EVERY}
    config, schedule = overrides.apply(mage.Config(), Schedule(), changes)
    run = Run("mage", ENV, tuple(range(SEEDS)), config, schedule, root / f"lambda-{lam:g}", default_seed_mode())
    return replace(run, oracle="fidelity")


def metric(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return steps [T] and ‖∇_a Q‖ [N, T] since updates began."""
    rows = [row for row in read_rows(run.folder, "train") if METRIC in row]
    return np.array([row["step"] for row in rows]), np.array([row[METRIC] for row in rows]).T


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="train nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs/mage-fig5"), help="where the runs are")
    arguments = parser.parse_args()
    devices.use_cores(SEEDS)
    runs = {f"λ = {lam:g}": make_run(lam, arguments.runs) for lam in SCALES}
    if not arguments.summary:
        from pbrl.train import host

        for label, run in runs.items():
            print(label, flush=True)
            host.train(run)
    RESULTS.mkdir(exist_ok=True)
    curves: dict[str, dict[str, Any]] = {"return": {}, "‖∇ₐQ‖": {}}
    summary: dict[str, Any] = {"command": "python benchmarks/paper/mage_fig5.py", "rows": {}}
    with open(RESULTS / "mage-fig5.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "seed", "step", "quantity", "value"])
        for label, run in runs.items():
            for quantity, (steps, values) in (("return", evaluation_curve(run.folder)), ("‖∇ₐQ‖", metric(run))):
                curves[quantity][label] = steps, values
                for seed, of_seed in zip(run.seeds, values, strict=True):
                    cells = zip(steps, of_seed, strict=True)
                    writer.writerows([label, seed, t, quantity, f"{x:.5g}"] for t, x in cells)
            last = {quantity: stats.aggregate(curves[quantity][label][1][:, -1]) for quantity in curves}
            summary["rows"][label] = {k: vars(v) for k, v in last.items()} | measurements.facts(run.folder)
            print(label, "  ".join(f"{k} {v.mean:.3g} [{v.low:.3g}, {v.high:.3g}]" for k, v in last.items()))
    (RESULTS / "mage-fig5.json").write_text(json.dumps(summary, indent=1) + "\n")
    plots.panels(curves, RESULTS / "mage-fig5.png", "MAGE-DDPG with true dynamics on Pendulum (Fig. 5)", ylabel="")


if __name__ == "__main__":
    main()
