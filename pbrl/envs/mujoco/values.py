"""Values of the rows of a batch, whose axis is the last one."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.envs.mujoco import positions
from pbrl.types import Array


class Rows(NamedTuple):
    """A value of each row of the batch: `x` has the shape of one value and the batch axis after it."""

    x: Any


class Sum(NamedTuple):
    """A value of each row that is yet to be put together: a sum of some entries at some places, zeros elsewhere."""

    shape: tuple[int, ...]
    parts: list[tuple[np.ndarray, Array]]
    """Flat positions, and what is added there: [entries, batch]."""

    @property
    def x(self) -> Array:
        """The value, [*shape, batch]."""
        whole = positions.summed(self.parts, math.prod(self.shape))
        return whole.reshape(*self.shape, whole.shape[-1])


def shape_of(x: Any) -> tuple[int, ...]:
    return x.x.shape[:-1] if isinstance(x, Rows) else np.shape(x)


def full(value: Any, size: int) -> Array:
    """Return a value of each of so many rows, `[..., batch]`."""
    if isinstance(value, Rows | Sum):
        return value.x
    return jnp.broadcast_to(jnp.asarray(value)[..., None], (*np.shape(value), size))


def value_of(x: Any) -> Any:
    return x.x if isinstance(x, Rows) else x


def is_rows(x: Any) -> bool:
    return isinstance(x, Rows)


def one_row(x: Any) -> jax.ShapeDtypeStruct:
    """Return what one row of a value looks like."""
    return jax.ShapeDtypeStruct(shape_of(x), value_of(x).dtype)


def joined(first: Any, second: Any) -> Sum:
    """Return the sum of two values, at least one of which is a `Sum`."""
    shape = (first if isinstance(first, Sum) else second).shape
    whole = positions.places_of(shape)
    return Sum(shape, [
        part for value in (first, second)
        for part in (value.parts if isinstance(value, Sum) else [(whole, value.x.reshape(whole.size, -1))])
    ])  # fmt: skip
