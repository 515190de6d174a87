#!/usr/bin/env bash
# flax 0.12.8 (linen), `BatchNorm` in float64: its running moments change their type with the first batch.
#
# Guess: with `param_dtype=float64` all that the layer holds is float64, and a scan over training batches passes.
# Seen: `init` gives scale and bias as float64, mean and variance of the running statistics as float32. The first batch
# makes them float64. So one step passes, and `lax.scan` over the same step raises TypeError: the carry goes in as
# float32 and comes out as float64. `force_float32_reductions=False` gives float64 from the start, and the scan passes;
# the name speaks of reductions alone. (Python 3.11.7, jax 0.10.2, `jax_enable_x64`.)
#
# Exit 0: as described. Exit 1: something has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "flax==0.12.8" "jax==0.10.2" "jaxlib==0.10.2"
"$folder/venv/bin/python" - << 'PYTHON'
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
batches = jax.random.normal(jax.random.key(0), (4, 32, 3), jnp.float64)


def seen(**options):
    layer = nn.BatchNorm(use_running_average=False, param_dtype=jnp.float64, **options)
    variables = layer.init(jax.random.key(1), batches[0])
    step = lambda moments, x: (  # noqa: E731
        layer.apply({**variables, "batch_stats": moments}, x, mutable=["batch_stats"])[1]["batch_stats"],
        None,
    )
    types = [variables["params"]["scale"].dtype.name, variables["batch_stats"]["mean"].dtype.name]
    types.append(step(variables["batch_stats"], batches[0])[0]["mean"].dtype.name)
    try:
        jax.lax.scan(step, variables["batch_stats"], batches)
        return types, "accepted"
    except TypeError as error:
        return types, f"TypeError: {str(error).splitlines()[0]}"


usual, mended = seen(), seen(force_float32_reductions=False)
print(f"flax {flax.__version__}, jax {jax.__version__}: scale, running mean, and mean after a batch")
print("as it comes:", *usual)
print("force_float32_reductions=False:", *mended)
expected = usual[0] == ["float64", "float32", "float64"] and usual[1].startswith("TypeError")
raise SystemExit(not (expected and mended == (["float64"] * 3, "accepted")))
PYTHON
