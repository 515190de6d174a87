"""Checkpoints: one folder a step, written by Orbax, visible only when whole, and checked byte by byte when read.

Orbax restores a file with a flipped byte without a word, so every folder carries a manifest with the SHA-256 of
each file. Nothing is pickled: arrays, JSON and checksums are all there is.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

SCHEMA = 1
MANIFEST, SEAL, ARRAYS = "manifest.json", "manifest.sha256", "arrays"
PARTIAL = ".partial"
MAX_MANIFEST_BYTES = 64 * 2**20


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message says which, and what to do."""


def steps(folder: Path) -> list[int]:
    """Return the steps of all complete checkpoints, oldest first. A torn write never shows up here."""
    folder = Path(folder)
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def save(folder: Path, step: int, tree: Any, info: dict[str, Any], *, keep: int = 2) -> None:
    """Write `tree` (any pytree of arrays and typed keys) and `info` (JSON) as the checkpoint of `step`.

    The step appears by one rename after everything is on disk; the newest `keep` remain. Raises `CheckpointError`
    where that fails (a full disk, say); checkpoints that were there stay as they were.
    """
    folder = Path(folder)
    target = folder / str(step)
    partial = folder / f"{step}{PARTIAL}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clean(folder)
        partial.mkdir()
        leaves = _flatten(tree)
        _write_arrays(partial / ARRAYS, {name: array for name, (array, _) in leaves.items() if array.size})
        described = {
            name: {"shape": list(array.shape), "dtype": array.dtype.name, "key": impl}
            for name, (array, impl) in leaves.items()
        }
        manifest = {"schema": SCHEMA, "step": step, "info": info, "leaves": described, "files": _digests(partial)}
        _write(partial / MANIFEST, json.dumps(manifest).encode())
        _write(partial / SEAL, hashlib.sha256((partial / MANIFEST).read_bytes()).hexdigest().encode())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, ValueError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        left = steps(folder)
        safe = f"the checkpoint of step {left[-1]} is intact" if left else "there is no earlier checkpoint"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"cannot save step {step} in {folder}: {reason[:200]}; {safe}") from error
    for old in steps(folder)[:-keep]:
        shutil.rmtree(folder / str(old), ignore_errors=True)


def restore(folder: Path, template: Any, *, step: int | None = None) -> tuple[Any, dict[str, Any], int]:
    """Read the newest good checkpoint (or that of `step`) into the structure of `template`.

    `template` holds arrays or `jax.ShapeDtypeStruct`s. Returns `(tree, info, step)`; arrays come as NumPy arrays,
    keys as typed keys. A damaged checkpoint is reported by a warning and the one before it is used. Raises
    `CheckpointError` where none is good, or where one is good but has other leaves than `template`.
    """
    manifest, path = _newest_good(Path(folder), step)
    wanted = {jax.tree_util.keystr(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(template)}
    _compare(path, manifest["leaves"], wanted)
    arrays = _read_arrays(path / ARRAYS, [n for n, leaf in manifest["leaves"].items() if np.prod(leaf["shape"])])
    leaves = []
    for name in wanted:
        described = manifest["leaves"][name]
        array = arrays.get(name, np.zeros(described["shape"], described["dtype"]))
        if list(array.shape) != described["shape"] or array.dtype.name != described["dtype"]:
            raise CheckpointError(f"{path}: leaf {name} does not have the shape or type that its manifest states")
        leaves.append(jax.random.wrap_key_data(array, impl=described["key"]) if described["key"] else array)
    return jax.tree.unflatten(jax.tree.structure(template), leaves), manifest["info"], manifest["step"]


def read_info(folder: Path, *, step: int | None = None) -> tuple[dict[str, Any], int]:
    """Return `(info, step)` of the newest good checkpoint without reading its arrays into memory."""
    manifest, _ = _newest_good(Path(folder), step)
    return manifest["info"], manifest["step"]


def _newest_good(folder: Path, step: int | None) -> tuple[dict[str, Any], Path]:
    candidates = [step] if step is not None else steps(folder)[::-1]
    problems = []
    for candidate in candidates:
        path = folder / str(candidate)
        try:
            return _verified(path), path
        except CheckpointError as error:
            problems.append(str(error))
            if len(problems) < len(candidates):
                warnings.warn(f"{error}; the checkpoint before it is used", stacklevel=3)
    if not candidates:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    raise CheckpointError(f"no checkpoint in {folder} is good: {'; '.join(problems)}. Start again in another folder")


def _verified(path: Path) -> dict[str, Any]:
    """Return the manifest of a folder whose every byte is as it was written."""
    try:
        if (path / MANIFEST).stat().st_size > MAX_MANIFEST_BYTES:
            raise CheckpointError(f"{path / MANIFEST} is larger than any manifest")
        text = (path / MANIFEST).read_bytes()
        if hashlib.sha256(text).hexdigest() != (path / SEAL).read_text():
            raise CheckpointError(f"{path / MANIFEST} is damaged: its checksum differs")
        manifest = json.loads(text)
        if manifest["schema"] != SCHEMA:
            raise CheckpointError(
                f"{path} has schema {manifest['schema']}, this pbrl reads {SCHEMA}; use the version that wrote it"
            )
        found = _digests(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is incomplete: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / MANIFEST} is not a manifest: {error}") from None
    for name in sorted(manifest["files"].keys() | found.keys()):
        if manifest["files"].get(name) != found.get(name):
            what = "is missing" if name not in found else "is damaged: its checksum differs"
            raise CheckpointError(f"{path / name} {what}")
    return manifest


def _compare(path: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in wanted.keys() ^ there.keys():
        where = "is missing in it" if name in wanted else "is not part of this run"
        raise CheckpointError(f"{path} belongs to another kind of run: leaf {name} {where}")
    for name, leaf in wanted.items():
        shape, dtype = tuple(leaf.shape), leaf.dtype
        if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
            fits = there[name]["key"] is not None and tuple(there[name]["shape"][: len(shape)]) == shape
        else:
            fits = tuple(there[name]["shape"]) == shape and there[name]["dtype"] == np.dtype(dtype).name
        if not fits:
            found = f"{there[name]['dtype']}{there[name]['shape']}"
            raise CheckpointError(
                f"{path}: leaf {name} is {found}, expected {dtype}{list(shape)}; give the sizes that it was made with"
            )


def _flatten(tree: Any) -> dict[str, tuple[np.ndarray, str | None]]:
    """Return `{path: (array, key implementation or None)}`."""
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        impl = None
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            impl, leaf = str(jax.random.key_impl(leaf)), jax.random.key_data(leaf)
        leaves[jax.tree_util.keystr(path)] = np.asarray(leaf), impl
    return leaves


def _digests(folder: Path) -> dict[str, Any]:
    """Return size and SHA-256 of every file below, except the manifest and its seal; links are not followed."""
    found = {}
    for root, _, names in os.walk(folder):
        for path in (Path(root) / name for name in names):
            relative = path.relative_to(folder).as_posix()
            if relative in (MANIFEST, SEAL):
                continue
            if path.is_symlink():
                raise CheckpointError(f"{path} is a link, which no checkpoint holds")
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[relative] = [path.stat().st_size, digest]
    return found


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _clean(folder: Path) -> None:
    """Remove what writers that died left behind."""
    for path in folder.glob(f"*{PARTIAL}"):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax' informational log lines off the terminal."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import orbax.checkpoint as ocp  # imported here: it takes seconds

    with _quiet(), ocp.PyTreeCheckpointer() as writer:
        writer.save(path.absolute(), arrays)


def _read_arrays(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
    with _quiet(), ocp.PyTreeCheckpointer() as reader:
        return reader.restore(path.absolute(), restore_args=as_numpy)
