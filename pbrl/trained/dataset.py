"""What a run's replay buffers hold, written as a dataset in Minari's format, which other libraries read as well.

Actions are in the environment's own units there, and every episode carries the seed of the run that it comes from.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pbrl import __version__
from pbrl.data.replay import Replay
from pbrl.errors import RunError
from pbrl.runs import dataset, dataset_rows, files
from pbrl.runs.layout import Layout
from pbrl.runs.run import Run
from pbrl.trained import restore

NAME = re.compile(r"[-_A-Za-z0-9]+-v[0-9]+", re.ASCII)


class Written(NamedTuple):
    """A dataset that has been written: its `id`, and how many `rows` and `episodes` it has.

    They come from the checkpoint of `step`. `terminated` counts episodes that ended for good; the others were cut
    short, or their data end.
    """

    id: str
    step: int
    rows: int
    episodes: int
    terminated: int


def write(run: Run, out: Path, step: int | None = None, seed_index: int | None = None) -> Written:
    """Write the buffers of all streams of a run, or of one, as one dataset in the new folder `out`, named `NAME-vN`.

    Raises `RunError` for a name that Minari takes for no id, a folder that is there, and empty buffers; and as
    `restore.buffers`.
    """
    dataset.require_minari("a dataset")
    if not NAME.fullmatch(out.name):
        raise RunError(f"--out {out}: expected a folder named NAME-vN, as Minari names datasets, such as hopper-v0")
    if out.is_symlink() or out.exists():
        raise RunError(f"--out {out}: it is there already; name a new folder, or move that one away")
    ring, layout, step = restore.buffers(run, step)
    which = range(len(run.stream_seeds)) if seed_index is None else [seed_index]
    found = [(run.stream_seeds[i], one) for i in which for one in episodes(jax.tree.map(lambda x, i=i: x[i], ring))]
    if not found:
        raise RunError(f"{run.folder}: no transition is stored at step {step}, so that there is nothing to write")
    try:
        parent = out.absolute().parent  # Minari 0.5.4 fails on a relative path
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{out.name}.partial-", dir=parent, ignore_cleanup_errors=True) as new:
            data = Path(new, out.name, "data")
            data.mkdir(parents=True)
            _store(data, run, layout, out.name, step, found)
            data.parent.rename(out)
    except (OSError, RuntimeError) as error:  # the latter is h5py's of a full disk
        raise RunError(f"--out {out} cannot be written: {files.reason(error)}") from None
    last = [bool(one.terminated[-1]) for _, one in found]
    return Written(out.name, step, sum(len(one.terminated) for _, one in found), len(found), sum(last))


class Episode(NamedTuple):
    """Consecutive transitions of one stream: `obs [T + 1, S]`, all else `[T, ...]`; actions within ±1."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    extras: dict[str, np.ndarray]


def episodes(ring: Replay) -> Iterator[Episode]:
    """Cut the rows of one stream's buffer where no next one follows: by its own count, or since observations differ."""
    capacity, inserted = ring.episode.shape[0], int(ring.inserted)
    size = min(inserted, capacity)
    order = (inserted - size + np.arange(size)) % capacity
    rows, number = jax.tree.map(lambda x: np.asarray(x)[order], (ring.rows, ring.episode))
    follows = (number[1:] == number[:-1]) & (rows.obs[1:] == rows.next_obs[:-1]).all(-1) & (rows.discount[:-1] > 0)
    ends = [*(np.flatnonzero(~follows) + 1).tolist(), size]
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        if begin < end:
            one: Any = jax.tree.map(lambda x, part=slice(begin, end): x[part], rows)
            obs = np.concatenate([one.obs, one.next_obs[-1:]])
            yield Episode(obs, one.action, one.reward, one.discount == 0, one.extras)


def _store(folder: Path, run: Run, layout: Layout, name: str, step: int, found: list[tuple[int, Episode]]) -> None:
    """Write episodes, each with the seed of its stream, and what there is to know of all."""
    from gymnasium.spaces import Box
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    actions = _in_units([one.action for _, one in found], layout)
    low, high = (np.array(bound, actions[0].dtype) for bound in (layout.low, layout.high))
    observations = Box(-np.inf, np.inf, (layout.obs_size,), found[0][1].obs.dtype.type)
    storage = MinariStorage.new(folder, observations, Box(low, high, dtype=actions[0].dtype.type), _env_spec(run))
    title = f"{run.title} on {run.task}"
    about = {"dataset_id": name, "algorithm_name": run.agent, "minari_version": _minari_version()}
    about["description"] = (
        f"Replay buffers of {title}, step {step}, seeds {list(run.seeds)}; written by pbrl {__version__}"
    )
    storage.update_metadata({**about, "pbrl": {"run": run.folder.resolve().name, "step": step}})
    storage.update_episodes(
        EpisodeBuffer(
            observations=one.obs,  # pyright: ignore[reportArgumentType]  # arrays are lists enough for it
            actions=action,  # pyright: ignore[reportArgumentType]
            rewards=one.reward,  # pyright: ignore[reportArgumentType]
            terminations=one.terminated,  # pyright: ignore[reportArgumentType]
            truncations=_cut_short(one.terminated),  # pyright: ignore[reportArgumentType]
            infos={"pbrl": one.extras} if one.extras else {},
        )
        for (_, one), action in zip(found, actions, strict=True)
    )
    storage.update_episode_metadata({"run_seed": seed} for seed, _ in found)


def _cut_short(terminated: np.ndarray) -> np.ndarray:
    """Mark the final step of an episode that has not terminated, as Minari's own collector does."""
    cut = np.zeros_like(terminated)
    cut[-1] = not terminated[-1]
    return cut


def _in_units(actions: list[np.ndarray], layout: Layout) -> list[np.ndarray]:
    """Map actions from ±1 to the environment's bounds, in the narrower of two widths that gives them back to the bit.

    Only where bounds are far from symmetric, an action next to 0 may come back with another last bit from either.
    """
    middle, half = dataset_rows.middle_and_half(layout)
    wide = [middle + half * action.astype(np.float64) for action in actions]
    narrow = [action.astype(np.float32) for action in wide]

    def back(action: np.ndarray) -> np.ndarray:
        return ((action.astype(np.float64) - middle) / half).astype(actions[0].dtype)

    exact = all(np.array_equal(back(there), here) for there, here in zip(narrow, actions, strict=True))
    return narrow if exact else wide


def _env_spec(run: Run) -> Any:
    """Return what Gymnasium knows of the run's environment by its id, `None` where that is not all there is to it.

    An id of a module is left alone, which Gymnasium would import.
    """
    import gymnasium

    if not run.standard or ":" in run.env:
        return None
    with contextlib.suppress(gymnasium.error.Error):
        return gymnasium.spec(run.env)
    return None


def _minari_version() -> str:
    import minari

    return minari.__version__
