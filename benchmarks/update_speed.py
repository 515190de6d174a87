"""Time MAGE's update and its model fitting at the paper's sizes, alone or against the authors' PyTorch code.

    python benchmarks/update_speed.py
    python benchmarks/update_speed.py --peer CHECKOUT --peer-python PYTHON

Both sides do the same work on the same kind of random data: imagine a batch from replayed states, update both
critics, every second time the actor; and take a gradient step of the ensemble, drawing its batches included. They
take turns within one run and never run at once. `benchmarks/README.md` says what the columns mean.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from timing import Program, machine, matmul_rates

from pbrl.agents import mage
from pbrl.envs import rewards
from pbrl.train import fitting, learn
from pbrl.train.schedule import Schedule
from pbrl.types import EnvSpec, Transition

TRANSITIONS = 4096  # in both replay buffers
MODEL_STEPS = 20  # gradient steps in one timed fit of ours
SETTLE_S = 0.1  # pause before every timing, for the other side's threads to fall asleep
SIZES: dict[str, dict[str, Any]] = {  # paper, App. D, with HalfCheetah's actor as released
    "halfcheetah": {
        "obs": 18, "action": 6, "batch": 1024, "actor": [384, 384], "critic": [384, 384],
        "model": [512, 512, 512, 512], "ensemble": 8, "model_batch": 256,
    },
    "pendulum": {
        "obs": 3, "action": 1, "batch": 512, "actor": [128, 128], "critic": [384, 384],
        "model": [128, 128], "ensemble": 8, "model_batch": 256,
    },
}  # fmt: skip


def update_flops(sizes: dict[str, Any]) -> float:
    """Count the floating-point operations in the matrix products of one update, averaged over the actor's delay.

    With W weights in a network, B rows cost 2BW forward, 2BW back to its inputs and 2BW for the gradients of its
    weights. Element-wise work, normalisation, optimisers and whatever padding adds are left out.
    """
    obs, action = sizes["obs"], sizes["action"]
    actor, first_actor = _weights(obs, sizes["actor"], action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    model, _ = _weights(obs + action, sizes["model"], 2 * obs)
    target = 2 * (model + actor + 2 * critic)  # y: one member a row, target actor, two target critics; then ∇ₐy
    # Of each critic: Q and ∇ₐQ (2 W), then, for the loss, back through both (2 W, save that nothing asks for
    # the gradient of the first layer's inputs) and the gradients of the weights in both (2 W).
    loss = 2 * (6 * critic - first_critic)
    # Actor, every second time: its pass, both critics and back to the action, its weights and back to its first layer.
    policy = (actor + 2 * 2 * critic + 2 * actor - first_actor) / 2
    return 2.0 * sizes["batch"] * (actor + target + loss + policy)  # the first `actor` is a = π(s)


def model_flops(sizes: dict[str, Any]) -> float:
    """Count the floating-point operations in the matrix products of one gradient step on all members."""
    weights, first = _weights(sizes["obs"] + sizes["action"], sizes["model"], 2 * sizes["obs"])
    return 2.0 * sizes["ensemble"] * sizes["model_batch"] * (3 * weights - first)  # forward, weights, back to layer 1


def _weights(inputs: int, hidden: list[int], outputs: int) -> tuple[int, int]:
    """Return how many weights a network has, and how many of them are the first layer's."""
    layers = [a * b for a, b in pairwise([inputs, *hidden, outputs])]
    return sum(layers), layers[0]


def our_programs(task: str, sizes: dict[str, Any]) -> dict[str, Program]:
    """Compile the two phases of training as the host loop runs them, and a single update."""
    reward = rewards.half_cheetah if task == "halfcheetah" else rewards.pendulum
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, reward, rewards.never)
    config = mage.Config(
        actor_hidden=tuple(sizes["actor"]),
        critic_hidden=tuple(sizes["critic"]),
        model_hidden=tuple(sizes["model"]),
        ensemble_size=sizes["ensemble"],
    )
    schedule = Schedule(batch_size=sizes["batch"], model_batch_size=sizes["model_batch"])
    obs_key, action_key, change_key = jax.random.split(jax.random.key(0), 3)
    obs = jax.random.normal(obs_key, (TRANSITIONS, sizes["obs"]))
    action = jax.random.uniform(action_key, (TRANSITIONS, sizes["action"]), minval=-1.0, maxval=1.0)
    next_obs = obs + 0.1 * jax.random.normal(change_key, obs.shape)
    data = Transition(obs, action, jnp.zeros(TRANSITIONS), jnp.ones(TRANSITIONS), next_obs)
    batch = jax.tree.map(lambda x: x[: sizes["batch"]], data)

    def learner() -> learn.Learner:
        empty = learn.start(mage, jax.random.key(0), spec, config, TRANSITIONS)
        return learn.collect(mage, empty, data, jnp.zeros(TRANSITIONS, bool))

    updates = schedule.updates_per_step
    return {
        "single update": Program(lambda state, key: mage.update(state, batch, key), learner().agent, 1),
        "update": Program(lambda state, key: learn.learn(mage, state, key, schedule), learner(), updates),
        "model": Program(
            lambda state, key: fitting.fit(mage, state, key, MODEL_STEPS, schedule), learner(), MODEL_STEPS
        ),
    }


class Peer:
    """The authors' code in a process of its own, which sleeps unless it is asked for something."""

    def __init__(self, options: argparse.Namespace, task: str, sizes: dict[str, Any]):
        worker = Path(__file__).parent / "peers" / "mage_torch.py"
        command = [options.peer_python, worker, options.peer, "--task", task, "--sizes", json.dumps(sizes)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen([*map(str, command), "--transitions", str(TRANSITIONS)], **pipes)
        self.versions, self.steps = self._read(), {}
        for what in ("update", "model"):  # the first calls compile TorchScript; then aim at half a second a timing
            self.ask(f"time {what} 4")
            self.steps[what] = 2 * max(1, round(250 / self.ask(f"time {what} 2")["ms"]))

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
    sizes = SIZES[task]
    programs, peer = our_programs(task, sizes), Peer(options, task, sizes) if options.peer else None
    critic, model, members = sizes["critic"][0], sizes["model"][0], sizes["ensemble"]
    layers = [(2, sizes["batch"], critic, critic), (members, sizes["model_batch"], model, model)]
    rates = matmul_rates([(1, 2048, 2048, 2048), (1, 4096, 2048, 2048), *layers])
    peaks, idle, replies = [], 0.0, []
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.repeats):
        time.sleep(SETTLE_S)
        peaks.append(max(rate() for rate in rates))
        for name, program in programs.items():
            time.sleep(SETTLE_S)
            times[name].append(statistics.mean(program.time() for _ in range(2)))  # with and without the actor
            if not peer or name not in peer.steps:
                continue
            for threads in sorted({1, os.cpu_count() or 1}):
                peer.ask(f"threads {threads}")
                time.sleep(SETTLE_S)
                begin = time.process_time()
                replies.append(peer.ask(f"time {name} {peer.steps[name]}"))
                idle += time.process_time() - begin
                times.setdefault(f"peer {name}, threads={threads}", []).append(replies[-1]["ms"])
    result = {"sizes": sizes, "matmul_peak_gflops": max(peaks), "rows": rows(times, programs, sizes, max(peaks))}
    if peer:
        result["peer"] = peer.versions | {f"{what}_gflop": peer.ask(f"flops {what}")["gflop"] for what in peer.steps}
        result["peer"] |= {"max_rss_mib": replies[-1]["max_rss_mib"]}
        result["idle_cpu_s"] = {"ours": idle, "peer": sum(reply["idle_cpu_s"] for reply in replies)}
        peer.stop()
        result["times_faster"] = {  # than the faster of the peer's settings
            what: min(row["times_ours"] for name, row in result["rows"].items() if name.startswith(f"peer {what}"))
            for what in peer.steps
        }
    return result


def rows(times: dict[str, list[float]], programs: dict[str, Program], sizes: dict[str, Any], peak: float) -> dict:
    """Sum the timings up, one row for each thing timed."""
    gflop = {"update": update_flops(sizes) / 1e9, "model": model_flops(sizes) / 1e9}
    table: dict[str, dict[str, Any]] = {}
    for name, ms in times.items():
        phase = "model" if "model" in name else "update"
        row = table[name] = {"ms_min": min(ms), "ms_median": statistics.median(ms), "ms": ms}
        if name in programs:
            rate = gflop[phase] / statistics.median(ms) * 1e3
            row |= {"gflop": gflop[phase], "gflops": rate, "share_of_peak": rate / peak, **programs[name].facts()}
            row["share_of_peak_best"] = gflop[phase] / min(ms) * 1e3 / peak
        else:
            row["times_ours"] = statistics.median(t / o for t, o in zip(ms, times[phase], strict=True))
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


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--peer", type=Path, help="checkout of the authors' repository")
    parser.add_argument("--peer-python", default="python", help="a Python with torch and numpy, for the peer")
    parser.add_argument("--repeats", type=int, default=10, help="turns that each side takes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if options.peer and not (options.peer / "td3.py").exists():
        parser.error(f"--peer: expected a checkout of the MAGE authors' repository, but {options.peer} has no td3.py")
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are those of a first run
    report: dict[str, Any] = {"machine": machine(), "repeats": options.repeats, "tasks": {}}
    for task in options.sizes:
        report["tasks"][task] = measure(task, options)
        show(task, report["tasks"][task])
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
