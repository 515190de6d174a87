"""The rows of a dataset (`pbrl.runs.dataset`), as a replay buffer holds them.

Its environment is never made, which would import whatever module the file names.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pbrl.errors import RunError
from pbrl.runs import files
from pbrl.runs.dataset import Dataset, require_minari
from pbrl.runs.layout import Layout
from pbrl.types import Transition, width

OVER = 1e-5
"""How far, in shares of the bounds' width, an action may lie outside: rounding of those who wrote it."""


class Rows(NamedTuple):
    """Transitions `[B]` of whole episodes, one after the other, as a replay buffer holds them: actions within ±1."""

    batch: Transition
    last: np.ndarray
    """bool[B], the final step of an episode: terminated, cut short, or where its data end."""
    truncated: np.ndarray
    """bool[B], cut short; terminated is where the discount is 0."""


def read(dataset: Dataset, layout: Layout) -> Rows:
    """Read all rows for an environment of this layout, in the order of the file, actions rescaled from its bounds.

    What lies in an episode's `infos/pbrl` comes as extras. Raises `RunError` for other sizes or bounds than the
    environment's, for actions beyond them, for episodes without a common shape, and for damaged files.
    """
    require_minari(f"--data {dataset.id}")
    folder = dataset.folder
    try:
        storage = _storage(folder, layout)
        _require_spaces(storage, layout)
        episodes = [_episode(found, layout) for found in storage.get_episodes(range(storage.total_episodes))]
        if not episodes:
            raise _Unfit("it holds no episode")
        names = {frozenset((name, x.shape[1:]) for name, x in one.batch.extras.items()) for one in episodes}
        if len(names) > 1:
            raise _Unfit("its episodes do not all carry the same infos of pbrl's")
    except (_Unfit, ImportError) as error:
        raise RunError(f"--data {dataset.id}: {folder} cannot be used: {files.reason(error)}") from None
    except Exception as error:  # storage raises whatever its reading of a damaged file runs into
        raise RunError(
            f"--data {dataset.id}: {folder} is damaged, or no dataset that Minari reads ({type(error).__name__}: "
            f"{files.reason(error)}); put a whole copy of it there"
        ) from None
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *episodes)
    if len(joined.last) != dataset.rows:
        raise RunError(
            f"--data {dataset.id}: it states {dataset.rows} steps and holds {len(joined.last)}; take a whole copy"
        )
    return joined


class _Unfit(ValueError):
    """A dataset is whole, but none for this environment."""


def _storage(folder: Path, layout: Layout) -> Any:
    """Return Minari's access to a dataset. Spaces that it does not state are taken to be the environment's.

    Minari would make the environment that the metadata describe to ask for them, whose `entry_point` is any module.
    """
    from minari.dataset.minari_storage import MinariStorage

    about = MinariStorage.read_raw_metadata(folder)
    if {"observation_space", "action_space"} <= about.keys():
        return MinariStorage.read(folder)
    from gymnasium.spaces import Box
    from minari.dataset._storages import get_minari_storage

    low, high = np.array(layout.low), np.array(layout.high)
    spaces = Box(-np.inf, np.inf, (layout.obs_size,)), Box(low, high, dtype=np.float64)
    return get_minari_storage(about["data_format"])(folder, *spaces)


def _require_spaces(storage: Any, layout: Layout) -> None:
    """Raise `_Unfit` for spaces that are not vectors of the environment's sizes, or actions of other bounds."""
    sizes = {"observation": layout.obs_size, "action": layout.action_size}
    for name, space in (("observation", storage.observation_space), ("action", storage.action_space)):
        shape = getattr(space, "shape", None)
        if type(space).__name__ != "Box" or shape != (sizes[name],):
            told = f"{type(space).__name__} {shape or ''}".strip()
            raise _Unfit(f"its {name}s are {told}, the environment's are Box ({sizes[name]},); take data of this one")
    space, bounds = storage.action_space, (np.array(layout.low), np.array(layout.high))
    if not all(np.allclose(there, here) for there, here in zip((space.low, space.high), bounds, strict=True)):
        raise _Unfit(
            f"its actions are bounded by {_told(space.low)} and {_told(space.high)}, the environment's by "
            f"{_told(layout.low)} and {_told(layout.high)}"
        )


def _told(bound: Any) -> str:
    return "(" + ", ".join(f"{x:g}" for x in bound) + ")"


def _episode(found: dict[str, Any], layout: Layout) -> Rows:
    """Turn one episode into rows. Raises `_Unfit` for arrays that do not fit together."""
    arrays = {name: np.asarray(found[f"{name}s"]) for name in ("observation", "action", "reward")}
    terminated, truncated = (np.asarray(found[name], bool) for name in ("terminations", "truncations"))
    count, obs = len(arrays["reward"]), arrays["observation"].astype(width())
    expected = [(count + 1, layout.obs_size), (count, layout.action_size), (count,), (count,), (count,)]
    got = [x.shape for x in (obs, arrays["action"], arrays["reward"], terminated, truncated)]
    if got != expected or count == 0:
        raise _Unfit(f"episode {found['id']} has arrays of {got}, expected {expected} of a step or more")
    last = terminated | truncated
    last[-1] = True
    kept = ((found.get("infos") or {}).get("pbrl") or {}).items()
    rows: dict[str, Any] = {"obs": obs[:-1], "action": _rescaled(arrays["action"], layout, found["id"])}
    rows |= {"reward": arrays["reward"].astype(width()), "discount": 1.0 - terminated.astype(width())}
    extras = {name: np.asarray(x)[:count] for name, x in kept}
    if any(len(x) < count for x in extras.values()):
        raise _Unfit(f"episode {found['id']} has {count} steps and fewer infos of pbrl's")
    batch = Transition(**rows, next_obs=obs[1:], extras=extras)  # pyright: ignore[reportArgumentType]  # NumPy's
    return Rows(batch, last, truncated & ~terminated)


def _rescaled(action: np.ndarray, layout: Layout, episode: int) -> np.ndarray:
    """Map actions from the environment's bounds to ±1."""
    middle, half = middle_and_half(layout)
    action = (action.astype(np.float64) - middle) / half
    if (np.abs(action) > 1 + 2 * OVER).any():  # NaN passes, and is told of with the other rows
        raise _Unfit(f"episode {episode} has actions beyond the bounds of its space")
    return np.clip(action, -1.0, 1.0).astype(width())


def middle_and_half(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of the bounds of actions and half their width, float64[A]."""
    low, high = np.array(layout.low, np.float64), np.array(layout.high, np.float64)
    return 0.5 * (low + high), 0.5 * (high - low)
