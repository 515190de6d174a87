"""CartPole with a continuous force (MAGE code, `envs/gymmb/cartpole.py`; Barto, Sutton and Anderson 1983)."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

GRAVITY, CART, POLE, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5  # m/s², kg, kg, m
FORCE, STEP = 10.0, 0.02  # N at full action, s
MAX_X, MAX_ANGLE = 2.4, 12 * np.pi / 180  # m, rad


class ContinuousCartPole(gymnasium.Env):
    """Balance the pole with a force of `10 a` newton, a in [-1, 1]; one point a step, the last included.

    Observation: position [m], velocity, angle [rad], angular velocity. Euler steps of 20 ms. The episode terminates
    beyond ±2.4 m or ±12°.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012, Gymnasium's own interface

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (4,), np.float64)
        self.state = np.zeros(4)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Start near the upright position, each coordinate uniform in ±0.05."""
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.05, 0.05, 4)
        return self.state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the force for 20 ms."""
        _, speed, angle, spin = self.state
        force = FORCE * float(np.clip(np.asarray(action).ravel()[0], -1.0, 1.0))
        total = CART + POLE
        push = (force + POLE * HALF_LENGTH * spin**2 * np.sin(angle)) / total
        inertia = HALF_LENGTH * (4.0 / 3.0 - POLE * np.cos(angle) ** 2 / total)
        angular = (GRAVITY * np.sin(angle) - np.cos(angle) * push) / inertia
        linear = push - POLE * HALF_LENGTH * angular * np.cos(angle) / total
        self.state = self.state + STEP * np.array([speed, linear, spin, angular])
        terminated = bool(abs(self.state[0]) > MAX_X or abs(self.state[2]) > MAX_ANGLE)
        return self.state.copy(), 1.0, terminated, False, {}

    def render(self) -> np.ndarray:
        """Draw cart and pole, uint8[200, 400, 3]."""
        picture = np.full((200, 400, 3), 255, np.uint8)
        picture[150] = 0
        middle = int(200 + self.state[0] * 75)
        picture[135:150, max(middle - 25, 0) : max(middle + 25, 0)] = 40
        for part in np.linspace(0, 1, 200):
            row, column = (
                int(135 - 100 * part * np.cos(self.state[2])),
                int(middle + 100 * part * np.sin(self.state[2])),
            )
            if 0 <= row < 198 and 2 <= column < 398:
                picture[row : row + 2, column - 2 : column + 2] = (200, 120, 40)
        return picture
