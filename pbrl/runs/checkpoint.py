"""Checkpoints: one folder a step, visible only when whole, and checked byte by byte when read.

Orbax (`pbrl.runs.array_store`) restores a file with a flipped byte without a word, so every folder carries a manifest
(`pbrl.runs.manifest`) with the SHA-256 of each file. Nothing is pickled: arrays, JSON and checksums are all there is.
"""

import contextlib
import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.errors import CheckpointError, HostLost, OtherSchema
from pbrl.parallel import devices, hosts, memory
from pbrl.runs import array_store, files, manifest
from pbrl.runs.manifest import Leaf, Manifest, steps

ARRAYS = "arrays"
PARTIAL = ".partial"


def save(folder: Path, step: int, tree: Any, info: dict[str, Any], *, keep: int = 2) -> None:
    """Write `tree` (any pytree of arrays and typed keys) and `info` (JSON) as the checkpoint of `step`.

    Several hosts call it together, each with the rows `[n, ...]` of its own seeds, and write one checkpoint of all.
    The step appears by one rename after everything is written. It and the newest other good ones remain, `keep` in
    all; damaged ones go. Raises `CheckpointError` where writing fails (a full disk, say), and the checkpoints that
    were there stay as they were; `HostLost` where another host has gone; `ValueError` or `TypeError` for a step, `keep`
    or `info` that cannot be.
    """
    if step < 0 or keep < 1:
        raise ValueError(f"expected a step of 0 or more and keep of 1 or more, got step {step} and keep {keep}")
    json.dumps(info)
    folder, first = Path(folder), hosts.is_first()
    target, partial, before = (folder / f"{step}{end}" for end in ("", PARTIAL, f".before{PARTIAL}"))
    try:
        arrays, leaves = array_store.flatten(devices.whole(tree))

        def begin() -> None:
            files.folder(folder)
            _clean(folder)
            partial.mkdir()

        def write() -> None:
            with hosts.answered():
                array_store.write(partial / ARRAYS, {name: array for name, array in arrays.items() if array.size})

        def finish() -> None:
            manifest.write(partial, step, info, leaves)
            if target.is_symlink() or target.exists():
                target.rename(before)
            partial.rename(target)

        nothing = lambda: None  # noqa: E731
        hosts.all_or_none(begin if first else nothing)
        hosts.all_or_none(write)
        hosts.all_or_none(finish if first else nothing)
    except HostLost:
        raise
    except Exception as error:  # Orbax and its storage raise many kinds
        if first:
            if before.exists() and not target.exists():
                before.rename(target)
            shutil.rmtree(partial, ignore_errors=True)
        text = f"cannot save step {step} in {folder}: {_reason(error)}; {_left(folder)}"
        raise hosts.agreed(CheckpointError(text)) from error  # every stage of it fails on all hosts or on none
    if first:
        _prune(folder, step, keep)
        _clean(folder)


def restore(
    folder: Path, template: Any, *, step: int | None = None, part: bool = False
) -> tuple[Any, dict[str, Any], int]:
    """Read the newest good checkpoint (or that of `step`) into the structure of `template`.

    Of several hosts, each reads the rows of its own seeds, whatever number of hosts wrote them.
    `template` holds arrays or `jax.ShapeDtypeStruct`s. Returns `(tree, info, step)`; arrays come as NumPy arrays,
    keys as typed keys. With `part` it may hold other leaves as well, which are not read into memory. A damaged
    checkpoint is reported by a warning and the one before it is used. Raises `CheckpointError` where none is good, or
    not that of `step`, and where it has other leaves than `template` or comes from a version of pbrl with another
    schema.
    """
    found, path = _newest_good(Path(folder), step)
    wanted = {jax.tree_util.keystr(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(template)}
    all_of = {name: _of_all_hosts(array_store.describe(leaf)) for name, leaf in wanted.items()}
    leaves_there = {name: leaf for name, leaf in found.leaves.items() if name in wanted or not part}
    _compare(path, leaves_there, all_of)
    size, there = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves_there.values()), None
    if hosts.alone() and (there := memory.of_machine()) is not None and size > there:
        raise CheckpointError(f"{path} holds arrays of {size:,} bytes, and {there:,} are free here")
    try:
        stored = {name: leaf for name, leaf in leaves_there.items() if 0 not in leaf.shape}
        arrays = array_store.read(path / ARRAYS, stored, part=part)
    except Exception as error:  # the checksums are right, so it is not damage
        raise CheckpointError(f"{path} cannot be read, though its checksums are right: {_reason(error)}") from error
    leaves = []
    for name in wanted:
        shape, dtype, key = found.leaves[name]
        array = arrays[name] if name in arrays else np.zeros(shape, dtype)
        array = array if hosts.alone() else devices.part(array)
        leaves.append(jax.random.wrap_key_data(jnp.asarray(array), impl=key) if key else array)
    return jax.tree.unflatten(jax.tree.structure(template), leaves), found.info, found.step


def go_back(folder: Path, step: int) -> list[Path]:
    """Make the checkpoint of `step` the newest: later ones are renamed to `STEP.aside`; return their new paths.

    Raises `CheckpointError` where that one is not there or not good, and then renames nothing.
    """
    _newest_good(Path(folder), step)
    return [files.set_aside(Path(folder) / str(later), "aside") for later in steps(folder) if later > step]


def read_info(folder: Path, *, step: int | None = None) -> tuple[dict[str, Any], int]:
    """Return `(info, step)` of the newest good checkpoint without reading its arrays into memory."""
    found, _ = _newest_good(Path(folder), step)
    return found.info, found.step


def _newest_good(folder: Path, step: int | None) -> tuple[Manifest, Path]:
    there = steps(folder)
    if not there:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    if step is not None and step not in there:
        raise CheckpointError(f"there is no checkpoint of step {step} in {folder}; it has {', '.join(map(str, there))}")
    candidates, problems = there[::-1] if step is None else [step], []
    for candidate in candidates:
        path = folder / str(candidate)
        try:
            # The first host has looked at every byte before it told the others which step to read.
            return (manifest.verify if hosts.is_first() else manifest.read)(path), path
        except OtherSchema:
            raise
        except CheckpointError as error:
            problems.append(str(error))
            if len(problems) < len(candidates):
                # All from this line, so that Python shows the same one once, however often the folder is read.
                warnings.warn(f"{error}; the checkpoint before it is used", stacklevel=1)
    said = "; ".join(problems)
    if step is None:
        raise CheckpointError(f"no checkpoint in {folder} is good: {said}. Start again in another folder")
    good = ", ".join(map(str, sorted(_good(folder))))
    remedy = f"good are those of {good}: name one of them, or none to take the newest" if good else "no other is good"
    raise CheckpointError(f"the checkpoint of step {step} is damaged: {said}; {remedy}")


def _good(folder: Path) -> Iterator[int]:
    """Give the steps of good checkpoints, newest first, having looked at every byte of each."""
    for step in reversed(steps(folder)):
        with contextlib.suppress(CheckpointError):
            manifest.verify(folder / str(step))
            yield step


def _prune(folder: Path, saved: int, keep: int) -> None:
    """Remove all but the one just saved and the newest other good ones; what only another version reads stays."""
    kept = 1
    for step in [step for step in reversed(steps(folder)) if step != saved]:
        path = folder / str(step)
        try:
            manifest.verify(path)
            kept += 1
            surplus = kept > keep
        except OtherSchema:
            surplus = False
        except CheckpointError:
            surplus = True
        if surplus:
            with contextlib.suppress(OSError):
                path.rename(folder / f"{step}{PARTIAL}")  # no longer listed, before the first of its files goes


def _left(folder: Path) -> str:
    """Say which checkpoint a failed save leaves, having looked at it."""
    step = next(_good(folder), None)
    return "there is no earlier checkpoint" if step is None else f"the previous checkpoint at step {step} is intact"


def _reason(error: Exception) -> str:
    """Return an error as one short line: what the operating system said, where storage buries it in detail."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    buried = re.search(r"os_error_code='(\d+)'", text)
    if buried:
        return os.strerror(int(buried[1]))
    return text if len(text) <= 200 else f"{text[:200]} …"


def _compare(path: Path, there: dict[str, Leaf], wanted: dict[str, Leaf]) -> None:
    for name, leaf in wanted.items():
        if name not in there:
            raise CheckpointError(f"{path} belongs to another kind of run: leaf {name} is missing in it")
        if there[name] != leaf:
            raise CheckpointError(
                f"{path}: leaf {name} is {there[name]}, expected {leaf}; give the sizes that it was made with"
            )
    for name in there:
        if name not in wanted:
            raise CheckpointError(f"{path} belongs to another kind of run: leaf {name} is not part of this run")


def _of_all_hosts(leaf: Leaf) -> Leaf:
    """Say what is stored of an array of which each host has its own rows."""
    return leaf if hosts.alone() else leaf._replace(shape=[leaf.shape[0] * jax.process_count(), *leaf.shape[1:]])


def _clean(folder: Path) -> None:
    """Remove what writers that died left behind, and what pruning has set aside."""
    for path in folder.glob(f"*{PARTIAL}"):
        if path.is_symlink() or not path.is_dir():
            with contextlib.suppress(OSError):
                path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)
