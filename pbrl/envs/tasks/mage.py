"""The MAGE tasks on today's Gymnasium physics (D'Oro and Jaśkowski 2020, code `envs/gymmb/`).

Each task's reward and termination can be computed from what an agent sees, `(obs, action, next_obs)`: see
`rewards.py`. `docs/environments.md` lists how each differs from the original.
"""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from pbrl.envs.tasks.wrappers import ForwardVelocity


class RewardBefore(gymnasium.Wrapper):
    """Pusher's reward on the observation before the step, as its first version had it; distances are those of s."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        before = self.env.unwrapped._get_obs()  # pyright: ignore[reportAttributeAccessIssue]
        tip, thing, goal = before[14:17], before[17:20], before[20:23]
        near, distance = np.linalg.norm(thing - tip), np.linalg.norm(thing - goal)
        obs, _, terminated, truncated, info = self.env.step(action)
        return obs, float(-distance - 0.5 * near - 0.1 * np.square(action).sum()), terminated, truncated, info


def half_cheetah(**kwargs: Any) -> gymnasium.Env:
    """HalfCheetah, 18 numbers: Δx/dt, qpos without x, qvel."""
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

    return ForwardVelocity(HalfCheetahEnv(**kwargs), control=0.1, alive=0.0)


def hopper(**kwargs: Any) -> gymnasium.Env:
    """Hopper, 12 numbers: Δx/dt, qpos without x, qvel clipped to ±10."""
    from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

    return ForwardVelocity(HopperEnv(**kwargs), control=1e-3, alive=1.0)


def walker2d(**kwargs: Any) -> gymnasium.Env:
    """Walker2d, 18 numbers: Δx/dt, qpos without x, qvel clipped to ±10; with the feet of the original, 0.9 and 1.9."""
    from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

    return ForwardVelocity(Walker2dEnv(xml_file="walker2d.xml", **kwargs), control=1e-3, alive=1.0)


def swimmer(**kwargs: Any) -> gymnasium.Env:
    """Swimmer, 10 numbers: all of qpos and qvel."""
    from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv

    return SwimmerEnv(exclude_current_positions_from_observation=False, **kwargs)


def pusher(**kwargs: Any) -> gymnasium.Env:
    """Pusher, 23 numbers: joint angles and velocities, positions of tip, object and goal."""
    from gymnasium.envs.mujoco.pusher_v5 import PusherEnv

    return RewardBefore(PusherEnv(**kwargs))


def pendulum(**kwargs: Any) -> gymnasium.Env:
    """Pendulum-v1, unchanged: cos θ, sin θ and the angular velocity."""
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    return PendulumEnv(**kwargs)
