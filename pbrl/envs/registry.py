"""Environments in JAX by their ids: one's own, Brax', toys, and the twins of Gymnasium's."""

import gymnasium

from pbrl.envs import brax, modules, toy
from pbrl.envs.ids import BRAX, JAX_AS_GYM, TOY_IDS, TWINS
from pbrl.envs.jax_env import JaxEnv, check
from pbrl.envs.mujoco import twin
from pbrl.envs.tasks import rewards
from pbrl.errors import EnvError, NoTwin

OWN: dict[str, JaxEnv] = {}
"""What `register` has been given."""


def register(env_id: str, env: JaxEnv) -> None:
    """Give an environment of one's own an id, for a `Run`; under it Gymnasium makes it as well, so `pbrl eval` does.

    Raises `EnvError` for an id that is taken, and as `check` does.
    """
    check(env, env_id)
    if env_id in gymnasium.registry and env_id not in OWN:
        raise EnvError(f"{env_id} is an environment of Gymnasium's already; choose another id")
    gymnasium.registry.pop(env_id, None)  # a notebook's cell runs again
    OWN[env_id] = env
    rewards.KNOWN[env_id] = env.spec.reward_fn, env.spec.termination_fn
    gymnasium.register(env_id, JAX_AS_GYM, max_episode_steps=env.spec.episode_length, kwargs={"env_id": env_id})


def plain(env_id: str) -> str:
    """Return an id without the `module:` that it may begin with, and import the module, which registers the id.

    Raises `EnvError` for a module that cannot be imported.
    """
    module, colon, name = env_id.rpartition(":")
    if not colon:
        return env_id
    modules.load(module, env_id)
    return name


def is_jax(env_id: str) -> bool:
    """Return whether the id is that of functions in JAX, so that a driver on the device needs no twin."""
    env_id = plain(env_id)
    return env_id in OWN or env_id.startswith(BRAX) or env_id in TOY_IDS


def find(env_id: str) -> JaxEnv:
    """Return the environment of an id, or its differentiable twin. Raises `EnvError` where it has neither."""
    env_id = plain(env_id)
    if env_id in OWN:
        return OWN[env_id]
    if env_id.startswith(BRAX):
        return brax.environment(env_id)
    if env_id in TWINS:
        return toy.TOYS[TWINS[env_id]]
    try:
        return twin.environment(env_id)
    except NoTwin as error:
        raise NoTwin(
            f"{error}. What has one: Gymnasium's MuJoCo tasks at -v5 but the Humanoids, pbrl's variants of them, "
            f"{BRAX}NAME-BACKEND, {', '.join(TWINS)}, and any functions of your own (docs/oracles.md, "
            "docs/device.md). An agent trains on it with a learned model, without --oracle and --driver device"
        ) from None
