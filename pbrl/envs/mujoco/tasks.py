"""What each MuJoCo task makes of its physics: observation, reward and termination, differentiable.

The numbers are read off the live environment, so that its keyword arguments and pbrl's variants hold here as well.
`wrappers` has pbrl's variants; `tests/envs/mujoco/test_mujoco_tasks.py` compares every step with the live one's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from pbrl.envs.mujoco.physics import Physics
from pbrl.types import Array

Read = dict[str, Array]
"""What C MuJoCo's last evaluation left behind, by name; positions of bodies are those before the last integration."""


class Moment(NamedTuple):
    """Where a task stands: the physics, what `Task.kept` names of the last evaluation, and the observation."""

    state: Physics
    read: Read
    obs: Array  # [S]


class Outcome(NamedTuple):
    """What a step gives."""

    obs: Array  # [S]
    reward: Array  # []
    terminated: Array | bool  # []


class Task(NamedTuple):
    """A task's `step` after its physics, for one state."""

    outcome: Callable[[Moment, Array, Physics, Read], Outcome]
    """`(before, action in the task's units, after, read after)`."""
    read: dict[str, tuple[str, Any]]
    """Name -> field of MuJoCo's data and index into it: what `outcome` reads besides positions and velocities."""
    kept: tuple[str, ...] = ()
    """Those that it reads of the moment before as well, which a transition must carry."""


def inverted_pendulum(env: Any) -> Task:
    """One for each step on which the pole stands; its reward has no slope."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        fell = jnp.abs(after.qpos[1]) > 0.2
        return Outcome(jnp.concatenate([after.qpos, after.qvel]), 1.0 - fell.astype(after.qpos.dtype), fell)

    return Task(outcome, {})


def inverted_double_pendulum(env: Any) -> Task:
    """Ten for each step on which the tip is above 1 m, less for its distance from the top and for speed."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        angles, (x, _, y) = after.qpos[1:], read["tip"]
        fell = y <= 1
        clipped = jnp.clip(after.qvel, -10, 10), jnp.clip(read["force"], -10, 10)
        distance = 0.01 * x**2 + (y - 2) ** 2
        speed = 1e-3 * after.qvel[1] ** 2 + 5e-3 * after.qvel[2] ** 2
        obs = jnp.concatenate([after.qpos[:1], jnp.sin(angles), jnp.cos(angles), *clipped])
        return Outcome(obs, env._healthy_reward * (1.0 - fell) - distance - speed, fell)

    return Task(outcome, {"tip": ("site_xpos", 0), "force": ("qfrc_constraint", slice(0, 1))})


def reacher(env: Any) -> Task:
    """Distance of the fingertip from the target, and the squared action."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        angles, apart = after.qpos[:2], read["fingertip"] - read["target"]
        cost = env._reward_dist_weight * exact_norm(apart) + env._reward_control_weight * jnp.square(action).sum()
        obs = [jnp.cos(angles), jnp.sin(angles), after.qpos[2:], after.qvel[:2], apart[:2]]
        return Outcome(jnp.concatenate(obs), -cost, False)

    return Task(outcome, {name: _body(env, name) for name in ("fingertip", "target")})


def pusher(env: Any) -> Task:
    """Distances of the object from tip and goal, and the squared action."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        near, far = exact_norm(read["object"] - read["tips_arm"]), exact_norm(read["object"] - read["goal"])
        cost = env._reward_near_weight * near + env._reward_dist_weight * far
        cost += env._reward_control_weight * jnp.square(action).sum()
        obs = [after.qpos[:7], after.qvel[:7], read["tips_arm"], read["object"], read["goal"]]
        return Outcome(jnp.concatenate(obs), -cost, False)

    return Task(outcome, {name: _body(env, name) for name in ("tips_arm", "object", "goal")})


def swimmer(env: Any) -> Task:
    """Progress along x less the squared action."""
    return _runner(env, hidden=2)


def half_cheetah(env: Any) -> Task:
    """Progress along x less the squared action; no fall ends it."""
    return _runner(env, hidden=1)


def hopper(env: Any) -> Task:
    """Progress and one for standing, less the squared action; ends where height, pitch or any number is out of range.

    Observes velocities clipped to ±10.
    """

    def stands(after: Physics) -> Array:
        numbers = jnp.concatenate([after.qpos, after.qvel])[2:]
        within = _within(numbers, env._healthy_state_range).all()
        height, pitch = env._healthy_z_range, env._healthy_angle_range
        return within & _within(after.qpos[1], height) & _within(after.qpos[2], pitch)

    return _runner(env, hidden=1, stands=stands, clip=10.0)


def walker2d(env: Any) -> Task:
    """As the hopper, without limits on other numbers than height and pitch."""

    def stands(after: Physics) -> Array:
        return _within(after.qpos[1], env._healthy_z_range) & _within(after.qpos[2], env._healthy_angle_range)

    return _runner(env, hidden=1, stands=stands, clip=10.0)


def ant(env: Any) -> Task:
    """Progress of the torso and one for its height, less squared action and contact forces, which it may observe."""
    torso = env.data.body(env._main_body).id

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        low, high = env._healthy_z_range
        height = after.qpos[2]
        stands = (low <= height) & (height <= high) & jnp.isfinite(jnp.concatenate([after.qpos, after.qvel])).all()
        forces = jnp.clip(read["forces"], *env._contact_force_range)
        reward = env._forward_reward_weight * (read["torso"][0] - before.read["torso"][0]) / env.dt
        reward += env._healthy_reward * stands - env._ctrl_cost_weight * jnp.square(action).sum()
        reward -= env._contact_cost_weight * jnp.square(forces).sum()
        parts = [after.qpos[2 * env._exclude_current_positions_from_observation :], after.qvel]
        if env._include_cfrc_ext_in_observation:
            parts.append(forces[1:].ravel())
        return Outcome(jnp.concatenate(parts), reward, ~stands & env._terminate_when_unhealthy)

    return Task(outcome, {"torso": ("xpos", (torso, slice(0, 2))), "forces": ("cfrc_ext", slice(None))}, ("torso",))


TASKS = {
    "InvertedPendulumEnv": inverted_pendulum,
    "InvertedDoublePendulumEnv": inverted_double_pendulum,
    "ReacherEnv": reacher,
    "PusherEnv": pusher,
    "SwimmerEnv": swimmer,
    "HalfCheetahEnv": half_cheetah,
    "HopperEnv": hopper,
    "Walker2dEnv": walker2d,
    "AntEnv": ant,
}
NONE = {
    name: "its model asks for MuJoCo's PGS solver, which MJX does not have, and another one takes other steps"
    for name in ("HumanoidEnv", "HumanoidStandupEnv")
}


def _runner(env: Any, hidden: int, stands: Callable[[Physics], Array] | None = None, clip: float = jnp.inf) -> Task:
    """Return Gymnasium's scheme for what runs along x: `hidden` positions are left out of the observation."""
    hidden *= env._exclude_current_positions_from_observation

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        reward = env._forward_reward_weight * speed_along_x(env, before, after)
        reward -= env._ctrl_cost_weight * jnp.square(action).sum()
        terminated: Array | bool = False
        if stands is not None:
            standing = stands(after)
            reward += env._healthy_reward * standing
            terminated = ~standing & env._terminate_when_unhealthy
        obs = jnp.concatenate([after.qpos[hidden:], jnp.clip(after.qvel, -clip, clip)])
        return Outcome(obs, reward, terminated)

    return Task(outcome, {})


def speed_along_x(env: Any, before: Moment, after: Physics) -> Array:
    """Return Δx/dt of a step."""
    return (after.qpos[0] - before.state.qpos[0]) / env.dt


def _body(env: Any, name: str) -> tuple[str, int]:
    return "xpos", env.data.body(name).id


def _within(x: Array, bounds: tuple[float, float]) -> Array:
    return (bounds[0] < x) & (x < bounds[1])


def exact_norm(x: Array) -> Array:
    """Return ‖x‖ with a gradient of 0 at 0, and nothing under the root, as `losses.safe_norm` has for its batches."""
    square = jnp.square(x).sum()
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
