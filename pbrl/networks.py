"""Function approximators; the only file that knows Flax. Parameters are plain pytrees, modules hold none.

Every network here is a `flax.linen` module. Ensembles and twin critics are one module with parameters stacked
along a leading axis: `init_members` makes them, `apply_members` runs all members as one batched product.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pbrl.types import Array, Key, Params


@jax.custom_jvp
def swish(x: Array) -> Array:
    """Return `x sigmoid(x)`. Its derivative is written from the value, which spares the second-order pass an eighth."""
    return x * jax.nn.sigmoid(x)


@swish.defjvp
def _swish_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    gate = jax.nn.sigmoid(x)
    value = x * gate
    return value, (gate + value * (1.0 - gate)) * tangent


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "swish": swish,  # smooth, so that second derivatives in the action exist (MAGE differentiates twice)
    "relu": nn.relu,  # its second derivative is zero: no use to MAGE
    "tanh": jnp.tanh,
}


class MLP(nn.Module):
    """Fully connected network `[*, in] -> [*, out]` with zero biases and Glorot-uniform weights.

    `out_normal` draws the last layer's weights from the Glorot normal instead (MAGE's dynamics model).
    `precision` is the matmul precision (`"highest"` where second derivatives or physics need float32 on accelerators).
    """

    hidden: tuple[int, ...]
    out: int
    activation: str = "swish"
    out_normal: bool = False
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        glorot = nn.initializers.xavier_uniform()
        for width in self.hidden:
            x = ACTIVATIONS[self.activation](nn.Dense(width, kernel_init=glorot, precision=self.precision)(x))
        last = nn.initializers.xavier_normal() if self.out_normal else glorot
        return nn.Dense(self.out, kernel_init=last, precision=self.precision)(x)


class DeterministicActor(nn.Module):
    """Policy `obs [*, S] -> action [*, A]` in (-1, 1) through a tanh."""

    action_size: int
    hidden: tuple[int, ...]
    activation: str = "swish"
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        return jnp.tanh(MLP(self.hidden, self.action_size, self.activation, precision=self.precision)(obs))


class Critic(nn.Module):
    """Action value `(obs [*, S], action [*, A]) -> q [*]`."""

    hidden: tuple[int, ...]
    activation: str = "swish"
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, obs: Array, action: Array) -> Array:
        x = jnp.concatenate([obs, action], axis=-1)
        return MLP(self.hidden, 1, self.activation, precision=self.precision)(x)[..., 0]


def init(module: nn.Module, key: Key, *inputs: Array) -> Params:
    """Draw parameters for inputs of these shapes (leading axes do not matter)."""
    return module.init(key, *inputs)["params"]


def apply(module: nn.Module, params: Params, *inputs: Array) -> Any:
    """Run the network."""
    return module.apply({"params": params}, *inputs)


def init_members(module: nn.Module, key: Key, members: int, *inputs: Array) -> Params:
    """Draw `members` independent sets of parameters, stacked along a leading axis."""
    return jax.vmap(lambda k: init(module, k, *inputs))(jax.random.split(key, members))


def apply_members(module: nn.Module, params: Params, *inputs: Array, shared: bool = True) -> Any:
    """Run every member, results stacked first: on the same inputs, or (`shared=False`) each on its own."""
    return jax.vmap(lambda p, *x: apply(module, p, *x), in_axes=(0, *[None if shared else 0] * len(inputs)))(
        params, *inputs
    )
