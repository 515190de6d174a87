"""Value targets, one function an equation. Every array has the batch axes `[*]`, trajectories time first `[H, *]`.

`discount` is the environment's (0 at termination, else 1); `gamma` is the agent's discount factor.
"""

import jax.numpy as jnp

from pbrl.types import Array


def td_target(reward: Array, discount: Array, next_value: Array, gamma: Array | float) -> Array:
    """Return `r + γ d v(s')`. Differentiable in every argument; stop it where the algorithm does."""
    return reward + gamma * discount * next_value


def soft_td_target(
    reward: Array, discount: Array, next_value: Array, next_log_prob: Array, alpha: Array | float, gamma: Array | float
) -> Array:
    """Return `r + γ d (v(s') - α log π(a'|s'))` (Haarnoja et al. 2018, eq. 2 and 3)."""
    return td_target(reward, discount, next_value - alpha * next_log_prob, gamma)


def value_expansion(rewards: Array, discounts: Array, terminal_value: Array, gamma: Array | float) -> Array:
    """Return `Σ_{t<H} γ^t D_t r_t + γ^H D_H v(s_H)` with `D_t = Π_{k<t} d_k`, for `rewards, discounts [H, *]`.

    A reward counts until the step that terminates, which still pays its own. H = 0 gives the terminal value.
    (MAAC §4.1, SVG eq. 7 without entropy.) Differentiable in every argument.
    """
    value = terminal_value
    for reward, discount in zip(rewards[::-1], discounts[::-1], strict=True):
        value = td_target(reward, discount, value, gamma)
    return value


def clipped_minimum(values: Array) -> Array:
    """Return the smallest critic value, `[C, *] -> [*]` (Fujimoto et al. 2018); the gradient is the arg-min's."""
    return jnp.min(values, axis=0)
