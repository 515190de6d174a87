"""`vmap` for physics: the batch is the last axis of every array on the way, not the first.

MJX works with vectors of 3 and matrices of 6 by 6. Behind a batch axis, XLA makes loops of length 3 of them, one number
at a time. Before it, an operation is one run through memory in vector instructions, for all rows together.

`batch_last` traces a function of one row and repeats its operations with one more axis at the end; selections by known
indices become slices. What has no rule here goes through `jax.vmap`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend import core

from pbrl.envs.mujoco.interpreter import Interpreter
from pbrl.envs.mujoco.values import Rows, full, is_rows, one_row, shape_of, value_of
from pbrl.types import Array


def batch_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one row's arrays as one of many rows' arrays, `[..., batch]` each, as are its results.

    It is differentiated backwards, as often as wanted, and has no forward mode: the derivative of one row is repeated,
    rather than the derivative of the repetition taken, so that selections and sums in it have the rules that are here.
    """

    def mapped(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        flat = Flat(lambda *leaves: function(*tree.unflatten(leaves)))
        out = _call(flat, [Rows(x) for x in leaves])
        return flat.structure.unflatten([full(x, leaves[0].shape[-1]) for x in out])

    return mapped


class Flat:
    """A function whose result is a list of arrays; `structure` is what they were in, once it was called."""

    structure: Any

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> list[Any]:
        leaves, self.structure = jax.tree.flatten(self.function(*args))
        return leaves


def _call(function: Callable[..., list[Array]], args: Sequence[Any]) -> list[Any]:
    """Call a function of one row's arrays for a batch: arguments and results are `Rows` where they differ by row.

    Its derivative is such a call of its own, at every order. What is the same for all rows depends on no argument that
    has a derivative.
    """
    values, each = [value_of(x) for x in args], [is_rows(x) for x in args]
    at = [i for i, x in enumerate(values) if each[i] and jnp.issubdtype(x.dtype, jnp.inexact)]
    size = values[each.index(True)].shape[-1]

    def marked(values: Sequence[Array]) -> list[Any]:
        return [Rows(x) if rows else x for x, rows in zip(values, each, strict=True)]

    @jax.custom_vjp
    def mapped(*values: Array) -> list[Any]:
        with _tracing():
            closed = jax.make_jaxpr(function)(*map(one_row, args))
        return Interpreter(size).evaluate(closed.jaxpr, closed.consts, marked(values))

    def forward(*values: Array) -> tuple[list[Any], Any]:
        def with_pull(*args: Array) -> tuple[list[Array], Any]:
            def of_some(*some: Array) -> list[Array]:
                put = dict(zip(at, some, strict=True))
                return function(*(put.get(i, x) for i, x in enumerate(args)))

            return jax.vjp(of_some, *(args[i] for i in at))

        flat = Flat(with_pull)
        made = _call(flat, marked(values))
        return flat.structure.unflatten(made)

    def backward(pull: Any, given: list[Any]) -> tuple:
        leaves, tree = jax.tree.flatten(pull, is_leaf=is_rows)
        slopes = jax.tree.leaves(given, is_leaf=is_rows)

        def pulled(*args: Array) -> list[Array]:
            wanted = iter(args[len(leaves) :])
            whole = [next(wanted) if _is_slope(x) else _no_slope(x) for x in slopes]
            return list(tree.unflatten(args[: len(leaves)])(whole))

        out = iter(_call(pulled, [*leaves, *filter(_is_slope, slopes)]))
        return tuple(full(next(out), size) if i in at else None for i in range(len(each)))

    mapped.defvjp(forward, backward)
    return mapped(*values)


def over_rows(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what `jax.vmap` does, a function of rows along the first axis, by `batch_last`."""

    def mapped(*args: Any) -> Any:
        out = batch_last(function)(*jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), args))
        return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), out)

    return mapped


_INSIDE = False
_native = core.Primitive("native")
_native.multiple_results = True
_native.def_abstract_eval(lambda *avals, function, shapes: list(shapes))


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    global _INSIDE
    before, _INSIDE = _INSIDE, True
    try:
        yield
    finally:
        _INSIDE = before


def native(function: Callable[..., Array], *args: Array) -> Array:
    """Call a function of arrays `[..., batch]`, returning such a one, for one row; `batch_last` gives it them all."""
    if not _INSIDE:
        return function(*(x[..., None] for x in args))[..., 0]
    wide = [jax.ShapeDtypeStruct((*x.shape, 1), x.dtype) for x in args]
    out = jax.eval_shape(function, *wide)
    return _native.bind(*args, function=function, shapes=(ShapedArray(out.shape[:-1], out.dtype),))[0]


def _is_slope(x: Any) -> bool:
    """Return whether a cotangent counts: integers have none, and what is the same for all rows depends on no input."""
    return isinstance(x, Rows) and x.x.dtype != jax.dtypes.float0


def _no_slope(x: Any) -> np.ndarray:
    return np.zeros(shape_of(x), value_of(x).dtype)
