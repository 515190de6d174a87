"""Where a run's luck comes from: the random keys of its agents, and the seeds of its environments' episodes.

A key derives from (seed, step, phase), so that nothing is carried from one step to the next. A resumed run draws what
it would have drawn, and so does one whose steps are cut into other pieces.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.types import Array, Key

START, FIT, UPDATE, ACT, RANDOM, IMAGINE, RESET, STEP, EVALUATE, DIAGNOSE = range(10)
"""What a key of `at` is for."""
PLAN = 5
"""The same for planning in a finished run. Training uses this number too, but planning folds in that of its call."""

TRAINING_STREAM, EVALUATION_STREAM, DIAGNOSIS_STREAM = range(3)
"""Whose episode a seed of `episode_seed` is for."""
FRESH = 1 << 32
"""Added to the step of an evaluation after training, for episodes that no evaluation of the run itself has seen."""


def bits(seeds: Sequence[int]) -> Array:
    """Return seeds as u32[N], which keys are made from. Raises `ValueError` for one that does not fit."""
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise ValueError(f"seeds: expected numbers from 0 to {2**32 - 1}, got {list(seeds)}; take them modulo 2^32")
    return jnp.asarray(seeds, jnp.uint32)


def root(seed: Array | int) -> Key:
    """Return the key that all keys of a seed derive from, which is below 2^32."""
    return jax.random.fold_in(jax.random.key(0), seed)


def at(root: Key, step: Array | int, phase: int) -> Key:
    """Return the key of a phase at an environment step (1, 2, ...; 0 is before the first)."""
    return jax.random.fold_in(jax.random.fold_in(root, step), phase)


def of_streams(seeds: Sequence[int], step: Array | int, phase: int) -> Key:
    """Return `at` of every stream, by its seed, `[N]`."""
    return jax.vmap(lambda seed: at(root(seed), step, phase))(bits(seeds))


def episode_seed(seed: int, step: int, episode: int, stream: int = EVALUATION_STREAM) -> int:
    """Derive an environment seed that no other episode of any seed, step or stream shares (up to 32-bit chance)."""
    return int(np.random.SeedSequence([seed, stream, step, episode]).generate_state(1)[0])
