"""Compare three agents over several seeds: intervals, probabilities of improvement, and a picture.

    python examples/compare_agents.py [FOLDER]     # about a quarter of an hour on two cores

The same command again resumes what was interrupted, and draws what is done at once.
"""

import sys
from pathlib import Path

from pbrl import dyna, mage, td3
from pbrl.presets.lookup import preset
from pbrl.presets.overrides import apply
from pbrl.report import plots, stats
from pbrl.report.curves import evaluation_curve
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.host import train

AGENTS, ENV = {"mage": mage, "dyna": dyna, "td3": td3}, "pbrl/MagePendulum-v0"
SIZES = {"schedule.total_steps": 3_000, "schedule.eval_every": 500, "schedule.eval_episodes": 10}


def main(folder, agents=AGENTS, seeds=range(5), changes=lambda agent: {}):
    """Train, and return each agent's final returns `[seeds]` and the picture's path."""
    runs = []
    for agent, module in agents.items():
        settings = preset("cpu", agent, ENV) | SIZES | changes(agent)
        config, schedule = apply(module.Config(), Schedule(), settings)
        runs.append(Run(agent, ENV, tuple(seeds), config, schedule, folder / agent))
        print(f"training {agent} …")
        train(runs[-1])

    final = {run.agent: evaluation_curve(run.folder)[1][:, -1] for run in runs}  # mean return of the last evaluation
    for agent, returns in final.items():
        all_of_it = stats.aggregate(returns)
        print(
            f"{agent:>5}: mean {all_of_it.mean:.0f} [{all_of_it.low:.0f}, {all_of_it.high:.0f}], interquartile mean "
            f"{all_of_it.iqm:.0f} [{all_of_it.iqm_low:.0f}, {all_of_it.iqm_high:.0f}], n = {all_of_it.n}"
        )
    first, *others = final
    for other in others:
        chance = stats.probability_of_improvement(final[first], final[other])
        print(f"a run of {first} beats a run of {other} with probability {chance:.2f}")
    picture = plots.run_curves([run.folder for run in runs], folder / "curves.png")
    print(picture)
    return final, picture


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["runs/compare"]))
