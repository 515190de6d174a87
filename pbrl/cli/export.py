"""`pbrl export`: a run's policy for programs without pbrl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pbrl.cli import process, words
from pbrl.runs import record


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl export` with the words after it. Raises as `export`."""
    words.call(export, argv, "pbrl export")


def export(
    run: Path,
    /,
    *,
    out: Path | None = None,
    formats: str = "",
    step: int | None = None,
    best: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    seed_index: int = 0,
    trust_env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE")] = (),
) -> None:
    """Write a run's policy as NumPy, StableHLO and ONNX, each checked against it, and say how fast each is.

    Args:
        run: The run's folder.
        out: The folder to write into; by default policy in the run's folder.
        formats: Some of numpy,stablehlo,onnx; by default all whose packages are installed (pip install 'pbrl[export]').
        step: Take the checkpoint of this step instead of the newest.
        best: Take the seed's best policy by the run's own evaluations instead.
        seed_index: Which of the run's seeds, counted from 0; of a sweep, trial times seeds plus seed.
        trust_env: Python module of the run's environment MODULE:ID, for a folder of an earlier pbrl alone, whose
            environment has to be made once: as the program of whoever made the folder, it can do anything.
    """
    which, it = words.step(step, best), record.run_of(run)
    from pbrl.trained import export as exporting
    from pbrl.trained import restore
    from pbrl.trained.policy import Policy

    process.start(it.float64)
    restore.require_stream(it, seed_index)
    there = [name for name in exporting.FORMATS if not exporting.missing(name)]
    asked = [name for name in formats.split(",") if name] or there
    policy = Policy(it, restore.policies(it, which, trust_env), seed_index)
    out = out or it.folder / "policy"
    written = exporting.write(policy, out, asked)
    print(f"{out}: {it.title} on {it.env}, seed {policy.seeds[0]}, step {policy.step}")
    print(f"{'format':>10} {'off by':>9} {'median':>10} {'99 %':>10}  files")
    for one in written:
        times = "".join(f" {1e6 * seconds:>7.0f} µs" for seconds in (one.median, one.p99))
        print(f"{one.format:>10} {one.difference:>9.1e}{times}  {', '.join(one.files)}")
    for name in exporting.FORMATS:
        if name not in asked and not formats:
            print(
                f"{name} is left out, for want of {' and '.join(exporting.missing(name))}: pip install 'pbrl[export]'"
            )
