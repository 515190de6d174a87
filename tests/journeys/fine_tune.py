"""Begin a run with what another has learned, on a task that has changed."""

import subprocess

import numpy as np

import pbrl
from pbrl.report.curves import evaluation_curve

SMALL = "--config.actor-hidden 8,8 --config.critic-hidden 16,16 --schedule.batch-size 16 --schedule.eval-episodes 1"


def train(words):
    line = f"pbrl train sac --env Pendulum-v1 --preset cpu {SMALL} {words}"
    subprocess.run(line.split(), check=True, stdout=subprocess.DEVNULL)


train("--steps 120 --schedule.warmup-steps 60 --out first")
train("--steps 40 --env-kwargs g=5.0 --init first --schedule.warmup-steps 0 --out tuned")
train("--steps 60 --env-kwargs g=5.0 --init first --schedule.warmup-steps 0 --out tuned")  # goes on by itself

obs = np.random.default_rng(0).normal(size=(20, 3))
first, tuned = (pbrl.load(folder)(obs) for folder in ("first", "tuned"))
assert pbrl.load("tuned").step == 60 and pbrl.load("tuned").run.env_kwargs == {"g": 5.0}
assert 0 < np.abs(first - tuned).max() < 1.0, "the second run did not begin where the first had ended"
steps, returns = evaluation_curve("tuned")
assert steps[0] == 0 and np.isfinite(returns).all()
