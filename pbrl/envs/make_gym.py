"""Gymnasium's environments by their ids: how one is made, and what of it an agent must know."""

import contextlib
import difflib
import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.wrappers import FlattenObservation, TimeLimit

from pbrl.envs import brax, factory, modules, notices, toy, wraps
from pbrl.envs.ids import BRAX, TOY_IDS
from pbrl.envs.tasks.rewards import KNOWN
from pbrl.errors import EndedAtOnce, EnvError
from pbrl.types import EnvSpec, RewardFn, TerminationFn

OLD_MUJOCO = ("Fetch", "HandReach", "HandManipulate", "FrankaKitchen")
"""Tasks of gymnasium_robotics 1.4 that compare MuJoCo's enums with NumPy's integers, which are never equal today."""
DEFAULT_EPISODE_LENGTH = 1_000  # for an environment without a time limit: evaluation needs whole episodes


def make(env_id: str, **make_kwargs: Any) -> gymnasium.Env:
    """Make Gymnasium's own environment. Raises `EnvError` for an unknown id and for what cannot be made."""
    if env_id.startswith(BRAX):
        brax.register(env_id)
    if factory.is_name(env_id):
        raise EnvError(factory.gone(env_id))
    module, _, name = env_id.rpartition(":")
    if module:
        modules.load(module, env_id)
    if name not in gymnasium.registry:
        raise EnvError(unknown(env_id))
    try:
        with notices.cheetah() if "HalfCheetah" in env_id else contextlib.nullcontext():
            return gymnasium.make(env_id, disable_env_checker=True, **make_kwargs)
    except gymnasium.error.DependencyNotInstalled as error:
        raise lacking(env_id, error) from error
    except (Exception, SystemExit) as error:  # Gymnasium's own refusals, whatever an environment's constructor raises
        if isinstance(error, EndedAtOnce):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvError(f"{env_id} cannot be made: {reason}{_remedy(env_id)}") from error


def lacking(env_id: str, error: gymnasium.error.DependencyNotInstalled) -> EnvError:
    """Return the error for a package that an environment misses as it is made, or as it renders."""
    remedy = "pip install 'pbrl[video]'" if "pygame" in str(error) else str(error)
    return EnvError(f"{env_id} needs a package that is not installed: {remedy}")


def _remedy(env_id: str) -> str:
    """Say what is known of an id that cannot be made."""
    module, _, name = env_id.rpartition(":")
    if module == "gymnasium_robotics" and name.startswith(OLD_MUJOCO):
        return (
            "; gymnasium_robotics' Fetch, HandReach, HandManipulate and FrankaKitchen run with mujoco 3.8, not with "
            "3.12 or later, and pbrl needs 3.17; its mazes and Adroit hands run"
        )
    return "; MuJoCo tasks are at -v5 today" if not module and env_id.endswith(("-v2", "-v3", "-v4")) else ""


def unknown(env_id: str) -> str:
    """Say that nothing makes an id, and what might have been meant."""
    module, _, name = env_id.rpartition(":")
    close = difflib.get_close_matches(name, gymnasium.registry, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "`pbrl list` names those that work"
    if module:
        return f"{module} registers no environment {name!r}; {hint}"
    if own := modules.registering(env_id):
        hint = f"if the module {own} registers it, write {own}:{env_id}"
    return f"there is no environment {env_id!r}; {hint}"


def spec_of(env_id: str, env: gymnasium.Env, *, standard: bool = True) -> EnvSpec:
    """Return the sizes of a live environment, the length of its episodes, and what is known of its reward and end.

    `standard` says that it was made with its id's own settings, for which alone the known functions hold.
    Raises `EnvError` for spaces that agents here cannot use.
    """
    obs_size, (low, _) = _obs_size(env_id, env.observation_space), bounds(env_id, env.action_space)
    limit = time_limit(env)
    known = known_functions(env_id) if standard else (None, None)
    return EnvSpec(obs_size, low.size, DEFAULT_EPISODE_LENGTH if limit is None else limit, *known)


def time_limit(env: gymnasium.Env) -> int | None:
    """Return after how many steps Gymnasium cuts an episode; `None` where it never does."""
    if not isinstance(env, gymnasium.Wrapper):
        return getattr(env.spec, "max_episode_steps", None)
    inner = time_limit(env.env)
    if isinstance(env, wraps.FrameSkip):
        return inner and -(-inner // env.skip)
    if isinstance(env, TimeLimit):
        return min(inner or env._max_episode_steps, env._max_episode_steps)
    return inner


def known_functions(env_id: str) -> tuple[RewardFn | None, TerminationFn | None]:
    """Return what is known of an environment: `(reward_fn, termination_fn)`, `None` for what an agent must learn."""
    env_id = env_id.rpartition(":")[2]  # Gymnasium's `module:id` is known by its id
    if env_id in TOY_IDS:
        spec = toy.TOYS[TOY_IDS[env_id]].spec
        return spec.reward_fn, spec.termination_fn
    return KNOWN.get(env_id, (None, None))


def flattened(env_id: str, env: gymnasium.Env) -> gymnasium.Env:
    """Turn observations that are a `Dict` or a `Tuple` into one vector, with a warning that says so.

    Raises `EnvError` for parts that have no fixed number of numbers.
    """
    space = env.observation_space
    if not isinstance(space, Dict | Tuple):
        return env
    if not space.is_np_flattenable:
        raise EnvError(f"{env_id} observes {space}, parts of which have no fixed size; encode them in a wrapper")
    env = FlattenObservation(env)
    parts = ", ".join(map(str, space)) if isinstance(space, Dict) else f"{len(space)} parts"
    size = env.observation_space.shape[0]  # pyright: ignore[reportOptionalSubscript]
    said = f"{env_id} observes a {type(space).__name__} ({parts}); agents see it as one vector of {size} numbers"
    warnings.warn(said, stacklevel=1)
    return env


def _obs_size(env_id: str, space: gymnasium.Space) -> int:
    if not isinstance(space, Box):
        raise EnvError(f"{env_id} observes a {type(space).__name__}; pbrl takes vectors (Box): encode it as one")
    if len(space.shape) != 1 or space.shape[0] == 0:
        raise EnvError(
            f"{env_id} observes arrays of shape {space.shape}; pbrl takes non-empty vectors: "
            "flatten them (--wrap flatten), or make features of its images"
        )
    return space.shape[0]


def bounds(env_id: str, space: gymnasium.Space) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest action, float64[A] each. Raises `EnvError` for spaces agents cannot use."""
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
