"""An environment of one's own, trained, evaluated, and exported to where there is no pbrl."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np

import pbrl
from pbrl import mage
from pbrl.envs.tasks.rewards import KNOWN, never
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.host import train


class Cart(gymnasium.Env):
    """Push a cart to the origin: place and speed, force."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-3.0, 3.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.uniform(-1, 1, 2).astype(np.float32), 0
        return self.state.copy(), {}

    def step(self, action):
        x, v = self.state
        self.state, self.steps = np.array([x + 0.1 * v, v + 0.1 * action[0]], np.float32), self.steps + 1
        return self.state.copy(), -float(self.state[0] ** 2), False, self.steps == 40, {}


def reward(obs, action, next_obs):
    return -jnp.square(next_obs[..., 0])


def by_itself(*words):
    """Run Python in the exported folder, without this program's modules; return the number that it prints."""
    done = subprocess.run([sys.executable, *words], cwd="policy", capture_output=True, text=True, check=True)
    return float(done.stdout)


BY_ONNX = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession("policy.onnx", providers=["CPUExecutionProvider"])
print(session.run(["action"], {"obs": numpy.array([[0.3, -0.2]], numpy.float32)})[0].item())
assert not {"jax", "pbrl"} & sys.modules.keys()
"""

KNOWN[pbrl.envs.factory.name_of(Cart)] = reward, never
small = mage.Config(actor_hidden=(8, 8), critic_hidden=(16, 16), model_hidden=(16, 16), ensemble_size=2)
schedule = Schedule(
    total_steps=120, warmup_steps=60, batch_size=16, updates_per_step=1, model_batch_size=16, model_min_batches=2,
    eval_every=60, eval_episodes=2,
)  # fmt: skip
progress = train(Run("mage", Cart, (0,), small, schedule, Path("run")))
assert np.isfinite(progress.evaluation["eval/return"]).all()

policy, env = pbrl.load("run"), Cart()  # evaluated in a loop of one's own
obs, _ = env.reset(seed=0)
for _ in range(40):
    obs, _, _, over, _ = env.step(policy(obs))
assert over

subprocess.run(["pbrl", "export", "run", "--out", "policy", "--formats", "numpy,onnx"], check=True)
expected = policy(np.array([0.3, -0.2], np.float32)).item()
for words in (["policy.py", "0.3", "-0.2"], ["-c", BY_ONNX]):
    action = by_itself(*words)
    assert abs(action - expected) < 1e-4, (words, action, expected)
