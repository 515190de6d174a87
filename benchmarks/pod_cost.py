"""What an update costs each chip of a TPU v5e-256 slice, on paper: FLOPs, bytes and collectives for 1, 64, 4,096 seeds.

    python benchmarks/pod_cost.py            # about three minutes on two cores; no TPU is needed, and none is timed

Compiles each agent's `update` at the papers' HalfCheetah sizes for as many seeds as one chip holds: 1, 1 and 16. FLOPs
are those of the matrix products, as `update_speed.py` counts them. Bytes are what cannot be avoided, each seed's
networks and optimiser read and written and its batch read, and XLA's own count, which takes every operation's operands
as coming from memory (loop bodies once, as on a CPU). The time is a bound from below by the chip's published rates, 197
TFLOP/s (bfloat16; a float32 product at `highest` takes six of these) and 819 GB/s.

Collectives are counted in the program of eight fake devices, for seeds spread over them and for one seed's batch cut
over them; with the bytes that a chip would exchange for the latter. Writes benchmarks/results/pod-cost.json.
"""

import os

os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import json
import math
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from timing import machine
from workloads import WORKLOADS, data

from pbrl.envs.tasks import rewards
from pbrl.parallel import devices
from pbrl.parallel.devices import DATA, SEEDS
from pbrl.presets import lookup, overrides
from pbrl.runs.run import agent_module
from pbrl.runs.schedule import Schedule
from pbrl.types import EnvSpec, Transition

RESULTS = Path(__file__).parent / "results" / "pod-cost.json"
ENVS = {"mage": "pbrl/MageHalfCheetah-v0", "svg": "pbrl/PoplinHalfCheetah-v0", "maac": "pbrl/MaacHalfCheetah-v0"}
WORKLOAD = {"mage": "halfcheetah", "svg": "svg", "maac": "maac"}
CHIPS, FLOPS, BYTES, PASSES = 256, 197e12, 819e9, 6
COLLECTIVE = re.compile(
    r"^\s*\S+ = (.+?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(", re.MULTILINE
)
SHAPE = re.compile(r"(?:f32|s32|u32)\[([\d,]*)\]")


def exchanged(text: str) -> dict[str, float]:
    """Return how many collectives a compiled program has, and the bytes of their results."""
    found = COLLECTIVE.findall(text)
    sizes = [
        math.prod(map(int, filter(None, dims.split(",")))) for result, _ in found for dims in SHAPE.findall(result)
    ]
    return {"collectives": len(found), "exchanged_mib": 4 * sum(sizes) / 2**20}


def example(name: str) -> tuple[Any, Any, Transition]:
    """Return an agent, one seed's state, and a batch, at the sizes of the paper's HalfCheetah."""
    agent, env = agent_module(name), ENVS[name]
    config, schedule = overrides.apply(agent.Config(), Schedule(), lookup.preset("paper", name, env))
    sizes = WORKLOADS[WORKLOAD[name]].sizes
    spec = EnvSpec(sizes["obs"], sizes["action"], 1_000, rewards.half_cheetah, rewards.never)
    batch = jax.tree.map(lambda x: x[: schedule.batch_size], data(sizes))
    return agent, agent.init(jax.random.key(0), spec, config), batch


def several(state: Any, batch: Transition, n: int) -> tuple[Any, Transition, jax.Array]:
    """Return what `n` seeds update with."""
    states, batches = jax.tree.map(lambda x: jnp.repeat(x[None], n, 0), (state, batch))
    return states, batches, jax.random.split(jax.random.key(1), n)


def main() -> None:
    """Run from the command line."""
    report: dict[str, Any] = {"command": "python benchmarks/pod_cost.py", "machine": machine(), "rows": {}}
    for name in ENVS:
        agent, state, batch = example(name)
        workload = WORKLOADS[WORKLOAD[name]]
        every = jax.jit(jax.vmap(agent.update))
        for seeds in (1, 64, 4_096):
            held = max(seeds // CHIPS, 1)
            states, batches, keys = several(state, batch, held)
            compiled = every.lower(states, batches, keys).compile()
            flops = held * workload.flops["update"](workload.sizes)
            cost = compiled.cost_analysis()
            assert cost is not None
            size = sum(x.nbytes for x in jax.tree.leaves(states))
            least = 2 * size + sum(x.nbytes for x in jax.tree.leaves(batches))
            row = {
                "chips": min(seeds, CHIPS),
                "seeds_per_chip": held,
                "gflop": flops / 1e9,
                "least_mib": least / 2**20,
                "xla_mib": cost["bytes accessed"] / 2**20,
                "at_least_ms": 1e3 * max(PASSES * flops / FLOPS, least / BYTES),
                "bound_by": "products" if PASSES * flops / FLOPS > least / BYTES else "memory",
            }
            report["rows"][f"{name}, {seeds} seeds"] = row
            print(
                f"{name:5s} {seeds:5d} seeds ", {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
            )
        states, batches, keys = several(state, batch, 8)
        row = devices.mesh()
        spread = every.lower(*(devices.place(x, row, SEEDS) for x in (states, batches, keys))).compile()
        column, key = devices.mesh(1, 8), jax.random.key(1)
        one = devices.place(state, column), devices.place(batch, column, DATA), devices.place(key, column)
        cut = jax.jit(agent.update).lower(*one).compile()
        for way, program in (("seeds over devices", spread), ("one batch over devices", cut)):
            report["rows"][f"{name}, {way}"] = found = exchanged(program.as_text() or "")
            print(f"{name:5s} {way}: {found}", flush=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
