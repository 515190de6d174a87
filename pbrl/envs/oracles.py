"""Which environments have a differentiable twin: their own dynamics, to take the place of a learned model."""

from collections.abc import Callable

import gymnasium
import numpy as np

from pbrl.config import suggest
from pbrl.envs import BRAX, TOYS
from pbrl.envs.gym import EnvError
from pbrl.types import Dynamics

# id: toy with the same dynamics, observation, reward and termination (`tests/envs/test_toy.py`)
TWINS = {
    "Pendulum-v1": "Pendulum",
    "pbrl/MagePendulum-v0": "Pendulum",
    "pbrl/MageCartPole-v0": "CartPole",
    **{f"pbrl/Toy{name}-v0": name for name in TOYS},
}


PRESETS = ("fidelity", "speed")
"""How MuJoCo's twins solve for contacts: to the end, or for half as many iterations (`mjx.ITERATIONS`)."""


def oracle(env_id: str, preset: str = "fidelity") -> Dynamics:
    """Return an environment's own dynamics as what an agent differentiates through.

    Raises `EnvError` for an environment that has none, and for a preset that it does not have.
    """
    from pbrl.envs import base  # which imports this module

    if preset not in PRESETS:
        raise EnvError(f"there is no oracle {preset!r}{suggest(str(preset), PRESETS, 'preset')}")
    env_id = base.plain(env_id)
    if env_id.startswith(BRAX):
        from pbrl.envs import brax

        brax.refuse_without_gradient(env_id)
    if preset == "fidelity":
        return base.find(env_id).oracle
    if env_id in TWINS or base.is_jax(env_id):
        raise EnvError(f"{env_id} has one oracle: expected 'fidelity', got {preset!r}, which MuJoCo's tasks have")
    from pbrl.envs import mjx

    return mjx.twin(env_id, preset)


def reader(env_id: str, env: gymnasium.Env) -> Callable[[], dict[str, np.ndarray]]:
    """Return a function that reads off a live environment what its oracle starts from besides the observation.

    Raises `EnvError` as `oracle` does.
    """
    from pbrl.envs import base

    if isinstance(env.unwrapped, base.Gym):
        return env.unwrapped.extras
    if base.plain(env_id) in TWINS:
        return dict
    from pbrl.envs import mjx

    return mjx.reader(env)
