"""`config.json` as JSON: read in bounds, or refused with a sentence. What it says is `pbrl.runs.record`'s to judge."""

import json
from pathlib import Path
from typing import Any

from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.runs import files

NAME = "config.json"
MAX_BYTES = 64 * 2**20


def read(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's `config.json`. Raises `RunError` where it is no JSON object, or not there."""
    path = Path(folder) / NAME
    try:
        data = json.loads(files.read(path, MAX_BYTES).decode())
    except FileNotFoundError:
        hint = "; its checkpoints are there, and the same command writes it again" if _trained(folder) else ""
        raise RunError(f"{folder} is not a run folder: it has no {NAME}; `pbrl train` makes one{hint}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {files.reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {configs.reason(error)}{remedy(folder)}") from None
    if not isinstance(data, dict):
        raise RunError(f"{path} cannot be read: expected an object, got {type(data).__name__}{remedy(folder)}")
    return data


def remedy(folder: Path, first: str = "mend it") -> str:
    """Return what to do about a bad file, in brackets, where a run of its folder can be gone on with; else nothing."""
    again = "move it away: the `pbrl train` command that made this run writes it again, from its checkpoints on"
    return f" ({first}, or {again})" if _trained(folder) else ""


def _trained(folder: Path) -> bool:
    return (Path(folder) / "checkpoints").is_dir()
