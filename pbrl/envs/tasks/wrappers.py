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


class BonusOnEveryStep(gymnasium.Wrapper):
    """Pay the bonus for being healthy on the terminating step too, as MuJoCo-v2 tasks did and -v5 does not."""

    def __init__(self, env: gymnasium.Env, bonus: float):
        super().__init__(env)
        self.bonus = bonus

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        missing = self.bonus - info["reward_survive"]
        return obs, float(reward) + missing, terminated, truncated, {**info, "reward_survive": self.bonus}


class StateReward(gymnasium.Wrapper):
    """Pay for the state *before* the step, as mbbl does; never terminate.

    `reward = speed - control · ‖a‖²`, plus `1 - 3 (z - height)²` where a height is given: speed is the root's velocity
    along x [m/s], z its height [m]. Observation: `qpos[hidden:]` and all of qvel, not clipped.
    """

    def __init__(self, env: gymnasium.Env, hidden: int, control: float, height: float | None = None):
        super().__init__(env)
        self.hidden, self.control, self.height = hidden, control, height
        self.observation_space = Box(-np.inf, np.inf, self._observe().shape, np.float64)

    @property
    def simulator(self) -> Any:
        """MuJoCo's data of the wrapped environment."""
        return self.env.unwrapped.data  # pyright: ignore[reportAttributeAccessIssue]

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        _, info = self.env.reset(**kwargs)
        return self._observe(), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        reward = self._speed() - self.control * np.square(action).sum()
        if self.height is not None:
            reward += 1.0 - 3.0 * (self.simulator.qpos[self.hidden] - self.height) ** 2
        _, _, _, truncated, info = self.env.step(action)
        return self._observe(), float(reward), False, truncated, info

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.simulator.qpos[self.hidden :], self.simulator.qvel])

    def _speed(self) -> float:
        return self.simulator.qvel[0]
