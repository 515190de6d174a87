"""Hyper-parameters as frozen dataclasses: leaves that `vmap` can vary, static fields that shape the program.

A number is a pytree leaf (learning rates, weights), so a population can train in one program; whatever decides a
shape or a branch is `static`. This file imports nothing heavy.
"""

import ast
import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def static(default: T) -> T:
    """Declare a field that is part of the program rather than of the data; its value must be hashable."""
    return dataclasses.field(default=default, metadata={"pytree_node": False})  # what flax.struct.field writes


class Frozen:
    """A dataclass whose lists become tuples as it is made: a list in a static field could change under a program.

    JAX would go on with the program that it compiled for the old widths, or raise for want of a hash.
    """

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is list or (type(value) is tuple and list in map(type, value)):
                object.__setattr__(self, name, _tuple(value))


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value


def suggest(word: object, known: Iterable[str], noun: str = "name") -> str:
    """Return ` (did you mean …?)`, or the list of what is known where nothing is close; `word` may be of any type."""
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known {noun}s: {', '.join(known)}"


def literal(text: str) -> Any:
    """Read a word as Python writes a value (`0.5`, `True`, `(0.2, 1.0)`, `None`), or else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def storable(value: Any, where: str, depth: int = 4) -> Any:
    """Return a value as `config.json` gives it back: numbers, text, None, tuples and dicts of these by text.

    Raises `ValueError` for anything else.
    """
    if isinstance(value, list | tuple) and depth and len(value) <= 10_000:
        return tuple(storable(each, where, depth - 1) for each in value)
    if isinstance(value, Mapping) and depth and all(type(name) is str for name in value):
        return {name: storable(each, f"{where}.{shown(name)}", depth - 1) for name, each in value.items()}
    value = getattr(value, "item", lambda: value)()  # NumPy's numbers
    number = type(value) is bool or (type(value) is int and abs(value) < 2**63)
    number = number or (type(value) is float and math.isfinite(value))
    if not (number or value is None or (type(value) is str and len(value) <= 10_000)):
        raise ValueError(
            f"{where}: expected a finite number, text, None, or tuples and dicts of those, got {shown(value)}"
        )
    return value


def shown(value: Any) -> str:
    """Return a value as a message shows it: cut short, since it may be anything that a file can hold."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return f"an integer of {value.bit_length()} bits"
    return text if len(text) <= 80 else f"{text[:80]} …"


def reason(error: BaseException) -> str:
    """Return in one short line why what was written is no value."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = " ".join(str(error).split()).partition("; use sys.set_int_max_str_digits")[0]
    return text if len(text) <= 300 else f"{text[:300]} …"


def to_json(config: Any) -> dict[str, Any]:
    """Turn a (nested) dataclass of numbers, strings and tuples into what `json.dump` takes."""
    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def plain(value: Any) -> Any:
    """Turn what a field may hold into what `json.dump` takes."""
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def override(config: T, changes: Mapping[str, Any], prefix: str = "config") -> T:
    """Return a copy with the fields at the dotted paths of `changes` replaced.

    Raises `ValueError` with the path, what was expected, what came, and the nearest known name.
    """
    for path, value in changes.items():
        config = _replace(config, path.split("."), value, prefix)
    return config


def from_json(cls: type[T], data: Mapping[str, Any], prefix: str = "config") -> T:
    """Rebuild what `to_json` wrote; fields that `data` lacks keep their defaults, unknown ones raise `ValueError`."""
    return override(cls(), data, prefix)


def leaf_paths(config: Any) -> list[str]:
    """Return the dotted paths of the fields that are data, not program: the numbers that `vmap` can vary."""
    paths = []
    for f in dataclasses.fields(config):
        if f.metadata.get("pytree_node", True):
            value = getattr(config, f.name)
            paths += [f"{f.name}.{p}" for p in leaf_paths(value)] if dataclasses.is_dataclass(value) else [f.name]
    return paths


def replace_leaves(config: Any, values: Mapping[str, Any]) -> Any:
    """Return a copy with the leaves at the dotted paths of `values` replaced, unchecked: they may be tracers."""
    for path, value in values.items():
        name, _, rest = path.partition(".")
        new = replace_leaves(getattr(config, name), {rest: value}) if rest else value
        config = dataclasses.replace(config, **{name: new})
    return config


def _replace(config: Any, path: list[str], value: Any, prefix: str) -> Any:
    name, rest = path[0], path[1:]
    known = {f.name: f for f in dataclasses.fields(config)}
    if name not in known:
        raise ValueError(f"{prefix}.{name}: there is no such field{suggest(name, known, 'field')}")
    old, where = getattr(config, name), f"{prefix}.{name}"
    if dataclasses.is_dataclass(old):
        if not rest and not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a mapping of its fields, got {shown(value)}")
        changes = {".".join(rest): value} if rest else value
        return dataclasses.replace(config, **{name: override(old, changes, where)})
    if rest:
        raise ValueError(f"{where} has no fields, so {'.'.join(path)!r} leads nowhere; drop {'.'.join(rest)!r}")
    kind = typing.get_type_hints(type(config))[name]
    return dataclasses.replace(config, **{name: _coerce(value, kind, where)})


def _coerce(value: Any, kind: Any, where: str) -> Any:
    """Check a value that came from JSON, YAML or a user against a field's annotation; lists become tuples."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return _coerce(value, option, where)
            except ValueError:
                continue
    elif origin is typing.Literal:
        if value in args:
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_coerce(v, args[0], where) for v in value)
    elif kind is type(None):
        if value is None:
            return None
    elif kind is float:
        with contextlib.suppress(OverflowError):  # an integer beyond all floats
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
    elif kind in (int, bool, str):
        if type(value) is kind:
            return value
    else:
        return value
    expected = getattr(kind, "__name__", None) if origin is None else str(kind).replace("typing.", "")
    raise ValueError(f"{where}: expected {expected}, got {shown(value)}")


def require(config: Any, cls: type) -> None:
    """Raise `ValueError` unless a config is one of `cls`, the agent's own."""
    if not isinstance(config, cls):
        came = config if isinstance(config, type) else type(config)
        raise ValueError(
            f"config: expected {cls.__module__}.Config(...), got {'the class' if came is config else 'a'} "
            f"{came.__module__}.{came.__qualname__}"
        )


def check(config: Any, prefix: str = "config", /, **bounds: tuple[float, float]) -> None:
    """Raise `ValueError` unless each named field lies in its closed range; tracers (a vmapped population) pass."""
    for name, (low, high) in bounds.items():
        for value in _numbers(getattr(config, name)):
            if not low <= value <= high:
                raise ValueError(f"{prefix}.{name}: expected a value in [{low:g}, {high:g}], got {shown(value)}")


def check_choice(config: Any, **choices: Iterable[str]) -> None:
    """Raise `ValueError` unless each named field is one of its words."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"config.{name}: got {getattr(config, name)!r}{suggest(getattr(config, name), known)}")


def _numbers(value: Any) -> tuple:
    if isinstance(value, tuple):
        return value
    return (value,) if isinstance(value, int | float) else ()


def cast(config: T) -> T:
    """Make every leaf an array of JAX's float once: a Python float costs a second trace of every function."""
    import jax
    import jax.numpy as jnp

    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), config)
