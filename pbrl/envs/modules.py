"""Importing a module of the user's own by its name, and saying what is wrong where that fails."""

import importlib
from pathlib import Path
from types import ModuleType

from pbrl.errors import EndedAtOnce, EnvError, described, place


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


def lies_here(name: str) -> bool:
    """Return whether the working directory holds a module of this name."""
    return Path(f"{name}.py").is_file() or (Path(name) / "__init__.py").is_file()
