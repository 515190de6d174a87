"""Changes to hyper-parameters by dotted path, as presets and YAML files give them. Imports nothing heavy."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.runs import files
from pbrl.runs.schedule import Schedule

C = TypeVar("C")
Overrides = dict[str, Any]
"""Dotted paths, `config.*` and `schedule.*`, to values."""
MAX_BYTES = 2**20
"""Of a file of settings."""


def apply(config: C, schedule: Schedule, changes: Mapping[str, Any]) -> tuple[C, Schedule]:
    """Return both with `changes` made, whose paths begin with `config.` or `schedule.`.

    Raises `ValueError` with the path, what was expected, what came, and the nearest known name.
    """
    parts: dict[str, Any] = {"config": config, "schedule": schedule}
    for path, value in changes.items():
        part, _, rest = path.partition(".")
        if part in parts and not rest:
            raise ValueError(f"{part}: expected a mapping of its fields, got {configs.shown(value)}")
        if part not in parts or not rest:
            raise ValueError(f"{path}: expected a path such as config.actor_lr{configs.suggest(part, parts, 'part')}")
        parts[part] = configs.override(parts[part], {rest: value}, part)
    return parts["config"], parts["schedule"]


class _Twice(yaml.YAMLError):
    """A key that is given twice, of which YAML would silently take the later."""


class _Loader(yaml.SafeLoader):
    """Reads YAML, and refuses a key that a mapping has twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _Twice(f"{key.value!r:.80} is given twice, again in line {key.start_mark.line + 1}; keep one")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return super().construct_mapping(node, deep)


def read(path: Path, option: str) -> Overrides:
    """Read what a YAML file gives for paths: dotted ones, nested mappings, or both.

    Raises `RunError` that begins with the `option` of the command line which named the file.
    """
    where, found = f"{option} {path}", Overrides()
    try:
        data = _Loader(files.read(path, MAX_BYTES)).get_single_data()
        if not isinstance(data, Mapping):
            raise RunError(f"expected a mapping such as `config.actor_lr: 0.0003`, got {configs.shown(data)}")
        for name, value in flatten(data):
            if name in found:
                raise _Twice(f"{name!r:.80} is given twice, nested and by its path; keep one")
            found[name] = value
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error.strerror}") from None
    except (RunError, _Twice) as error:
        raise RunError(f"{where}: {error}") from None
    except RecursionError:
        raise RunError(f"{where}: it is nested too deeply; give paths such as `config.actor_lr: 0.0003`") from None
    except (yaml.YAMLError, ValueError) as error:
        raise RunError(f"{where}: this is not YAML: {configs.reason(error)}") from None
    return found


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted paths and values of nested mappings."""
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _number(value)


def _number(value: Any) -> Any:
    """Read 1e-3 and 1e4 as numbers, whole where they are: YAML 1.1 takes them for text, since they lack the dot."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return int(number) if isinstance(value, str) and number.is_integer() else number
