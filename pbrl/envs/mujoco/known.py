"""Operations that are the same for all rows of a batch; those on known indices are carried out at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def carried_out(equation: Any, args: list[Any]) -> Sequence[Any]:
    """Carry an operation out that is the same for all rows: at once in NumPy if it is one of indices, else in JAX."""
    name = equation.primitive.name
    known = KNOWN.get(name)
    exact = name in STRUCTURAL or all(v.aval.dtype.kind in "bi" for v in equation.outvars)
    if known and exact and all(isinstance(x, np.ndarray | np.generic) for x in args):
        return [np.asarray(known(equation.params, *args), equation.outvars[0].aval.dtype)]
    out = equation.primitive.bind(*args, **equation.params)
    return out if equation.primitive.multiple_results else [out]


def _broadcast(p: Any, x: np.ndarray) -> np.ndarray:
    at = dict(zip(p["broadcast_dimensions"], x.shape, strict=True))
    return np.broadcast_to(x.reshape([at.get(i, 1) for i in range(len(p["shape"]))]), p["shape"])


def _iota(p: Any) -> np.ndarray:
    along = [-1 if i == p["dimension"] else 1 for i in range(len(p["shape"]))]
    return np.broadcast_to(np.arange(p["shape"][p["dimension"]]).reshape(along), p["shape"])


def _slice(p: Any, x: np.ndarray) -> np.ndarray:
    strides = p["strides"] or (1,) * x.ndim
    return x[tuple(map(slice, p["start_indices"], p["limit_indices"], strides))]


STRUCTURAL = ("broadcast_in_dim", "slice", "concatenate", "reshape", "squeeze", "transpose")
KNOWN: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast, "iota": _iota, "slice": _slice,
    "convert_element_type": lambda p, x: x.astype(p["new_dtype"]),
    "concatenate": lambda p, *x: np.concatenate(x, p["dimension"]),
    "reshape": lambda p, x: x.reshape(p["new_sizes"]),
    "squeeze": lambda p, x: x.squeeze(p["dimensions"]),
    "transpose": lambda p, x: x.transpose(p["permutation"]),
    "select_n": lambda p, which, *cases: np.choose(which.astype(int), cases),
    "rem": lambda p, x, y: np.fmod(x, y), "sign": lambda p, x: np.sign(x),
    "not": lambda p, x: ~x, "and": lambda p, x, y: x & y, "or": lambda p, x, y: x | y,
    **{name: (lambda p, x, y, f=f: f(x, y)) for name, f in {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "eq": np.equal,
        "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    }.items()},
}  # fmt: skip
"""Operations on integers that are known: `(parameters, arguments) -> result`."""
