"""Learning curves of whole suites: every row of a suite is one run of N seeds, resumable, then one CSV, JSON and PNG.

    python benchmarks/learning_curves.py --suite mage-classic            # train what is missing, then summarise
    python benchmarks/learning_curves.py --suite mage-classic --minutes 20   # in slices: the same command goes on
    python benchmarks/learning_curves.py --suite mage-classic --summary      # only summarise what there is

Runs live in runs/<suite>/<task>/<label>; results go to benchmarks/results/<suite>.{csv,json,png}.
"""

import argparse
import csv
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from suites import PENDULUM, SUITES, Row, Suite, make_run

from pbrl.parallel import devices
from pbrl.report import stats
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.train.drivers import driver_module

RESULTS = Path(__file__).parent / "results"


def train_all(runs: list[Run], minutes: float | None) -> None:
    """Train run after run; after `minutes` the process stops as on SIGTERM, saved and ready to go on."""
    if minutes:
        timer = threading.Timer(minutes * 60, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    for run in runs:
        print(f"{run.folder}: {len(run.seeds)} seeds, {run.schedule.total_steps} steps", flush=True)
        began = time.perf_counter()

        def report(p: Any, began: float = began) -> None:
            if p.step % 500 == 0 and "eval/return" in p.evaluation:
                mean = np.mean(p.evaluation["eval/return"])
                print(f"  step {p.step}: return {mean:.1f}, {time.perf_counter() - began:.0f} s", flush=True)

        driver_module(run).train(run, report)


def area(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Return each seed's mean return over the steps of its curve (area under it, per step), `[N]`."""
    return np.trapezoid(returns, steps, axis=-1) / (steps[-1] - steps[0])


def summarise(name: str, suite: Suite, rows: list[tuple[Row, Run]]) -> None:
    """Write CSV, JSON and picture of everything that has been evaluated, and print the table."""
    from pbrl.report import plots
    from pbrl.report.curves import evaluation_curve

    groups: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    summary: dict[str, Any] = {
        "suite": name,
        "command": f"python benchmarks/learning_curves.py --suite {name}",
        "runs": [],
    }
    with open(RESULTS / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["env", "label", "seed", "step", "return"])
        for row, run in rows:
            if not (run.folder / "config.json").exists():
                continue
            steps, returns = evaluation_curve(run.folder)
            returns, steps = returns[:, steps <= run.schedule.total_steps], steps[steps <= run.schedule.total_steps]
            for seed, values in zip(run.seeds, returns, strict=True):
                writer.writerows([row.env, row.label, seed, t, f"{v:.3f}"] for t, v in zip(steps, values, strict=True))
            groups.setdefault(row.env, {})[row.label] = steps, returns
            areas, final = stats.aggregate(area(steps, returns)), stats.aggregate(returns[:, -1])
            details = json.loads((run.folder / "config.json").read_text())
            entry = {"env": row.env, "label": row.label, "steps": int(steps[-1])}
            entry |= {"area": vars(areas), "final": vars(final), "final_per_seed": returns[:, -1].round(1).tolist()}
            if (train_rows := read_rows(run.folder, "train")) and "critic/q" in train_rows[-1]:
                entry["last_q_per_seed"] = np.round(train_rows[-1]["critic/q"], 1).tolist()  # shows what diverges
            if row.env == PENDULUM:
                first = [int(steps[np.argmax(r >= -200)]) if (r >= -200).any() else None for r in returns]
                entry["first_step_at_or_above_-200"] = first
            summary["runs"].append({**entry, "settings": details})
            print(
                f"{row.env:26s} {row.label:28s} {int(steps[-1]):6d} steps  area {areas.mean:9.1f} "
                f"[{areas.low:.1f}, {areas.high:.1f}]  final {final.mean:9.1f} [{final.low:.1f}, {final.high:.1f}]  "
                f"n = {len(run.seeds)}"
            )
    (RESULTS / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    plots.panels(groups, RESULTS / f"{name}.png", suite.title)


def main() -> None:
    """Run a suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument("--seeds", type=int, help="seeds 0 … N-1 (default: the suite's)")
    parser.add_argument("--steps", type=int, help="environment steps per seed (default: the suite's)")
    parser.add_argument("--only", nargs="+", help="labels to train")
    parser.add_argument("--env", help="environment to train on, of those in the suite")
    parser.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    args = parser.parse_args()
    suite = SUITES[args.suite]
    seeds, steps = args.seeds or suite.seeds, args.steps or suite.steps
    devices.use_cores(seeds)
    rows = [(row, make_run(suite, args.suite, row, seeds, steps)) for row in suite.rows]
    if not args.summary:
        from pbrl.errors import Stopped

        try:
            wanted = [
                run for row, run in rows if row.label in (args.only or [row.label]) and row.env == (args.env or row.env)
            ]
            train_all(wanted, args.minutes)
        except Stopped as stopped:
            print(stopped)
            sys.exit(stopped.exit_code)
    RESULTS.mkdir(exist_ok=True)
    summarise(args.suite, suite, rows)


if __name__ == "__main__":
    main()
