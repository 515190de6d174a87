"""Random keys of a stream: each derives from (seed, step, phase), so that nothing is carried from one step to the next.

A resumed run draws what it would have drawn, and so does one whose steps are cut into other pieces.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pbrl.types import Array, Key

START, FIT, UPDATE, ACT, RANDOM, IMAGINE, RESET, STEP, EVALUATE, DIAGNOSE = range(10)
"""What a key is for. `pbrl.trained.play` folds the number of a call into keys of its own."""


def root(seed: Array | int) -> Key:
    """Return the key that all keys of a seed derive from."""
    return jax.random.fold_in(jax.random.key(0), seed)


def at(root: Key, step: Array | int, phase: int) -> Key:
    """Return the key of a phase at an environment step (1, 2, ...; 0 is before the first)."""
    return jax.random.fold_in(jax.random.fold_in(root, step), phase)


def of_streams(seeds: Sequence[int], step: Array | int, phase: int) -> Key:
    """Return `at` of every stream, by its seed, `[N]`."""
    return jax.vmap(lambda seed: at(root(seed), step, phase))(jnp.asarray(seeds, jnp.uint32))
