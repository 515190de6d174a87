"""The best policy of each headline agent on the tasks of its suite, as small files that `examples/watch.py` plays.

    python benchmarks/best_policies.py            # from runs/<suite>/..., as learning_curves.py trains them
    python benchmarks/best_policies.py --page     # only write the table of examples/policies/README.md

Of a suite's seeds that one is taken whose best evaluation is highest. Its score is from episodes that no evaluation of
the run has seen. A task whose runs are not here keeps the policy that lies there.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from suites import SUITES, make_runs

from pbrl.report.curves import evaluation_curve
from pbrl.runs import record
from pbrl.runs.run import Run
from pbrl.trained import export, play, restore
from pbrl.trained.policy import Policy

PLACE = Path(__file__).parents[1] / "examples" / "policies"
HEADLINES = {"svg-mujoco": "SVG(2)", "maac-mujoco": "MAAC", "mage-mujoco": "MAGE"}
TASKS = ("HalfCheetah", "Hopper", "Walker2d")
EPISODES = 100


def best(runs: list[Run]) -> Run | None:
    """Return the run of one seed whose best evaluation is highest, or nothing where none has been saved."""
    saved = [run for run in runs if (run.folder / "checkpoints" / "best").is_dir()]
    return max(saved, key=lambda run: np.nanmax(evaluation_curve(run.folder)[1]), default=None)


def write(run: Run, folder: Path) -> None:
    """Export a run's best policy, with its score over fresh episodes."""
    run = record.run_of(run.folder)
    acting = restore.policies(run, restore.BEST)
    policy = Policy(run, acting)
    export.write(policy, folder, ["numpy"])
    (folder / "policy.py").unlink()  # pbrl.trained.numpy_policy is the same
    returns = play.played(run, play.policies(run, acting.state), int(acting.steps[0]), EPISODES).returns[0]
    score = {"return": returns.mean(), "std": returns.std(), "episodes": EPISODES}
    (folder / "score.json").write_text(json.dumps({k: round(float(v), 1) for k, v in score.items()}) + "\n")
    print(f"{folder.name}: seed {policy.seeds[0]}, step {policy.step}, return {returns.mean():.0f}")


def page() -> str:
    """Return the table of what lies there."""
    lines = [
        "# Policies to watch",
        "",
        "The best seed's best policy of each headline agent in the suites at `cpu` sizes. Choosing the best flatters:",
        "[results](../../docs/results/index.md) has means over seeds. `python examples/watch.py FOLDER` films one, and",
        "`python benchmarks/best_policies.py` writes this page.",
        "",
        f"| folder | agent | task | seed | step | return of {EPISODES} fresh episodes |",
        "|---|---|---|---|---|---|",
    ]
    for folder in sorted(path.parent for path in PLACE.glob("*/policy.json")):
        about, score = (json.loads((folder / name).read_text()) for name in ("policy.json", "score.json"))
        lines.append(
            f"| [`{folder.name}`]({folder.name}) | `{about['agent']}` | `{about['env']}` | {about['seed']} "
            f"| {about['step']:,} | {score['return']:,.0f} ± {score['std']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the policies that the runs here give, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="only write the table")
    args = parser.parse_args()
    for name, label in {} if args.page else HEADLINES.items():
        suite = SUITES[name]
        for row in suite.rows:
            task = next((task for task in TASKS if task in row.env), None)
            if row.label == label and task and (run := best(make_runs(suite, name, row, suite.seeds, suite.steps))):
                write(run, PLACE / f"{row.agent}-{task}")
    (PLACE / "README.md").write_text(page())


if __name__ == "__main__":
    main()
