"""One Gymnasium environment as agents see it: actions in [-1, 1], observations of JAX's float, ends kept apart."""

import contextlib
import difflib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

import pbrl.envs
from pbrl.envs import notices, snapshot
from pbrl.envs.tasks.rewards import known_functions
from pbrl.errors import ActionError, EnvError
from pbrl.types import EnvSpec, width

DEFAULT_EPISODE_LENGTH = 1_000  # for an environment without a time limit: evaluation needs whole episodes


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
        self._env = make(env_id, **make_kwargs)
        obs, action = self._env.observation_space, self._env.action_space
        obs_size, self._low, self._high = _obs_size(env_id, obs), *_bounds(env_id, action)
        limit = getattr(self._env.spec, "max_episode_steps", None)
        if limit is None:
            limit = DEFAULT_EPISODE_LENGTH
            self._env = gymnasium.wrappers.TimeLimit(self._env, limit)
        known = known_functions(env_id) if standard else (None, None)
        self.spec = EnvSpec(obs_size, self._low.size, limit, *known)
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
        if not np.isfinite(float(reward)):
            raise EnvError(f"{self.env_id}: the reward is {reward}; look at what happens there")
        return Step(self._checked(obs, "the observation"), float(reward), bool(terminated), bool(truncated))

    def _checked(self, obs: Any, name: str) -> np.ndarray:
        obs = np.asarray(obs, width())
        if obs.shape != (self.spec.obs_size,):
            raise EnvError(f"{self.env_id}: {name} has shape {obs.shape}, its space promised ({self.spec.obs_size},)")
        if not np.isfinite(obs).all():
            index = int(np.flatnonzero(~np.isfinite(obs))[0])
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
            from pbrl.envs import oracles  # which imports this module

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


def make(env_id: str, **make_kwargs: Any) -> gymnasium.Env:
    """Make Gymnasium's own environment. Raises `EnvError` for an unknown id and for what cannot be made."""
    if env_id.startswith(pbrl.envs.BRAX):
        from pbrl.envs import brax  # heavy

        brax.register(env_id)
    if env_id not in gymnasium.registry and ":" not in env_id:
        close = difflib.get_close_matches(env_id, {*pbrl.envs.TASKS, *gymnasium.registry}, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`pbrl list` names those that work"
        raise EnvError(f"there is no environment {env_id!r}; {hint}")
    try:
        with notices.cheetah() if "HalfCheetah" in env_id else contextlib.nullcontext():
            return gymnasium.make(env_id, disable_env_checker=True, **make_kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        remedy = "pip install 'pbrl[video]'" if "pygame" in str(error) else str(error)
        raise EnvError(f"{env_id} needs a package that is not installed: {remedy}") from error
    except Exception as error:  # Gymnasium's own refusals, and whatever an environment's constructor raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        newest = "; MuJoCo tasks are at -v5 today" if env_id.endswith(("-v2", "-v3", "-v4")) else ""
        raise EnvError(f"{env_id} cannot be made: {reason}{newest}") from error


def _obs_size(env_id: str, space: gymnasium.Space) -> int:
    if isinstance(space, Dict | Tuple):
        raise EnvError(f"{env_id} observes a {type(space).__name__}; wrap it in gymnasium.wrappers.FlattenObservation")
    if not isinstance(space, Box):
        raise EnvError(f"{env_id} observes a {type(space).__name__}; pbrl takes vectors (Box): encode it as one")
    if len(space.shape) != 1 or space.shape[0] == 0:
        raise EnvError(
            f"{env_id} observes arrays of shape {space.shape}; pbrl takes non-empty vectors: "
            "wrap it in gymnasium.wrappers.FlattenObservation, or make features of its images"
        )
    return space.shape[0]


def _bounds(env_id: str, space: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(space, Discrete | MultiDiscrete | MultiBinary):
        raise EnvError(
            f"{env_id} acts by {type(space).__name__}; value gradients need continuous actions: use a Box version"
        )
    if not isinstance(space, Box):
        raise EnvError(f"{env_id} acts by {type(space).__name__}; pbrl takes a Box: flatten it in a wrapper of yours")
    if len(space.shape) != 1 or space.shape[0] == 0:
        raise EnvError(f"{env_id} acts by arrays of shape {space.shape}; pbrl takes vectors: flatten them in a wrapper")
    if not np.issubdtype(space.dtype, np.floating) or not (space.low < space.high).all():
        raise EnvError(f"{env_id} acts by {space}; pbrl takes a Box of floats with low < high: rescale it in a wrapper")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise EnvError(
            f"{env_id} has actions without bounds; give it some: "
            "gymnasium.wrappers.TransformAction(env, lambda action: action, Box(low, high))"
        )
    return space.low.astype(np.float64), space.high.astype(np.float64)
