"""Environments as objects: a function that makes one, in the place of an id."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium

from pbrl.errors import EnvError

Factory = Callable[..., gymnasium.Env]
"""A function or a class that makes a new environment at every call."""

LIVE: weakref.WeakValueDictionary[int, gymnasium.Env] = weakref.WeakValueDictionary()
"""What factories have made and still lives, by identity: two seeds must not share one."""


def name_of(factory: Factory) -> str:
    """Return what a factory is called where only its name can be kept: `rail.Rail()`."""
    named: Any = getattr(factory, "func", factory)  # of a functools.partial, the function
    named = named if hasattr(named, "__qualname__") else type(named)
    return f"{named.__module__}.{named.__qualname__}()"


def is_name(env_id: str) -> bool:
    """Return whether an id is the name of a factory."""
    return env_id.endswith("()")


def gone(env_id: str) -> str:
    """Say what to do where a factory is needed, and only its name is there."""
    return (
        f"{env_id} is a function of a program, and only its name is stored. In Python hand it over again: "
        "Run(env=FUNCTION, …) to resume, load(folder, env=FUNCTION) to read. For the command line, register an id: "
        "gymnasium.register, then MODULE:ID"
    )


def make(factory: Factory, make_kwargs: dict[str, Any]) -> gymnasium.Env:
    """Call a factory; a `render_mode` that it does not take is left out.

    Raises `EnvError` where it returns no environment of Gymnasium's, or one that it has returned before.
    """
    name = name_of(factory)
    if "render_mode" in make_kwargs and not _takes(factory, "render_mode"):
        make_kwargs = {key: value for key, value in make_kwargs.items() if key != "render_mode"}
    env = factory(**make_kwargs)
    if not isinstance(env, gymnasium.Env):
        raise EnvError(f"{name} returned a {type(env).__name__}, expected a gymnasium.Env")
    base = env.unwrapped
    if LIVE.get(id(base)) is base:
        raise EnvError(f"{name} returned one environment twice; let it make a new one at every call")
    LIVE[id(base)] = base
    return env


def _takes(factory: Factory, name: str) -> bool:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of what is written in C
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
