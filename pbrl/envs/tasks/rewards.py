"""Known rewards and terminations as differentiable functions, each held against its live environment by a test.

`reward(obs [*, S], action [*, A], next_obs [*, S]) -> [*]` takes the action in [-1, 1] that `GymEnv` takes;
`terminated(next_obs) -> bool [*]`. Leading axes are free. Sources: MAGE code `envs/gymmb/`,
MBPO code `mbpo/env/` and `mbpo/static/`, mbbl code `mbbl/env/gym_env/`, MAAC code `mb_envs/`, Gymnasium.
"""

import jax.numpy as jnp

from pbrl.equations.actor_critic import safe_norm
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
    return _hopper_fell(next_obs, 1)


def walker_fell(next_obs: Array) -> Array:
    """Height (index 1) outside (0.8, 2) m or tilt (2) of 1 rad or more."""
    return _walker_fell(next_obs, 1)


def mbpo_hopper_fell(next_obs: Array) -> Array:
    """As `hopper_fell`, height at index 0.

    MBPO's code writes `abs(s' < 100)` for `abs(s') < 100`, which lets numbers below -100 pass; its environment does
    not, and neither does this.
    """
    return _hopper_fell(next_obs, 0)


def mbpo_walker_fell(next_obs: Array) -> Array:
    """As `walker_fell`, height at index 0."""
    return _walker_fell(next_obs, 0)


def _hopper_fell(next_obs: Array, first: int) -> Array:
    height, rest = next_obs[..., first], next_obs[..., first + 1 :]
    sane = jnp.isfinite(next_obs).all(-1) & (jnp.abs(rest) < 100.0).all(-1)
    return ~(sane & (height > 0.7) & (jnp.abs(rest[..., 0]) < 0.2))


def _walker_fell(next_obs: Array, first: int) -> Array:
    height = next_obs[..., first]
    return ~((height > 0.8) & (height < 2.0) & (jnp.abs(next_obs[..., first + 1]) < 1.0))


def ant_fell(next_obs: Array) -> Array:
    """Height (index 0) outside [0.2, 1] m or a number that ran away."""
    return ~(jnp.isfinite(next_obs).all(-1) & (next_obs[..., 0] >= 0.2) & (next_obs[..., 0] <= 1.0))


def humanoid_fell(next_obs: Array) -> Array:
    """Height (index 0) outside [1, 2] m."""
    return ~((next_obs[..., 0] >= 1.0) & (next_obs[..., 0] <= 2.0))


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
    return jnp.ones_like(obs[..., 0])


def cartpole_fell(next_obs: Array) -> Array:
    """Cart beyond 2.4 m or pole beyond 12 degrees."""
    return (jnp.abs(next_obs[..., 0]) > 2.4) | (jnp.abs(next_obs[..., 2]) > 12 * jnp.pi / 180)


def inverted_pendulum_fell(next_obs: Array) -> Array:
    """InvertedPendulum-v5: the pole (index 1) beyond 0.2 rad."""
    return ~(jnp.isfinite(next_obs).all(-1) & (jnp.abs(next_obs[..., 1]) <= 0.2))


def poplin_half_cheetah(obs: Array, action: Array, next_obs: Array) -> Array:
    """The root's velocity (index 8) before the step, less the control cost."""
    return obs[..., 8] - 0.1 * jnp.square(action).sum(-1)


def poplin_hopper(obs: Array, action: Array, next_obs: Array) -> Array:
    """The root's velocity (index 5) and height (0) before the step."""
    return _upright(obs, action, 5, 1.3)


def poplin_walker2d(obs: Array, action: Array, next_obs: Array) -> Array:
    """The root's velocity (index 8) and height (0) before the step."""
    return _upright(obs, action, 8, 1.3)


def poplin_ant(obs: Array, action: Array, next_obs: Array) -> Array:
    """The root's velocity (index 13) and height (0) before the step."""
    return _upright(obs, action, 13, 0.57)


def poplin_swimmer(obs: Array, action: Array, next_obs: Array) -> Array:
    """The nose's velocity (index 8) over the step before this one, less the control cost."""
    return obs[..., 8] - 1e-4 * jnp.square(action).sum(-1)


def _upright(obs: Array, action: Array, speed: int, height: float) -> Array:
    posture = 1.0 - 3.0 * jnp.square(obs[..., 0] - height)
    return obs[..., speed] + posture - 0.1 * jnp.square(action).sum(-1)


KNOWN: dict[str, tuple[RewardFn | None, TerminationFn | None]] = {
    "pbrl/MageHalfCheetah-v0": (half_cheetah, never),
    "pbrl/MageHopper-v0": (runner, hopper_fell),
    "pbrl/MageWalker2d-v0": (runner, walker_fell),
    "pbrl/MageSwimmer-v0": (swimmer, never),
    "pbrl/MagePusher-v0": (pusher, never),
    "pbrl/MagePendulum-v0": (pendulum, never),
    "pbrl/MageCartPole-v0": (cartpole, cartpole_fell),
    # MBPO's velocities are Δx/dt, which no entry of the observation holds.
    "pbrl/MbpoHalfCheetah-v0": (None, never),
    "pbrl/MbpoHopper-v0": (None, mbpo_hopper_fell),
    "pbrl/MbpoWalker2d-v0": (None, mbpo_walker_fell),
    "pbrl/MbpoAnt-v0": (None, ant_fell),
    "pbrl/MbpoHumanoid-v0": (None, humanoid_fell),
    "pbrl/PoplinAnt-v0": (poplin_ant, never),
    "pbrl/PoplinHalfCheetah-v0": (poplin_half_cheetah, never),
    "pbrl/PoplinHopper-v0": (poplin_hopper, never),
    "pbrl/PoplinSwimmer-v0": (poplin_swimmer, never),
    "pbrl/PoplinWalker2d-v0": (poplin_walker2d, never),
    "pbrl/PetsHalfCheetah-v0": (half_cheetah, never),
    # What MAAC's environments pay. Its agent is given functions of s' in places: see docs/environments.md.
    "pbrl/MaacHalfCheetah-v0": (poplin_half_cheetah, never),
    "pbrl/MaacAnt-v0": (poplin_ant, never),
    "pbrl/MaacHopper-v0": (poplin_hopper, never),
    "pbrl/MaacWalker2d-v0": (poplin_walker2d, never),
    "Pendulum-v1": (pendulum, never),
    "InvertedPendulum-v5": (None, inverted_pendulum_fell),
    # Here too velocities are Δx/dt: only that they never terminate is known.
    "HalfCheetah-v5": (None, never),
    "Swimmer-v5": (None, never),
    "Reacher-v5": (None, never),
    "Pusher-v5": (None, never),
}
"""Environment id -> (reward, termination); `None` where a function of (s, a, s') cannot be exact."""
