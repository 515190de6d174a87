"""Networks with batch normalisation: what is trained, and beside it the running moments. Nothing is mutable.

A network is run by the moments of a batch, over which its rows interact (`by_batch`, which returns the running moments
moved on), or by the running ones, where each row stands for itself (`by_running`).
"""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from pbrl.nn.networks import ACTIVATIONS, ZEROS, orthogonal
from pbrl.types import Array, Key, Params

MOMENTUM, EPSILON = 0.99, 1e-3  # of the running moments; added to a variance (XQC code, `mlp.py`)


@flax.struct.dataclass
class Normed:
    """A network: its parameters, which an optimiser moves, and its running moments, which batches do."""

    params: Params
    moments: Params


def _norm(batch: bool, shifted: bool = True) -> nn.BatchNorm:
    """Return a norm over all rows (Ioffe and Szegedy 2015) whose moments have the width of JAX's floats."""
    return nn.BatchNorm(
        use_running_average=not batch,
        momentum=MOMENTUM,
        epsilon=EPSILON,
        use_bias=shifted,
        param_dtype=float,
        use_fast_variance=False,
        force_float32_reductions=False,
    )


class NormedMLP(nn.Module):
    """Fully connected network `[*, in] -> [*, out]` with batch norm on its input and in front of each activation.

    Hidden layers have no bias of their own: the norm's takes its place. Weights are orthogonal at first. The input's
    norm adds nothing, since the one behind the first layer takes it away again: its gradient would be rounding alone,
    of which Adam makes whole steps.
    """

    hidden: tuple[int, ...]
    out: int
    activation: str = "relu"
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, x: Array, batch: bool) -> Array:
        shared = {"kernel_init": orthogonal, "param_dtype": float, "precision": self.precision}
        x = _norm(batch, shifted=False)(x)
        for width in self.hidden:
            x = nn.Dense(width, use_bias=False, **shared)(x)
            x = ACTIVATIONS[self.activation](_norm(batch)(x))
        return nn.Dense(self.out, bias_init=ZEROS, **shared)(x)


def init(module: NormedMLP, key: Key, x: Array) -> Normed:
    """Draw a network for inputs of this width, its weights of length 1 (`unit_weights`)."""
    made = module.init(key, x, False)
    return Normed(unit_weights(made["params"]), made["batch_stats"])


def by_batch(module: NormedMLP, params: Params, moments: Params, x: Array) -> tuple[Array, Params]:
    """Run a network on `[*, in]` by these rows' own moments. Returns its outputs and the running moments after it.

    Differentiable in `params` and `x`, through the rows' moments too.
    """
    out, changed = module.apply({"params": params, "batch_stats": moments}, x, True, mutable=["batch_stats"])
    return out, jax.lax.stop_gradient(changed["batch_stats"])


def by_running(module: NormedMLP, net: Normed, x: Array) -> Array:
    """Run a network on `[*, in]` by its running moments, which are constants to differentiation."""
    return module.apply({"params": net.params, "batch_stats": net.moments}, x, False)  # pyright: ignore


def unit_weights(params: Params) -> Params:
    """Divide the weights that lead into each unit by their length, of the last layer too; biases stay (XQC code).

    Kernels are `[..., in, out]`. A unit whose weights are all 0 keeps them.
    """

    def unit(path: Any, x: Array) -> Array:
        if path[-1].key != "kernel":
            return x
        return x / jnp.maximum(jnp.sqrt(jnp.square(x).sum(-2, keepdims=True)), 1e-12)

    return jax.tree_util.tree_map_with_path(unit, params)


def folded(net: Normed) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return kernel `[in, out]` and bias `[out]` of each layer of the same function by running moments, without norms.

    The input's norm goes into the first layer, each other one into the layer in front of it.
    """
    params, moments = jax.tree.map(lambda x: np.asarray(x, np.float64), (net.params, net.moments))
    depth = sum(name.startswith("Dense") for name in params)

    def affine(i: int) -> tuple[np.ndarray, np.ndarray]:
        learned, seen = params[f"BatchNorm_{i}"], moments[f"BatchNorm_{i}"]
        gain = learned["scale"] / np.sqrt(seen["var"] + EPSILON)
        return gain, learned.get("bias", 0.0) - gain * seen["mean"]

    gain, shift = affine(0)
    layers = []
    for i in range(depth):
        kernel = params[f"Dense_{i}"]["kernel"]
        bias = params[f"Dense_{i}"].get("bias", np.zeros(kernel.shape[1]))
        if i == 0:
            kernel, bias = gain[:, None] * kernel, shift @ kernel + bias
        if i < depth - 1:
            after, moved = affine(i + 1)
            kernel, bias = kernel * after, bias * after + moved
        layers.append((kernel, bias))
    kind = np.asarray(net.params["Dense_0"]["kernel"]).dtype
    return [(kernel.astype(kind), bias.astype(kind)) for kernel, bias in layers]
