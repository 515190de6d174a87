"""Learning curves of whole suites, resumable, then one CSV, JSON and PNG of each.

    python benchmarks/learning_curves.py --suite mage-classic            # train what is missing, then summarise
    python benchmarks/learning_curves.py --suite mage-classic --minutes 20   # in slices: the same command goes on
    python benchmarks/learning_curves.py --suite mage-classic --summary      # only summarise what there is
    taskset -c 1 python benchmarks/learning_curves.py --suite svg-mujoco     # on one core, beside other work

Runs live in runs/<suite>/<task>/<label>, those of a long suite one for each seed below it; runs/<suite>/progress.txt
says how far all have come. Results go to benchmarks/results/<suite>.{csv,json,png} and add to what is there. The
command may run several times at once, on other cores: what one trains, the others pass over. `results_pages.py` writes
the tables of docs/results from them.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from curves import RESULTS, Entry, finished, gather, write_csv
from suites import PENDULUM, SUITES, Row, Suite, make_runs

from pbrl.errors import Busy, Stopped
from pbrl.parallel import devices
from pbrl.report import stats
from pbrl.runs.run import Run
from pbrl.train.drivers import driver_module

Rows = Sequence[tuple[Row, Sequence[Run]]]


def train_all(name: str, rows: Rows, runs: Sequence[Run], minutes: float | None) -> None:
    """Train run after run; after `minutes` the process stops as on SIGTERM, saved and ready to go on."""
    if minutes:
        timer = threading.Timer(minutes * 60, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    for run in runs:
        print(f"{run.folder}: {len(run.seeds)} seeds, {run.schedule.total_steps} steps", flush=True)
        began = time.perf_counter()

        def report(p: Any, began: float = began, every: int = run.schedule.eval_every) -> None:
            if p.step % every == 0 and "eval/return" in p.evaluation:
                mean = np.mean(p.evaluation["eval/return"])
                print(f"  step {p.step}: return {mean:.1f}, {time.perf_counter() - began:.0f} s", flush=True)
                write_progress(name, rows)

        try:
            driver_module(run).train(run, report)
        except Busy as error:
            print(f"  {error}", flush=True)


def write_progress(name: str, rows: Rows) -> None:
    """Write a line for every row with what each seed has: its last step and return."""
    lines = []
    for entry in gather(name, rows)[0]:
        seeds = (f"{seed}: {c.returns[-1]:.0f} at {c.end}" for seed, c in sorted(entry.seeds.items()))
        lines.append(f"{entry.row.env:26s} {entry.row.label:24s} {'; '.join(seeds) or '-'}")
    path = Path("runs") / name / "progress.txt"
    part = path.with_suffix(f".{os.getpid()}.tmp")
    part.write_text("\n".join(lines) + "\n")
    part.replace(path)


def area(steps: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """Return each seed's mean return over the steps of its curve (area under it, per step), `[N]`."""
    return np.trapezoid(returns, steps, axis=-1) / (steps[-1] - steps[0])


def summarise(name: str, suite: Suite, entries: Sequence[Entry], steps: int) -> None:
    """Write CSV, JSON and picture of everything that has been evaluated, and print the table."""
    from pbrl.report import plots
    from pbrl.report.curves import merge

    groups: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    temperatures: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    summary: dict[str, Any] = {
        "suite": name,
        "command": f"python benchmarks/learning_curves.py --suite {name}",
        "runs": [],
    }
    for entry in entries:
        counted = finished(entry, steps)
        if not counted:
            continue
        row, grid = entry.row, merge([(c.steps, c.returns[None]) for c in counted.values()])
        groups.setdefault(row.env, {})[row.label] = grid
        warm = merge([(c.steps, c.alpha[None]) for c in counted.values()])
        if np.isfinite(warm[1]).any():
            temperatures.setdefault(f"{row.env}: temperature α", {})[row.label] = warm
        areas, final = stats.aggregate(area(*grid)), stats.aggregate(grid[1][:, -1])
        result = {"env": row.env, "label": row.label, "steps": int(grid[0][-1]), "seeds": list(counted)}
        if under_way := sorted(entry.seeds.keys() - counted.keys()):
            result["under_way"] = {seed: entry.seeds[seed].end for seed in under_way}
        result |= {"area": vars(areas), "final": vars(final), "final_per_seed": grid[1][:, -1].round(1).tolist()}
        result["last"] = {seed: {k: round(v, 4) for k, v in c.last.items()} for seed, c in entry.seeds.items()}
        if row.env == PENDULUM:
            first = [int(grid[0][np.argmax(r >= -200)]) if (r >= -200).any() else None for r in grid[1]]
            result["first_step_at_or_above_-200"] = first
        summary["runs"].append({**result, "settings": entry.details})
        print(
            f"{row.env:26s} {row.label:28s} {result['steps']:6d} steps  area {areas.mean:9.1f} "
            f"[{areas.low:.1f}, {areas.high:.1f}]  final {final.mean:9.1f} [{final.low:.1f}, {final.high:.1f}]  "
            f"n = {len(counted)}"
        )
    RESULTS.mkdir(exist_ok=True)
    write_csv(name, entries)
    (RESULTS / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    if any(entry.row.agent == "maac" for entry in entries):  # whose temperature may carry everything else away
        look = {"columns": len(groups), "ylabel": ""}
        plots.panels({**groups, **temperatures}, RESULTS / f"{name}.png", f"{suite.title}: evaluation return", **look)
    else:
        plots.panels(groups, RESULTS / f"{name}.png", suite.title)


def main() -> None:
    """Run a suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", required=True, choices=SUITES)
    parser.add_argument("--seeds", type=int, help="seeds 0 … N-1 (default: the suite's)")
    parser.add_argument("--steps", type=int, help="environment steps per seed (default: the suite's)")
    parser.add_argument("--only", nargs="+", default=[], help="labels to train")
    parser.add_argument("--env", nargs="+", default=[], help="environments to train on, or parts of their names")
    parser.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    args = parser.parse_args()
    suite = SUITES[args.suite]
    for label in set(args.only) - {row.label for row in suite.rows}:
        parser.error(f"--only {label}: {args.suite} has {', '.join(sorted({row.label for row in suite.rows}))}")
    for part in args.env:
        if not any(part in row.env for row in suite.rows):
            parser.error(f"--env {part}: {args.suite} has {', '.join(sorted({row.env for row in suite.rows}))}")
    seeds, steps = args.seeds or suite.seeds, args.steps or suite.steps
    devices.use_cores(1 if suite.alone else seeds)
    rows = [(row, make_runs(suite, args.suite, row, seeds, steps)) for row in suite.rows]
    if not args.summary:
        wanted = [
            (entry, run)
            for entry, (row, runs) in zip(gather(args.suite, rows)[0], rows, strict=True)
            for run in runs
            if row.label in (args.only or [row.label]) and any(part in row.env for part in args.env or [row.env])
        ]
        missing = [
            run for entry, run in wanted if any(s not in entry.seeds or entry.seeds[s].end < steps for s in run.seeds)
        ]
        missing.sort(key=lambda run: run.seeds)  # a seed of every row, then the next: all comparisons grow together
        try:
            train_all(args.suite, rows, missing, args.minutes)
        except Stopped as stopped:
            print(stopped)
            sys.exit(stopped.exit_code)
    entries, words = gather(args.suite, rows)
    print(*words, sep="\n")
    summarise(args.suite, suite, entries, steps)


if __name__ == "__main__":
    main()
