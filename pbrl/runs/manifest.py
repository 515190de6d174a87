"""The manifest of a checkpoint: which files and which arrays belong to it, to the byte. It knows neither jax nor Orbax.

`manifest.json` lists size and SHA-256 of every file and shape and type of every array; `manifest.sha256` seals the
manifest itself. Names in it are compared with what is there and never opened, so that it cannot lead anywhere else.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from pbrl.errors import CheckpointError, OtherSchema

SCHEMA = 3
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
MAX_BYTES = 64 * 2**20
STEP = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class Leaf(NamedTuple):
    """What one array is. `key` names the implementation of a typed random key, whose raw words are stored."""

    shape: list[int]
    dtype: str
    key: str | None

    def __str__(self) -> str:
        return f"{self.dtype}{self.shape}" + (f" (key: {self.key})" if self.key else "")


class Manifest(NamedTuple):
    """The content of a manifest. `files` maps relative paths to `[bytes, SHA-256]`."""

    step: int
    info: dict[str, Any]
    leaves: dict[str, Leaf]
    files: dict[str, list]


def steps(folder: Path) -> list[int]:
    """Return the steps of all complete checkpoints, oldest first. A torn write never shows up here."""
    folder = Path(folder)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if STEP.fullmatch(path.name) and path.is_dir())


def write(folder: Path, step: int, info: dict[str, Any], leaves: dict[str, Leaf]) -> None:
    """Describe and seal the files that lie in `folder`. Raises `OSError` where the disk does."""
    described = {name: leaf._asdict() for name, leaf in leaves.items()}
    found = _files(folder)
    files = {name: [size, _digest(folder / name)] for name, size in found.items()}
    content = {"schema": SCHEMA, "step": step, "info": info, "leaves": described, "files": files}
    text = json.dumps(content).encode()
    write_through(folder / MANIFEST, text)
    write_through(folder / SEAL, hashlib.sha256(text).hexdigest().encode())


def write_through(path: Path, content: bytes) -> None:
    """Write a file as far as the disk, not only the operating system's memory."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def verify(folder: Path) -> Manifest:
    """Return the manifest of a folder whose every byte is as it was written.

    Raises `CheckpointError`, which names the first file that is damaged, missing or too much, and `OtherSchema`.
    """
    if folder.is_symlink():
        raise CheckpointError(f"{folder} is a link, which no checkpoint holds")
    try:
        found = _files(folder)
        manifest = read(folder)
        for name in sorted(manifest.files.keys() | found.keys()):
            if name not in found:
                raise CheckpointError(f"{folder / name} is missing")
            if name not in manifest.files:
                raise CheckpointError(f"{folder / name} does not belong to the checkpoint")
            size, digest = manifest.files[name]
            if found[name] != size or _digest(folder / name) != digest:
                raise CheckpointError(f"{folder / name} is damaged: its checksum differs")
    except OSError as error:
        raise CheckpointError(f"{folder} is incomplete: {error}") from None
    return manifest


def read(folder: Path) -> Manifest:
    """Return the manifest of a folder, having looked at no other file of it. Raises as `verify`."""
    path, seal = folder / MANIFEST, folder / SEAL
    for file in (path, seal):
        if file.is_symlink() or not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if file.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{file} is larger than any manifest")
    text = path.read_bytes()
    if hashlib.sha256(text).hexdigest().encode() != seal.read_bytes():
        raise CheckpointError(f"{path} is damaged: its checksum differs")
    try:
        content = json.loads(text)
        schema = content["schema"]
        if schema != SCHEMA:
            raise OtherSchema(
                f"{folder} has schema {schema!r:.20}, this pbrl reads {SCHEMA}; use the version that wrote it"
            )
        manifest = Manifest(
            step=content["step"],
            info=content["info"],
            leaves={name: Leaf(**leaf) for name, leaf in content["leaves"].items()},
            files=content["files"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a manifest: {error}") from None
    _check(manifest, path)
    return manifest


def _check(manifest: Manifest, path: Path) -> None:
    """Hold against the types that the rest relies on what may have been made to look like a manifest."""
    sound = isinstance(manifest.info, dict) and isinstance(manifest.files, dict)
    sound = sound and all(isinstance(f, list) and len(f) == 2 for f in manifest.files.values())
    for leaf in manifest.leaves.values():
        sizes = isinstance(leaf.shape, list) and all(type(n) is int and n >= 0 for n in leaf.shape)
        sound = sound and sizes and isinstance(leaf.dtype, str) and isinstance(leaf.key, str | None)
    if not sound:
        raise CheckpointError(f"{path} is not a manifest: an entry has another type")
    if str(manifest.step) != path.parent.name:
        raise CheckpointError(f"{path} belongs to step {manifest.step}, which is not its folder's")


def _files(folder: Path) -> dict[str, int]:
    """Return the size of every file below, but the manifest's own two. Raises for anything that is not a file."""
    sizes, pending = {}, [folder]
    while pending:
        with os.scandir(pending.pop()) as listing:
            entries = list(listing)
        for entry in entries:
            if entry.is_symlink():
                raise CheckpointError(f"{entry.path} is a link, which no checkpoint holds")
            name = Path(entry.path).relative_to(folder).as_posix()
            if entry.is_dir():
                pending.append(Path(entry.path))
            elif not entry.is_file():
                raise CheckpointError(f"{entry.path} is neither a file nor a folder, which no checkpoint holds")
            elif name not in (MANIFEST, SEAL):
                sizes[name] = entry.stat().st_size
    return sizes


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
