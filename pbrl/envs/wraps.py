"""What is wrapped around an environment, by words: `flatten`, `frame-skip=4`, `rescale=-1,1`, `my_module:function`.

The first word is the innermost. `time-limit` takes the place of the environment's own limit.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import FlattenObservation, RescaleObservation, TimeLimit

from pbrl.config import literal, suggest
from pbrl.envs import modules
from pbrl.errors import EndedAtOnce, EnvError, described, place

TIME_LIMIT = "time-limit"
HARMLESS = ("flatten", TIME_LIMIT)


class FrameSkip(gymnasium.Wrapper):
    """Takes each action `skip` times; rewards add up, and an end within cuts the rest."""

    def __init__(self, env: gymnasium.Env, skip: int):
        if type(skip) is not int or skip < 1:
            raise ValueError(f"expected a number of steps, 1 or more, got {skip!r}")
        super().__init__(env)
        self.skip = skip

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take the action up to `skip` times; the observation is the last one's."""
        total = 0.0
        for _ in range(self.skip):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info  # pyright: ignore[reportPossiblyUnboundVariable]


def flatten(env: gymnasium.Env) -> gymnasium.Env:
    """Turn observations of any shape, of `Dict` and `Tuple`, too, into one vector; a vector stays as it is."""
    space = env.observation_space
    return env if isinstance(space, Box) and len(space.shape) == 1 else FlattenObservation(env)


def rescale(env: gymnasium.Env, low: float = -1.0, high: float = 1.0) -> gymnasium.Env:
    """Map observations from the bounds of their space to [low, high]. Raises `ValueError` where one has no bound."""
    space = env.observation_space
    if not (isinstance(space, Box) and np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError("expected a Box of observations with finite bounds; agents normalise the others by themselves")
    return RescaleObservation(env, *(np.full(space.shape, bound, space.dtype) for bound in (low, high)))


NAMES: dict[str, Callable[..., gymnasium.Env]] = {
    "flatten": flatten,
    TIME_LIMIT: TimeLimit,
    "rescale": rescale,
    "frame-skip": FrameSkip,
}


class Wrap(NamedTuple):
    """One word: a name of `NAMES` or `MODULE:function`, and what is handed over behind the environment."""

    name: str
    args: tuple


def parse(word: str) -> Wrap:
    """Read `NAME` or `NAME=VALUE,VALUE`; imports nothing. Raises `ValueError` for a name that is none."""
    name, equals, rest = word.partition("=")
    module, colon, function = name.partition(":")
    if colon and not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"--wrap {word}: expected MODULE:function, such as my_module:my_wrapper")
    if not colon and name not in NAMES:
        raise ValueError(f"--wrap {word}: there is no {name!r}{suggest(name, NAMES)}; your own are MODULE:function")
    value = literal(rest)
    args = value if isinstance(value, tuple) else (value,)
    return Wrap(name, args if equals else ())


def modules_of(words: Sequence[str]) -> list[str]:
    """Return the user's modules that words name, of which `apply` runs functions."""
    return [parse(word).name.partition(":")[0] for word in words if ":" in parse(word).name]


def harmless(words: Sequence[str]) -> bool:
    """Return whether what is known of an id's reward and termination still holds behind these words."""
    return all(parse(word).name in HARMLESS for word in words)


def limits_time(words: Sequence[str]) -> bool:
    """Return whether a word sets the time limit, in place of the environment's own."""
    return any(parse(word).name == TIME_LIMIT for word in words)


def apply(env: gymnasium.Env, words: Sequence[str]) -> gymnasium.Env:
    """Wrap an environment. Raises `EnvError` where a word's module or function fails, or returns no environment."""
    for word in words:
        name, args = parse(word)
        module, colon, function = name.partition(":")
        wrapper: Any = NAMES.get(name)
        if colon:
            wrapper = getattr(modules.load(module, f"--wrap {word}"), function, None)
            if not callable(wrapper):
                raise EnvError(f"--wrap {word}: {module} has no function {function!r}")
        try:
            wrapped: Any = wrapper(env, *args)
        except (KeyboardInterrupt, EndedAtOnce, EnvError):
            raise
        except BaseException as error:  # as of any call of an environment's own code
            problem = f"it raised {described(error)} ({place(error)})" if colon else str(error)
            raise EnvError(f"--wrap {word}: {problem}") from error
        if not isinstance(wrapped, gymnasium.Env):
            raise EnvError(f"--wrap {word}: it returned a {type(wrapped).__name__}, expected a gymnasium.Env")
        env = wrapped
    return env
