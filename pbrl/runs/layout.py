"""What must be known of an environment to act in it, as every checkpoint states it: no environment is needed to act."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pbrl.types import EnvSpec

MOST = 2**24
"""Numbers in an observation or an action."""


@dataclass(frozen=True)
class Layout:
    """The sizes of an environment's vectors, the length of its episodes, and its own bounds of actions `[A]`."""

    obs_size: int
    action_size: int
    episode_length: int
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, spec: EnvSpec, low: Iterable[float], high: Iterable[float]) -> "Layout":
        """Take what is known of a live environment."""
        bounds = (tuple(float(x) for x in bound) for bound in (low, high))
        return cls(spec.obs_size, spec.action_size, spec.episode_length, *bounds)

    @property
    def spec(self) -> EnvSpec:
        """What an agent is told of it, without the known functions."""
        return EnvSpec(self.obs_size, self.action_size, self.episode_length)

    def to_json(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self).items()}


def parse(data: Any) -> Layout:
    """Read what `Layout.to_json` wrote. Raises `ValueError` for anything else."""
    named = isinstance(data, Mapping) and data.keys() == Layout.__dataclass_fields__.keys()
    sizes = [data[name] for name in ("obs_size", "action_size", "episode_length")] if named else []
    sound = named and all(type(size) is int and size > 0 for size in sizes) and max(sizes[:2]) <= MOST
    for bound in (data["low"], data["high"]) if sound else ():
        sound = sound and isinstance(bound, list) and len(bound) == sizes[1]
        sound = sound and all(type(x) in (int, float) and math.isfinite(x) for x in bound)
    if not sound or not all(low < high for low, high in zip(data["low"], data["high"], strict=True)):
        raise ValueError("layout: expected sizes and finite bounds of an environment, as pbrl writes them")
    return Layout(*sizes, *(tuple(map(float, data[name])) for name in ("low", "high")))
