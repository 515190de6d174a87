"""Reading what a run's checkpoints hold, whichever driver trained it."""

import ast
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from pbrl.data.replay import Replay
from pbrl.errors import CheckpointError, RunError
from pbrl.runs import checkpoint, folder, layout, manifest, record
from pbrl.runs.layout import Layout
from pbrl.runs.placement import require_width
from pbrl.runs.run import Run
from pbrl.train import acting, best
from pbrl.train.drivers import driver_module
from pbrl.train.learn import Learner
from pbrl.types import Transition

BEST = "best"
Step = int | Literal["best"] | None
"""Which checkpoint: that of a step, "best", each seed's by the run's own evaluations, or the newest that is good."""


class Acting(NamedTuple):
    """What is needed to act as a run has learned to: of its agents' states what acting reads, `None` for the rest."""

    state: Any  # [N, ...]
    layout: Layout
    steps: np.ndarray  # i64[N], of training behind each stream's policy
    info: Mapping[str, Any]


def require_stream(run: Run, seed_index: int) -> None:
    """Raise `RunError` for the index of a seed that a run has not; of a sweep, that of a stream."""
    n, streams = len(run.stream_seeds), "streams (trial 0's seeds, then trial 1's, ...)" if run.trials else "seeds"
    if not 0 <= seed_index < n:
        raise RunError(f"--seed-index: expected 0 to {n - 1}, got {seed_index}; the run has {n} {streams}")


def agents(run: Run, step: int | None = None) -> tuple[Any, int]:
    """Read the agents' states, with a leading axis over streams; as `learners`."""
    learner, step = learners(run, step)
    return jax.device_put(learner.agent), step


def learners(run: Run, step: int | None = None) -> tuple[Learner, int]:
    """Read the agents' states and buffers, stacked over streams, from the newest good checkpoint or that of `step`.

    Returns `(learner, step)`. Raises `CheckpointError` where there is no good one, `RunError` for a step without one
    and for a checkpoint of another run.
    """
    info, step = _whole(run, step)
    shapes = driver_module(run).template(run, info["capacity"])
    contents, _, step = checkpoint.restore(run.folder / "checkpoints", shapes, step=step)
    return contents["learner"], step


def buffers(run: Run, step: int | None = None) -> tuple[Replay, Layout, int]:
    """Read the replay buffers of all streams, stacked, by what the checkpoint's manifest says of them.

    Returns `(replay, layout, step)`. No environment is made; a folder of before layouts were stored is refused. Raises
    as `learners`.
    """
    info, step = _whole(run, step)
    kept, where = run.folder / "checkpoints", _layout(run, info, ())
    head = "['learner'].replay"
    leaves = {name: leaf for name, leaf in manifest.read(kept / str(step)).leaves.items() if name.startswith(head)}

    def shape(path: str) -> jax.ShapeDtypeStruct:
        if f"{head}.{path}" not in leaves:
            raise RunError(f"the checkpoint of step {step} in {run.folder} has no replay buffer as pbrl writes them")
        leaf = leaves[f"{head}.{path}"]
        return jax.ShapeDtypeStruct(leaf.shape, np.dtype(leaf.dtype))

    extras = f"{head}.rows.extras["  # what stands between the brackets is written as Python writes text
    names = [ast.literal_eval(name[len(extras) : -1]) for name in leaves if name.startswith(extras)]
    rows: dict[str, Any] = {name: shape(f"rows.{name}") for name in ("obs", "action", "reward", "discount", "next_obs")}
    rows["extras"] = {name: shape(f"rows.extras[{name!r}]") for name in names}
    counts = (shape(name) for name in ("episode", "inserted", "cuts", "refused"))
    wanted = Learner(None, Replay(Transition(**rows), *counts), *[None] * 6)  # pyright: ignore[reportArgumentType]
    contents, _, step = checkpoint.restore(kept, {"learner": wanted}, step=step, part=True)
    return contents["learner"].replay, where, step


def policies(run: Run, step: Step = None, trust: Iterable[str] = ()) -> Acting:
    """Read what acting needs of all streams. No environment is made, but for a folder of before layouts were stored.

    For such a one `trust` names the module of its environment `MODULE:ID`, as `pbrl.runs.folder.load` wants it. Raises
    as `learners`.
    """
    if step == BEST:
        return _best(run, trust)
    info, at = _whole(run, step)
    where = _layout(run, info, trust)
    shapes = {"learner": Learner(acting.shapes(run, where), *[None] * 7)}  # pyright: ignore[reportArgumentType]
    contents, _, at = checkpoint.restore(run.folder / "checkpoints", shapes, step=at, part=True)
    return Acting(contents["learner"].agent, where, np.full(len(run.stream_seeds), at), info)


def _best(run: Run, trust: Iterable[str]) -> Acting:
    _check(run)
    kept = best.folder_of(run)
    try:
        info, at = checkpoint.read_info(kept)
    except CheckpointError as error:
        raise CheckpointError(
            f"{run.folder} has no best policy that can be read: {error}. One is kept from the first save after an "
            "evaluation on, by pbrl from 0.2 on; take the newest instead"
        ) from None
    _require(run, info, at)
    where, n = _layout(run, info, trust), len(run.stream_seeds)
    tree, _, _ = checkpoint.restore(kept, best.template(acting.shapes(run, where), n), step=at)
    return Acting(tree["policy"], where, tree["step"], info)


def _whole(run: Run, step: int | None) -> tuple[dict[str, Any], int]:
    """Return `(info, step)` of the newest good checkpoint of the whole run, or of that of `step`."""
    _check(run)
    kept = run.folder / "checkpoints"
    there = checkpoint.steps(kept)
    if step is not None and step not in there:
        raise RunError(f"{run.folder} has no checkpoint of step {step}; it has {', '.join(map(str, there)) or 'none'}")
    info, step = checkpoint.read_info(kept, step=step)
    _require(run, info, step)
    return info, step


def _check(run: Run) -> None:
    require_width(run)
    run.validate()


def _require(run: Run, info: Mapping[str, Any], step: int) -> None:
    record.require_same(info, run, step, "Put the old values back into config.json, which has been changed since")


def _layout(run: Run, info: Mapping[str, Any], trust: Iterable[str]) -> Layout:
    if "layout" in info:
        try:
            return layout.parse(info["layout"])
        except ValueError as error:
            raise RunError(f"a checkpoint in {run.folder} cannot be used: {error}") from None
    with contextlib.closing(folder.load(run.folder, trust).make_env()) as env:
        return Layout.of(env.spec, env.low, env.high)
