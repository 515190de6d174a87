"""`pbrl data export`: what a run has collected, as a dataset for Minari and whatever reads its format."""

from collections.abc import Sequence
from pathlib import Path

from pbrl import config as configs
from pbrl.cli import process, words
from pbrl.cli.display import counted
from pbrl.errors import RunError
from pbrl.runs import record

KINDS = ("export",)


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl data` with the words after it. Raises as `export`."""
    if argv and argv[0] not in (*KINDS, "-h", "--help"):
        raise RunError(f"there is no `pbrl data {argv[0]}`{configs.suggest(argv[0], KINDS, 'word')}")
    words.call(export, argv[1:] if argv and argv[0] in KINDS else ["--help"], "pbrl data export")


def export(run: Path, /, *, out: Path, step: int | None = None, seed_index: int | None = None) -> None:
    """Write the transitions in a run's replay buffers as a dataset in Minari's format (pip install 'pbrl[data]').

    Args:
        run: The run's folder.
        out: The new folder to write, named NAME-vN. The name becomes the dataset's id, and MINARI_DATASETS_PATH=FOLDER
            lets Minari find it, where FOLDER is the one that it lies in.
        step: Take the checkpoint of this step instead of the newest.
        seed_index: Only this one of the run's seeds, counted from 0; of a sweep, trial times seeds plus seed.
    """
    it = record.run_of(run)
    process.start(it.float64)
    from pbrl.trained import dataset, restore

    if seed_index is not None:
        restore.require_stream(it, seed_index)
    written = dataset.write(it, out, step, seed_index)
    print(
        f"{out}: {counted(written.rows, 'transition')} of {it.title} on {it.task} up to step {written.step}, "
        f"in {counted(written.episodes, 'episode')}, of which {written.terminated} terminated"
    )
    print(f"to begin with them: pbrl train AGENT --env {it.env} --data {out}")
