"""Importing a module of the user's own by its name, and saying what is wrong where that fails."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import gymnasium

from pbrl.envs.ids import BRAX
from pbrl.errors import EndedAtOnce, EnvError, described, is_installed, place


def load(name: str, asked_by: str) -> ModuleType:
    """Import a module; `asked_by` is what names it, such as `rail:Rail-v0`.

    Raises `EnvError` that tells a module that is not there from one that fails, and from one whose own imports do.
    """
    try:
        return importlib.import_module(name)
    except (KeyboardInterrupt, EndedAtOnce):
        raise
    except BaseException as error:  # of a program of the user's own
        if isinstance(error, ModuleNotFoundError) and error.name:
            if f"{name}.".startswith(f"{error.name}."):
                raise EnvError(f"{asked_by}: there is no module {error.name!r}; {_remedy(error.name)}") from None
            problem = f"imports {error.name!r}, which is not installed ({place(error)})"
            raise EnvError(f"{asked_by}: the module {name} {problem}") from error
        where = "" if isinstance(error, SyntaxError) else f" ({place(error)})"  # it names its file itself
        raise EnvError(f"{asked_by}: importing {name} raised {described(error)}{where}") from error


def _remedy(name: str) -> str:
    if lies_here(name):
        return "its file is in this folder, so put PYTHONPATH=. in front of the command"
    return "install it, or name the folder that it lies in by PYTHONPATH"


def is_registered(env_id: str) -> bool:
    """Return whether Gymnasium can make an id, or Brax, or a module that the id names."""
    return ":" in env_id or env_id.startswith(BRAX) or env_id in gymnasium.registry


PACKAGES = {
    "gymnasium_robotics": ("Fetch", "Hand", "PointMaze", "AntMaze", "Adroit", "FrankaKitchen"),
    "shimmy": ("dm_control/",),
}
"""Package that registers ids when it is imported, what they begin with."""


def registering(env_id: str) -> str:
    """Return the module that could register an id, by its name: a user's own, or a known package; else nothing.

    Nothing is imported. `Rail-v0` may come from `rail`, `Rail` or, for `RailCar-v0`, `rail_car`.
    """
    for package, beginnings in PACKAGES.items():
        if env_id.startswith(beginnings):
            return package
    name = re.sub(r"-v\d+$", "", env_id.rpartition("/")[2])
    for module in dict.fromkeys((name, name.lower(), re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())):
        if module.isidentifier() and (lies_here(module) or _is_own(module)):
            return module
    return ""


def _is_own(module: str) -> bool:
    """Return whether a module can be imported and is neither Python's nor an installed package's."""
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        spec = importlib.util.find_spec(module)
        file = spec and spec.origin
    return bool(file) and not is_installed(str(file))


def lies_here(name: str) -> bool:
    """Return whether the working directory holds a module of this name."""
    return Path(f"{name}.py").is_file() or (Path(name) / "__init__.py").is_file()
