"""How many seeds share a device, and at what price: steps and updates a second for 1 ... 64 seeds in one program.

    python benchmarks/seed_scaling.py                    # a quarter of an hour on two cores, otherwise idle
    python benchmarks/seed_scaling.py --agents td3 --seeds 1 8
    python benchmarks/seed_scaling.py --devices          # the same 8 seeds over 1, 2, 4, 8 devices of a CPU

The driver on the device trains `cpu` presets on the toy pendulum, past the warm-up: seeds by `vmap` and by `map`, on
one device and, on a CPU, over as many as `parallel.use_cores` makes of its cores (`pbrl train` has `map` there). All
counts of an agent take turns. A time is the median of the turns for one environment step of every seed with all that
belongs to it. `times one` compares it with one seed's, by the faster mode: as many seeds one after the other would take
that many times as long. `warmup` is the same for steps before any update, where dispatch takes the largest part of the
time (`step_profile.py`; MAGE fits its model there already). Memory is that of the seeds' states and of the program's
buffers, for each seed.

With `--devices` 8 seeds lie over 1, 2, 4 and 8 devices of a process that has 8, and as many threads on this machine's
cores. `times one` compares with one device, by the faster mode.

Writes benchmarks/results/seed-scaling.json, or seed-devices.json, unless `--seeds` are given. Some `--agents` alone are
written only beside rows of others that the same machine took with the same settings.
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax
from timing import machine

from pbrl.parallel import devices as parallel
from pbrl.presets import lookup, overrides
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule
from pbrl.train import device

RESULTS = Path(__file__).parent / "results"
DEVICES, MODES = (1, 2, 4, 8), ("vmap", "map")
ENV, SECONDS, WARMUPS = "pbrl/ToyPendulum-v0", 0.5, 5
COUNTS = {"td3": (1, 2, 4, 8, 16, 32, 64), "sac": (1, 2, 4, 8, 16), "mage": (1, 2, 4, 8)}


class Timed:
    """A training run of some seeds, past its warm-up, compiled, on one device or on several."""

    def __init__(self, agent: str, seeds: int, mode: str, devices: int = 1):
        changes = {**lookup.preset("cpu", agent, ENV), "schedule.eval_every": 0, "schedule.total_steps": 100_000}
        config, schedule = overrides.apply(agent_module(agent).Config(), Schedule(), changes)
        run = Run(agent, ENV, tuple(range(seeds)), config, schedule, Path("nowhere"), mode, driver="device")
        mesh = parallel.mesh(devices, devices=jax.devices()[:devices]) if devices > 1 else None
        with mock.patch.object(parallel, "own_mesh", lambda n: mesh):
            self.programs = device.Programs(run)
        self.step = self.warmup = schedule.warmup_steps
        self.updates = schedule.updates_per_step
        self.state = self.programs.start(20_000)
        begin = time.perf_counter()
        arguments = self.state, self.programs.plan, 0, 1
        self.epoch = self.programs.epoch.lower(*arguments).compile()
        self.compile_s = time.perf_counter() - begin
        memory = self.epoch.memory_analysis()
        assert memory is not None
        held = sum(x.nbytes for x in jax.tree.leaves(self.state))
        self.mib = (held + memory.temp_size_in_bytes) / seeds / 2**20
        self.advance(0, schedule.warmup_steps)
        self.count = 1
        self.count = max(1, round(SECONDS / self.time()))

    def advance(self, done: int, count: int) -> None:
        """Take steps and wait for them."""
        self.state = jax.block_until_ready(self.epoch(self.state, self.programs.plan, done, count))

    def time(self) -> float:
        """Return the seconds of a step of all seeds, fits of the model included as they fall due."""
        begin = time.perf_counter()
        self.advance(self.step, self.count)
        self.step += self.count
        return (time.perf_counter() - begin) / self.count

    def time_warmup(self) -> float:
        """Return the seconds of a step of all seeds in the warm-up: random actions, no updates."""
        count = self.warmup - 1  # its last step is followed by the first update
        begin = time.perf_counter()
        for _ in range(WARMUPS):
            self.advance(0, count)
        return (time.perf_counter() - begin) / count / WARMUPS


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=list(COUNTS), default=list(COUNTS))
    parser.add_argument("--seeds", nargs="+", type=int, help="counts of seeds (default: each agent's)")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--devices", action="store_true", help="8 seeds over 1 to 8 devices instead")
    arguments = parser.parse_args()
    command = "python benchmarks/seed_scaling.py" + " --devices" * arguments.devices
    if arguments.devices:
        jax.config.update("jax_num_cpu_devices", max(DEVICES))
    else:
        parallel.use_cores(max(max(arguments.seeds or COUNTS[agent]) for agent in arguments.agents))
    report: dict[str, Any] = {"command": command, "machine": machine(), "turns": arguments.repeats, "rows": {}}
    path = RESULTS / ("seed-devices.json" if arguments.devices else "seed-scaling.json")
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    same = before | {"rows": {}} == report  # command, machine, settings and turns
    if same:
        report["rows"] = before["rows"]
    for agent in arguments.agents:
        if arguments.devices:
            cells = [(8, mode, count) for count in DEVICES for mode in MODES]
        else:
            counts = arguments.seeds or COUNTS[agent]
            cells = [cell for n in counts for cell in ways(n)]
        timed = {cell: Timed(agent, *cell) for cell in cells}
        fits = bool(next(iter(timed.values())).programs.plan.fit_batches.any())  # its model, in the warm-up already
        times: dict[Any, list[float]] = {cell: [] for cell in cells}
        warmups: dict[Any, list[float]] = {cell: [] for cell in cells}
        for _ in range(arguments.repeats):
            for cell, one in timed.items():
                times[cell].append(one.time())
                warmups[cell].append(math.nan if fits else one.time_warmup())
        rows = report["rows"][agent] = {}
        medians, warm = ({cell: statistics.median(x) for cell, x in each.items()} for each in (times, warmups))
        one_seed, one_warm = (min(each[cells[0][0], mode, 1] for mode in MODES) for each in (medians, warm))
        for (n, mode, devices), one in timed.items():
            step = medians[n, mode, devices]
            row = rows[f"{n} seeds by {mode}, {devices} device" + "s" * (devices > 1)] = {
                "ms_per_step": 1e3 * step,
                "times_one": step / one_seed,
                "steps_per_second": n / step,
                "updates_per_second": n * one.updates / step,
                "compile_s": one.compile_s,
                "mib_per_seed": one.mib,
            }
            if not fits:
                warmup = warm[n, mode, devices]
                row |= {"warmup_us_per_step": 1e6 * warmup, "warmup_times_one": warmup / one_warm}
            values = "  ".join(f"{name} {value:.3g}" for name, value in row.items())
            print(f"{agent:5s} {n:3d} seeds, {mode:4s}, {devices} devices  {values}", flush=True)
        if not arguments.seeds and (same or set(arguments.agents) == set(COUNTS)):
            path.write_text(json.dumps(report, indent=1) + "\n")


def ways(n: int) -> list[tuple[int, str, int]]:
    """Return how `n` seeds can be trained: number, mode and devices."""
    cells = [(n, mode, 1) for mode in MODES]
    shared = parallel.own_mesh(n)
    if shared and jax.default_backend() == "cpu":
        cells += [(n, mode, shared.size) for mode in MODES]
    return cells


if __name__ == "__main__":
    main()
