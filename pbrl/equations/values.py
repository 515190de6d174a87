"""Value targets, one function an equation. Every array has the batch axes `[*]`, trajectories time first `[H, *]`.

`discount` is the environment's (0 at termination, else 1); `gamma` is the agent's discount factor.
"""

import jax
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


def soft_value_expansion(
    rewards: Array, discounts: Array, log_probs: Array, terminal_q: Array, alpha: Array | float, gamma: Array | float
) -> Array:
    """Return `Σ_{t<H} γ^t (D_t r_t - α log π_t) + γ^H (D_H q - α log π_H)` with `D_t = Π_{k<t} d_k` (SVG eq. 7).

    `rewards, discounts [H, *]`, `log_probs [H + 1, *]` of the actions at t = 0 … H, `terminal_q [*]` of the last one.
    The entropy counts at every step, also past a termination (SVG code, `agent.py`; the paper writes neither discount
    nor termination). H = 0 gives `q - α log π_0`, which SAC maximises. Differentiable in every argument.
    """
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

    def back(following: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, log_prob = step
        target = soft_td_target(reward, discount, following, log_prob, alpha, gamma)
        return target, target

    return jax.lax.scan(back, terminal_q, (rewards, discounts, next_log_probs), reverse=True)[1]


def clipped_minimum(values: Array) -> Array:
    """Return the smallest critic value, `[C, *] -> [*]` (Fujimoto et al. 2018); the gradient is the arg-min's."""
    return jnp.min(values, axis=0)


def neighbour_minima(values: Array) -> Array:
    """Return `min(Q_i, Q_{i+1 mod C})` for critics `[C, *]`, as `[C, *]`: C estimates, each as careful as a twin's.

    Two critics give the same minimum twice, so that their mean is SAC's and their variance nothing; one is itself.
    """
    return jnp.minimum(values, jnp.roll(values, -1, axis=0))


def mean_neighbour_minimum(values: Array) -> Array:
    """Return one careful value `[*]` of critics `[C, *]`, the mean of `neighbour_minima`: SAC's minimum for two."""
    return neighbour_minima(values).mean(0)


def steve_target(candidates: Array) -> tuple[Array, Array]:
    """Return the target `[*]` that weights candidates `[K, N, *]` by their certainty, and the weights `[K, *]`.

    Candidate k is a K-step value expansion, estimated N times by different models and critics:
    `y = Σ_k w_k mean_N T_k`, `w_k ∝ 1 / (var_N T_k + 1e-8)` (Buckman et al. 2018, eq. 4 to 6). One whose estimates all
    agree takes nearly all of the weight.
    """
    certainty = 1.0 / (candidates.var(1) + 1e-8)
    weights = certainty / certainty.sum(0)
    return (weights * candidates.mean(1)).sum(0), weights
