"""What an accelerator makes of pbrl: one sheet, in one call of nine minutes.

    python benchmarks/accelerator.py                        # on the accelerator; prints its plan, then fills the sheet
    python benchmarks/accelerator.py --only updates twins   # some parts
    python benchmarks/accelerator.py --quick --out quick   # every part with tiny sizes, on any machine
    python benchmarks/accelerator.py --page                 # write docs/accelerators.md from what there is

Parts run in order of value, each in a process of its own that is ended when its time is up. Every number is in the
part's JSON file the moment it is there. The same command measures what is missing; what there is it skips. Parts that
did not get through have another turn in what is left of the nine minutes.

Compiled programs are kept in `--cache`, so that a second call compiles less: compile times are those of a first call.
Writes benchmarks/results/accelerator/PART.json.
"""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("MUJOCO_GL", "disabled")  # nothing is drawn

RESULTS = Path(__file__).parent / "results" / "accelerator"
LEAST_S = 25.0
"""Less is not worth a process: jax alone takes some ten seconds to start."""


class Part(NamedTuple):
    """A module of `sheet/` and its function, seconds that it has at most, and what it does."""

    module: str
    function: str
    seconds: float
    what: str


PARTS = {
    "right": Part("right", "run", 130, "numbers and gradients beside the CPU's, by matmul precision"),
    "updates": Part("updates", "run", 170, "updates at the papers' sizes, by number of seeds and precision"),
    "training": Part("training", "run", 150, "whole trainings on Pendulum, on the device and on the host"),
    "twins": Part("twins", "run", 70, "steps and gradients of MuJoCo's twins"),
    "learning": Part("training", "learning", 60, "MAAC on HalfCheetah at the paper's sizes, as far as it gets"),
}


def environment(cache: Path) -> dict[str, str]:
    """Return what a part's process is started with. Several processes share the device, so none may take all of it."""
    ours = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "PYTHONUNBUFFERED": "1",
    }
    return {**ours, **os.environ}


def complete(path: Path) -> bool:
    """Say whether a part has got through, every cell measured."""
    return path.exists() and json.loads(path.read_text()).get("complete", False)


def run_part(name: str, options: argparse.Namespace, seconds: float) -> None:
    """Run a part in a process of its own, and end it and all that it started after so many seconds."""
    words = ["--part", name, "--until", str(time.time() + seconds), "--out", str(options.out)]
    command = [sys.executable, __file__, *words, *["--quick"] * options.quick]
    process = subprocess.Popen(command, env=environment(options.cache), start_new_session=True)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"{name}: its {seconds:.0f} s are up; what it has is written", flush=True)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fill(name: str, options: argparse.Namespace) -> None:
    """Be the process of a part."""
    from sheet.cells import Cells

    part = PARTS[name]
    cells = Cells(options.out / f"{name}.json", options.until - time.time(), options.quick)
    getattr(importlib.import_module(f"sheet.{part.module}"), part.function)(cells)
    cells.fact("complete", bool(cells.report["cells"]) and all(cells.has(name) for name in cells.report["cells"]))


def run_all(options: argparse.Namespace) -> None:
    """Say what will be done and how long it takes, and do it."""
    began, whole = time.monotonic(), 60.0 * options.minutes
    todo = [name for name in options.only if not complete(options.out / f"{name}.json")]
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"at most {whole:.0f} s in all, imports and compilation included; results: {options.out}")
    for name in options.only:
        print(
            f"  {name:9s} {f'at most {PARTS[name].seconds:.0f} s' if name in todo else 'done':15s} {PARTS[name].what}"
        )
    unfinished: list[str] = []
    for turn in (todo, unfinished):  # the second turn shares what is left
        for name in turn:
            left = whole - (time.monotonic() - began)
            seconds = left if turn is unfinished else min(left, PARTS[name].seconds)
            if seconds < LEAST_S:
                print(f"{name}: no time is left for it; the same command goes on", flush=True)
                continue
            print(f"\n{name}, at most {seconds:.0f} s", flush=True)
            at = time.monotonic()
            run_part(name, options, seconds)
            print(f"{name}: {time.monotonic() - at:.0f} s", flush=True)
            if turn is todo and not complete(options.out / f"{name}.json"):
                unfinished.append(name)
    print(f"\n{time.monotonic() - began:.0f} s in all")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts, in this order")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "pbrl-accelerator-cache")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--page", action="store_true", help="only write docs/accelerators.md from the JSON files")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        fill(options.part, options)
        return
    from sheet import page

    if options.page:
        page.write(options.out)
        return
    run_all(options)
    print(page.tables(options.out))


if __name__ == "__main__":
    main()
