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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pbrl import config as configs
from pbrl import presets, stats
from pbrl.train.run import Run, agent_module
from pbrl.train.schedule import Schedule

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One curve: an agent on a task with changes to its preset."""

    label: str
    agent: str
    env: str
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """Curves that belong in one picture."""

    rows: tuple[Row, ...]
    preset: str
    steps: int
    seeds: int
    eval_every: int
    title: str


PENDULUM, CARTPOLE = "pbrl/MagePendulum-v0", "pbrl/MageCartPole-v0"


def against_baselines(*envs: str) -> tuple[Row, ...]:
    """MAGE and the paper's three baselines (Fig. 2) on each task."""
    return tuple(
        row
        for env in envs
        for row in (
            Row("MAGE", "mage", env),
            Row("Dyna-TD3", "dyna", env),
            Row("TD3 ×10", "td3", env, {"schedule.updates_per_step": 10}),
            Row("TD3", "td3", env, {"schedule.updates_per_step": 1}),
        )
    )


def lam(value: float) -> dict[str, float]:
    """Set λ as the released code does: the TD error keeps its weight of 1, the gradient term has 1/λ."""
    return {"config.lam": value, "config.loss_scale": 1 / value}


def capacity(members: int, *widths: int) -> dict[str, Any]:
    """Set the model's size."""
    return {"config.ensemble_size": members, "config.model_hidden": widths}


SUITES = {
    "mage-classic": Suite(
        against_baselines(PENDULUM, CARTPOLE), "paper", 5_000, 5, 500, "MAGE and its baselines, paper's sizes"
    ),
    "mage-classic-cpu": Suite(against_baselines(PENDULUM), "cpu", 3_000, 5, 500, "MAGE and its baselines, CPU sizes"),
    "mage-mujoco": Suite(
        against_baselines("pbrl/MageHalfCheetah-v0"), "cpu", 20_000, 3, 1_000, "MAGE and its baselines, CPU sizes"
    ),
    "mage-lambda": Suite(
        tuple(Row(f"λ = {v:g}", "mage", PENDULUM, lam(v)) for v in (0.01, 0.05, 0.2, 1.0)),
        "cpu", 4_000, 5, 500, "Weight of the TD error beside its action gradient (Fig. 8)",
    ),
    "mage-reward": Suite(
        tuple(
            Row(f"{name}, {kind} reward", agent, PENDULUM, {"config.learn_reward": kind == "learned"})
            for name, agent in (("MAGE", "mage"), ("Dyna-TD3", "dyna"))
            for kind in ("known", "learned")
        ),
        "cpu", 4_000, 5, 500, "Known and learned reward (Fig. 6)",
    ),
    "mage-capacity": Suite(
        tuple(
            Row(f"{name}, {members}×{widths}", agent, PENDULUM, capacity(members, *widths))
            for name, agent in (("MAGE", "mage"), ("Dyna-TD3", "dyna"))
            for members, widths in ((5, (128, 128)), (2, (64, 64)), (1, (32,)))
        ),
        "cpu", 4_000, 5, 500, "Capacity of the model (Fig. 7)",
    ),
}  # fmt: skip


def make_run(suite: Suite, name: str, row: Row, seeds: int, steps: int) -> Run:
    """Turn a row into the run that `host.train` takes."""
    module = agent_module(row.agent)
    schedule = replace(Schedule(), total_steps=steps)
    both = {"config": module.Config(), "schedule": schedule}
    changes = {**presets.preset(suite.preset, row.agent, row.env), **row.changes}
    changes |= {"schedule.total_steps": steps, "schedule.eval_every": suite.eval_every}
    for path, value in changes.items():
        part, rest = path.split(".", 1)
        both[part] = configs.override(both[part], {rest: value}, part)
    slug = row.label.replace("×", "x").replace("λ", "lambda").translate(str.maketrans(" /,()=", "------"))
    folder = Path("runs") / name / row.env.split("/")[-1] / slug
    return Run(row.agent, row.env, tuple(range(seeds)), both["config"], both["schedule"], folder)


def train_all(runs: list[Run], minutes: float | None) -> None:
    """Train run after run; after `minutes` the process stops as on SIGTERM, saved and ready to go on."""
    from pbrl.train.host import train

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

        train(run, report)


def area(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Return each seed's mean return over the steps of its curve (area under it, per step), `[N]`."""
    return np.trapezoid(returns, steps, axis=-1) / (steps[-1] - steps[0])


def summarise(name: str, suite: Suite, rows: list[tuple[Row, Run]]) -> None:
    """Write CSV, JSON and picture of everything that has been evaluated, and print the table."""
    from pbrl import plots

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
            steps, returns = plots.evaluation_curve(run.folder)
            returns, steps = returns[:, steps <= run.schedule.total_steps], steps[steps <= run.schedule.total_steps]
            for seed, values in zip(run.seeds, returns, strict=True):
                writer.writerows([row.env, row.label, seed, t, f"{v:.3f}"] for t, v in zip(steps, values, strict=True))
            groups.setdefault(row.env, {})[row.label] = steps, returns
            areas, final = stats.aggregate(area(steps, returns)), stats.aggregate(returns[:, -1])
            details = json.loads((run.folder / "config.json").read_text())
            entry = {"env": row.env, "label": row.label, "steps": int(steps[-1])}
            entry |= {"area": vars(areas), "final": vars(final), "final_per_seed": returns[:, -1].round(1).tolist()}
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
    rows = [(row, make_run(suite, args.suite, row, seeds, steps)) for row in suite.rows]
    if not args.summary:
        from pbrl.train.stopping import Stopped

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
