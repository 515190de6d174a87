"""Changes to hyper-parameters by dotted path, as presets and YAML files give them. Imports nothing heavy."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.runs.schedule import Schedule

C = TypeVar("C")
Overrides = dict[str, Any]
"""Dotted paths, `config.*` and `schedule.*`, to values."""


def apply(config: C, schedule: Schedule, changes: Mapping[str, Any]) -> tuple[C, Schedule]:
    """Return both with `changes` made, whose paths begin with `config.` or `schedule.`.

    Raises `ValueError` with the path, what was expected, what came, and the nearest known name.
    """
    parts: dict[str, Any] = {"config": config, "schedule": schedule}
    for path, value in changes.items():
        part, _, rest = path.partition(".")
        if part not in parts or not rest:
            raise ValueError(f"{path}: expected a path such as config.actor_lr{configs.suggest(part, parts, 'part')}")
        parts[part] = configs.override(parts[part], {rest: value}, part)
    return parts["config"], parts["schedule"]


def read(path: Path, option: str) -> Overrides:
    """Read what a YAML file gives for paths: dotted ones, nested mappings, or both.

    Raises `RunError` that begins with the `option` of the command line which named the file.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RunError(f"{option} {path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{option} {path}: this is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, Mapping):
        raise RunError(f"{option} {path}: expected a mapping such as `config.actor_lr: 0.0003`, got {data!r:.80}")
    return dict(flatten(data))


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted paths and values of nested mappings."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _number(value)


def _number(value: Any) -> Any:
    """Read 1e-3 as a number: YAML 1.1 takes it for text, since it lacks the dot."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
