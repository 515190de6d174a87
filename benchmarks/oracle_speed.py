"""What an oracle costs: a step of it and the gradient of one, beside a step of the live environment.

    python benchmarks/oracle_speed.py                        # all tasks; most of the time goes into compiling
    python benchmarks/oracle_speed.py --env Hopper-v5 brax/hopper-positional
    python benchmarks/oracle_speed.py --against REV          # this build and a commit's, in turn; an hour

For each environment, preset and batch of states that a random policy reached: milliseconds of a step, and of a step
with the gradient of its reward and next observation in state and action (what a rollout adds for every step of its
horizon), the median of `TURNS` turns in which all take part; seconds to compile either. `live` is one step of the
environment itself, in Gymnasium or, of those in JAX, compiled alone. float32.

With `--against`, each build is a process that compiles the preset `fidelity` of a task for every batch; then they are
timed in turn, task by task, and ratios are of medians.

Writes benchmarks/results/oracle-speed.json, or oracle-speed-against.json.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from builds import builds, commit
from timing import machine
from twin_fidelity import TASKS

from pbrl.diagnose import gradcheck
from pbrl.envs import oracles
from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError
from pbrl.types import Dynamics, Transition

RESULTS = Path(__file__).parent / "results" / "oracle-speed.json"
AGAINST = RESULTS.with_name("oracle-speed-against.json")
ENVS = (
    "Pendulum-v1", *(f"{name}-v5" for name in TASKS),
    "brax/reacher-positional", "brax/reacher-spring", "brax/halfcheetah-positional", "brax/halfcheetah-spring",
)  # fmt: skip
BATCHES, TURNS, LEAST_S = (1, 256), 10, 0.05
BATCHES_AGAINST = (1, 256, 1024)


def live(env_id: str) -> float:
    """Return how long a step of the environment itself takes, in ms."""
    env, rng, took = GymEnv(env_id), np.random.default_rng(0), 0.0
    env.reset(seed=0)
    env.step(np.zeros(env.spec.action_size))  # compiles, where it is in JAX
    env.reset(seed=0)
    for _ in range(max(BATCHES)):
        action = rng.uniform(-1.0, 1.0, env.spec.action_size)
        begin = time.perf_counter()
        step = env.step(action)
        took += time.perf_counter() - begin
        if step.terminated or step.truncated:
            env.reset()
    env.close()
    return took / max(BATCHES) * 1e3


def program(dynamics: Dynamics, what: str, batch: Transition) -> tuple[Callable[[], Any], float]:
    """Return a step ("step"), or one with its gradient ("gradient"), compiled, with seconds that compiling took."""
    key, state = jax.random.key(0), jax.jit(dynamics.start)(batch)

    def step(state: Any, action: jax.Array) -> tuple:
        after, reward, _ = dynamics.step(state, action, key)
        return reward, dynamics.observe(after)

    def gradient(state: Any, action: jax.Array) -> tuple:
        def total(state: Any, action: jax.Array) -> jax.Array:
            return sum(x.sum() for x in step(state, action))  # pyright: ignore[reportReturnType]

        return jax.grad(total, argnums=(0, 1), allow_int=True)(state, action)

    begin = time.perf_counter()
    compiled = jax.jit({"step": step, "gradient": gradient}[what]).lower(state, batch.action).compile()
    return lambda: jax.block_until_ready(compiled(state, batch.action)), time.perf_counter() - begin


def milliseconds(program: Callable[[], Any]) -> float:
    """Return how long one call takes, over at least `LEAST_S` of them."""
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < LEAST_S or not calls:
        program()
        calls += 1
    return (time.perf_counter() - begin) / calls * 1e3


def measure(env_id: str) -> dict[str, Any]:
    """Return the rows of one environment."""
    whole = states(env_id, max(BATCHES))
    made, rows = {}, {"live": {"ms": live(env_id)}}
    for preset in oracles.PRESETS:
        for size in BATCHES:
            batch = jax.tree.map(lambda x, size=size: x[:size], whole)
            try:
                dynamics = oracles.oracle(env_id, preset)
            except EnvError:  # a preset that it lacks
                break
            for what in ("step", "gradient"):
                made[f"{preset}, batch {size}, {what}"] = program(dynamics, what, batch)
    times: dict[str, list[float]] = {name: [] for name in made}
    for call, _ in made.values():
        call()
    for _ in range(TURNS):
        for name, (call, _) in made.items():
            times[name].append(milliseconds(call))
    for name, (_, compile_s) in made.items():
        rows[name] = {"ms": statistics.median(times[name]), "ms_min": min(times[name]), "compile_s": compile_s}
    return rows


def states(env_id: str, count: int) -> Transition:
    """Return states that a random policy reached, with random actions."""
    whole = gradcheck.reached(env_id, count, 0)
    return whole.replace(action=jax.random.uniform(jax.random.key(0), whole.action.shape, minval=-1.0))


def serve(env_id: str) -> None:
    """Compile, say how long that took, and time whatever program is asked for, each on a line."""
    whole, dynamics, made = states(env_id, max(BATCHES_AGAINST)), oracles.oracle(env_id), {}
    for size in BATCHES_AGAINST:
        batch = jax.tree.map(lambda x, size=size: x[:size], whole)
        for what in ("step", "gradient"):
            made[f"batch {size}, {what}"] = program(dynamics, what, batch)
    for call, _ in made.values():
        call()
    print(json.dumps({name: seconds for name, (_, seconds) in made.items()}), flush=True)
    for line in sys.stdin:
        print(milliseconds(made[line.strip()][0]), flush=True)


def compare(revision: str, envs: list[str]) -> None:
    """Time this build and a commit's in turn, print, and write the numbers."""
    report: dict[str, Any] = json.loads(AGAINST.read_text()) if AGAINST.exists() else {"rows": {}}
    report |= {"against": commit(revision), "machine": machine(), "turns": TURNS}
    for env_id in envs:
        with builds(revision, [__file__, "--serve", env_id], ("old", "new")) as sides:
            compiled = {name: json.loads(side.ready) for name, side in sides.items()}
            times: dict[str, dict[str, list[float]]] = {what: {} for what in compiled["new"]}
            for _ in range(TURNS):
                for what, found in times.items():
                    for name, side in sides.items():
                        found.setdefault(name, []).append(float(side.ask(what)))
        report["rows"][env_id] = rows = {}
        for what, found in times.items():
            ms = {name: statistics.median(values) for name, values in found.items()}
            seconds = {name: compiled[name][what] for name in ms}
            rows[what] = {"ms": ms, "ratio": ms["old"] / ms["new"], "compile_s": seconds}
            took = f"{ms['old']:9.2f} ms before, {ms['new']:8.2f} now, {rows[what]['ratio']:5.2f} times"
            made = f"compiled in {seconds['old']:.1f} s, {seconds['new']:.1f} now"
            print(f"{env_id:26s} {what:22s} {took}; {made}", flush=True)
        AGAINST.write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=ENVS, help="ids with an oracle")
    parser.add_argument("--against", help="a commit to compare with")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)  # compile times are those of a first run
    if given.serve:
        return serve(given.serve)
    if given.against:
        return compare(given.against, given.env if given.env != ENVS else [f"{name}-v5" for name in TASKS])
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    report |= {"command": "python benchmarks/oracle_speed.py", "machine": machine(), "turns": TURNS}
    for env_id in given.env:
        report["rows"][env_id] = rows = measure(env_id)
        for name, row in rows.items():
            compiling = f"  compiled in {row['compile_s']:6.1f} s" if "compile_s" in row else ""
            print(f"{env_id:28s} {name:32s} {row['ms']:9.3f} ms{compiling}", flush=True)
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
