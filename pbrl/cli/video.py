"""`pbrl video`: a film of a run's policy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pbrl.cli import process, progress, words
from pbrl.runs import files
from pbrl.runs.folder import load
from pbrl.runs.schedule import MOST_EPISODES


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl video` with the words after it. Raises as `video`."""
    words.call(video, argv, "pbrl video")


def video(
    run: Path,
    /,
    *,
    out: Path | None = None,
    step: int | None = None,
    best: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    seed_index: int = 0,
    episodes: int = 1,
    trust_env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE")] = (),
) -> None:
    """Film a run's trained policy as an mp4.

    Args:
        run: The run's folder.
        out: The file to write; by default video.mp4 in the run's folder.
        step: Film the checkpoint of this step instead of the newest.
        best: Film the seed's best policy by the run's own evaluations instead.
        seed_index: Which of the run's seeds, counted from 0; of a sweep, trial times seeds plus seed.
        episodes: Whole episodes to film.
        trust_env: Python module of the run's environment MODULE:ID, of its wrappers, or one of yours that registers its
            id. Reading the run imports it: as the program of whoever made the folder, it can do anything.
    """
    words.require("--episodes", episodes, 1, MOST_EPISODES)
    it = load(run, trust_env)
    from pbrl.trained import film, restore

    process.start(it.float64)
    out = out or it.folder / "video.mp4"
    film.require(it, seed_index)
    with progress.shown("reading the checkpoint, making the environment") as show, files.whole(out) as partial:
        acting = restore.policies(it, words.step(step, best), trust_env)
        at = int(acting.steps[seed_index])
        returns = film.record(it, acting.state, at, seed_index, episodes, partial, show)
    who = f"trial {seed_index // len(it.seeds)}, " if it.trials else ""
    who += f"seed {it.stream_seeds[seed_index]}"
    print(f"{out}: step {at}, {who}, return {', '.join(f'{r:.1f}' for r in returns)}")
