"""Live environments as named arrays, so that a resumed run goes on in the middle of an episode, to the bit.

MuJoCo's integration state alone does not do for Ant and Humanoid, whose rewards read arrays that the last step
left behind; those are saved as well. What a task of pbrl's remembers it keeps in the simulator's user data, which is
part of that state, so that pbrl's wrappers hold none. An environment of one's own takes part by two methods on itself:
`snapshot() -> dict[str, np.ndarray]` and `restore(dict)`.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import FlattenObservation, OrderEnforcing, RescaleObservation, TimeLimit

from pbrl.envs.tasks.cartpole import ContinuousCartPole

DERIVED = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "site_xpos", "site_xmat", "geom_xpos", "geom_xmat", "subtree_com",
    "cinert", "cvel", "cfrc_ext", "cfrc_int", "cacc", "qfrc_actuator", "qfrc_constraint", "qacc", "actuator_force",
    "sensordata",
)  # fmt: skip
STATELESS = (TimeLimit, OrderEnforcing, FlattenObservation, RescaleObservation)
"""Of Gymnasium's wrappers; a time limit's count is saved by itself."""
STATE_ONLY = (PendulumEnv, Continuous_MountainCarEnv, ContinuousCartPole)  # `state` is all they hold
WORD = 2**64


def is_exact(env: gymnasium.Env) -> bool:
    """Return whether the environment's whole state can be captured."""
    base = env.unwrapped
    known = _offers_own(base) or _is_mujoco(base) or type(base) in STATE_ONLY
    return known and all(type(w) in STATELESS or type(w).__module__.startswith("pbrl.") for w in wrappers(env))


def take(env: gymnasium.Env) -> dict[str, np.ndarray]:
    """Return the state of simulator, random numbers and time limit; shapes do not depend on the moment."""
    base: Any = env.unwrapped
    state = {"np_random": _random_words(base), "elapsed": np.array(_elapsed(env))}
    if _offers_own(base):
        return {**state, **_own(base.snapshot())}
    if _is_mujoco(base):
        mujoco = _mujoco()
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.zeros(mujoco.mj_stateSize(base.model, kind))
        mujoco.mj_getState(base.model, base.data, physics, kind)
        derived = {f"data/{name}": np.array(getattr(base.data, name)) for name in DERIVED}
        return {**state, "physics": physics, **{name: x for name, x in derived.items() if x.size}}
    return {**state, "state": np.array(base.state, np.float64)}


def _own(saved: Any) -> dict[str, np.ndarray]:
    """Return what an environment's own `snapshot` gave as arrays. Raises `TypeError` for what is none."""
    if not isinstance(saved, dict) or not all(isinstance(name, str) for name in saved):
        raise TypeError(f"it returned a {type(saved).__name__}, expected a dict of arrays by their names")
    arrays = {f"own/{name}": np.array(value) for name, value in saved.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name[4:]} is of type {array.dtype}, expected numbers")
    return arrays


def is_users(env: gymnasium.Env) -> bool:
    """Return whether the environment is saved by methods that are not pbrl's own."""
    return _offers_own(env.unwrapped) and not type(env.unwrapped).__module__.startswith("pbrl.")


def rehearse(env: gymnasium.Env) -> None:
    """Save an environment, go on, go back and go on once more; it is reset before.

    Raises `RuntimeError` where that shows other numbers, or a snapshot of other shapes, and whatever its methods raise.
    """
    env.reset(seed=0)
    _play(env, 2)
    saved = {name: x.copy() for name, x in take(env).items()}
    seen = _play(env, 3)
    if (now := form(take(env))) != (before := form(saved)):
        changed = [name for name in {**now, **before} if now.get(name) != before.get(name)]
        raise RuntimeError(f"what it saves changes its form from step to step ({', '.join(changed)})")
    put_back(env, saved)
    if not np.array_equal(_play(env, 3), seen, equal_nan=True):
        raise RuntimeError("it does not go on from there with the same numbers")


def form(state: dict[str, np.ndarray]) -> dict[str, tuple]:
    """Return the shape and type of each array of a snapshot."""
    return {name: (x.shape, x.dtype) for name, x in state.items()}


def _play(env: gymnasium.Env, steps: int) -> np.ndarray:
    """Take some steps with an action off the middle; return all numbers seen, f64[*]."""
    space: Any = env.action_space
    seen = []
    for _ in range(steps):
        obs, reward, terminated, truncated, _ = env.step((0.6 * space.high + 0.4 * space.low).astype(space.dtype))
        seen += [*np.ravel(np.asarray(obs, float)), float(np.asarray(reward, float).reshape(-1)[0])]
        if terminated or truncated:
            seen += [*np.ravel(np.asarray(env.reset()[0], float))]
    return np.array(seen)


def put_back(env: gymnasium.Env, state: dict[str, np.ndarray]) -> None:
    """Undo everything that happened to the environment since `take`."""
    base: Any = env.unwrapped
    env.reset(seed=0)  # wrappers such as OrderEnforcing must have seen one
    base.np_random.bit_generator.state = _random_state(state["np_random"])
    for wrapper, elapsed in zip(_limits(env), state["elapsed"], strict=False):
        wrapper._elapsed_steps = int(elapsed)
    if _offers_own(base):
        base.restore({name[4:]: np.array(x) for name, x in state.items() if name.startswith("own/")})
    elif _is_mujoco(base):
        mujoco = _mujoco()
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(base.model, base.data, np.array(state["physics"]), kind)
        for name in DERIVED:
            if f"data/{name}" in state:
                getattr(base.data, name)[:] = state[f"data/{name}"]
    else:
        base.state = np.array(state["state"])


def _mujoco() -> Any:
    import mujoco  # only where an environment has loaded it already

    return mujoco


def _is_mujoco(base: Any) -> bool:
    """Only Gymnasium's own classes: a subclass may hold more than its simulator does."""
    return type(base).__module__.startswith("gymnasium.envs.mujoco.") and hasattr(base, "data")


def _offers_own(base: Any) -> bool:
    return callable(getattr(base, "snapshot", None)) and callable(getattr(base, "restore", None))


def wrappers(env: gymnasium.Env) -> Iterator[gymnasium.Wrapper]:
    """Go through what is wrapped around an environment, from the outside."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env


def _limits(env: gymnasium.Env) -> list[TimeLimit]:
    return [wrapper for wrapper in wrappers(env) if isinstance(wrapper, TimeLimit)]


def _elapsed(env: gymnasium.Env) -> list[int]:
    """Return how far each time limit has counted, from the outside; GymEnv sees to it that there is one."""
    return [int(limit._elapsed_steps or 0) for limit in _limits(env)] or [0]


def _random_words(base: Any) -> np.ndarray:
    """Return the state of the PCG64 generator that Gymnasium gives every environment, as uint64[6]."""
    state = base.np_random.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise TypeError(f"its random numbers come from {state['bit_generator']}; pbrl saves those of PCG64")
    numbers = state["state"]["state"], state["state"]["inc"]
    words = [part for number in numbers for part in divmod(number, WORD)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def _random_state(words: np.ndarray) -> dict[str, Any]:
    a, b, c, d, has, last = (int(w) for w in words)
    return {
        "bit_generator": "PCG64",
        "state": {"state": a * WORD + b, "inc": c * WORD + d},
        "has_uint32": has,
        "uinteger": last,
    }
