"""Beginning with what another run has learned (`pbrl.runs.initial`): its leaves take the place of fresh ones."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from pbrl.data.replay import Replay
from pbrl.errors import CheckpointError, RunError
from pbrl.parallel import devices, hosts
from pbrl.runs import checkpoint, record
from pbrl.runs.run import Run
from pbrl.train.learn import Learner


def check(run: Run) -> None:
    """Raise `RunError` where a run cannot begin from another at all; shapes are looked at by `onto`."""
    if run.initial is None:
        return
    if not hosts.alone():
        raise RunError("--init: expected one process, got several hosts; train on one until its first checkpoint")
    if run.initial.folder.resolve() == run.folder.resolve():
        raise RunError(f"--init: {run.folder} would begin from itself; give another --out")


def onto(run: Run, fresh: Learner) -> Learner:
    """Return fresh learners `[N, ...]` with the parts of `run.initial` in their place.

    Stream i begins from the other run's stream i, or, where that has fewer, from i modulo their number. Raises
    `RunError` for what is not there, or of another size.
    """
    initial = run.initial
    assert initial is not None
    there = record.run_of(initial.folder)
    folder, count = initial.folder / "checkpoints", len(there.stream_seeds)
    try:
        info, _ = checkpoint.read_info(folder, step=initial.step)
        shapes = _asked(fresh, initial.parts, count, info["capacity"])
        found, _, _ = checkpoint.restore(folder, {"learner": shapes}, step=initial.step, part=True)
    except (CheckpointError, KeyError) as error:
        raise RunError(
            f"--init {initial.folder}: {error}. Both runs need the same sizes, of networks as of the environment; or "
            "leave that part out by --init-parts"
        ) from None
    which = np.arange(len(run.stream_seeds)) % count
    taken = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(found["learner"])}
    choose = lambda path, x: taken[_name(path)][which] if _name(path) in taken else np.asarray(x)  # noqa: E731
    learner = jax.tree_util.tree_map_with_path(choose, replace(fresh, replay=None))
    wanted = "replay" in initial.parts
    ring = _refilled(fresh.replay, found["learner"].replay, which) if wanted else fresh.replay
    return devices.lay(replace(learner, replay=ring), len(which))


def part_of(name: str) -> str:
    """Return which part a leaf of a learner belongs to, by its path; empty for what always begins anew."""
    if name.startswith(".agent.ac."):
        return "optimisers" if name.split(".")[3].partition("[")[0].endswith("_opt") else "networks"
    prefixes = {
        ".agent.stats": "normaliser",
        ".agent.returns": "normaliser",
        ".agent.world": "model",
        ".fitted": "model",
    }
    prefixes |= {".replay": "replay", ".experience": "replay"}
    return next((part for prefix, part in prefixes.items() if name.startswith(prefix)), "")


def _asked(fresh: Learner, parts: tuple[str, ...], count: int, capacity: int) -> Learner:
    """Return the shapes of what is wanted of the other run's `count` streams, `None` for the rest."""

    def shape(path: Any, x: Any) -> jax.ShapeDtypeStruct | None:
        name = _name(path)
        if part_of(name) not in parts:
            return None
        ring = name.startswith((".replay.rows", ".replay.episode"))
        return jax.ShapeDtypeStruct((count, *((capacity,) if ring else ()), *x.shape[1 + ring :]), x.dtype)

    return jax.tree_util.tree_map_with_path(shape, fresh)


def _refilled(fresh: Replay, old: Replay, which: np.ndarray) -> Replay:
    """Return empty rings `[N, ...]` with the newest rows of others, in the order of time; their last episode is cut."""
    room, capacity = fresh.episode.shape[1], old.episode.shape[1]
    new: Replay = jax.tree.map(np.array, fresh)
    kept = np.zeros(len(which), np.int32)
    for i, j in enumerate(which):
        size = min(int(old.inserted[j]), capacity)
        order = ((int(old.inserted[j]) - size + np.arange(size)) % capacity)[-room:]
        kept[i] = len(order)
        new.episode[i, : len(order)] = old.episode[j, order]  # pyright: ignore[reportIndexIssue]
        for ring, rows in zip(jax.tree.leaves(new.rows), jax.tree.leaves(old.rows), strict=True):
            ring[i, : len(order)] = rows[j, order]
    return replace(new, inserted=kept, cuts=np.asarray(old.cuts)[which] + np.int32(1))


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path)
