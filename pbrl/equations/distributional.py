"""Values as distributions over fixed atoms (C51; Bellemare, Dabney and Munos 2017): mean, projection, cross-entropy.

K atoms `z [K]` lie evenly within ±bound. A distribution is its probabilities `[*, K]`, or their logarithms. Critics
come stacked, `[C, *, K]`; a loss is a mean over the batch and is minimised.
"""

import chex
import jax.numpy as jnp

from pbrl.types import Array


def support(bound: float, atoms: int) -> Array:
    """Return K atoms `[K]` from -bound to bound."""
    return jnp.linspace(-bound, bound, atoms, dtype=float)


def expectation(probability: Array, atoms: Array) -> Array:
    """Return the mean `Σ_k p_k z_k` of distributions `[*, K]`, as `[*]`."""
    return jnp.matmul(probability, atoms, precision="highest")


def of_smallest_mean(probability: Array, atoms: Array) -> Array:
    """Return for each row the whole distribution of that critic whose mean is smallest, `[C, B, K] -> [B, K]`."""
    chex.assert_rank(probability, 3)
    smallest = jnp.argmin(expectation(probability, atoms), axis=0)
    return jnp.take_along_axis(probability, smallest[None, :, None], axis=0)[0]


def project(probability: Array, places: Array, atoms: Array) -> Array:
    """Move the mass `[B, K]` from `places [B, K]` to the atoms: of each place to its two neighbours, by nearness.

    Bellemare et al. 2017, Algorithm 1. Places beyond the outermost atoms count as if they lay there, so that the mean
    is kept where none does. It adds in no fixed order on a GPU: there the last bits of two runs may differ.
    """
    chex.assert_equal_shape((probability, places))
    last = atoms.shape[0] - 1
    position = jnp.clip((places - atoms[0]) * (last / (atoms[-1] - atoms[0])), 0.0, last)
    left = jnp.minimum(jnp.floor(position), last - 1.0)
    share = position - left  # of the right neighbour
    row, at = jnp.arange(probability.shape[0])[:, None], left.astype(jnp.int32)
    moved = jnp.zeros_like(probability).at[row, at].add(probability * (1.0 - share))
    return moved.at[row, at + 1].add(probability * share)


def cross_entropy(target: Array, log_probability: Array) -> Array:
    """Return `Σ_C mean_B -Σ_k m_k log p_k` for targets `m [B, K]` and critics' `log p [C, B, K]`.

    Differentiable in both; the gradient in a critic's logits is p - m, each at most 1.
    """
    chex.assert_rank(log_probability, 3)
    return -(target[None] * log_probability).sum(-1).mean(-1).sum()
