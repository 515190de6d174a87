"""One Gymnasium environment as agents see it: actions in [-1, 1], observations of JAX's float, ends kept apart."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from pbrl.envs import make_gym, oracles, snapshot
from pbrl.errors import ActionError, EnvError
from pbrl.types import LARGEST, width


class Step(NamedTuple):
    """What one action led to; `next_obs` is the episode's own final observation at its end."""

    next_obs: np.ndarray  # float[S]
    reward: float
    terminated: bool
    truncated: bool


class GymEnv:
    """A single environment by its id.

    Attributes:
        spec: sizes, episode length, and the known reward and termination functions, where there are any.
        exact: whether `snapshot` captures the environment's whole state; where it does not, a resumed run begins a
            new episode.
    """

    def __init__(self, env_id: str, *, render: bool = False, **make_kwargs: Any):
        """Make the environment. Raises `EnvError` for unknown ids and for spaces that agents here cannot use."""
        self.env_id = env_id
        standard = not make_kwargs  # what is known of an id holds for its own settings alone
        if render:
            if not os.environ.get("DISPLAY"):
                os.environ.setdefault("MUJOCO_GL", "egl")  # the one backend that renders without a screen
            make_kwargs["render_mode"] = "rgb_array"
        self._env = make_gym.make(env_id, **make_kwargs)
        self.spec = make_gym.spec_of(env_id, self._env, standard=standard)
        self._low, self._high = make_gym.bounds(env_id, self._env.action_space)
        if make_gym.time_limit(self._env) is None:
            self._env = gymnasium.wrappers.TimeLimit(self._env, self.spec.episode_length)
        self.exact = snapshot.is_exact(self._env)
        self._extras: Callable[[], dict[str, np.ndarray]] | None = None

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin an episode and return its first observation, float[S]. Raises `EnvError` for one that is not finite."""
        try:
            obs, _ = self._env.reset(seed=seed)
        except Exception as error:  # as in `step`
            raise EnvError(f"{self.env_id}: its reset raised {type(error).__name__}: {error}") from error
        return self._checked(obs, "the first observation")

    def step(self, action: np.ndarray) -> Step:
        """Take an action in [-1, 1]^A, rescaled to the environment's own bounds.

        Raises `EnvError` for an observation or reward that is not finite, `ActionError` for such an action. (MuJoCo
        answers a NaN action with a finite observation, and a NaN reward at most.)
        """
        action = np.asarray(action, np.float64)
        if not np.isfinite(action).all():
            raise ActionError(f"{self.env_id}: the action {action} is not finite; the policy has diverged")
        if np.abs(action).max() > 1.0 + 1e-5:
            raise ActionError(f"{self.env_id}: expected an action in [-1, 1], which pbrl rescales, got {action}")
        scaled = self._low + 0.5 * (np.clip(action, -1.0, 1.0) + 1.0) * (self._high - self._low)
        try:
            obs, reward, terminated, truncated, _ = self._env.step(scaled.astype(self._env.action_space.dtype))
        except Exception as error:  # whatever an environment raises costs its episode, not the run
            raise EnvError(f"{self.env_id}: its step raised {type(error).__name__}: {error}") from error
        if not abs(float(reward)) <= LARGEST:
            raise EnvError(f"{self.env_id}: the reward is {reward}; look at what happens there")
        return Step(self._checked(obs, "the observation"), float(reward), bool(terminated), bool(truncated))

    def _checked(self, obs: Any, name: str) -> np.ndarray:
        obs = np.asarray(obs, width())
        if obs.shape != (self.spec.obs_size,):
            raise EnvError(f"{self.env_id}: {name} has shape {obs.shape}, its space promised ({self.spec.obs_size},)")
        if not (np.abs(obs) <= LARGEST).all():
            index = int(np.flatnonzero(~(np.abs(obs) <= LARGEST))[0])
            raise EnvError(
                f"{self.env_id}: {name} is {obs[index]} at index {index}; see what the environment does there"
            )
        return obs

    @property
    def gymnasium(self) -> gymnasium.Env:
        """The environment itself, with its wrappers."""
        return self._env

    def extras(self) -> dict[str, np.ndarray]:
        """Return what the environment's oracle needs to start here besides the observation; nothing, for most.

        Raises `EnvError` for an environment without an oracle.
        """
        if self._extras is None:
            self._extras = oracles.reader(self.env_id, self._env)
        return self._extras()

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return the live state as named arrays; nothing where it is not `exact`."""
        return snapshot.take(self._env) if self.exact else {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go back to a snapshot of an `exact` environment of the same id."""
        snapshot.put_back(self._env, state)

    def render(self) -> np.ndarray:
        """Return a picture, uint8[H, W, 3], of an environment made with `render=True`."""
        return np.asarray(self._env.render(), np.uint8)

    @property
    def frames_per_second(self) -> int:
        """How many steps make a second of film."""
        return int(self._env.metadata.get("render_fps", 30))

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()
