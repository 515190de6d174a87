"""Gymnax's environments for the device driver. Gymnax is no dependency: `pip install gymnax` for it."""

from typing import Any

from pbrl.envs.jax_env import JaxEnv
from pbrl.types import Array, EnvSpec, Key

UNLIMITED = 2**30


def from_gymnax(env: Any, params: Any) -> JaxEnv:
    """Adapt what `gymnax.make` returned, with vector observations and a box of actions.

    The time limit of `params` becomes the spec's, so that it no longer passes for a termination. Actions in [-1, 1] are
    rescaled to the box. What the environment rewards is unknown to an agent: it has no function of (s, a, s').
    """
    box, (obs_size,) = env.action_space(params), env.observation_space(params).shape
    spec = EnvSpec(obs_size, box.shape[0], int(params.max_steps_in_episode))
    endless = params.replace(max_steps_in_episode=UNLIMITED)

    def reset(key: Key) -> tuple[Array, Any]:
        return env.reset_env(key, endless)

    def step(state: tuple[Array, Any], action: Array, key: Key) -> tuple[tuple[Array, Any], Array, Array]:
        scaled = box.low + 0.5 * (action + 1.0) * (box.high - box.low)
        obs, after, reward, terminated, _ = env.step_env(key, state[1], scaled, endless)
        return (obs, after), reward, 1.0 - terminated

    return JaxEnv(spec, reset, step, observe=lambda state: state[0])
