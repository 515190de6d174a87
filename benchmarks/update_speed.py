"""Time the phases of training at the published sizes, alone or against the authors' PyTorch code.

    python benchmarks/update_speed.py
    python benchmarks/update_speed.py --peer CHECKOUT ... --peer-python PYTHON

Both sides do the same work on the same kind of random data, drawing batches included: the agent's update (MAGE: imagine
a batch, both critics, every second time the actor; SVG: both critics, the actor through the model, temperature, reward
and termination; DHMBPO: critics, actor and temperature by one rollout; MAAC, of which no peer runs any more: targets,
critics, actor, temperature) and a gradient step of the model. They take turns within one run and never run at once.
`benchmarks/README.md` says what the columns mean.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import operations
from timing import Program, machine, matmul_rates
from workloads import WORKLOADS, Workload

from pbrl.report import plots

SIDES = {  # label: name of a phase's row
    "ours": "{phase}",
    "peer, all cores": "peer {phase}, threads={cores}",
    "peer, one thread": "peer {phase}, threads=1",
}
SETTLE_S = 0.1  # pause before every timing, for the other side's threads to fall asleep


class Peer:
    """The authors' code in a process of its own, which sleeps unless it is asked for something."""

    def __init__(self, python: str, checkout: Path, task: str):
        worker, sizes, units = WORKLOADS[task].worker, WORKLOADS[task].sizes, WORKLOADS[task].peer_units
        assert worker is not None
        command = [python, Path(__file__).parent / "peers" / worker, checkout, "--task", task]
        command += ["--sizes", json.dumps(sizes), "--transitions", operations.rows(sizes)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen([*map(str, command)], **pipes)
        self.versions, self.steps = self._read(), {}
        for what, unit in units.items():  # the first calls compile TorchScript; then aim at half a second a timing
            self.ask(f"time {what} {2 * unit}")
            self.steps[what] = unit * max(1, round(500 / unit / self.ask(f"time {what} {unit}")["ms"]))

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer stopped; its error stands above: check --peer and --peer-python")
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        return self._read()

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Take all timings of one task, turn by turn."""
    workload = WORKLOADS[task]
    sizes, programs = workload.sizes, workload.programs(task, workload.sizes)
    checkout = next((path for path in options.peer if workload.landmark and (path / workload.landmark).exists()), None)
    peer = Peer(options.peer_python, checkout, task) if checkout else None
    rates = matmul_rates([(1, 2048, 2048, 2048), (1, 4096, 2048, 2048), *workload.products(sizes)])
    peaks, idle, replies = [], 0.0, []
    times: dict[str, list[float]] = {name: [] for name in programs}
    theirs = [phase for phase in peer.steps if phase not in programs] if peer else []
    for _ in range(options.repeats):
        time.sleep(SETTLE_S)
        peaks.append(max(rate() for rate in rates))
        for name in [*programs, *theirs]:
            time.sleep(SETTLE_S)
            if program := programs.get(name):
                program.time()  # not counted, as for the peer: memory that lay idle meanwhile comes back slowly
                times[name].append(statistics.mean(program.time() for _ in range(2)))  # MAGE: with, without actor
            if not peer or name not in peer.steps:
                continue
            for threads in sorted({1, os.cpu_count() or 1}):
                peer.ask(f"threads {threads}")
                time.sleep(SETTLE_S)
                peer.ask(f"time {name} 2")
                begin = time.process_time()
                replies.append(peer.ask(f"time {name} {peer.steps[name]}"))
                idle += time.process_time() - begin
                times.setdefault(f"peer {name}, threads={threads}", []).append(replies[-1]["ms"])
    if workload.step:
        add_steps(times, workload)
    result = {"sizes": sizes, "matmul_peak_gflops": max(peaks), "rows": rows(times, programs, workload, max(peaks))}
    if peer:
        counted = {what: peer.ask(f"flops {what} {unit}")["gflop"] for what, unit in workload.peer_units.items()}
        result["peer"] = peer.versions | {f"{what}_gflop": gflop for what, gflop in counted.items()}
        result["peer"] |= {"max_rss_mib": replies[-1]["max_rss_mib"]}
        result["idle_cpu_s"] = {"ours": idle, "peer": sum(reply["idle_cpu_s"] for reply in replies)}
        peer.stop()
        result["times_faster"] = {  # than the faster of the peer's settings
            what: min(row["times_ours"] for name, row in result["rows"].items() if name.startswith(f"peer {what}"))
            for what in [*peer.steps, *(["step"] if workload.step else [])]
            if what in result["rows"]
        }
    return result


def add_steps(times: dict[str, list[float]], workload: Workload) -> None:
    """Add the time of an environment step of each side, turn by turn: that of so many runs of each phase."""
    for update in [name for name in times if name == "update" or name.startswith("peer update")]:
        counts = workload.step if update == "update" else workload.peer_step or workload.step
        phases = [[count * ms for ms in times[update.replace("update", phase)]] for phase, count in counts.items()]
        times[update.replace("update", "step")] = [sum(turn) for turn in zip(*phases, strict=True)]


def rows(times: dict[str, list[float]], programs: dict[str, Program], workload: Workload, peak: float) -> dict:
    """Sum the timings up, one row for each thing timed."""
    gflop = {phase: count(workload.sizes) / 1e9 for phase, count in workload.flops.items()}
    gflop["step"] = sum(count * gflop[phase] for phase, count in workload.step.items())
    table: dict[str, dict[str, Any]] = {}
    for name, ms in times.items():
        phase = name.split(",")[0].split()[-1]
        row = table[name] = {"ms_min": min(ms), "ms_median": statistics.median(ms), "ms": ms}
        if name.startswith("peer") and phase not in times:
            continue  # which we do not have
        if name.startswith("peer"):
            row["times_ours"] = statistics.median(t / o for t, o in zip(ms, times[phase], strict=True))
        else:
            rate = gflop[phase] / statistics.median(ms) * 1e3
            row |= {"gflop": gflop[phase], "gflops": rate, "share_of_peak": rate / peak}
            row |= programs[name].facts() if name in programs else {}
            row["share_of_peak_best"] = gflop[phase] / min(ms) * 1e3 / peak
    return table


def show(task: str, result: dict[str, Any]) -> None:
    """Print the table of one task."""
    print(f"\n{task}: matmul peak {result['matmul_peak_gflops']:.0f} GFLOP/s")
    columns = {"ms_min": ".2f", "ms_median": ".2f", "gflop": ".2f", "gflops": ".0f", "share_of_peak": ".0%"}
    columns |= {"share_of_peak_best": ".0%", "compile_s": ".1f", "program_mib": ".0f", "times_ours": ".1f"}
    print(f"{'':24}" + "".join(f"{name.replace('share_of_', ''):>12}" for name in columns))
    for name, row in result["rows"].items():
        cells = (f"{row[key]:{form}}" if key in row else "" for key, form in columns.items())
        print(f"{name:24}" + "".join(f"{cell:>12}" for cell in cells))
    for what, factor in result.get("times_faster", {}).items():
        print(f"{what}: {factor:.1f} times faster than the peer's faster setting")


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the median times of both sides, a group of bars for each phase that a peer has."""
    from matplotlib.figure import Figure

    groups = [(task, phase) for task, result in report["tasks"].items() for phase in result.get("times_faster", {})]
    cores = report["machine"]["cores"]
    figure = Figure(figsize=(1.3 * len(groups) + 1.5, 3.8))
    axis = figure.subplots()
    for i, (side, name) in enumerate(SIDES.items()):
        names = [(task, name.format(phase=phase, cores=cores)) for task, phase in groups]
        heights = [report["tasks"][task]["rows"][row]["ms_median"] for task, row in names]
        bars = axis.bar(np.arange(len(groups)) + 0.27 * (i - 1), heights, 0.25, color=plots.COLOURS[i], label=side)
        axis.bar_label(bars, [f"{x:,.0f}" if x >= 100 else f"{x:.3g}" for x in heights], fontsize=7, padding=1)
    axis.set_yscale("log")
    axis.set_xticks(range(len(groups)), [f"{task}\n{phase}" for task, phase in groups], fontsize=8)
    axis.set_ylabel("milliseconds, median")
    figure.suptitle(f"Ours and the authors' PyTorch, {cores} CPU cores", fontsize=11)
    plots.finish(axis)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def kept(path: Path | None, report: dict[str, Any]) -> dict[str, Any]:
    """Return the tasks in a file that has been written before, to which others are added.

    Raises `SystemExit` where they were timed otherwise.
    """
    if not path or not path.exists():
        return {}
    before = json.loads(path.read_text())
    differ = [key for key in ("command", "machine", "repeats") if before[key] != report[key]]
    if differ:
        raise SystemExit(f"--out: {path} has other tasks with another {' and '.join(differ)}; name another file")
    return before["tasks"]


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--peer", type=Path, nargs="+", default=[], help="checkouts of the authors' repositories")
    parser.add_argument("--peer-python", default="python", help="a Python with torch and numpy, for the peers")
    parser.add_argument("--repeats", type=int, default=10, help="turns that each side takes")
    parser.add_argument("--out", type=Path, help="JSON file to write, or to add to")
    options = parser.parse_args()
    landmarks = {landmark: task for task in options.sizes if (landmark := WORKLOADS[task].landmark)}
    for path in options.peer:
        if not any((path / landmark).exists() for landmark in landmarks):
            wanted = " or ".join(f"{landmark} (for {task})" for landmark, task in landmarks.items())
            parser.error(f"--peer: expected a checkout of the authors' repository, but {path} has no {wanted}")
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are those of a first run
    command = "python benchmarks/update_speed.py" + " --peer CHECKOUT ..." * bool(options.peer)
    report: dict[str, Any] = {"command": command, "machine": machine(), "repeats": options.repeats}
    report["tasks"] = kept(options.out, report)
    for task in options.sizes:
        report["tasks"][task] = measure(task, options)
        show(task, report["tasks"][task])
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        if any("times_faster" in result for result in report["tasks"].values()):
            draw(report, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
