"""On what software and machine a run has been trained, since each step at which that changed."""

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

PACKAGES = (
    *("pbrl", "jax", "jaxlib", "flax", "optax", "distrax", "numpy", "orbax-checkpoint"),
    *("gymnasium", "mujoco", "mujoco-mjx", "brax"),
)
"""Whose versions may change what a run computes or reads; one that is not installed is left out."""


def here() -> dict[str, Any]:
    """Return versions, Python, device and the cores that this process may use, as `config.json` has them."""
    import jax

    from pbrl.parallel import devices

    device = jax.devices()[0]
    return {
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "device": f"{device.platform}: {device.device_kind}",
        "cpu_cores": devices.cores(),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what differs between two records, as `jax (0.10.2 there, 0.11.0 here)`.

    What the old one does not mention, as an earlier pbrl wrote it, counts as alike; a package that is gone does not.
    """
    before, after = _flat(old), _flat(new)
    changed = [name for name in before if before[name] != after.get(name)]
    return [f"{name} ({before[name]} there, {after.get(name, 'none')} here)" for name in changed]


def history(record: Mapping[str, Any], step: int) -> list[dict[str, Any]]:
    """Return the history of a run that goes on here from `step`, by what its `config.json` says so far, if anything.

    Each entry has `from_step` and what `here` returns; the last is of this process.
    """
    past = list(record.get("history", []))
    if "versions" in record:
        newest = past[-1] if past else {"from_step": 0}
        past = [*past[:-1], {**newest, **{name: record[name] for name in _PARTS if name in record}}]
    past = [entry for entry in past if entry["from_step"] < step]
    now = here()
    if past and not differences(past[-1], now):
        return [*past[:-1], {"from_step": past[-1]["from_step"], **now}]
    return [*past, {"from_step": step, **now}]


def wrong(record: Mapping[str, Any]) -> str:
    """Return the first entry of a `config.json` that `history` and `here` cannot have made; nothing without one."""
    past = record.get("history", [])
    dated = isinstance(past, list) and all(isinstance(e, dict) and type(e.get("from_step")) is int for e in past)
    return "history" if not dated or any(map(_wrong, past)) else _wrong(record)


_PARTS = {"versions": dict, "python": str, "device": str, "cpu_cores": int}


def _wrong(entry: Mapping[str, Any]) -> str:
    for name, kind in _PARTS.items():
        value = entry.get(name, {} if kind is dict else None)
        texts = [*value, *value.values()] if isinstance(value, dict) else [value] * isinstance(value, str)
        sound = isinstance(value, kind) or (value is None and kind is not dict)
        # They are printed: a terminal would obey what is not printable.
        if not sound or not all(isinstance(text, str) and text.isprintable() for text in texts):
            return name
    return ""


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name.replace("_", " "): entry[name] for name in _PARTS if name in entry and name != "versions"}
    return {**entry.get("versions", {}), **parts}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
