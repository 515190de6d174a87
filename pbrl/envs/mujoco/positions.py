"""Which entries gathers and scatters with known indices touch, and selections of entries as slices."""

import functools
import itertools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from pbrl.types import Array

MOST_RUNS = 4
"""Selections of up to so many runs of consecutive entries are put together of slices; others are gathered."""


def places_of(shape: tuple[int, ...]) -> np.ndarray:
    """Return the flat position of each entry of an array."""
    return np.arange(math.prod(shape)).reshape(shape)


def gathered(shape: tuple[int, ...], indices: np.ndarray, dims: Any, sizes: tuple[int, ...]) -> np.ndarray | None:
    """Return the flat positions in an operand of what a gather reads; `dims` and `sizes` as `lax.gather` has them.

    None where that is not all within the operand.
    """
    return _windows(
        shape, indices, sizes, dims.start_index_map, dims.operand_batching_dims, dims.start_indices_batching_dims,
        dims.collapsed_slice_dims, dims.offset_dims,
    )  # fmt: skip


def scattered(shape: tuple[int, ...], indices: np.ndarray, dims: Any, updates: tuple[int, ...]) -> np.ndarray | None:
    """Return the flat positions in an operand that a scatter writes each update to, in the updates' shape.

    None where that is not all within the operand.
    """
    dropped = {*dims.inserted_window_dims, *dims.operand_batching_dims}
    window = iter(updates[i] for i in dims.update_window_dims)
    sizes = tuple(1 if i in dropped else next(window) for i in range(len(shape)))
    return _windows(
        shape, indices, sizes, dims.scatter_dims_to_operand_dims, dims.operand_batching_dims,
        dims.scatter_indices_batching_dims, dims.inserted_window_dims, dims.update_window_dims,
    )  # fmt: skip


def _windows(
    shape: tuple[int, ...], indices: np.ndarray, sizes: tuple[int, ...], index_map: Any, batching: Any,
    indices_batching: Any, collapsed: Any, offsets: Any,
) -> np.ndarray | None:  # fmt: skip
    many, places = indices.shape[:-1], places_of(shape)
    begin = np.zeros((*many, len(shape)), int)
    begin[..., list(index_map)] = indices
    for dim, along in zip(batching, indices_batching, strict=True):
        begin[..., dim] = np.indices(many)[along]
    if ((begin < 0) | (begin + sizes > shape)).any():
        return None
    window = places[tuple(map(slice, sizes))].squeeze((*collapsed, *batching))
    first = places[tuple(np.moveaxis(begin, -1, 0))]
    whole = first.reshape(*many, *[1] * window.ndim) + window
    return np.moveaxis(whole, range(len(many), whole.ndim), offsets)


def select(rows: Array, at: np.ndarray) -> Array:
    """Return some rows of an array, [k, batch], in the shape of `at`: [*at.shape, batch]."""
    flat = at.reshape(-1)
    cuts = np.flatnonzero(np.diff(flat) != 1) + 1
    begins = np.concatenate([[0], cuts, [flat.size]])
    if flat.size == 0:
        chosen = rows[:0]
    elif len(cuts) < MOST_RUNS:
        chosen = jnp.concatenate([rows[flat[i] : flat[j - 1] + 1] for i, j in itertools.pairwise(begins)])
    else:
        chosen = jnp.take(rows, jnp.asarray(flat, jnp.int32), axis=0, mode="clip")
    return chosen.reshape(*at.shape, rows.shape[-1])


def summed(parts: list[tuple[np.ndarray, Array]], size: int) -> Array:
    """Return `size` rows, [size, batch]: of every part, `(at, rows)`, a row is added where `at` says."""
    sources: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for part, (at, _) in enumerate(parts):
        for row, target in enumerate(at.reshape(-1)):
            sources[target].append((part, row))
    begins = [i for i in range(size) if not i or sources[i] != [(part, row + 1) for part, row in sources[i - 1]]]
    begins = [i for i in begins if not i or sources[i] or sources[i - 1]]  # a run without any is one
    if len(begins) > MOST_RUNS:
        zero = jnp.zeros((size, parts[0][1].shape[-1]), parts[0][1].dtype)
        flat = np.concatenate([at.reshape(-1) for at, _ in parts])
        return zero.at[flat].add(jnp.concatenate([rows for _, rows in parts]))
    runs = []
    for begin, end in itertools.pairwise([*begins, size]):
        terms = [parts[part][1][row : row + end - begin] for part, row in sources[begin]]
        empty = jnp.zeros((end - begin, parts[0][1].shape[-1]), parts[0][1].dtype)
        runs.append(functools.reduce(jnp.add, terms) if terms else empty)
    return jnp.concatenate(runs)
