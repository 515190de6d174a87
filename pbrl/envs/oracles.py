"""Which environments have a differentiable twin: their own dynamics, to take the place of a learned model."""

from pbrl.envs import TOYS
from pbrl.envs.gym import EnvError
from pbrl.types import Dynamics

# id: toy with the same dynamics, observation, reward and termination (`tests/envs/test_toy.py`)
TWINS = {
    "Pendulum-v1": "Pendulum",
    "pbrl/MagePendulum-v0": "Pendulum",
    "pbrl/MageCartPole-v0": "CartPole",
    **{f"pbrl/Toy{name}-v0": name for name in TOYS},
}


def oracle(env_id: str) -> Dynamics:
    """Return an environment's own dynamics as what an agent differentiates through, from observations.

    Raises `EnvError` for an environment that has none.
    """
    from pbrl.envs import base  # which imports this module

    if env_id not in TWINS and env_id not in base.OWN:
        raise EnvError(
            f"{env_id} has no differentiable twin to serve as an oracle; these have one: {', '.join(TWINS)}. "
            "In a program of your own, any step function will do: docs/oracles.md"
        )
    return base.find(env_id).oracle
