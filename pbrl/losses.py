"""Losses, each minimised. Errors come as `[C critics, B batch]`; every loss is a mean over both."""

import jax.numpy as jnp

from pbrl.types import Array
from pbrl.values import clipped_minimum


def huber(x: Array) -> Array:
    """Return `x²/2` within ±1 and `|x| - 1/2` beyond, elementwise (threshold 1, PyTorch's smooth L1)."""
    size = jnp.abs(x)
    return jnp.where(size < 1.0, 0.5 * jnp.square(x), size - 0.5)


def td_loss(td_error: Array) -> Array:
    """Return the Huber loss of TD errors `[C, B]`, averaged over critics and batch (MAGE App. D)."""
    return huber(td_error).mean()


def action_gradient_loss(gradient_error: Array) -> Array:
    """Return the Huber loss of `‖∇ₐδ‖₂`, for `∇ₐδ [C, B, A]`, averaged over critics and batch (MAGE eq. 8, App. D)."""
    return huber(safe_norm(gradient_error)).mean()


def deterministic_policy_loss(q: Array) -> Array:
    """Return `-mean_B min_C Q` for `q [C, B]` at the policy's own actions: to be differentiated through them."""
    return -clipped_minimum(q).mean()


def safe_norm(x: Array, eps: float = 1e-12) -> Array:
    """Return the Euclidean norm over the last axis with a zero gradient at 0, where `jnp.linalg.norm` has NaN."""
    return jnp.sqrt(jnp.square(x).sum(-1) + eps)
