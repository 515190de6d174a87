"""Two kinds of policy over actions in [-1, 1]: deterministic with added noise, and the tanh-Gaussian.

The tanh-Gaussian is our own because distrax' transformed normal has no mode and a NaN log-density at ±1.
"""

import jax
import jax.numpy as jnp

from pbrl.types import Array, Key

MAX_ABS_ACTION = 1 - 1e-6  # replayed actions are clipped to it before atanh; float32 still resolves it
LOG_2PI = 1.8378770664093453


def add_noise(action: Array, key: Key, scale: Array | float, clip: Array | float | None = None) -> Array:
    """Add Gaussian noise to actions `[*, A]` and clip the sum to [-1, 1].

    `clip` bounds the noise itself first: TD3's target policy smoothing (Fujimoto et al. 2018, eq. 14).
    Differentiable in `action`; the gradient is zero where the clip to [-1, 1] is active.
    """
    noise = scale * jax.random.normal(key, action.shape, action.dtype)
    if clip is not None:
        noise = jnp.clip(noise, -clip, clip)
    return jnp.clip(action + noise, -1.0, 1.0)


def tanh_normal_mode(mean: Array) -> Array:
    """Return `tanh(mean)`, the action [*, A] that evaluation uses."""
    return jnp.tanh(mean)


def tanh_normal_sample(mean: Array, log_std: Array, key: Key) -> tuple[Array, Array]:
    """Draw reparameterised actions `[*, A]` and their log-density `[*]` under `a = tanh(u)`, `u ~ N(mean, std²)`.

    Differentiable in `mean` and `log_std`. The density is summed over the action's coordinates.
    """
    return _squashed(mean, log_std, jax.random.normal(key, mean.shape, mean.dtype))


def tanh_normal_repeat(mean: Array, log_std: Array, action: Array) -> tuple[Array, Array]:
    """Return what `tanh_normal_sample` would of the noise that makes these actions `[*, A]`, which is held.

    So the values are those of `action`, clipped to ±(1 - 1e-6), and the slopes in mean and deviation a sample's.
    """
    return _squashed(mean, log_std, jax.lax.stop_gradient((unsquash(action) - mean) * jnp.exp(-log_std)))


def _squashed(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    u = mean + jnp.exp(log_std) * noise
    log_prob = -0.5 * jnp.square(noise) - log_std - 0.5 * LOG_2PI - _log_tanh_slope(u)
    return jnp.tanh(u), log_prob.sum(-1)


def unsquash(action: Array) -> Array:
    """Return `atanh(a)` `[*, A]`, finite since actions are clipped to ±(1 - 1e-6) first."""
    return jnp.arctanh(jnp.clip(action, -MAX_ABS_ACTION, MAX_ABS_ACTION))


def tanh_normal_log_prob(mean: Array, log_std: Array, action: Array) -> Array:
    """Return the log-density `[*]` of given actions `[*, A]`, which are clipped to ±(1 - 1e-6) so that it is finite."""
    u = unsquash(action)
    z = (u - mean) * jnp.exp(-log_std)
    return (-0.5 * jnp.square(z) - log_std - 0.5 * LOG_2PI - _log_tanh_slope(u)).sum(-1)


def _log_tanh_slope(u: Array) -> Array:
    """Return log(1 - tanh²(u)) in the form that does not underflow: 2 (log 2 - u - softplus(-2u))."""
    return 2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u))
