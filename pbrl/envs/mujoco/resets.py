"""How MuJoCo's tasks begin an episode, in JAX: the distributions of Gymnasium's `reset_model`, by class."""

from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp

from pbrl.envs import snapshot
from pbrl.types import Array, Key

Reset = Callable[[Key], tuple[Array, Array]]
"""`key -> (qpos [nq], qvel [nv])`."""


def reset_of(env: gymnasium.Env) -> Reset:
    """Return how a live environment of `tasks.TASKS` begins its episodes; its noise scales are read off it."""
    base: Any = env.unwrapped
    for wrapper in snapshot.wrappers(env):
        if type(wrapper).__name__ == "StillStart":
            return _noisy(base, jax.random.normal, jax.random.normal, wrapper.scale)  # pyright: ignore
    kind = type(base).__name__
    if kind in OWN:
        return OWN[kind](base)
    velocity = jax.random.normal if kind in NORMAL_VELOCITY else _uniform
    return _noisy(base, _uniform, velocity, base._reset_noise_scale)


NORMAL_VELOCITY = ("InvertedDoublePendulumEnv", "HalfCheetahEnv", "AntEnv")


def _uniform(key: Key, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


def _noisy(base: Any, position: Callable, velocity: Callable, scale: float) -> Reset:
    def reset(key: Key) -> tuple[Array, Array]:
        position_key, velocity_key = jax.random.split(key)
        qpos = base.init_qpos + scale * position(position_key, base.init_qpos.shape)
        return qpos, base.init_qvel + scale * velocity(velocity_key, base.init_qvel.shape)

    return reset


def _reacher(base: Any) -> Reset:
    """Angles within ±0.1 rad, the goal anywhere in a disc of 0.2 m."""

    def reset(key: Key) -> tuple[Array, Array]:
        position_key, radius_key, angle_key, velocity_key = jax.random.split(key, 4)
        radius = 0.2 * jnp.sqrt(jax.random.uniform(radius_key))
        angle = jnp.pi * _uniform(angle_key, ())
        goal = radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        qpos = base.init_qpos + 0.1 * _uniform(position_key, base.init_qpos.shape)
        qvel = base.init_qvel + 0.005 * _uniform(velocity_key, base.init_qvel.shape)
        return qpos.at[-2:].set(goal), qvel.at[-2:].set(0.0)

    return reset


def _pusher(base: Any) -> Reset:
    """The arm at rest, the cylinder in a rectangle but for a disc of 0.17 m about the goal."""
    low, high = jnp.array([-0.3, -0.2]), jnp.array([0.0, 0.2])

    def reset(key: Key) -> tuple[Array, Array]:
        place_key, velocity_key = jax.random.split(key)

        def draw(drawn: tuple[Key, Array]) -> tuple[Key, Array]:
            again, now = jax.random.split(drawn[0])
            return again, low + (high - low) * jax.random.uniform(now, (2,))

        def too_near(drawn: tuple[Key, Array]) -> Array:
            return jnp.square(drawn[1]).sum() <= 0.17**2

        cylinder = jax.lax.while_loop(too_near, draw, (place_key, jnp.zeros(2)))[1]
        qpos = jnp.asarray(base.init_qpos, float).at[-4:].set(jnp.concatenate([cylinder, jnp.zeros(2)]))
        qvel = base.init_qvel + 0.005 * _uniform(velocity_key, base.init_qvel.shape)
        return qpos, qvel.at[-4:].set(0.0)

    return reset


OWN: dict[str, Callable[[Any], Reset]] = {"ReacherEnv": _reacher, "PusherEnv": _pusher}
