"""Which environments have a differentiable twin: their own dynamics, to take the place of a learned model."""

import warnings
from collections.abc import Callable

import gymnasium
import numpy as np

from pbrl.config import suggest
from pbrl.envs import brax, registry
from pbrl.envs.as_gym import JaxAsGym
from pbrl.envs.ids import BRAX, TWINS
from pbrl.envs.mujoco import twin
from pbrl.errors import EnvError
from pbrl.types import Dynamics

PRESETS = ("fidelity", "speed")
"""How MuJoCo's twins solve for contacts: to the end, or for half as many iterations (`twin.ITERATIONS`)."""

FLAT = ("InvertedPendulum-v5", "pbrl/MageCartPole-v0", "pbrl/ToyCartPole-v0")
"""Tasks whose reward is constant."""


def oracle(env_id: str, preset: str = "fidelity") -> Dynamics:
    """Return an environment's own dynamics as what an agent differentiates through.

    Warns of those whose gradients are known to be weak. Raises `EnvError` for an environment that has none, and for a
    preset that it does not have.
    """
    if preset not in PRESETS:
        raise EnvError(f"there is no oracle {preset!r}{suggest(str(preset), PRESETS, 'preset')}")
    env_id = registry.plain(env_id)
    if env_id.startswith(BRAX):
        brax.refuse_without_gradient(env_id)
    if preset == "fidelity":
        found = registry.find(env_id).oracle
    elif env_id in TWINS or registry.is_jax(env_id):
        raise EnvError(f"{env_id} has one oracle: expected 'fidelity', got {preset!r}, which MuJoCo's tasks have")
    else:
        found = twin.twin(env_id, preset)
    if weakness := weak(env_id, preset):
        warnings.warn(f"{env_id}: {weakness}", stacklevel=1)  # from one place, so that it is printed once a process
    return found


def weak(env_id: str, preset: str) -> str:
    """Return what is weak in the gradients of an oracle, in numbers of `docs/environments.md`; else nothing."""
    if env_id in FLAT or env_id.startswith(f"{BRAX}inverted_pendulum"):
        return "it pays the same at every step, so that only the value at the end of a rollout has a slope to teach by"
    if env_id.rpartition("/")[2].partition("-")[0].endswith("Ant"):
        of_speed = "; `speed` errs by 0.4 after 10: prefer `fidelity`" if preset == "speed" else ""
        return (
            "Ant's contacts make it chaotic. In float32 its twin errs by 1e-4 after 10 steps (95th percentile) and by "
            f"5 after 50, where 0.8 % of terminations differ{of_speed}. In half of the states a contact that begins or "
            "ends within 16 steps leaves no gradient: stay at short horizons"
        )
    return ""


def reader(env_id: str, env: gymnasium.Env) -> Callable[[], dict[str, np.ndarray]]:
    """Return a function that reads off a live environment what its oracle starts from besides the observation.

    Raises `EnvError` as `oracle` does.
    """
    if isinstance(env.unwrapped, JaxAsGym):
        return env.unwrapped.extras
    if registry.plain(env_id) in TWINS:
        return dict
    return twin.reader(env)
