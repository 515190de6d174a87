"""Losses, each minimised. Errors and values come as `[C critics, B batch]`; a loss is a mean over the batch."""

import jax
import jax.numpy as jnp
import optax

from pbrl.equations.values import clipped_minimum
from pbrl.types import Array


def huber(x: Array) -> Array:
    """Return `x²/2` within ±1 and `|x| - 1/2` beyond, elementwise (threshold 1, PyTorch's smooth L1)."""
    size = jnp.abs(x)
    return jnp.where(size < 1.0, 0.5 * jnp.square(x), size - 0.5)


def td_loss(td_error: Array) -> Array:
    """Return `½ Σ_C mean_B huber(δ)` for TD errors `[C, B]` (MAGE App. D; the code has ½ for one critic, too)."""
    return 0.5 * huber(td_error).mean(-1).sum()


def action_gradient_loss(gradient_error: Array) -> Array:
    """Return `½ Σ_C mean_B huber(‖∇ₐδ‖₂)` for `∇ₐδ [C, B, A]` (MAGE eq. 8, App. D)."""
    return td_loss(safe_norm(gradient_error))


def deterministic_policy_loss(q: Array) -> Array:
    """Return `-mean_B min_C Q` for `q [C, B]` at the policy's own actions: to be differentiated through them."""
    return -clipped_minimum(q).mean()


def squared_td_loss(td_error: Array, weight: Array | float = 1.0) -> Array:
    """Return `Σ_C mean_B w δ²` for TD errors `[C, B]` and weights `[B]` (SVG code: the sum of both critics' losses)."""
    return (weight * jnp.square(td_error)).mean(-1).sum()


def soft_policy_loss(value: Array) -> Array:
    """Return `-mean_B V` for the entropy-regularised value `[B]` of the policy's own, reparameterised actions."""
    return -value.mean()


def temperature_loss(log_alpha: Array, log_prob: Array, target_entropy: Array | float) -> Array:
    """Return `mean_B α (-log π - ℋ̄)`, differentiated in `log_alpha []` alone (Haarnoja et al. 2018b, eq. 18).

    The gradient carries a factor α, as in the code of SVG (`temp.py`); others drop it.
    """
    return (jnp.exp(log_alpha) * jax.lax.stop_gradient(-log_prob - target_entropy)).mean()


def termination_loss(logit: Array, terminated: Array, balanced: bool) -> Array:
    """Return the mean cross-entropy of `logit [B]` against labels `terminated [B]` in {0, 1}.

    `balanced` multiplies the positive rows by (negatives / positives), where a batch has any (SVG code, `agent.py`).
    """
    positives = terminated.sum()
    ratio = jnp.where(positives > 0, (terminated.size - positives) / jnp.maximum(positives, 1.0), 1.0)
    weight = jnp.where(terminated > 0, ratio if balanced else 1.0, 1.0)
    return (weight * optax.sigmoid_binary_cross_entropy(logit, terminated)).mean()


def safe_norm(x: Array, eps: float = 1e-12) -> Array:
    """Return the Euclidean norm over the last axis with a zero gradient at 0, where `jnp.linalg.norm` has NaN."""
    return jnp.sqrt(jnp.square(x).sum(-1) + eps)
