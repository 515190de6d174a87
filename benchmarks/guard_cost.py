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
import statistics
from pathlib import Path
from typing import Any

from builds import builds, commit

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


def main() -> None:
    """Measure both builds in turn, print, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, help="commit to compare with")
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    with builds(given.against, ["-c", SIDE], ("old", "new", "control"), threads=1) as sides:
        times: dict[str, list[list[float]]] = {name: [] for name in sides}
        for turn in range(given.turns):
            for name in [*sides][turn % 3 :] + [*sides][: turn % 3]:
                times[name].append([float(x) for x in sides[name].ask("go").split()])
    facts: dict[str, Any] = {"against": commit(given.against), "turns": given.turns}
    for i, what in enumerate(("step", "step's processor time", "environment alone")):
        medians = {name: statistics.median(one[i] for one in found) for name, found in times.items()}
        ratios = {name: medians[name] / medians["old"] for name in ("new", "control")}
        facts[what] = {"us": medians, "ratio": ratios}
        said = ", ".join(f"{name} {value:.1f}" for name, value in medians.items())
        print(f"{what}: {said} µs; new / old {ratios['new']:.3f}, control / old {ratios['control']:.3f}")
    RESULTS.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
