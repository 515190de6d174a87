"""What sound data costs: a small SAC's step of this build and of another, in turn within one run.

`python benchmarks/guard_cost.py --against REV [--turns 30]`. REV is a commit; its tree lies in a temporary folder while
this runs. Each build is a process of its own, which compiles once and then, turn by turn, times host-driver steps on
Pendulum-v1: act, step the environment, collect, one update. Turns alternate, so that a slower minute hits all alike.
A third process, of the old build again, is the control: as far as its ratio is from 1, so little does the other one's
mean, as on a machine with other work. Prints medians of microseconds a step, of the clock and of the processor, and
ratios to the old build. The aim is at most 1.03.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "guard-cost.json"
SIDE = """
import sys, tempfile, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import jax, numpy as np
from pbrl.agents import sac
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host

BLOCK = 100
schedule = Schedule(total_steps=1_000_000, warmup_steps=100, batch_size=64, updates_per_step=1, model_every=0,
                    buffer_size=10_000, eval_every=1_000_000, eval_episodes=1)
config = sac.Config(actor_hidden=(64, 64), critic_hidden=(64, 64))
driver = host.Driver(Run("sac", "Pendulum-v1", (0,), config, schedule, Path(tempfile.mkdtemp())))
driver.begin()

def steps(count):
    begin, used, target = time.perf_counter(), time.process_time(), driver.step + count
    while driver.step < target:
        driver.advance(target)
    jax.block_until_ready(driver.learner.agent)
    return [(end - start) / count * 1e6 for end, start in ((time.perf_counter(), begin), (time.process_time(), used))]

steps(400)
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    step = steps(BLOCK)
    env, action = driver.streams.envs[0], np.zeros(1)
    begin = time.perf_counter()
    for _ in range(100):
        env.step(action)
    print(*step, (time.perf_counter() - begin) / 100 * 1e6, flush=True)
    make = getattr(driver.run, "make_env", "Pendulum-v1")  # a build of before it takes an id
    driver.streams = type(driver.streams).start(make, (0,))  # the loop above has used up an episode
"""


class Side:
    """One build in a process of its own."""

    def __init__(self, tree: Path, work: Path):
        """Compile and warm up."""
        env = {**os.environ, "PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu", "MUJOCO_GL": "egl"}
        env |= {"JAX_NUM_CPU_DEVICES": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SIDE], cwd=work, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def answer(self) -> str:
        """Return its next line. Raises `SystemExit` where it has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a build ended before it was measured; its error stands above")
        return line

    def ask(self) -> list[float]:
        """Return microseconds of a step by the clock and of the processor's, and of the environment's alone."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return [float(x) for x in self.answer().split()]

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Measure both builds in turn, print, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, help="commit to compare with")
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    git = ["git", "-C", str(ROOT)]
    revision = subprocess.run(
        [*git, "rev-parse", given.against], check=True, capture_output=True, text=True
    ).stdout.strip()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subprocess.run([*git, "worktree", "add", "--detach", "-q", str(work / "old"), revision], check=True)
        stack.callback(subprocess.run, [*git, "worktree", "remove", "--force", str(work / "old")], check=True)
        sides = {}
        for name, tree in (("old", work / "old"), ("new", ROOT), ("control", work / "old")):
            sides[name] = Side(tree, work)
            stack.callback(sides[name].close)
        times: dict[str, list[list[float]]] = {name: [] for name in sides}
        for turn in range(given.turns):
            for name in [*sides][turn % 3 :] + [*sides][: turn % 3]:
                times[name].append(sides[name].ask())
    facts: dict[str, Any] = {"against": revision, "turns": given.turns}
    for i, what in enumerate(("step", "step's processor time", "environment alone")):
        medians = {name: statistics.median(one[i] for one in found) for name, found in times.items()}
        ratios = {name: medians[name] / medians["old"] for name in ("new", "control")}
        facts[what] = {"us": medians, "ratio": ratios}
        said = ", ".join(f"{name} {value:.1f}" for name, value in medians.items())
        print(f"{what}: {said} µs; new / old {ratios['new']:.3f}, control / old {ratios['control']:.3f}")
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
