"""Which dataset of transitions a run begins with: one in Minari's format (Farama's; `pbrl[data]`), by folder or by id.

A dataset is a folder with `data/metadata.json` and the episodes beside it. `pbrl.runs.dataset_rows` reads them,
`pbrl.trained.dataset` writes them.
"""

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbrl.errors import RunError
from pbrl.runs import files
from pbrl.runs.schedule import MOST_ROWS

METADATA = "metadata.json"
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Dataset:
    """A dataset as a run's identity has it: its `id`, how many `rows` it has, and the checksum of its files.

    `sha256` is over their names and bytes. `folder` is where they lie here, which is no part of the identity.
    """

    id: str
    sha256: str
    rows: int
    folder: Path = field(default=Path(), compare=False)

    @classmethod
    def find(cls, word: str) -> "Dataset":
        """Return the dataset of a folder, or of an id within Minari's own (`MINARI_DATASETS_PATH`, or in the home).

        Nothing is downloaded. Raises `RunError` where there is none, or none that can be read.
        """
        if not word:
            raise RunError("--data: expected a folder or an id, got nothing; leave it out to begin without a dataset")
        own = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
        places = [Path(word) / "data", Path(word), own / word / "data"]
        folder = next((place for place in places if (place / METADATA).is_file()), None)
        if folder is None:
            raise RunError(
                f"--data {word}: there is no such folder with data/{METADATA}, nor a dataset of that id in {own}; "
                f"`minari download {word}` fetches one of Farama's, `pbrl data export` writes one of a run"
            )
        try:
            found = json.loads(files.read(folder / METADATA, MAX_BYTES))
            digest = _digest(folder)
        except (OSError, ValueError, RecursionError) as error:
            said = f"{folder / METADATA} cannot be read: {files.reason(error)}; put a whole copy of it there"
            raise RunError(f"--data {word}: {said}") from None
        if missing := {"dataset_id", "total_steps"} - (found.keys() if isinstance(found, dict) else set()):
            raise RunError(
                f"--data {word}: {folder / METADATA} lacks {', '.join(sorted(missing))}, as Minari writes it"
            )
        try:
            return parse({"id": found["dataset_id"], "sha256": digest, "rows": found["total_steps"]}, folder)
        except ValueError as error:
            raise RunError(f"--data {word}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Return what belongs to a run's identity."""
        return {"id": self.id, "sha256": self.sha256, "rows": self.rows}


def parse(data: Any, folder: Path = Path()) -> Dataset:
    """Read what `Dataset.to_json` wrote. Raises `ValueError` for anything else."""
    sound = isinstance(data, dict) and data.keys() == {"id", "sha256", "rows"}
    sound = sound and all(isinstance(data[name], str) and data[name].isprintable() for name in ("id", "sha256"))
    sound = sound and 0 < len(data["id"]) <= 255 and len(data["sha256"]) == 64 and type(data["rows"]) is int
    if not sound or not 0 < data["rows"] <= MOST_ROWS:
        raise ValueError(
            f"data: expected the id, the SHA-256 and 1 to {MOST_ROWS} rows of a dataset, got something else"
        )
    return Dataset(data["id"], data["sha256"], data["rows"], folder)


def require_minari(reason: str) -> None:
    """Raise `RunError` where Minari, or what it reads HDF5 with, is not installed."""
    for package in ("minari", "h5py", "PIL"):
        if importlib.util.find_spec(package) is None:
            raise RunError(f"{reason} needs the package {package}: pip install 'pbrl[data]'")


def _digest(folder: Path) -> str:
    """Return the SHA-256 of all files of a folder, by name."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            total.update(f"{path.relative_to(folder)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
