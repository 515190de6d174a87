"""Known rewards and terminations as differentiable functions, each held against its live environment by a test.

`reward(obs [*, S], action [*, A], next_obs [*, S]) -> [*]` takes the action in [-1, 1] that `GymEnv` takes;
`terminated(next_obs) -> bool [*]`. Leading axes are free. Sources: MAGE code `envs/gymmb/`, Gymnasium.
"""

import jax.numpy as jnp

from pbrl.losses import safe_norm
from pbrl.types import Array, RewardFn, TerminationFn


def never(next_obs: Array) -> Array:
    """No state is terminal."""
    return jnp.zeros(next_obs.shape[:-1], bool)


def half_cheetah(obs: Array, action: Array, next_obs: Array) -> Array:
    """Δx/dt, the first observation of s', less the control cost."""
    return next_obs[..., 0] - 0.1 * jnp.square(action).sum(-1)


def runner(obs: Array, action: Array, next_obs: Array) -> Array:
    """Hopper and Walker2d: Δx/dt, a bonus for every step, and the control cost."""
    return next_obs[..., 0] + 1.0 - 1e-3 * jnp.square(action).sum(-1)


def hopper_fell(next_obs: Array) -> Array:
    """Height (index 1) at most 0.7 m, tilt (2) of 0.2 rad or more, or a number that ran away."""
    return ~(_sane(next_obs) & (next_obs[..., 1] > 0.7) & (jnp.abs(next_obs[..., 2]) < 0.2))


def walker_fell(next_obs: Array) -> Array:
    """Height (index 1) outside (0.8, 2) m or tilt (2) of 1 rad or more."""
    height = next_obs[..., 1]
    return ~((height > 0.8) & (height < 2.0) & (jnp.abs(next_obs[..., 2]) < 1.0))


def _sane(next_obs: Array) -> Array:
    return jnp.isfinite(next_obs).all(-1) & (jnp.abs(next_obs[..., 2:]) < 100.0).all(-1)


def swimmer(obs: Array, action: Array, next_obs: Array) -> Array:
    """Δx/dt over 0.04 s. (The released code takes the control cost of the whole batch off every row; this does not.)"""
    return (next_obs[..., 0] - obs[..., 0]) / 0.04 - 1e-4 * jnp.square(action).sum(-1)


def pusher(obs: Array, action: Array, next_obs: Array) -> Array:
    """Distances object to goal and object to tip *before* the step, and the cost of the torque, 2 a."""
    tip, thing, goal = obs[..., 14:17], obs[..., 17:20], obs[..., 20:23]
    return -safe_norm(thing - goal) - 0.5 * safe_norm(thing - tip) - 0.1 * jnp.square(2.0 * action).sum(-1)


def pendulum(obs: Array, action: Array, next_obs: Array) -> Array:
    """Angle, speed and torque (2 a) before the step. The released code takes row 0's torque for the whole batch."""
    cosine, sine = obs[..., 0], obs[..., 1]
    origin = jnp.square(cosine) + jnp.square(sine) < 1e-12  # no angle, and a NaN gradient: a model may dream of it
    angle = jnp.arctan2(jnp.where(origin, 0.0, sine), jnp.where(origin, 1.0, cosine))
    return -(jnp.square(angle) + 0.1 * jnp.square(obs[..., 2]) + 0.001 * jnp.square(2.0 * action[..., 0]))


def cartpole(obs: Array, action: Array, next_obs: Array) -> Array:
    """One point a step (the released code pays `1 - done(s) · done(s')`, which is the same but for dead states)."""
    return jnp.ones(obs.shape[:-1], obs.dtype)


def cartpole_fell(next_obs: Array) -> Array:
    """Cart beyond 2.4 m or pole beyond 12 degrees."""
    return (jnp.abs(next_obs[..., 0]) > 2.4) | (jnp.abs(next_obs[..., 2]) > 12 * jnp.pi / 180)


def inverted_pendulum_fell(next_obs: Array) -> Array:
    """InvertedPendulum-v5: the pole (index 1) beyond 0.2 rad."""
    return ~(jnp.isfinite(next_obs).all(-1) & (jnp.abs(next_obs[..., 1]) <= 0.2))


KNOWN: dict[str, tuple[RewardFn | None, TerminationFn | None]] = {
    "pbrl/MageHalfCheetah-v0": (half_cheetah, never),
    "pbrl/MageHopper-v0": (runner, hopper_fell),
    "pbrl/MageWalker2d-v0": (runner, walker_fell),
    "pbrl/MageSwimmer-v0": (swimmer, never),
    "pbrl/MagePusher-v0": (pusher, never),
    "pbrl/MagePendulum-v0": (pendulum, never),
    "pbrl/MageCartPole-v0": (cartpole, cartpole_fell),
    "Pendulum-v1": (pendulum, never),
    "InvertedPendulum-v5": (None, inverted_pendulum_fell),
    # Their velocities are Δx/dt, which no entry of the observation holds: only that they never terminate is known.
    "HalfCheetah-v5": (None, never),
    "Swimmer-v5": (None, never),
    "Reacher-v5": (None, never),
    "Pusher-v5": (None, never),
}
"""Environment id -> (reward, termination); `None` where a function of (s, a, s') cannot be exact."""


def known_functions(env_id: str) -> tuple[RewardFn | None, TerminationFn | None]:
    """Return what is known of an environment: `(reward_fn, termination_fn)`, `None` for what an agent must learn."""
    return KNOWN.get(env_id, (None, None))
