"""Time compiled programs, the machine's matrix products, and say what machine it is."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

SETTINGS = ("XLA_FLAGS", "GLIBC_TUNABLES", "JAX_NUM_CPU_DEVICES")


class Program:
    """A phase compiled once, with a donated state of its own; `steps` updates a call.

    `function(state, key)` returns the next state first.
    """

    def __init__(self, function: Callable, state: Any, steps: int):
        self.state, self.steps, self.calls = state, steps, 0
        begin = time.perf_counter()
        self.compiled = jax.jit(function, donate_argnums=0).lower(state, jax.random.key(0)).compile()
        self.compile_s = time.perf_counter() - begin
        self.time()  # the first call pays for its memory

    def time(self) -> float:
        """Run the phase once and return milliseconds per update."""
        key = jax.block_until_ready(jax.random.key(self.calls))
        begin = time.perf_counter()
        self.state = jax.block_until_ready(self.compiled(self.state, key)[0])
        elapsed = time.perf_counter() - begin
        self.calls += 1
        return elapsed * 1e3 / self.steps

    def facts(self) -> dict[str, float]:
        """Return seconds to trace and compile, MiB of buffers while it runs, and GFLOP by XLA's own count.

        XLA counts element-wise work as well, the body of a loop once, and the costlier branch of a condition.
        """
        memory, cost = self.compiled.memory_analysis(), self.compiled.cost_analysis()
        assert memory is not None and cost is not None
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        return {
            "compile_s": self.compile_s,
            "program_mib": (held + memory.temp_size_in_bytes) / 2**20,
            "xla_gflop": cost["flops"] / 1e9,
        }


def matmul_rates(shapes: Sequence[tuple[int, int, int, int]]) -> list[Callable[[], float]]:
    """Return a timer, in GFLOP/s, for the product `[N, B, I] @ [N, I, O]` of each of these shapes in float32."""
    product = jax.jit(partial(jnp.matmul, precision="highest"))

    def rate(shape: tuple[int, int, int, int]) -> float:
        members, rows, inputs, outputs = shape
        x, w = jnp.ones((members, rows, inputs)), jnp.ones((members, inputs, outputs))
        flops = 2.0 * members * rows * inputs * outputs
        times = []
        for _ in range(2 + int(2e10 / flops)):  # the best of some 40 GFLOP or of two
            begin = time.perf_counter()
            product(x, w).block_until_ready()
            times.append(time.perf_counter() - begin)
        return flops / min(times[1:]) / 1e9

    return [partial(rate, shape) for shape in shapes]


def machine() -> dict[str, Any]:
    """Return what kind of machine this is and what runs on it; nothing that names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "system": platform.system(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }
