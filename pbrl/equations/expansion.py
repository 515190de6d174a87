"""What H steps of a model are worth: trajectories, value expansions along them, and STEVE's mixture of targets.

Trajectories come time first, `[H, *]`. The one `lax.scan` over dynamics is here. `discount` is the environment's (0 at
termination, else 1), `gamma` the agent's discount factor; `actor_critic` has what needs no model.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from pbrl.equations.actor_critic import soft_td_target, td_target
from pbrl.types import Array, Dynamics, Key, Transition

Policy = Callable[[Array, Key], tuple[Array, Any]]
"""`(obs [B, S], key) -> (action [B, A], info)`; `info` is any pytree, such as the action's log-density."""
SeveralSteps = Callable[[Any, Array, Key], tuple[Array, Array, Array]]
"""`(latent, action [B, A], key) -> (next_obs [M, B, S], reward [M, B], discount [M, B])`: one step by M members."""

# Trajectories


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
        raw, now = inputs
        act_key, step_key = jax.random.split(key_of(raw))
        obs = dynamics.observe(z)
        action, info = act(obs, act_key, now)
        z, reward, discount = dynamics.step(z, action, step_key)
        return z, (obs, action, info, reward, discount)

    keys, key_of = words(jax.random.split(key, horizon))
    z, (obs, action, info, reward, discount) = scan(step, z, (keys, given))
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


def words(keys: Key) -> tuple[Array, Callable[[Array], Key]]:
    """Return the raw words of keys, and what makes keys of them again: how keys go into a scan or a condition.

    Under `vmap`, `jax_debug_key_reuse` takes keys themselves there for used twice.
    """
    kind = jax.random.key_impl(keys)
    return jax.random.key_data(keys), lambda raw: jax.random.wrap_key_data(raw, impl=kind)


# Value expansions


def value_expansion(rewards: Array, discounts: Array, terminal_value: Array, gamma: Array | float) -> Array:
    """Return `Σ_{t<H} γ^t D_t r_t + γ^H D_H v(s_H)` with `D_t = Π_{k<t} d_k`, for `rewards, discounts [H, *]`.

    A reward counts until the step that terminates, which still pays its own. H = 0 gives the terminal value `[*]`.
    (MAAC §4.1, SVG eq. 7 without entropy.) Differentiable in every argument.
    """
    chex.assert_equal_shape((rewards, discounts))
    chex.assert_shape(terminal_value, rewards.shape[1:])
    value = terminal_value
    for reward, discount in zip(rewards[::-1], discounts[::-1], strict=True):
        value = td_target(reward, discount, value, gamma)
    return value


def soft_value_expansion(
    rewards: Array, discounts: Array, log_probs: Array, terminal_q: Array, alpha: Array | float, gamma: Array | float
) -> Array:
    """Return `Σ_{t<H} γ^t (D_t r_t - α log π_t) + γ^H (D_H q - α log π_H)` with `D_t = Π_{k<t} d_k` (SVG eq. 7).

    `rewards, discounts [H, *]`, `log_probs [H + 1, *]` of the actions at t = 0 … H, `terminal_q [*]` of the last one.
    The entropy counts at every step, also past a termination (SVG code, `agent.py`; the paper writes neither discount
    nor termination). H = 0 gives `q - α log π_0`, which SAC maximises. Differentiable in every argument.
    """
    chex.assert_shape(log_probs, (rewards.shape[0] + 1, *terminal_q.shape))
    steps = jnp.arange(log_probs.shape[0]).reshape(-1, *[1] * (log_probs.ndim - 1))
    entropy = -alpha * (gamma**steps * log_probs).sum(0)
    return value_expansion(rewards, discounts, terminal_q, gamma) + entropy


def mve_targets(
    rewards: Array,
    discounts: Array,
    next_log_probs: Array,
    terminal_q: Array,
    alpha: Array | float,
    gamma: Array | float,
) -> Array:
    """Return a target for every state of a trajectory, `[K, *]`: `y_t = r_t + γ d_t (y_{t+1} - α log π_{t+1})`.

    `y_K = terminal_q [*]`, the critic's value of the last state and action; `next_log_probs[t]` belongs to the action
    at t + 1. K = 1 is the soft TD target. (Feinberg et al. 2018, the TD-k trick; with entropy, Amos et al. 2021, §4.3.)
    """
    chex.assert_equal_shape((rewards, discounts, next_log_probs))
    chex.assert_shape(terminal_q, rewards.shape[1:])

    def back(following: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, log_prob = step
        target = soft_td_target(reward, discount, following, log_prob, alpha, gamma)
        return target, target

    return jax.lax.scan(back, terminal_q, (rewards, discounts, next_log_probs), reverse=True)[1]


# STEVE


def steve_mixture(candidates: Array) -> tuple[Array, Array]:
    """Return the target `[*]` that weights candidates `[K, N, *]` by their certainty, and the weights `[K, *]`.

    Candidate k is a K-step value expansion, estimated N times by different models and critics:
    `y = Σ_k w_k mean_N T_k`, `w_k ∝ 1 / (var_N T_k + 1e-8)` (Buckman et al. 2018, eq. 4 to 6). One whose estimates all
    agree takes nearly all of the weight.
    """
    certainty = 1.0 / (candidates.var(1) + 1e-8)
    weights = certainty / certainty.sum(0, keepdims=True)
    return (weights * candidates.mean(1)).sum(0), weights


def steve_candidates(
    dynamics: Dynamics,
    several: SeveralSteps,
    policy: Policy,
    soft_value: Callable[[Array, Array, Array], Array],
    latent: Any,
    batch: Transition,
    keys: tuple[Key, Key],
    *,
    horizon: int,
    alpha: Array | float,
    gamma: Array | float,
) -> Array:
    """Return expansions of 0 … K steps as targets of real transitions `[B]`, each estimated N times: `[K + 1, N, B]`.

        T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ]

    (Buckman et al. 2018, arXiv 1807.01675, on a soft critic; MAAC code, `algos/maac.py`.) To be stopped where it is
    differentiated: nothing here is.

    Args:
        dynamics: takes the steps that all candidates but the last step share, as in the code.
        several: takes a candidate's last step by M members, drawn anew for each k; N is C M.
        policy: draws actions, with their log-densities as `info`.
        soft_value: `(obs [*, S], action [*, A], log_prob [*]) -> [C, *]`, C estimates by target critics.
        latent: states of `batch.next_obs`, by `start_from_next`.
        batch: real transitions.
        keys: for the first action, and for all that follows.
        horizon: K.
        alpha: the temperature.
        gamma: the discount factor.
    """
    first_key, roll_key = keys
    obs = batch.next_obs
    action, log_prob = policy(obs, first_key)
    so_far, factor = batch.reward, gamma * batch.discount

    def reached(value: Array) -> Array:
        return so_far[None, None] + factor[None, None] * value  # [C, M, B]

    candidates = [reached(soft_value(obs, action, log_prob)[:, None])]  # M = 1
    for k in range(horizon):
        each_key, several_key, step_key, act_key = jax.random.split(jax.random.fold_in(roll_key, k), 4)
        so_far = so_far - factor * alpha * log_prob
        ends, reward, discount = several(latent, action, several_key)  # [M, B, ...]
        end_values = soft_value(ends, *policy(ends, each_key))  # [C, M, B]
        candidates.append(reached(reward[None] + gamma * discount[None] * end_values))
        if k + 1 < horizon:
            latent, reward, discount = dynamics.step(latent, action, step_key)
            so_far, factor = so_far + factor * reward, factor * gamma * discount
            obs = dynamics.observe(latent)
            action, log_prob = policy(obs, act_key)
    shape = jnp.broadcast_shapes(*(c.shape for c in candidates))
    return jnp.stack([jnp.broadcast_to(c, shape).reshape(-1, shape[-1]) for c in candidates])


def alone(dynamics: Dynamics) -> SeveralSteps:
    """Return a step by the one member that a simulator is, M = 1."""

    def step(latent: Any, action: Array, key: Key) -> tuple[Array, Array, Array]:
        latent, reward, discount = dynamics.step(latent, action, jax.random.split(key)[1])
        return dynamics.observe(latent)[None], reward[None], discount[None]

    return step
