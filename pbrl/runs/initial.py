"""Which part of another run a run begins with: fine-tuning, on the same task or on another of the same sizes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbrl.errors import RunError
from pbrl.runs import manifest

PARTS = {
    "networks": "actor, critics, their targets, and the temperature",
    "optimisers": "of actor, critics and temperature",
    "normaliser": "running moments, whose count of steps is the clock of schedules",
    "model": "the learned model with its optimiser",
    "replay": "the newest transitions that fit into the buffer",
}
MOST = ("networks", "optimisers", "normaliser", "model")
"""All but replay, whose rewards are another task's."""


@dataclass(frozen=True)
class Initial:
    """Parts of the agents that the checkpoint of `step` in another run's `folder` holds, those of `PARTS` in `parts`.

    Hyper-parameters stay the new run's.
    """

    folder: Path
    step: int
    parts: tuple[str, ...] = MOST

    def __post_init__(self) -> None:
        """Raise `RunError` for a part that there is not."""
        if not self.parts or not set(self.parts) <= PARTS.keys():
            raise RunError(f"--init-parts: expected some of {','.join(PARTS)}, got {','.join(self.parts) or 'none'}")

    @classmethod
    def newest(cls, folder: Path, parts: tuple[str, ...] = MOST) -> "Initial":
        """Take the newest checkpoint of a run's folder. Raises `RunError` where there is none."""
        there = manifest.steps(folder / "checkpoints")
        if not there:
            raise RunError(f"--init {folder}: there is no checkpoint in it to begin from")
        return cls(folder, there[-1], parts)

    def to_json(self) -> dict[str, Any]:
        """Return what belongs to a run's identity: the name of the folder, wherever it lies."""
        return {"run": self.folder.resolve().name, "step": self.step, "parts": list(self.parts)}


def parse(data: Any) -> Initial:
    """Read what `Initial.to_json` wrote. Raises `ValueError` for anything else."""
    sound = isinstance(data, dict) and data.keys() == {"run", "step", "parts"} and type(data["step"]) is int
    sound = sound and isinstance(data["run"], str) and data["run"].isprintable() and 0 < len(data["run"]) <= 255
    sound = (
        sound and "/" not in data["run"] and isinstance(data["parts"], list) and all(x in PARTS for x in data["parts"])
    )
    if not sound or data["step"] < 0 or not data["parts"]:
        raise ValueError("initial: expected run, step and parts, as pbrl writes them")
    return Initial(Path(data["run"]), data["step"], tuple(data["parts"]))
