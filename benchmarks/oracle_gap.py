"""What the learned model costs: returns and gradients of the same agents with it and with the true dynamics.

    python benchmarks/learning_curves.py --suite oracle-pendulum      # trains; then
    python benchmarks/oracle_gap.py --suite oracle-pendulum

Both runs of a pair share update, sizes, seeds and keys, so that what parts their returns is the model. Below the
returns is what `pbrl diagnose` measures while they train: the cosine between the gradient through the learned model and
that through the truth, MAGE's of r + γQ in the action, SVG's and MAAC's of the value expansion in the policy, at the
measured horizon next to the agent's own. The table by horizon, of the learned runs' last diagnosis, splits what goes
wrong with long rollouts: a cosine that falls is the model's error, a norm that grows and a signal that drowns in noise
(of the *true* gradient) is the rollout's own, and imagined rewards far above real ones are a model that is exploited.
`all along` are medians of that cosine over seeds and all diagnoses. Runs are compared with the learned one over the
steps that both have, where one has come further.

Writes benchmarks/results/<suite>-gap.json, and draws oracle-gap.png of all suites' results there.
"""

import argparse
import csv
import json
from typing import Any

import numpy as np
from learning_curves import RESULTS, area
from suites import SUITES, Suite, make_runs

from pbrl.diagnose import diagnosis
from pbrl.report import plots, stats
from pbrl.report.curves import evaluation_curve
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run

ORACLE_SUITES = [name for name in SUITES if name.startswith("oracle-")]
AGENTS = ("MAGE", "SVG(2)", "MAAC", "SVG(10)")
BY_HORIZON = ("cosine", "norm", "true_norm", "true_snr", "imagined", "real")


def nearest(run: Run, what: str) -> str:
    """Return the name of the cosine or error that belongs to an agent's own gradient."""
    if run.agent == "mage":
        return f"diagnose/action_{what}"
    return f"diagnose/{what}_h{min(diagnosis.HORIZONS, key=lambda h: abs(np.log(h / run.config.horizon)))}"


def series(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return a metric of all seeds with its steps."""
    steps, values = [int(row["step"]) for row in rows], np.array([row[name] for row in rows], float)
    return {"of": name, "steps": steps, "per_seed": values.T.tolist()}


def all_along(diagnosed: list[dict[str, Any]]) -> dict[int, float]:
    """Return the median cosine of policy gradients by horizon, over seeds and all diagnoses."""
    return {h: float(np.median([row[f"diagnose/cosine_h{h}"] for row in diagnosed])) for h in diagnosis.HORIZONS}


def shared(where: str, kinds: dict[str, Any]) -> dict[str, Any]:
    """Print and return area and last return of runs over the steps that all of them have."""
    last = int(min(steps[-1] for steps, _ in kinds.values()))
    found: dict[str, Any] = {"what": where, "steps": last}
    for kind, (steps, values) in kinds.items():
        there = steps <= last
        areas, final = (stats.aggregate(x) for x in (area(steps[there], values[:, there]), values[:, there][:, -1]))
        found[kind] = {"area": vars(areas), "final": vars(final)}
        each = (f"{name} {x.mean:.1f} [{x.low:.1f}, {x.high:.1f}]" for name, x in (("area", areas), ("last", final)))
        print(f"{where}, {kind}, first {last} steps: {'  '.join(each)}")
    return found


def summarise(name: str, suite: Suite) -> None:
    """Print and write what there is of a suite."""
    runs_of: dict[str, dict[str, Any]] = {}
    report: dict[str, Any] = {"command": f"python benchmarks/oracle_gap.py --suite {name}", "runs": []}
    for row in suite.rows:
        (run,) = make_runs(suite, name, row, suite.seeds, suite.steps)
        steps, values = evaluation_curve(run.folder)
        if len(steps) < 2:
            continue
        agent = row.label.split(", ")[0]
        runs_of.setdefault(f"{agent}, {row.env}", {})[kind_of(row.label)] = steps, values
        mean = stats.aggregate(area(steps, values))
        entry = {"env": row.env, "label": row.label, "steps": int(steps[-1]), "area": vars(mean)}
        entry["length"] = series(read_rows(run.folder, "eval"), "eval/length")  # says who falls early
        line = f"{row.env:26s} {row.label:24s} area {mean.mean:8.1f} [{mean.low:.1f}, {mean.high:.1f}]"
        if diagnosed := read_rows(run.folder, "diagnose") if run.schedule.diagnose_every else []:
            last = diagnosed[-1]
            for what in ("cosine", "error", "agree"):
                if nearest(run, what) not in last:  # the share of states that agree is of MAGE's gradient alone
                    continue
                entry[what] = series(diagnosed, nearest(run, what))
                line += f"  {what} by seed at the end {[round(x[-1], 2) for x in entry[what]['per_seed']]}"
            entry["last_by_horizon"] = {
                what: {h: np.atleast_1d(last[f"diagnose/{what}_h{h}"]).tolist() for h in diagnosis.HORIZONS}
                for what in BY_HORIZON
            }
            entry["cosine_all_along"] = all_along(diagnosed)
            line += f"\n{'':28}all along "
            line += "".join(f"  H = {h}: {x:.3g}" for h, x in entry["cosine_all_along"].items())
            for what, by_horizon in entry["last_by_horizon"].items():
                line += f"\n{'':28}{what:10s}" + "".join(
                    f"  H = {h}: {np.median(x):.3g}" for h, x in by_horizon.items()
                )
        report["runs"].append(entry)
        print(line)
    report["shared"] = [
        shared(where, {"learned": kinds["learned"], kind: kinds[kind]})
        for where, kinds in runs_of.items()
        for kind in kinds
        if kind != "learned" and "learned" in kinds
    ]
    (RESULTS / f"{name}-gap.json").write_text(json.dumps(report, indent=1) + "\n")


def curves_of(name: str, env: str) -> dict[str, Any]:
    """Return what a suite's results hold of an environment, `label: (steps [T], returns [N, T])`."""
    seeds: dict[str, dict[str, list[tuple[int, float]]]] = {}
    with open(RESULTS / f"{name}.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["env"] == env:
                points = seeds.setdefault(row["label"], {}).setdefault(row["seed"], [])
                points.append((int(row["step"]), float(row["return"])))
    whole = {label: np.array(list(of_seed.values())) for label, of_seed in seeds.items()}
    return {label: (points[0, :, 0], points[..., 1]) for label, points in whole.items()}


def draw() -> None:
    """Draw what the results of all suites hold: for each environment a row of returns and one of cosines, by agent."""
    panels: dict[str, dict[str, Any]] = {}
    for name in ORACLE_SUITES:
        files = RESULTS / f"{name}.csv", RESULTS / f"{name}-gap.json"
        if not all(file.exists() for file in files):
            print(f"{name}: not drawn; learning_curves.py and this program with --suite {name} make {files}")
            continue
        runs = json.loads(files[1].read_text())["runs"]
        for env in dict.fromkeys(run["env"] for run in runs):
            found = {run["label"]: run for run in runs if run["env"] == env}
            curves = curves_of(name, env)
            for agent in AGENTS:
                panels[f"{agent}, {env}: return"] = {
                    kind_of(label): curves[label] for label in found if label.startswith(f"{agent},")
                }
            for agent in AGENTS:
                cosines = {
                    kind_of(label): run["cosine"]
                    for label, run in found.items()
                    if label.startswith(f"{agent},") and "cosine" in run
                }
                panels[f"{agent}, {env}: cosine{measured(cosines)}"] = {
                    kind: (np.array(x["steps"]), np.array(x["per_seed"])) for kind, x in cosines.items()
                }
    compared = [what for what in panels if "cosine" in what]
    ends = {what: {"same": 1.0, "unrelated": 0.0} for what in compared}
    whole = dict.fromkeys(compared, (-1.05, 1.2))
    title = "Learned model and true dynamics, CPU sizes: returns, and cosines of gradients through model and truth"
    path, columns = RESULTS / "oracle-gap.png", len(AGENTS)
    plots.panels(panels, path, title, columns=columns, references=ends, limits=whole, ylabel="", one_legend=True)


def kind_of(label: str) -> str:
    """Return what a run's dynamics are."""
    return label.split(", ")[1]


def measured(cosines: dict[str, Any]) -> str:
    """Say of which gradients these cosines are."""
    for x in cosines.values():
        return " of ∇ₐ" if "action" in x["of"] else f" at H = {x['of'].rpartition('_h')[2]}"
    return ""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=ORACLE_SUITES, help="summarise its runs (default: only draw)")
    if name := parser.parse_args().suite:
        summarise(name, SUITES[name])
    draw()


if __name__ == "__main__":
    main()
