"""Repeats the operations of a function of one row for a batch, whose axis is the last one. What has no rule: `vmap`."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend import core

from pbrl.envs.mujoco import positions
from pbrl.envs.mujoco.known import carried_out
from pbrl.envs.mujoco.values import Rows, Sum, full, joined, shape_of, value_of
from pbrl.types import Array

MOST_PRODUCTS = 64
"""Matrix products of up to so many are written out; others are a loop, which XLA does not compute anew for each use."""
MOST_TERMS = 32
"""Sums of up to so many terms are written out; others are one reduction."""
INLINE = frozenset("""
    checkpoint closed_call core_call custom_jvp_call custom_vjp_call jit pjit remat remat2
""".split())  # fmt: skip
ELEMENTWISE = frozenset("""
    abs acos add add_any and asin atan atan2 cbrt ceil clamp convert_element_type copy cos cosh div eq erf exp exp2
    expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul name ne neg nextafter not or pow rem
    round rsqrt select_n sign sin sinh sqrt square stop_gradient sub tan tanh xor
""".split())  # fmt: skip


class Interpreter:
    """Repeats the operations of one row for a batch. Values that are the same for all rows stay as they are."""

    def __init__(self, size: int) -> None:
        self.size = size

    def full(self, value: Any) -> Array:
        """Return a value of each row, `[..., batch]`."""
        return full(value, self.size)

    def evaluate(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        known = [x if isinstance(x, Tracer | Rows | Sum) else np.asarray(x) for x in (*consts, *inputs)]
        values: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), known, strict=True))

        def read(var: Any) -> Any:
            if isinstance(var, core.Literal):
                return np.asarray(var.val, getattr(var.aval, "dtype", None))
            return values[var]

        for equation in _needed(jaxpr):
            made = self.equation(equation, [read(var) for var in equation.invars])
            values.update(zip(equation.outvars, made, strict=True))
        return [Rows(x.x) if isinstance(x, Sum) else x for x in map(read, jaxpr.outvars)]

    def equation(self, equation: Any, args: list[Any]) -> Sequence[Any]:
        name, params = equation.primitive.name, equation.params
        if name in INLINE:
            closed = params.get("jaxpr") or params["call_jaxpr"]
            return self.evaluate(getattr(closed, "jaxpr", closed), getattr(closed, "consts", ()), args)
        if name == "add_any" and any(isinstance(x, Sum) for x in args):
            return [joined(*args)]
        args = [Rows(x.x) if isinstance(x, Sum) else x for x in args]
        if name != "native" and not any(isinstance(x, Rows) for x in args):
            return carried_out(equation, args)
        if name in ELEMENTWISE:
            return [Rows(self.elementwise(equation, args))]
        rule = getattr(self, name.replace("-", "_"), None)
        out = None if rule is None else rule(equation, *args)
        if out is None:
            return self.by_vmap(equation, args)
        return [out] if isinstance(out, Sum) else [Rows(x) for x in (out if isinstance(out, list) else [out])]

    def elementwise(self, equation: Any, args: list[Any]) -> Array:
        shape = (*equation.outvars[0].aval.shape, self.size)
        wide = [x.x if isinstance(x, Rows) else jnp.asarray(x)[..., None] for x in args]
        if len(wide) > 1:
            wide = [jnp.broadcast_to(x, shape) for x in wide]
        return equation.primitive.bind(*wide, **equation.params)

    def by_vmap(self, equation: Any, args: list[Any]) -> list[Any]:
        given = {v: x for v, x in zip(equation.invars, args, strict=True) if not isinstance(v, core.Literal)}
        outs = [v for v in equation.outvars if not isinstance(v, core.DropVar)]
        alone = core.ClosedJaxpr(core.Jaxpr([], list(given), outs, [equation], equation.effects), ())
        axes = tuple(-1 if isinstance(x, Rows) else None for x in given.values())
        values = map(value_of, given.values())
        made = iter(jax.vmap(core.jaxpr_as_fun(alone), axes, -1, axis_size=self.size)(*values))
        return [None if isinstance(v, core.DropVar) else Rows(next(made)) for v in equation.outvars]

    # Rules by an operation's name: `(equation, arguments) -> array or list of them`, None for one that is not covered.

    def native(self, equation: Any, *args: Any) -> Array:
        return equation.params["function"](*map(self.full, args))

    def optimization_barrier(self, equation: Any, *args: Any) -> list[Array]:
        return list(lax.optimization_barrier([self.full(x) for x in args]))

    def broadcast_in_dim(self, equation: Any, x: Rows, *_: Any) -> Array:
        shape, dims = equation.params["shape"], equation.params["broadcast_dimensions"]
        return lax.broadcast_in_dim(x.x, (*shape, self.size), (*dims, len(shape)))

    def reshape(self, equation: Any, x: Rows, *_: Any) -> Array | None:
        order = equation.params["dimensions"] or range(x.x.ndim - 1)
        return x.x.transpose(*order, x.x.ndim - 1).reshape(*equation.params["new_sizes"], self.size)

    def squeeze(self, equation: Any, x: Rows) -> Array:
        return lax.squeeze(x.x, equation.params["dimensions"])

    def transpose(self, equation: Any, x: Rows) -> Array:
        order = equation.params["permutation"]
        return x.x.transpose(*order, len(order))

    def rev(self, equation: Any, x: Rows) -> Array:
        return lax.rev(x.x, equation.params["dimensions"])

    def slice(self, equation: Any, x: Rows) -> Array:
        p = equation.params
        strides = None if p["strides"] is None else (*p["strides"], 1)
        return lax.slice(x.x, (*p["start_indices"], 0), (*p["limit_indices"], self.size), strides)

    def pad(self, equation: Any, x: Any, value: Any) -> Sum | Array | None:
        config, shape = equation.params["padding_config"], equation.outvars[0].aval.shape
        if isinstance(value, Rows):
            return None
        if not isinstance(value, np.ndarray) or value or min((*map(min, config), 0)) < 0:
            return lax.pad(self.full(x), value, (*config, (0, 0, 0)))
        inside = tuple(slice(low, n - high, step + 1) for (low, high, step), n in zip(config, shape, strict=True))
        return Sum(shape, [(positions.places_of(shape)[inside], self.full(x).reshape(-1, self.size))])

    def concatenate(self, equation: Any, *args: Any) -> Array:
        return lax.concatenate([self.full(x) for x in args], equation.params["dimension"])

    def split(self, equation: Any, x: Rows) -> list[Array]:
        return list(lax.split(x.x, equation.params["sizes"], equation.params["axis"]))

    def sort(self, equation: Any, *args: Any) -> list[Array]:
        p = equation.params
        return list(lax.sort([self.full(x) for x in args], p["dimension"], p["is_stable"], p["num_keys"]))

    def reduce_sum(self, equation: Any, x: Rows) -> Array:
        axes = equation.params["axes"]
        count = math.prod(x.x.shape[i] for i in axes)
        if not 0 < count <= MOST_TERMS:
            return x.x.sum(axes)
        first = jnp.moveaxis(x.x, axes, range(len(axes)))
        return functools.reduce(jnp.add, first.reshape(count, *first.shape[len(axes) :]))

    def _reduced(self, equation: Any, x: Rows) -> Array:
        return equation.primitive.bind(x.x, **equation.params)

    reduce_max = reduce_min = reduce_and = reduce_or = reduce_prod = argmax = argmin = cumsum = _reduced

    def dot_general(self, equation: Any, a: Any, b: Any) -> Array:
        """Multiply out: the contracted axes come first, one term each, or are summed at once."""
        (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
        terms = []
        for x, summed, batch in ((a, left, left_batch), (b, right, right_batch)):
            value = x.x if isinstance(x, Rows) else jnp.asarray(x)[..., None]
            rest = [i for i in range(value.ndim - 1) if i not in summed and i not in batch]
            moved = value.transpose(*summed, *batch, *rest, value.ndim - 1)
            terms.append(moved.reshape(math.prod(moved.shape[: len(summed)]), *moved.shape[len(summed) :]))
        at = 1 + len(left_batch)
        free = [x.ndim - 1 - at for x in terms]
        first = jnp.expand_dims(terms[0], range(at + free[0], at + sum(free)))
        second = jnp.expand_dims(terms[1], range(at, at + free[0]))
        count = len(first)
        if 0 < count * math.prod(equation.outvars[0].aval.shape) <= MOST_PRODUCTS:
            return functools.reduce(jnp.add, (x * y for x, y in zip(first, second, strict=True)))
        zero = jnp.zeros(jnp.broadcast_shapes(first.shape[1:], second.shape[1:]), first.dtype)
        return lax.fori_loop(0, count, lambda i, sum_: sum_ + first[i] * second[i], zero) if count else zero

    def custom_linear_solve(self, equation: Any, *args: Any) -> list[Array]:
        lengths, solve = equation.params["const_lengths"], equation.params["jaxprs"].solve
        at, vectors = lengths.matvec + lengths.vecmat, args[sum(lengths) :]
        inputs = [*args[at : at + lengths.solve], *vectors]
        return [self.full(x) for x in self.evaluate(solve.jaxpr, solve.consts, inputs)]

    def dynamic_slice(self, equation: Any, x: Any, *starts: Any) -> Array | None:
        sizes = equation.params["slice_sizes"]
        if not isinstance(x, Rows) or any(isinstance(i, Rows) for i in starts):
            return None
        return lax.dynamic_slice(x.x, (*starts, 0), (*sizes, self.size))

    def gather(self, equation: Any, x: Any, indices: Any) -> Array | None:
        p = equation.params
        if not isinstance(x, Rows) or not isinstance(indices, np.ndarray):
            return None
        at = positions.gathered(shape_of(x), indices, p["dimension_numbers"], p["slice_sizes"])
        return None if at is None else positions.select(x.x.reshape(-1, self.size), at)

    def _places(self, equation: Any, x: Any, indices: Any, updates: Any) -> np.ndarray | None:
        if not isinstance(indices, np.ndarray):
            return None
        dims = equation.params["dimension_numbers"]
        return positions.scattered(shape_of(x), indices, dims, shape_of(updates))

    def scatter(self, equation: Any, x: Any, indices: Any, updates: Any) -> Array | None:
        at = self._places(equation, x, indices, updates)
        if at is None:
            return None
        old, new = (self.full(y).reshape(-1, self.size) for y in (x, updates))
        source = np.arange(len(old))
        source[at.reshape(-1)] = len(old) + np.arange(at.size)
        return positions.select(jnp.concatenate([old, new]), source.reshape(shape_of(x)))

    def scatter_add(self, equation: Any, x: Any, indices: Any, updates: Any) -> Sum | None:
        at = self._places(equation, x, indices, updates)
        if at is None:
            return None
        added = Sum(shape_of(x), [(at, self.full(updates).reshape(-1, self.size))])
        return added if isinstance(x, np.ndarray) and not x.any() else joined(Rows(self.full(x)), added)

    def scan(self, equation: Any, *args: Any) -> list[Array]:
        p, inside = equation.params, equation.params["jaxpr"].jaxpr
        # Told apart by shapes, since what counts them has another name in each version of JAX.
        stacked = sum(v.aval.shape != w.aval.shape for v, w in zip(equation.invars, inside.invars, strict=True))
        carried = sum(v.aval.shape == w.aval.shape for v, w in zip(equation.outvars, inside.outvars, strict=True))
        at = len(args) - stacked
        consts, carry, xs = args[: at - carried], args[at - carried : at], args[at:]
        each = [isinstance(x, Rows) for x in xs]

        def body(carry: Any, xs: Any) -> tuple:
            inputs = [Rows(x) if rows else x for x, rows in zip(xs, each, strict=True)]
            closed = p["jaxpr"]
            made = self.evaluate(closed.jaxpr, closed.consts, [*consts, *map(Rows, carry), *inputs])
            out = [self.full(x) for x in made]
            return out[:carried], out[carried:]

        start = [self.full(x) for x in carry], [jnp.asarray(value_of(x)) for x in xs]
        last, ys = lax.scan(body, *start, length=p["length"], reverse=p["reverse"], unroll=p["unroll"])
        return [*last, *ys]


def _needed(jaxpr: Any) -> list[Any]:
    """Return the equations that the results depend on, in their order."""
    wanted, kept = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if wanted.intersection(equation.outvars):
            kept.append(equation)
            wanted.update(v for v in equation.invars if not isinstance(v, core.Literal))
    return kept[::-1]
