"""One Gymnasium environment as agents see it: actions in [-1, 1], observations of JAX's float, ends kept apart."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np

from pbrl.envs import calls, factory, make_gym, oracles, snapshot, wraps
from pbrl.envs.factory import Factory
from pbrl.envs.simulator import Simulator
from pbrl.errors import ActionError, EndedAtOnce, EnvError, described, place, with_origin
from pbrl.types import LARGEST, width

T = TypeVar("T")


class Step(NamedTuple):
    """What one action led to: `reward`, and whether the episode `terminated` by itself or was `truncated` by a limit.

    `next_obs`, float[S], is the episode's own final observation at its end.
    """

    next_obs: np.ndarray
    reward: float
    terminated: bool
    truncated: bool


class GymEnv:
    """A single environment: by its id, made by a function, or as it is.

    Whatever its code raises or returns in a call is an `EnvError` of that call: `SystemExit`, too, since an environment
    that ends the process has failed. Ctrl-C passes.

    Attributes:
        spec: sizes, episode length, and the known reward and termination functions, where there are any.
        low, high: the environment's own bounds of actions, float64[A] each.
        exact: whether `snapshot` captures the environment's whole state; where it does not, a resumed run begins a
            new episode.
        limited: whether it has a time limit of its own; others are cut at `spec.episode_length`.
        who: for which seed it plays, as a watchdog names it.
    """

    def __init__(
        self,
        env: str | gymnasium.Env | Factory,
        *,
        render: bool = False,
        who: str = "",
        wrap: Sequence[str] = (),
        **make_kwargs: Any,
    ):
        """Make the environment. Raises `EnvError` for unknown ids and for spaces that agents here cannot use.

        Args:
            env: An id; a function or class that makes an environment of Gymnasium's; or such an environment.
            render: Whether `render` will be asked for pictures.
            who: For which seed it plays.
            wrap: What to wrap around it, from the inside, as words of `pbrl.envs.wraps`.
            make_kwargs: Arguments of its constructor.
        """
        self.env_id, self.who = _named(env), who
        self._width = width()
        # What is known goes by id or function, and holds for its own settings alone.
        standard = not make_kwargs and not isinstance(env, gymnasium.Env) and wraps.harmless(wrap)
        if render:
            if not os.environ.get("DISPLAY"):
                os.environ.setdefault("MUJOCO_GL", "egl")  # the one backend that renders without a screen
            make_kwargs["render_mode"] = "rgb_array"
        self._env = self._call("constructor", lambda: self._made(env, make_kwargs, wrap))
        try:
            self._env = self._call("flattening", lambda: make_gym.flattened(self.env_id, self._env))
            self.spec = make_gym.spec_of(self.env_id, self._env, standard=standard)
        except EnvError:
            self.close()
            raise
        self.low, self.high = make_gym.bounds(self.env_id, self._env.action_space)
        self.limited = make_gym.time_limit(self._env) is not None
        if not self.limited:
            self._env = gymnasium.wrappers.TimeLimit(self._env, self.spec.episode_length)
        self.exact = snapshot.is_exact(self._env)
        self._simulator = Simulator(self._env)
        self._extras: Callable[[], dict[str, np.ndarray]] | None = None

    def _made(self, env: str | gymnasium.Env | Factory, make_kwargs: dict[str, Any], words: Sequence[str]) -> Any:
        """Return the environment with what is wrapped around it."""
        if isinstance(env, gymnasium.Env):
            if make_kwargs:
                given = ", ".join(make_kwargs)
                raise EnvError(f"{self.env_id} is made already: give {given} to its constructor")
            return wraps.apply(env, words)
        if isinstance(env, str):
            endless = {"max_episode_steps": -1} if wraps.limits_time(words) else {}
            return wraps.apply(make_gym.make(env, **{**make_kwargs, **endless}), words)
        return wraps.apply(factory.make(env, make_kwargs), words)

    def _call(self, what: str, function: Callable[[], T]) -> T:
        """Call the environment's own code, and turn what it raises into an `EnvError`."""
        call = calls.begin(f"{self.env_id}, {self.who}" if self.who else self.env_id, what)
        try:
            return function()
        except (KeyboardInterrupt, EndedAtOnce, EnvError):
            raise
        except gymnasium.error.DependencyNotInstalled as error:  # classic control asks for pygame as it renders
            raise make_gym.lacking(self.env_id, error) from error
        except BaseException as error:
            raise EnvError(f"{self.env_id}: its {what} raised {described(error)} ({place(error)})") from error
        finally:
            calls.end(call)

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begin an episode and return its first observation, float[S]. Raises `EnvError` for one that is not sound."""
        self._simulator.begin()
        result = self._call("reset", lambda: self._env.reset(seed=seed))
        if not isinstance(result, tuple) or len(result) != 2:
            raise EnvError(f"{self.env_id}: its reset returned {_short(result)}, expected (observation, info)")
        if problem := self._simulator.begun():
            raise EnvError(f"{self.env_id}: in its reset {problem}")
        return self._checked(result[0], "the first observation")

    def step(self, action: np.ndarray) -> Step:
        """Take an action in [-1, 1]^A, rescaled to the environment's own bounds.

        Raises `EnvError` for what is no number, flag or observation, or is not finite in JAX's float, and where MuJoCo
        has reset itself; `ActionError` for an action that is not finite. (MuJoCo answers a NaN action with a finite
        observation, and a NaN reward at most.) Arrays of one element pass for numbers and flags.
        """
        action = np.asarray(action, np.float64)
        if not np.isfinite(action).all():
            raise ActionError(f"{self.env_id}: the action {action} is not finite; the policy has diverged")
        if np.abs(action).max() > 1.0 + 1e-5:
            raise ActionError(f"{self.env_id}: expected an action in [-1, 1], which pbrl rescales, got {action}")
        scaled = self.low + 0.5 * (np.clip(action, -1.0, 1.0) + 1.0) * (self.high - self.low)
        scaled = scaled.astype(self._env.action_space.dtype)
        obs, reward, terminated, truncated = self._call("step", lambda: self._five(self._env.step(scaled)))
        if problem := self._simulator.complaint():
            raise EnvError(f"{self.env_id}: {problem}")
        next_obs, paid = self._checked(obs, "the observation"), self._number(reward)
        return Step(next_obs, paid, self._flag(terminated, "terminated"), self._flag(truncated, "truncated"))

    @staticmethod
    def _five(result: Any) -> tuple[Any, Any, Any, Any]:
        obs, reward, terminated, truncated, _ = result
        return obs, reward, terminated, truncated

    def _number(self, reward: Any) -> float:
        value = reward if isinstance(reward, float) else self._one(reward)
        if not abs(value) <= LARGEST:
            raise EnvError(f"{self.env_id}: the reward is {value}; look at what happens there")
        return float(value)

    def _one(self, reward: Any) -> float:
        value = self._array(reward, "the reward", "a number")
        if value.size != 1:
            raise EnvError(f"{self.env_id}: the reward has shape {value.shape}, expected a number")
        return float(value.item())

    def _flag(self, flag: Any, name: str) -> bool:
        if flag is True or flag is False:
            return flag
        value = self._array(flag, name, "True or False")
        if value.size != 1 or value.item() not in (0, 1):
            raise EnvError(f"{self.env_id}: {name} is {_short(flag)}, expected True or False")
        return bool(value.item())

    def _checked(self, obs: Any, name: str) -> np.ndarray:
        obs = self._array(obs, name, "a vector of numbers")
        if obs.shape != (self.spec.obs_size,):
            raise EnvError(f"{self.env_id}: {name} has shape {obs.shape}, its space promised ({self.spec.obs_size},)")
        if obs.dtype.kind != "f":
            obs = obs.astype(self._width)  # the smallest integer has no magnitude of its own
        sound = np.abs(obs) <= LARGEST  # False for NaN
        if not sound.all():
            index = int(np.flatnonzero(~sound)[0])
            raise EnvError(
                f"{self.env_id}: {name} is {obs[index]} at index {index}; see what the environment does there"
            )
        return obs.astype(self._width)  # a copy: the environment may write into its own again

    def _array(self, value: Any, name: str, expected: str) -> np.ndarray:
        """Return real numbers as an array; converting runs code of the environment's libraries, too."""
        if type(value) is np.ndarray and value.dtype.kind in "biuf":
            return value
        array = self._call(f"conversion of {name}", lambda: np.asarray(value))
        if array.dtype.kind not in "biuf" or isinstance(value, np.ma.MaskedArray):  # whose masked numbers mean nothing
            raise EnvError(f"{self.env_id}: {name} is {_short(value)}, expected {expected}; see what it returns there")
        return array

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

    def rehearse(self) -> None:
        """Save and restore an environment that offers that itself, and warn where it cannot; `reset` comes next.

        What has failed here, or changes its shapes, would otherwise fail at the first checkpoint.
        """
        if not (self.exact and snapshot.is_users(self._env)):
            return
        try:
            self._call("snapshot", lambda: snapshot.rehearse(self._env))
        except EnvError as error:
            self.exact = False
            said = (
                f"{error}. It is not saved with the run: resuming will begin new episodes. Expected are "
                "snapshot() -> dict of arrays whose shapes stay the same, and restore(that dict)"
            )
            warnings.warn(with_origin(said, error), stacklevel=1)

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return the live state as named arrays; nothing where it is not `exact`. Raises `EnvError` where it fails."""
        return self._call("snapshot", lambda: snapshot.take(self._env)) if self.exact else {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go back to a snapshot of an `exact` environment of the same id. Raises `EnvError` where it fails."""
        self._call("restore", lambda: snapshot.put_back(self._env, state))
        self._simulator.begin()

    def render(self) -> np.ndarray:
        """Return a picture, uint8[H, W, 3], of an environment made with `render=True`."""
        picture = self._array(self._call("render", self._env.render), "its picture", "an array uint8[H, W, 3]")
        if picture.ndim != 3 or picture.shape[-1] != 3:
            raise EnvError(f"{self.env_id}: its picture has shape {picture.shape}, expected [H, W, 3]")
        return picture.astype(np.uint8)

    @property
    def frames_per_second(self) -> int:
        """How many steps make a second of film."""
        return int(self._env.metadata.get("render_fps") or 30)

    def close(self) -> None:
        """Free the simulator. Where that fails nothing is lost, so there is but a warning."""
        try:
            self._call("close", self._env.close)
        except EnvError as error:
            said = f"{error}; nothing of the run is lost, what it held may stay open"
            warnings.warn(with_origin(said, error), stacklevel=1)


def _named(env: str | gymnasium.Env | Factory) -> str:
    """Return the id of an environment, or the name of its class or of what makes it. Raises `EnvError` for no such."""
    if isinstance(env, str):
        return env
    if isinstance(env, gymnasium.Env):
        return env.spec.id if env.spec else type(env.unwrapped).__name__
    if callable(env):
        return factory.name_of(env)
    raise EnvError(f"expected an id, an environment of Gymnasium's or a function that makes one, got {_short(env)}")


def _short(value: Any) -> str:
    """Show a value that is not what was expected, in a few words."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:60]} …"
