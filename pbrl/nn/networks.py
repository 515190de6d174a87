"""Function approximators, and the step down a loss; the only file that knows Flax. Modules hold no parameters.

Every network here is a `flax.linen` module, its parameters a plain pytree. Ensembles and twin critics are one module
with parameters stacked along a leading axis: `init_members` makes them, `apply_members` runs all members as one batched
product. Optimisers are optax', rebuilt from leaf learning rates at every call: they hold no state of their own.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

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

PRECISIONS = ("default", "high", "highest")  # of matrix products, as JAX names them
NORMS = ("none", "layer")


def uniform(bound: float) -> Callable[..., Array]:
    """Return an initialiser that draws from U(-bound, bound)."""

    def draw(key: Key, shape: tuple[int, ...], dtype: Any = float) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def orthogonal(key: Key, shape: tuple[int, ...], dtype: Any = float) -> Array:
    """Draw an orthogonal matrix, under `vmap` one after the other.

    LAPACK's QR of a batch, which `vmap` over seeds or critics makes of it, waits for threads of the pool that it runs
    in: with jax 0.10 two of them, side by side on a CPU of two cores, wait for each other forever. (Other batched
    routines of LAPACK do so too, such as the Cholesky factors of MJX' steps; those have not been seen to.)
    """
    kind, draw = jax.random.key_impl(key), nn.initializers.orthogonal()

    def one(raw: Array) -> Array:  # raw words, since `jax_debug_key_reuse` takes a scan over keys for a second use
        return draw(jax.random.wrap_key_data(raw, impl=kind), shape, dtype)

    return jax.custom_batching.sequential_vmap(one)(jax.random.key_data(key))


GLOROT, ZEROS = nn.initializers.xavier_uniform(), nn.initializers.zeros_init()
HE = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
SCHEMES = {  # of hidden layers, and of the last one
    "glorot": (GLOROT, GLOROT),
    "glorot_normal_out": (GLOROT, nn.initializers.xavier_normal()),
    "orthogonal": (orthogonal, orthogonal),
}


def _initializers(scheme: str, inputs: int, *, last: bool) -> tuple[Callable, Callable]:
    """Return how to draw weights and biases of a layer with so many inputs."""
    if scheme == "he_zero_out":
        return (ZEROS, ZEROS) if last else (HE, nn.initializers.normal(0.5 / math.sqrt(inputs)))
    if scheme == "uniform":  # PyTorch's default for linear layers
        draw = uniform(1 / math.sqrt(inputs))
        return draw, draw
    return SCHEMES[scheme][last], ZEROS


def _dense(width: int, kernel: Callable, bias: Callable, precision: str | None, name: str | None = None) -> nn.Dense:
    """Return a layer whose parameters have the width of JAX's floats: float64 under `jax_enable_x64`."""
    return nn.Dense(width, kernel_init=kernel, bias_init=bias, param_dtype=float, precision=precision, name=name)


class MLP(nn.Module):
    """Fully connected network `[*, in] -> [*, out]`.

    `scheme` draws the weights: `"glorot"` (uniform, zero biases), `"glorot_normal_out"` (last layer normal: MAGE's
    dynamics), `"orthogonal"` (zero biases: SVG), `"uniform"` (within 1/√inputs, biases too: SVG's reward),
    `"he_zero_out"` (normal, biases too, and a last layer of zeros: DHMBPO's critics).
    `precision` is the matmul precision (`"highest"` where second derivatives or physics need float32 on accelerators).
    `norm` `"layer"` centres and scales the features of each row in front of the activation (Ba et al. 2016), without
    scale and bias of their own, so that parameters are the same; `epsilon` is added to the features' variance.
    """

    hidden: tuple[int, ...]
    out: int
    activation: str = "swish"
    scheme: str = "glorot"
    precision: str | None = "highest"
    norm: str = "none"
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for width in self.hidden:
            kernel, bias = _initializers(self.scheme, x.shape[-1], last=False)
            x = _dense(width, kernel, bias, self.precision)(x)
            if self.norm == "layer":
                x = nn.LayerNorm(self.epsilon, use_bias=False, use_scale=False, use_fast_variance=False)(x)
            x = ACTIVATIONS[self.activation](x)
        kernel, bias = _initializers(self.scheme, x.shape[-1], last=True)
        return _dense(self.out, kernel, bias, self.precision)(x)


class DeterministicActor(nn.Module):
    """Policy `obs [*, S] -> action [*, A]` in (-1, 1) through a tanh."""

    action_size: int
    hidden: tuple[int, ...]
    activation: str = "swish"
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, obs: Array) -> Array:
        return jnp.tanh(MLP(self.hidden, self.action_size, self.activation, precision=self.precision)(obs))


class GaussianActor(nn.Module):
    """Policy `obs [*, S] -> (mean, log_std) [*, A]` of a Gaussian that `actor_critic.tanh_normal_sample` squashes.

    The log-deviation is within `log_std_bounds`, `"bent"` by a tanh, so that its gradient never dies, or `"clipped"`
    (MAAC). A `"softplus"` is the deviation itself, of at least 1e-5, and has no other bounds (DHMBPO).
    """

    action_size: int
    hidden: tuple[int, ...]
    activation: str = "relu"
    scheme: str = "orthogonal"
    precision: str | None = "highest"
    std: str = "bent"
    log_std_bounds: tuple[float, float] = (-5.0, 2.0)

    @nn.compact
    def __call__(self, obs: Array) -> tuple[Array, Array]:
        out = MLP(self.hidden, 2 * self.action_size, self.activation, self.scheme, self.precision)(obs)
        mean, raw = jnp.split(out, 2, axis=-1)
        low, high = self.log_std_bounds
        if self.std == "clipped":
            return mean, jnp.clip(raw, low, high)
        if self.std == "softplus":
            return mean, jnp.log(jax.nn.softplus(raw) + 1e-5)
        return mean, low + 0.5 * (high - low) * (jnp.tanh(raw) + 1.0)


class GRUCell(nn.Module):
    """Gated recurrent unit `(h [*, W], x [*, I]) -> h' [*, W]` with PyTorch's two biases and initial weights.

    No `h` stands for zeros, of which it computes nothing.

    (Flax' own has one bias for two of the gates, and no say over the precision of its products.)
    """

    width: int
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, hidden: Array | None, x: Array) -> Array:
        draw = uniform(1 / math.sqrt(self.width))
        of_input, of_hidden = (_dense(3 * self.width, draw, draw, self.precision, name) for name in ("input", "hidden"))
        given = of_input(x)
        kept = (
            jnp.broadcast_to(of_hidden.variables["params"]["bias"], given.shape)
            if hidden is None
            else of_hidden(hidden)
        )
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (jnp.split(v, 3, axis=-1) for v in (given, kept))
        new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_h) * new_h)
        update = jax.nn.sigmoid(update_x + update_h)
        return (1.0 - update) * new + (0.0 if hidden is None else update * hidden)


Hidden = tuple[Array, ...] | None
"""What each GRU cell remembers, `[*, W]`; `None` before the first step."""


class RecurrentCell(nn.Module):
    """One step of recurrent dynamics: `(hidden, obs [*, S], action [*, A]) -> (hidden, delta [*, S])`.

    Encoder, a stack of GRU cells, linear decoder (Amos et al. 2021, App. A).
    """

    obs_size: int
    encoder_hidden: tuple[int, ...]
    width: int
    layers: int
    activation: str = "relu"
    precision: str | None = "highest"

    @nn.compact
    def __call__(self, hidden: Hidden, obs: Array, action: Array) -> tuple[tuple[Array, ...], Array]:
        x = jnp.concatenate([obs, action], axis=-1)
        x = MLP(self.encoder_hidden, self.width, self.activation, "orthogonal", self.precision)(x)
        carries = []
        for kept in hidden or (None,) * self.layers:
            x = GRUCell(self.width, self.precision)(kept, x)
            carries.append(x)
        return tuple(carries), MLP((), self.obs_size, scheme="orthogonal", precision=self.precision)(x)


class Critic(nn.Module):
    """Action value `(obs [*, S], action [*, A]) -> q [*]`, its fields those of `MLP`."""

    hidden: tuple[int, ...]
    activation: str = "swish"
    scheme: str = "glorot"
    precision: str | None = "highest"
    norm: str = "none"
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, obs: Array, action: Array) -> Array:
        x = jnp.concatenate([obs, action], axis=-1)
        net = MLP(self.hidden, 1, self.activation, self.scheme, self.precision, self.norm, self.epsilon)
        return net(x)[..., 0]


def init(module: nn.Module, key: Key, *inputs: Any) -> Params:
    """Draw parameters for inputs of these shapes (leading axes do not matter)."""
    return module.init(key, *inputs)["params"]


def apply(module: nn.Module, params: Params, *inputs: Any) -> Any:
    """Run the network."""
    return module.apply({"params": params}, *inputs)


def init_members(module: nn.Module, key: Key, members: int, *inputs: Array) -> Params:
    """Draw `members` independent sets of parameters, stacked along a leading axis."""
    return jax.vmap(lambda k: init(module, k, *inputs))(jax.random.split(key, members))


def apply_members(module: nn.Module, params: Params, *inputs: Array, shared: bool = True) -> Any:
    """Run every member, results stacked first: on the same inputs, or (`shared=False`) each on its own.

    Shared inputs are repeated first. Else the first layers of all members were one wide product, whose results a CPU
    copies into the members' order, and their gradients back.
    """
    members = len(jax.tree.leaves(params)[0])
    inputs = tuple(jnp.broadcast_to(x, (members, *x.shape)) for x in inputs) if shared else inputs
    return jax.vmap(lambda p, *x: apply(module, p, *x))(params, *inputs)


def descend(
    loss: Callable[[Params], tuple[Array, Any]], tx: optax.GradientTransformation, params: Params, opt_state: Any
) -> tuple[Params, Any, Array, Any, Array]:
    """Take one step down `loss: params -> (value, aux)`.

    Returns `(params, opt_state, value, aux, grad_norm)`; `grad_norm` is the global norm before clipping, which is
    non-finite whenever any coordinate of the gradient is, so that a guard needs no look at the leaves.
    """
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    params, opt_state, norm = step(gradient, tx, params, opt_state)
    return params, opt_state, value, aux, norm


def step(
    gradient: Params, tx: optax.GradientTransformation, params: Params, opt_state: Any
) -> tuple[Params, Any, Array]:
    """Take one step against a gradient. Returns `(params, opt_state, grad_norm)`, the norm as `descend` does."""
    updates, opt_state = tx.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, optax.global_norm(gradient)
