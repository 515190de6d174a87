"""STEVE's targets as MAAC computes them: value expansions of 0 … K steps through an ensemble, weighted by certainty.

    T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ],   y = Σ_k w_k mean T_k

(Buckman et al. 2018, arXiv 1807.01675, on a soft critic; MAAC code, `algos/maac.py`.)
"""

from typing import Any

import jax
import jax.numpy as jnp

from pbrl.agents.parts.soft import SoftActorCritic
from pbrl.equations import values
from pbrl.equations.rollout import start_from_next
from pbrl.models.validated_world import HeldOutWorld
from pbrl.types import Array, Dynamics, Key, Metrics, Transition


def steve_targets(
    state: Any, nets: SoftActorCritic, dynamics: Dynamics, batch: Transition, key: Key
) -> tuple[Array, Metrics]:
    """Return the target `[B]` of real transitions `[B]`, and the mean weight of each length as metrics.

    `state` is an agent's: its `world` or `oracle` takes the steps that `target_members` members estimate, its config
    has `target_horizon` K. To be stopped where it is differentiated: nothing here is.
    """
    cfg = state.config
    act_key, roll_key = jax.random.split(key)

    def value(next_obs: Array, action: Array, log_prob: Array) -> Array:
        return values.neighbour_minima(nets.q(state.ac.target_critic, next_obs, action)) - state.ac.alpha * log_prob

    begin_key = jax.random.fold_in(roll_key, cfg.target_horizon)
    latent = start_from_next(dynamics, batch, begin_key, by_step=state.oracle is not None)
    obs = batch.next_obs
    action, log_prob = nets.sample(state.ac.actor, obs, act_key)
    so_far, factor = batch.reward, cfg.discount * batch.discount
    candidates = [so_far + factor * value(obs, action, log_prob)[:, None]]  # [C, 1, B]
    for k in range(cfg.target_horizon):
        each_key, chosen_key, step_key, act_key = jax.random.split(jax.random.fold_in(roll_key, k), 4)
        so_far = so_far - factor * state.ac.alpha * log_prob
        ends, reward, discount = _step_each(state, dynamics, latent, obs, action, chosen_key)  # [M, B, ...]
        end_values = value(ends, *nets.sample(state.ac.actor, ends, each_key))  # [C, M, B]
        candidates.append(so_far + factor * (reward + cfg.discount * discount * end_values))
        if k + 1 < cfg.target_horizon:  # all candidates but the last step share one trajectory, as in the code
            latent, reward, discount = dynamics.step(latent, action, step_key)
            so_far, factor = so_far + factor * reward, factor * cfg.discount * discount
            obs = dynamics.observe(latent)
            action, log_prob = nets.sample(state.ac.actor, obs, act_key)
    shape = jnp.broadcast_shapes(*(c.shape for c in candidates))
    stacked = jnp.stack([jnp.broadcast_to(c, shape).reshape(-1, shape[-1]) for c in candidates])  # [K + 1, C M, B]
    y, weights = values.steve_target(stacked)
    return y, {f"critic/weight_{k}": weights[k].mean() for k in range(cfg.target_horizon + 1)}


def _step_each(
    state: Any, dynamics: Dynamics, latent: Any, obs: Array, action: Array, key: Key
) -> tuple[Array, Array, Array]:
    """Step with several members: next observations `[M, B, S]`, rewards and discounts `[M, B]`; M = 1 by oracle."""
    choice_key, step_key = jax.random.split(key)
    if state.oracle:
        latent, reward, discount = dynamics.step(latent, action, step_key)
        return dynamics.observe(latent)[None], reward[None], discount[None]
    chosen = jax.random.permutation(choice_key, state.world.elites)[: state.config.target_members]
    return HeldOutWorld(state.spec, state.config).step_each(state.world, chosen, obs, action, step_key)
