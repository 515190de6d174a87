"""An environment of your own with a known reward, trained by MAGE: a block pushed along a rail to a target.

    python examples/rail.py     # about half a minute on one core

The known reward is held against the environment first.
"""

from pathlib import Path

import gymnasium
import jax.numpy as jnp
import numpy as np

from pbrl import mage
from pbrl.envs.gym import GymEnv
from pbrl.envs.tasks.rewards import KNOWN, never
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.host import train


class Rail(gymnasium.Env):
    """Observation: position, velocity and target; action: force."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([0.0, 0.0, self.np_random.uniform(-1, 1)])
        return self.state.copy(), {}

    def step(self, action):
        x, v, target = self.state
        v = 0.95 * v + 0.1 * float(action[0])
        self.state = np.array([x + 0.1 * v, v, target])
        return self.state.copy(), -((self.state[0] - target) ** 2) - 0.01 * float(action[0]) ** 2, False, False, {}


def reward(obs, action, next_obs):
    """What `step` pays, with the action in [-1, 1]."""
    return -jnp.square(next_obs[..., 0] - next_obs[..., 2]) - 0.01 * jnp.square(2.0 * action[..., 0])


gymnasium.register("Rail-v0", Rail, max_episode_steps=50)  # pyright: ignore[reportArgumentType]
KNOWN["Rail-v0"] = reward, never


def main(folder="runs/rail", steps=1_500):
    """Check the reward against the environment, train, and return the last evaluation's mean return."""
    env, rng = GymEnv("Rail-v0"), np.random.default_rng(0)
    obs = env.reset(seed=0)
    for _ in range(50):
        action = rng.uniform(-1, 1, 1)
        step = env.step(action)
        np.testing.assert_allclose(reward(obs, action, step.next_obs), step.reward, atol=1e-5)
        obs = step.next_obs
    config = mage.Config(
        actor_hidden=(32, 32), critic_hidden=(64, 64), model_hidden=(64, 64), ensemble_size=4, actor_lr=1e-3,
        critic_lr=1e-3, model_lr=1e-3,
    )  # fmt: skip
    schedule = Schedule(
        total_steps=steps, warmup_steps=200, batch_size=128, updates_per_step=4, model_min_batches=20, eval_every=500,
        log_every=500,
    )  # fmt: skip
    progress = train(Run("mage", "Rail-v0", (0,), config, schedule, Path(folder)))
    return float(progress.evaluation["eval/return"].mean())


if __name__ == "__main__":
    print(f"mean evaluation return: {main():.2f}")
