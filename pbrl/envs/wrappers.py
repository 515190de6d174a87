"""Wrappers that several tasks share. None holds state of its own: `snapshot.py` relies on that."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box


class ForwardVelocity(gymnasium.Wrapper):
    """Put Δx/dt of the last step in front of the observation (0 after a reset), and pay for it.

    `reward = Δx/dt + alive - control · ‖a‖²`; the bonus is paid on the terminating step too, as MuJoCo-v2 tasks did.
    """

    def __init__(self, env: gymnasium.Env, control: float, alive: float):
        super().__init__(env)
        self.control, self.alive = control, alive
        size = env.observation_space.shape[0] + 1  # pyright: ignore[reportOptionalSubscript]
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float64)

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        obs, info = self.env.reset(**kwargs)
        return np.concatenate([[0.0], obs]), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        obs, _, terminated, truncated, info = self.env.step(action)
        velocity = info["x_velocity"]
        reward = velocity + self.alive - self.control * np.square(action).sum()
        return np.concatenate([[velocity], obs]), float(reward), terminated, truncated, info
