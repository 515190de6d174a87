"""Small environments in pure JAX: each is an environment, a differentiable oracle, and a Gymnasium id.

States and observations have any leading axes `[*]`. All are deterministic: the key of a step may be left out.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pbrl.envs import pictures
from pbrl.envs.jax_env import JaxEnv, from_spec
from pbrl.envs.pictures import Picture
from pbrl.envs.tasks import cartpole as numbers
from pbrl.envs.tasks import rewards
from pbrl.types import Array, EnvSpec, Key


def held(x: Array, low: float, high: float) -> Array:
    """Return `clip(x, low, high)`, whose derivative at exactly a bound is that from inside, 1."""
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


# Pendulum: Gymnasium's Pendulum-v1, equations of motion of a rod with 1 kg and 1 m


def pendulum_reset(key: Key) -> Array:
    """Draw angle in ±π rad and speed in ±1 rad/s."""
    return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * jnp.array([jnp.pi, 1.0])


def pendulum_advance(state: Array, action: Array) -> Array:
    """Apply a torque of `2 a` newton metres for 50 ms; the speed is clipped to ±8 rad/s."""
    angle, speed = state[..., 0], state[..., 1]
    speed = held(speed + 0.05 * (15.0 * jnp.sin(angle) + 3.0 * 2.0 * action[..., 0]), -8.0, 8.0)
    return jnp.stack([angle + 0.05 * speed, speed], -1)


def pendulum_observe(state: Array) -> Array:
    """Return cosine and sine of the angle, and the speed."""
    return jnp.stack([jnp.cos(state[..., 0]), jnp.sin(state[..., 0]), state[..., 1]], -1)


def pendulum_recover(obs: Array) -> Array:
    """Return the angle within ±π, and the speed."""
    return jnp.stack([jnp.arctan2(obs[..., 1], obs[..., 0]), obs[..., 2]], -1)


# CartPole: MAGE's, with a continuous force


def cartpole_reset(key: Key) -> Array:
    """Draw each coordinate within ±0.05."""
    return jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)


def cartpole_advance(state: Array, action: Array) -> Array:
    """Apply a force of `10 a` newton for 20 ms."""
    _, speed, angle, spin = jnp.moveaxis(state, -1, 0)
    n, total = numbers, numbers.CART + numbers.POLE
    push = (n.FORCE * action[..., 0] + n.POLE * n.HALF_LENGTH * spin**2 * jnp.sin(angle)) / total
    inertia = n.HALF_LENGTH * (4.0 / 3.0 - n.POLE * jnp.cos(angle) ** 2 / total)
    angular = (n.GRAVITY * jnp.sin(angle) - jnp.cos(angle) * push) / inertia
    linear = push - n.POLE * n.HALF_LENGTH * angular * jnp.cos(angle) / total
    return state + n.STEP * jnp.stack([speed, linear, spin, angular], -1)


# Double integrator: MAAC, Fig. 3 (code `mb_envs/double_integral.py`); closed forms in `lqr.double_integrator`


def double_integrator_reset(key: Key) -> Array:
    """Start at position 1 with speed 1."""
    del key
    return jnp.ones(2)


def double_integrator_advance(state: Array, action: Array) -> Array:
    """Accelerate by `a` for 0.05 s; neither coordinate falls below -1.

    The original holds both below 1e6 as well. No episode of 26 steps from (1, 1) reaches either bound.
    """
    speed = state[..., 1]
    return held(state + 0.05 * jnp.stack([speed, action[..., 0]], -1), -1.0, jnp.inf)


def double_integrator_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Half the squares of position, speed and action, before the step: what the original gives its agent.

    Its `step` pays a tenth of this, so that its buffer mixes two scales; here `step` pays what the agent computes.
    """
    return -0.5 * (jnp.square(obs).sum(-1) + jnp.square(action).sum(-1))


# Point mass: two double integrators with friction, to be brought to rest at the origin


def point_mass_reset(key: Key) -> Array:
    """Draw the position within ±1; at rest."""
    return jnp.concatenate([jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0), jnp.zeros(2)])


def point_mass_advance(state: Array, action: Array) -> Array:
    """Push with force `a` for 0.1 s against a friction that takes a twentieth of the speed."""
    position, speed = state[..., :2], state[..., 2:]
    speed = 0.95 * speed + 0.1 * action
    return jnp.concatenate([position + 0.1 * speed, speed], -1)


def point_mass_reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Squared distance after the step, with small costs of speed and force."""
    distance, speed = jnp.square(next_obs[..., :2]).sum(-1), jnp.square(next_obs[..., 2:]).sum(-1)
    return -(distance + 0.05 * speed + 0.01 * jnp.square(action).sum(-1))


# Probes: the simplest tasks on which a part that does not work shows at once (Jones 2021, "Debugging RL, without the
# agonizing pain")


class Probe(NamedTuple):
    """The numbers of a probe, an episode of one or two steps, the last of which pays for place x and action a:

        r = constant + by_place x - by_action (a - best - slope x)² - by_carried (x - best)²

    At the first step x is drawn within ±1, at the second it is the first action.
    """

    steps: Array | float = 1.0
    constant: Array | float = 0.0
    by_place: Array | float = 0.0
    by_action: Array | float = 0.0
    by_carried: Array | float = 0.0
    best: Array | float = 0.0
    slope: Array | float = 0.0


PROBES = {
    "ProbeConstant": Probe(constant=1.0),
    "ProbeObservation": Probe(by_place=1.0),
    "ProbeDelay": Probe(steps=2.0, constant=1.0),
    "ProbeAction": Probe(by_action=1.0, best=0.4),
    "ProbeBoth": Probe(by_action=1.0, slope=0.5),
    "ProbeCarry": Probe(steps=2.0, by_carried=1.0, best=0.4),
}
"""In the order in which to try them. The first three test critics: the value is 1, the place, the discount factor.

The next two test that the slope of a reward reaches the actor, the last that the slope of a value does.
"""


def probe_reset(key: Key) -> Array:
    """Draw a place within ±1, before the first step."""
    return jnp.concatenate([jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0), jnp.zeros(1)])


def probe_advance(state: Array, action: Array) -> Array:
    """Carry the action over into the place, and count the step."""
    return jnp.stack([action[..., 0], state[..., 1] + 1.0], -1)


def probe(kind: Probe) -> JaxEnv:
    """Make a probe, which observes place and steps so far. Its numbers may be traced: one program serves them all."""

    def reward(obs: Array, action: Array, next_obs: Array) -> Array:
        place, last = obs[..., 0], obs[..., 1] > kind.steps - 1.5
        paid = kind.constant + kind.by_place * place
        paid -= kind.by_action * jnp.square(action[..., 0] - kind.best - kind.slope * place)
        return jnp.where(last, paid - kind.by_carried * jnp.square(place - kind.best), 0.0)

    def ends(next_obs: Array) -> Array:
        return next_obs[..., 1] > kind.steps - 0.5

    return from_spec(EnvSpec(2, 1, 2, reward, ends), probe_reset, probe_advance)


TOYS = {
    "Pendulum": from_spec(
        EnvSpec(3, 1, 200, rewards.pendulum, rewards.never),
        pendulum_reset, pendulum_advance, pendulum_observe, pendulum_recover, Picture(pictures.pendulum, 20.0),
    ),
    "CartPole": from_spec(
        EnvSpec(4, 1, 500, rewards.cartpole, rewards.cartpole_fell), cartpole_reset, cartpole_advance,
        picture=Picture(pictures.cartpole, 50.0),
    ),
    "DoubleIntegrator": from_spec(
        EnvSpec(2, 1, 26, double_integrator_reward, rewards.never), double_integrator_reset, double_integrator_advance,
        picture=Picture(pictures.double_integrator, 20.0),
    ),
    "PointMass": from_spec(
        EnvSpec(4, 2, 50, point_mass_reward, rewards.never), point_mass_reset, point_mass_advance,
        picture=Picture(pictures.point_mass, 10.0),
    ),
    **{name: probe(kind) for name, kind in PROBES.items()},
}  # fmt: skip
"""Name -> environment; the Gymnasium id of each is `pbrl/Toy<name>-v0`."""
