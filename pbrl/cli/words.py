"""The words of a command line: unknown options are refused with the nearest known one, the rest is read by tyro."""

import contextlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import tyro

from pbrl import config as configs
from pbrl.errors import RunError


def refuse_unknown(argv: Sequence[str], names: Iterable[str]) -> None:
    """Raise `RunError` for the first word that looks like an option and is none of these, with the nearest that is.

    And for a number of so many digits that none of them takes it: Python reads no integer beyond 4300.
    """
    known = ["--help", *(f"--{name.replace('_', '-')}" for name in names)]
    for word in argv:
        if long := re.search(r"\d{400,}", word):
            option = f"{word.partition('=')[0]}: " if "=" in word[: long.start()] else ""
            raise RunError(f"{option}a number of {len(long[0])} digits is more than anything here can be; shorten it")
        if word == "--":  # what follows are values
            return
        option = word.partition("=")[0].replace("_", "-")
        other = re.fullmatch(r"-h|-(inf|nan|[\d.].*)|--tyro-.*", word, re.IGNORECASE)  # numbers, tyro's own
        if word.startswith("-") and not other and option not in known and option.partition(".")[0] not in known:
            raise RunError(f"there is no option {word.partition('=')[0]}{configs.suggest(option, known, 'option')}")


def require(option: str, value: int, low: int, high: int) -> None:
    """Raise `RunError` unless an option's number lies in its closed range."""
    if not low <= value <= high:
        raise RunError(f"{option}: expected an integer from {low} to {high}, got {configs.shown(value)}")


def step(step: int | None, best: bool) -> int | Literal["best"] | None:
    """Return which checkpoint --step and --best name. Raises `RunError` for both."""
    if best and step is not None:
        raise RunError("--best, --step: expected one of them, got both")
    return "best" if best else step


def peek(argv: Sequence[str], name: str, default: Any) -> Any:
    """Return the last `--name value` or `--name=value`: what decides on the defaults must be known before parsing."""
    for word, after in zip(argv, [*argv[1:], ""], strict=False):
        if word == f"--{name}" and not after.startswith("-"):
            default = after
        elif word.startswith(f"--{name}="):
            default = word.partition("=")[2]
    return default


def call(function: Callable[..., None], argv: Sequence[str], prog: str) -> None:
    """Call a function with the words as arguments; its signature makes the options, its docstring the help."""
    refuse_unknown(argv, [name.strip("_") for name in inspect.signature(function).parameters])
    with _named(argv):
        tyro.cli(function, args=argv, prog=prog, registry=_registry(_whole))


def fill(cls: Any, argv: Sequence[str], defaults: Any, prog: str, about: str) -> Any:
    """Return an instance of the dataclass `cls`: the words' values, and those of `defaults` for what is not given."""
    with _named(argv):
        return tyro.cli(
            cls,
            args=argv,
            default=defaults,
            prog=prog,
            description=about,
            config=(tyro.conf.FlagConversionOff,),  # so that every option reads --config.PATH=VALUE
            registry=_registry(_whole, _integers),
        )


def _registry(*rules: Any) -> tyro.constructors.ConstructorRegistry:
    """Return how tyro reads words, with rules of ours that come before its own, the last first."""
    registry = tyro.constructors.ConstructorRegistry()
    for rule in rules:
        registry.primitive_rule(rule)
    return registry


def _whole(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Read whole numbers as `10000` or as `1e4`."""
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: integer(words[0]),
        is_instance=lambda x: isinstance(x, int) and not isinstance(x, bool),
        str_from_instance=lambda x: [str(x)],
    )


def integer(word: str) -> int:
    """Read `10000`, `10_000` or `1e4`. Raises `_NotWhole` for another number, `ValueError` for no number."""
    try:
        return int(word)
    except ValueError as error:
        try:
            number = float(word)
        except ValueError:
            raise error from None
        if not number.is_integer():
            raise _NotWhole(word) from None
        return int(number)


class _NotWhole(Exception):
    """A number stands where a whole one should; no `ValueError`, which tyro would tell in words of its own."""


@contextlib.contextmanager
def _named(argv: Sequence[str]) -> Iterator[None]:
    """Let a number that is not whole be a `RunError`, which names the last option before it."""
    try:
        yield
    except _NotWhole as error:
        (word,) = error.args
        at = next(
            (i for i, given in enumerate(argv) if word in given.partition("=")[2].split(",") + given.split(",")), 0
        )
        option = next((given.partition("=")[0] for given in reversed(argv[: at + 1]) if given.startswith("--")), "")
        raise RunError(f"{option}: expected a whole number, such as 10000 or 1e4, got {word}") from None


def _integers(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Read widths as `128,128` or as `128 128`."""
    if typing.get_origin(info.type) is not tuple or typing.get_args(info.type) != (int, ...):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="INT,INT,…",
        instance_from_str=lambda words: tuple(integer(x) for x in ",".join(words).split(",")),
        is_instance=lambda x: isinstance(x, tuple),
        str_from_instance=lambda x: [",".join(map(str, x))],
    )
