"""MAAC, Table 2: where the time of an iteration goes, and how the cost of an update grows with H, members and samples.

    python benchmarks/paper/maac_table2.py

An iteration is 1,000 environment steps at the released sizes for HalfCheetah, after 6,000 of them as in the paper's
table: 8,000 updates, one fit of the ensemble, four times 100,000 imagined transitions. Updates, gradient steps of the
model and imagination are timed as the host loop runs them; how many epochs a fit takes is the data's affair, so that
its share is shown for a few numbers of them. The paper's ratio compares MAAC with MBPO, which is here the same agent
at H = 0 without STEVE. Run it on an idle machine.

Writes `results/maac-table2.json`.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).parents[1]))

from operations import TRANSITIONS
from timing import Program, machine
from workloads import WORKLOADS, data, maac_programs

from pbrl.agents import maac
from pbrl.envs.tasks import rewards
from pbrl.runs.schedule import Schedule
from pbrl.train import learn, model_data
from pbrl.types import EnvSpec

RESULTS = Path(__file__).parents[1] / "results"
UPDATES, IMAGINED, EPOCHS, ROWS = 8_000, 4 * 100_000, (5, 20, 50), 6_000
MBPO = {"horizon": 0, "target_horizon": 0, "samples": 1}
VARIED = (
    [{"horizon": h} for h in (0, 1, 2, 4, 8)]
    + [{"target_members": m} for m in (1, 2, 4, 8)]
    + [{"samples": n} for n in (1, 5, 20)]
)


def named(changes: dict[str, int]) -> str:
    """Name sizes by where they differ from the released ones: equal sizes are one program."""
    released = WORKLOADS["maac"].sizes
    return json.dumps({name: value for name, value in changes.items() if value != released[name]})


def programs(changes: dict[str, int]) -> dict[str, Program]:
    """Compile the phases of the released sizes with some of them changed."""
    return maac_programs("maac", {**WORKLOADS["maac"].sizes, **changes})


def imagination() -> Program:
    """Compile what the host loop runs: drawing states, one imagined step from each, and storing what came of it."""
    sizes = WORKLOADS["maac"].sizes
    config = maac.Config(actor_hidden=tuple(sizes["actor"]), model_hidden=tuple(sizes["model"]))
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, rewards.half_cheetah, rewards.never)
    schedule = Schedule(imagine_every=250)
    learner = learn.start(maac, jax.random.key(0), spec, config, TRANSITIONS, schedule.imagined_capacity)
    learner = learn.collect(maac, learner, data(sizes), jnp.zeros(TRANSITIONS, bool))
    return Program(
        lambda state, key: (model_data.imagine(maac, state, key, 1, schedule), None), learner, schedule.imagine_batch
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6, help="turns")
    repeats = parser.parse_args().repeats
    released = programs({})
    timed = {"model step": released["model"], "imagined": imagination(), named({}): released["update"]}
    for changes in (MBPO, *VARIED):
        if named(changes) not in timed:
            timed[named(changes)] = programs(changes)["update"]
    times = {name: [] for name in timed}
    for _ in range(repeats):  # in turns, so that a slow minute of the machine falls on all
        for name, program in timed.items():
            program.time()  # not counted, as in update_speed.py
            times[name].append(program.time())
    ms = {name: statistics.median(values) for name, values in times.items()}
    update, mbpo, h0 = (ms[named(changes)] for changes in ({}, MBPO, {"horizon": 0}))
    steps = 0.8 * ROWS / WORKLOADS["maac"].sizes["model_batch"]  # of an epoch over the training rows
    seconds = {"updates": UPDATES * update / 1e3, "imagination": IMAGINED * ms["imagined"] / 1e3}
    fit = {str(epochs): epochs * steps * ms["model step"] / 1e3 for epochs in EPOCHS}
    report = {
        "command": "python benchmarks/paper/maac_table2.py",
        "machine": machine(),
        "repeats": repeats,
        "sizes": WORKLOADS["maac"].sizes,
        "seconds_of_an_iteration": {**seconds, "fit_by_epochs": fit},
        "ratio_to_mbpo": update / mbpo,
        "ratio_to_h0": update / h0,
        "ms_per_update": {json.dumps(changes): ms[named(changes)] for changes in VARIED},
        "compile_s": {name: program.compile_s for name, program in timed.items()},
        "ms": ms,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "maac-table2.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"an iteration: updates {seconds['updates']:.0f} s, imagination {seconds['imagination']:.1f} s", end="")
    print("".join(f", fit of {epochs} epochs {s:.1f} s" for epochs, s in fit.items()))
    print(f"update: {update:.2f} ms, {update / h0:.2f} times H = 0's, {update / mbpo:.2f} times MBPO's {mbpo:.2f} ms")
    for changes in VARIED:
        print(f"{changes}: {ms[named(changes)]:.2f} ms")


if __name__ == "__main__":
    main()
