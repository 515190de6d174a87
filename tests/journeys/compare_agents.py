"""Three agents over five seeds: curves with bands, intervals, probabilities of improvement."""

import subprocess
from pathlib import Path

from pbrl.report import stats
from pbrl.report.curves import evaluation_curve

SMALL = "--config.actor-hidden 8,8 --config.critic-hidden 16,16 --schedule.batch-size 16 --schedule.warmup-steps 20"
SHORT = "--env Pendulum-v1 --preset cpu --seeds 5 --steps 40 --schedule.eval-every 20 --schedule.eval-episodes 1"
AGENTS = {
    "sac": "",
    "td3": "",
    "mage": "--config.model-hidden 16,16 --config.ensemble-size 2 --schedule.model-min-batches 2",
}

for agent, more in AGENTS.items():
    words = f"pbrl train {agent} {SHORT} {SMALL} {more} --schedule.updates-per-step 1 --out {agent}"
    subprocess.run(words.split(), check=True, stdout=subprocess.DEVNULL)
subprocess.run(["pbrl", "plot", *AGENTS, "--out", "curves.png"], check=True)
assert Path("curves.png").stat().st_size > 10_000

final = {agent: evaluation_curve(Path(agent))[1][:, -1] for agent in AGENTS}
for agent, returns in final.items():
    whole = stats.aggregate(returns)
    assert whole.n == 5 and whole.low <= whole.mean <= whole.high and whole.iqm_low <= whole.iqm <= whole.iqm_high
    print(f"{agent}: {whole.mean:.0f} [{whole.low:.0f}, {whole.high:.0f}]")
assert 0 <= stats.probability_of_improvement(final["mage"], final["td3"]) <= 1
