"""Gradient steps. Optimisers are rebuilt from leaf learning rates at every call: they hold no state of their own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pbrl.types import Array, Params


def radam(
    learning_rate: Array | float, *, clip_value: Array | float | None = None, weight_decay: Array | float = 0.0
) -> optax.GradientTransformation:
    """Rectified Adam (Liu et al. 2020) as MAGE uses it: gradients clipped by value, decoupled weight decay.

    While the rectification term is undefined (first steps) a bias-corrected momentum step is taken.
    Weight decay is multiplied by the learning rate.
    """
    return optax.chain(
        optax.identity() if clip_value is None else optax.clip(clip_value),  # pyright: ignore[reportArgumentType]
        optax.scale_by_radam(),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def adam(
    learning_rate: Array | float, *, max_norm: Array | float | None = None, l2: Array | float | None = None
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015; β = 0.9 and 0.999, ε = 1e-8), gradients clipped by their global norm to `max_norm`.

    `l2` adds `l2/2 ‖θ‖²` to what is minimised, so that Adam scales it along (not decoupled).
    """
    first = optax.identity() if max_norm is None else optax.clip_by_global_norm(max_norm)  # pyright: ignore[reportArgumentType]
    return optax.chain(
        first if l2 is None else optax.chain(optax.add_decayed_weights(l2), first),
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(learning_rate),
    )


def descend(
    loss: Callable[[Params], tuple[Array, Any]], tx: optax.GradientTransformation, params: Params, opt_state: Any
) -> tuple[Params, Any, Array, Any, Array]:
    """Take one step down `loss: params -> (value, aux)`.

    Returns `(params, opt_state, value, aux, grad_norm)`; `grad_norm` is the global norm before clipping, which is
    non-finite whenever any coordinate of the gradient is, so that a guard needs no look at the leaves.
    """
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, opt_state = tx.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value, aux, optax.global_norm(gradient)


def steps_taken(opt_state: Any) -> Array:
    """Return how many steps an `adam` or `radam` has taken, i32[]."""
    return optax.tree_utils.tree_get(opt_state, "count")


def polyak(target: Params, online: Params, tau: Array | float) -> Params:
    """Return `(1 - τ) target + τ online`, leaf by leaf."""
    return jax.tree.map(lambda t, o: (1.0 - tau) * t + tau * o, target, online)


def all_finite(tree: Any) -> Array:
    """Return whether every value of every leaf is finite, as bool[]."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)] or [jnp.array(True)]).all()
