#!/usr/bin/env bash
# jax 0.10.2, `jax.lax.optimization_barrier` on a CPU: operations before it and after it are fused all the same.
#
# Guess: as its documentation says, "operations before the barrier may not be fused into the same kernel as operations
# after the barrier": with it two kernels, without it one.
# Seen: one kernel either way, with the sine of 1,000 numbers inside the loop over 32,000 results. The barrier is in the
# program that JAX hands over (StableHLO), and not in the one that XLA runs. (Python 3.11.7.)
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jax==0.10.2" "jaxlib==0.10.2"
"$folder/venv/bin/python" - << 'PYTHON'
import re

import jax
import jax.numpy as jnp


def program(barrier):
    def function(x, weights):
        waves = jnp.sin(x)
        if barrier:
            waves = jax.lax.optimization_barrier(waves)
        return waves * weights  # [1000] and [32, 1000]

    lowered = jax.jit(function).lower(jnp.ones(1000), jnp.ones((32, 1000)))
    given, run = lowered.as_text(), lowered.compile().as_text()
    begin = run.index("ENTRY")
    fused = re.findall(r"^\s+\S+ = f32\[(\S+?)\]\S* sine\(", run[:begin], re.MULTILINE)
    kernels = len(re.findall(r" (?:fusion|sine|multiply|call)\(", run[begin:]))
    return "optimization_barrier" in given, "opt-barrier" in run, kernels, bool(fused)


print(f"jax {jax.__version__}: barrier handed over, barrier in what runs, kernels, sine inside a fused kernel")
found = {barrier: program(barrier) for barrier in (False, True)}
for barrier, what in found.items():
    print("with a barrier:" if barrier else "without:", *what)
raise SystemExit(found != {False: (False, False, 1, True), True: (True, False, 1, True)})
PYTHON
