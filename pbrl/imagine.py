"""Trajectories through a model, by a policy or along given actions: the one `lax.scan` over dynamics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from pbrl.types import Array, Dynamics, Key

Policy = Callable[[Array, Key], tuple[Array, Any]]
"""`(obs [B, S], key) -> (action [B, A], info)`; `info` is any pytree, such as the action's log-density."""


class Trajectory(NamedTuple):
    """An imagined trajectory, time first; step t leads from `obs[t]` to `obs[t + 1]`, the last to `final_obs`."""

    obs: Array  # [H, B, S]
    action: Array  # [H, B, A]
    info: Any  # [H, ...]
    reward: Array  # [H, B]
    discount: Array  # [H, B]
    final_obs: Array  # [B, S]


def rollout(dynamics: Dynamics, policy: Policy, z: Any, key: Key, horizon: int) -> Trajectory:
    """Unroll `horizon` steps from latent states `z` (leading axis B), acting by `policy`.

    Nothing is stopped: gradients flow through policy, dynamics and reward along the whole trajectory, as
    far as `dynamics.step` lets them.
    """

    return _unroll(dynamics, lambda obs, key, _: policy(obs, key), z, key, None, horizon)


def follow(dynamics: Dynamics, actions: Array, z: Any, key: Key) -> Trajectory:
    """Unroll from latent states `z` (leading axis B) along `actions [H, B, A]`; `info` is `None`.

    Nothing is stopped: gradients flow through dynamics and reward into the actions.
    """
    return _unroll(dynamics, lambda obs, key, action: (action, None), z, key, actions, len(actions))


def _unroll(dynamics: Dynamics, act: Callable, z: Any, key: Key, given: Any, horizon: int) -> Trajectory:
    def step(z, inputs):
        key, now = inputs
        act_key, step_key = jax.random.split(key)
        obs = dynamics.observe(z)
        action, info = act(obs, act_key, now)
        z, reward, discount = dynamics.step(z, action, step_key)
        return z, (obs, action, info, reward, discount)

    z, (obs, action, info, reward, discount) = jax.lax.scan(step, z, (jax.random.split(key, horizon), given))
    return Trajectory(obs, action, info, reward, discount, dynamics.observe(z))
