"""A policy's mode as plain arrays: all that NumPy or ONNX need to act, without JAX and Flax."""

from typing import Any, NamedTuple

import numpy as np

from pbrl.nn.normalizer import Normalizer
from pbrl.types import Params


class Layers(NamedTuple):
    """`action = tanh(layers((obs - mean) / std))` in [-1, 1], the activation between two layers."""

    mean: np.ndarray  # [S]
    std: np.ndarray  # [S]
    weights: tuple[tuple[np.ndarray, np.ndarray], ...]  # kernel [in, out] and bias [out] of each layer
    activation: str  # one of `networks.ACTIVATIONS`


def of_actor(params: Params, moments: Normalizer | None, obs_size: int, action_size: int, activation: str) -> Layers:
    """Read the layers of a `networks.DeterministicActor` or `GaussianActor`."""
    (mlp,) = params.values()
    dense: list[Any] = [mlp[f"Dense_{i}"] for i in range(len(mlp))]
    weights = [(np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in dense]
    return of_weights(weights, moments, obs_size, action_size, activation)


def of_weights(
    weights: list[tuple[np.ndarray, np.ndarray]],
    moments: Normalizer | None,
    obs_size: int,
    action_size: int,
    activation: str,
) -> Layers:
    """Make layers of kernels and biases, of whose outputs the mean's come first.

    `moments` are those that observations are normalised with; `None` for raw ones.
    """
    kernel, bias = weights[-1]
    whole = (*weights[:-1], (kernel[:, :action_size], bias[:action_size]))
    if moments is None:
        return Layers(np.zeros(obs_size, bias.dtype), np.ones(obs_size, bias.dtype), whole, activation)
    return Layers(np.asarray(moments.mean), np.asarray(moments.std), whole, activation)
