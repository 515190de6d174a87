"""What an actor and its critics learn at one step: TD targets, minima over critics, losses, policies, temperature.

Critics come stacked, `[C, *]`; a loss is a mean over the batch and is minimised. `discount` is the environment's (0 at
termination, else 1), `gamma` the agent's discount factor. Actions lie in [-1, 1]. `expansion` has what looks further
ahead through a model.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from pbrl.types import Array, EnvSpec, Key, Transition

TD_LOSSES = ("huber", "squared")
MAX_ABS_ACTION = 1 - 1e-6  # replayed actions are clipped to it before atanh; float32 still resolves it
LOG_2PI = 1.8378770664093453

# What they learn from


def check_obs(spec: EnvSpec, obs: Array) -> None:
    """Raise `ValueError` unless observations are `[*, S]`."""
    if jnp.shape(obs)[-1:] != (spec.obs_size,):
        raise ValueError(f"obs: expected shape [..., {spec.obs_size}], as the EnvSpec says, got {list(jnp.shape(obs))}")


def check_rows(spec: EnvSpec, batch: Transition) -> None:
    """Raise `ValueError` unless all fields of a batch have the same leading axes, one at least, and their own sizes."""
    axes, s, a = jnp.shape(batch.obs)[:-1], spec.obs_size, spec.action_size
    own = {"obs": (s,), "action": (a,), "reward": (), "discount": (), "next_obs": (s,)}
    came = {name: jnp.shape(getattr(batch, name)) for name in own}
    if not axes or any(came[name] != (*axes, *size) for name, size in own.items()):
        raise ValueError(
            f"expected transitions [B], such as obs [B, {s}], action [B, {a}], reward [B], discount [B] and "
            f"next_obs [B, {s}], got {', '.join(f'{name} {list(shape)}' for name, shape in came.items())}"
        )


# Targets


def td_target(reward: Array, discount: Array, next_value: Array, gamma: Array | float) -> Array:
    """Return `r + γ d v(s')` for three arrays `[*]`. Differentiable in every argument; stop it where one should."""
    chex.assert_equal_shape((reward, discount, next_value))
    return reward + gamma * discount * next_value


def soft_td_target(
    reward: Array, discount: Array, next_value: Array, next_log_prob: Array, alpha: Array | float, gamma: Array | float
) -> Array:
    """Return `r + γ d (v(s') - α log π(a'|s'))` for four arrays `[*]` (Haarnoja et al. 2018, eq. 2 and 3)."""
    chex.assert_equal_shape((next_value, next_log_prob))
    return td_target(reward, discount, next_value - alpha * next_log_prob, gamma)


# What counts of several critics


def clipped_minimum(q: Array) -> Array:
    """Return the smallest critic value, `[C, *] -> [*]` (Fujimoto et al. 2018); the gradient is the arg-min's."""
    return jnp.min(q, axis=0)


def over_critics(q: Array, kind: str = "min") -> Array:
    """Return the smallest critic value, or for `kind` "mean" their mean, `[C, *] -> [*]`."""
    return q.mean(0) if kind == "mean" else clipped_minimum(q)


def neighbour_minima(q: Array) -> Array:
    """Return `min(Q_i, Q_{i+1 mod C})` for critics `[C, *]`, as `[C, *]`: C estimates, each as careful as a twin's.

    Two critics give the same minimum twice, so that their mean is SAC's and their variance nothing; one is itself.
    """
    return jnp.minimum(q, jnp.roll(q, -1, axis=0))


def mean_neighbour_minimum(q: Array) -> Array:
    """Return one careful value `[*]` of critics `[C, *]`, the mean of `neighbour_minima`: SAC's minimum for two."""
    return neighbour_minima(q).mean(0)


# Losses of critics


def huber(x: Array) -> Array:
    """Return `x²/2` within ±1 and `|x| - 1/2` beyond, elementwise (threshold 1, PyTorch's smooth L1)."""
    size = jnp.abs(x)
    return jnp.where(size < 1.0, 0.5 * jnp.square(x), size - 0.5)


def td_loss(td_error: Array, kind: str = "huber") -> Array:
    """Return `½ Σ_C mean_B h(δ)` for TD errors `[C, B]` (MAGE App. D; the code has ½ for one critic, too).

    h is Huber's loss, or for `kind` "squared" `δ²`, without a half of its own: the `value_loss` "mse" of MAGE's code.
    Its gradient is twice Huber's within ±1, and grows with δ beyond, where Huber's does not.
    """
    chex.assert_rank(td_error, 2)
    return 0.5 * (squared_td_loss(td_error) if kind == "squared" else huber(td_error).mean(-1).sum())


def action_gradient_loss(gradient_error: Array) -> Array:
    """Return `½ Σ_C mean_B huber(‖∇ₐδ‖₂)` for `∇ₐδ [C, B, A]` (MAGE eq. 8, App. D)."""
    chex.assert_rank(gradient_error, 3)
    return td_loss(safe_norm(gradient_error))


def squared_td_loss(td_error: Array, weight: Array | float = 1.0) -> Array:
    """Return `Σ_C mean_B w δ²` for TD errors `[C, B]` and weights `[B]` (SVG code: the sum of both critics' losses)."""
    chex.assert_rank(td_error, 2)
    if isinstance(weight, jax.Array):
        chex.assert_shape(weight, td_error.shape[1:])
        weight = weight[None]
    return (weight * jnp.square(td_error)).mean(-1).sum()


def safe_norm(x: Array, eps: float = 1e-12) -> Array:
    """Return the Euclidean norm over the last axis with a zero gradient at 0, where `jnp.linalg.norm` has NaN."""
    return jnp.sqrt(jnp.square(x).sum(-1) + eps)


# Policies: deterministic with added noise, and the tanh-Gaussian. That is our own, because distrax' transformed normal
# has no mode and a NaN log-density at ±1.


def add_noise(action: Array, key: Key, scale: Array | float, clip: Array | float | None = None) -> Array:
    """Add Gaussian noise to actions `[*, A]` and clip the sum to [-1, 1].

    `clip` bounds the noise itself first: TD3's target policy smoothing (Fujimoto et al. 2018, eq. 14).
    Differentiable in `action`; the gradient is zero where the clip to [-1, 1] is active.
    """
    noise = scale * jax.random.normal(key, action.shape, action.dtype)
    if clip is not None:
        noise = jnp.clip(noise, -clip, clip)
    return jnp.clip(action + noise, -1.0, 1.0)


def either(explore: Array | bool, draw: Callable[[], Array], mode: Callable[[], Array]) -> Array:
    """Return `draw()` where a policy explores, else `mode()`; a traced `explore` leaves the choice to the program."""
    if isinstance(explore, bool):
        return draw() if explore else mode()
    return jax.lax.cond(explore, draw, mode)


def tanh_normal_mode(mean: Array) -> Array:
    """Return `tanh(mean)`, the action [*, A] that evaluation uses."""
    return jnp.tanh(mean)


def tanh_normal_sample(mean: Array, log_std: Array, key: Key) -> tuple[Array, Array]:
    """Draw reparameterised actions `[*, A]` and their log-density `[*]` under `a = tanh(u)`, `u ~ N(mean, std²)`.

    Differentiable in `mean` and `log_std`. The density is summed over the action's coordinates.
    """
    chex.assert_equal_shape((mean, log_std))
    return _squashed(mean, log_std, jax.random.normal(key, (mean.size,), mean.dtype))


def tanh_normal_repeat(mean: Array, log_std: Array, action: Array) -> tuple[Array, Array]:
    """Return what `tanh_normal_sample` would of the noise that makes these actions `[*, A]`, which is held.

    So the values are those of `action`, clipped to ±(1 - 1e-6), and the slopes in mean and deviation a sample's.
    """
    chex.assert_equal_shape((mean, log_std, action))
    return _squashed(mean, log_std, jax.lax.stop_gradient((unsquash(action) - mean) * jnp.exp(-log_std)))


def _squashed(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """Return actions and log-densities for noise of any shape: all is computed in one row.

    XLA's loops over the last axis alone use a CPU's vectors, and an action has few coordinates. The density is summed
    by a product, since a sum would take all that leads to it into its own loop, and draw the noise there once more.
    """
    shape, (mean, log_std, noise) = mean.shape, (x.reshape(-1) for x in (mean, log_std, noise))
    u = mean + jnp.exp(log_std) * noise
    log_prob = (-0.5 * jnp.square(noise) - log_std - 0.5 * LOG_2PI - _log_tanh_slope(u)).reshape(shape)
    return jnp.tanh(u).reshape(shape), jnp.matmul(log_prob, jnp.ones(shape[-1], u.dtype), precision="highest")


def unsquash(action: Array) -> Array:
    """Return `atanh(a)` `[*, A]`, finite since actions are clipped to ±(1 - 1e-6) first."""
    return jnp.arctanh(jnp.clip(action, -MAX_ABS_ACTION, MAX_ABS_ACTION))


def tanh_normal_log_prob(mean: Array, log_std: Array, action: Array) -> Array:
    """Return the log-density `[*]` of given actions `[*, A]`, which are clipped to ±(1 - 1e-6) so that it is finite."""
    chex.assert_equal_shape((mean, log_std, action))
    u = unsquash(action)
    z = (u - mean) * jnp.exp(-log_std)
    return (-0.5 * jnp.square(z) - log_std - 0.5 * LOG_2PI - _log_tanh_slope(u)).sum(-1)


def _log_tanh_slope(u: Array) -> Array:
    """Return log(1 - tanh²(u)) in the form that does not underflow: 2 (log 2 - u - softplus(-2u))."""
    return 2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u))


# Temperature


def temperature_loss(weight: Array, log_prob: Array, target_entropy: Array | float) -> Array:
    """Return `mean_B w (-log π - ℋ̄)`, differentiated in `weight []` alone (Haarnoja et al. 2018b, eq. 18).

    w is α in the paper and in the code of SVG (`temp.py`), log α in that of MAAC and MBPO, as in SAC's own: the
    gradient in log α then has no factor α.
    """
    chex.assert_rank(weight, 0)
    return (weight * jax.lax.stop_gradient(-log_prob - target_entropy)).mean()


def entropy_schedule(
    steps: Array, initial: Array | float, final: Array | float, decay: Array | float, length: Array | float
) -> Array:
    """Return the target entropy `(ℋ_init - ℋ_final)(1 - t/T)^β + ℋ_final` after t steps (SVG eq. 14).

    Beyond T = `length` it stays at its final value. β = `decay` = 0 keeps the initial one, as in the released code.
    """
    left = jnp.clip(1.0 - steps / length, 0.0, 1.0)
    return (initial - final) * left**decay + final
