"""Time whole trainings against SBX' (SAC, TD3 on Gymnasium's HalfCheetah) and Brax' (SAC on one of its environments).

    python3.11 -m venv PEER && PEER/bin/pip install sbx-rl==0.28.0 mujoco==3.17.0   # the release of ours
    git worktree add BEFORE COMMIT                                                  # an older build, timed beside
    python benchmarks/training_speed.py --sbx-python PEER/bin/python --before BEFORE

Environment, networks (two hidden layers, ReLU), batches, rates, warm-up and updates per step are the same on all sides.
Each side trains in a process of its own, past its warm-up and compiled. They take turns, a slice of training each, and
sleep between. Ours is all that `pbrl train` does, but evaluations. What differs is the algorithm: see
`brax_training.py` for Brax' SAC; our TD3 has MAGE's optimiser and loss, and undoes updates that are not sound.

Where the machine is shared with other work, `--clock cpu` counts processor time, on one core:
`taskset -c 0 python benchmarks/training_speed.py --clock cpu ...`. Without `--sbx-python` Brax alone is compared.

Writes benchmarks/results/training-speed.json, and keeps the rows there that it has not timed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from timing import machine

RESULTS = Path(__file__).parent / "results" / "training-speed.json"
WORKER = Path(__file__).parent / "peers" / "trainings.py"
CHEETAH, PENDULUM = "HalfCheetah-v5", "brax/inverted_pendulum-spring"
UPDATES_A_SLICE = 40


class Side:
    """One side's training, in a process of its own."""

    def __init__(self, python: str, side: str, settings: dict[str, Any]):
        words = [f"--{name}={value}" for name, value in settings.items()]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen([python, WORKER, side, *words], **pipes)
        self.versions = self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a side stopped; its error stands above")
        return json.loads(line)

    def time(self) -> float:
        """Let it train for one slice; return the seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        return self._read()

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sbx-python", help="Python of an environment that has SBX")
    parser.add_argument("--widths", nargs="+", type=int, default=[256, 64])
    parser.add_argument("--updates", nargs="+", type=int, default=[1, 8], help="a step")
    parser.add_argument("--agents", nargs="+", choices=("sac", "td3"), default=["sac", "td3"])
    parser.add_argument("--brax", action=argparse.BooleanOptionalAction, default=True, help="compare with Brax, too")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--before", type=Path, required=True, help="checkout of an older pbrl, a side of its own")
    options = parser.parse_args()
    cells = [("sbx", agent, CHEETAH) for agent in options.agents if options.sbx_python]
    cells += [("brax", "sac", PENDULUM)] if options.brax else []
    command = f"python benchmarks/training_speed.py --clock {options.clock} --sbx-python PYTHON --before CHECKOUT"
    report: dict[str, Any] = {"command": command, "machine": machine()}
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    report |= {"cores_used": affinity, "clock": options.clock, "turns": options.turns, "versions": {}, "rows": {}}
    for peer, agent, env in cells:
        for width in options.widths:
            for updates in options.updates:
                steps = max(1, UPDATES_A_SLICE // updates)
                settings = {"agent": agent, "env": env, "width": width, "updates": updates, "steps": steps}
                name = f"{agent}, {env}, {width} wide, {updates} updates a step"
                row = report["rows"][name] = {"peer": peer, **compare(peer, settings, options, report["versions"])}
                print(name, {k: v for k, v in row.items() if k != "ms"}, flush=True)
                kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}, "versions": {}}
                both = {part: kept[part] | report[part] for part in ("rows", "versions")}
                RESULTS.write_text(json.dumps(report | both, indent=1) + "\n")


def compare(peer: str, settings: dict[str, Any], options: argparse.Namespace, versions: dict[str, Any]) -> dict:
    """Return milliseconds of an environment step by side and turn, their medians, and ratios turn by turn."""
    settings = {**settings, "clock": options.clock}
    python = {"sbx": options.sbx_python, "brax": sys.executable}[peer]
    sides = {"pbrl": Side(sys.executable, "pbrl", settings), peer: Side(python, peer, settings)}
    os.environ["PYTHONPATH"] = str(options.before.resolve())
    sides["before"] = Side(sys.executable, "pbrl", settings)
    del os.environ["PYTHONPATH"]
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side.time()  # what lay idle is slow to come back
    for turn in range(options.turns):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            times[name].append(1e3 * sides[name].time() / settings["steps"])
    for name, side in sides.items():
        versions |= {} if name == "before" else side.versions
        side.stop()
    ratio = lambda a, b: statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))  # noqa: E731
    row: dict[str, Any] = {"median_ms": {name: statistics.median(x) for name, x in times.items()}}
    row |= {"peer_takes": ratio(peer, "pbrl"), "peer_takes_before": ratio(peer, "before")}
    return row | {"before_takes": ratio("before", "pbrl"), "ms": times}


if __name__ == "__main__":
    main()
