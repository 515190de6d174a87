"""Trajectories through a model, by a policy or along given actions: the one `lax.scan` over dynamics."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pbrl.types import Array, Dynamics, Key, Transition

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


def start_from_next(dynamics: Dynamics, batch: Transition, key: Key, *, by_step: bool) -> Any:
    """Return the latent states of `batch.next_obs` (leading axis B), where a critic's target begins to imagine.

    A learned model is told the observation; a simulator's own state is found by a step there (`by_step`).
    """
    if by_step:
        return dynamics.step(dynamics.start(batch), batch.action, key)[0]
    return dynamics.start(replace(batch, obs=batch.next_obs))


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

    z, (obs, action, info, reward, discount) = scan(step, z, (jax.random.split(key, horizon), given))
    return Trajectory(obs, action, info, reward, discount, dynamics.observe(z))


def scan(step: Callable[[Any, Any], tuple[Any, Any]], z: Any, inputs: Any) -> tuple[Any, Any]:
    """Run `lax.scan` from a latent state that may be of another structure than all that follow it.

    Such a first step runs by itself: a recurrent model that remembers nothing yet multiplies no zeros by its weights.
    """
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs)
    after, made = jax.eval_shape(step, z, one)
    if jax.tree.structure(after) == jax.tree.structure(z):
        return jax.lax.scan(step, z, inputs)
    if not jax.tree.leaves(inputs)[0].shape[0]:
        return z, jax.tree.map(lambda x: jnp.zeros((0, *x.shape), x.dtype), made)
    first, rest = (jax.tree.map(lambda x, part=part: x[part], inputs) for part in (0, slice(1, None)))
    z, begun = step(z, first)
    z, outputs = jax.lax.scan(step, z, rest)
    return z, jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), begun, outputs)
