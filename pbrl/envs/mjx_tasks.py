"""What each MuJoCo task makes of its physics: observation, reward and termination, differentiable.

The numbers are read off the live environment, so that its keyword arguments and pbrl's variants hold here as well.
`tests/envs/test_mjx.py` compares every step with Gymnasium's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax.numpy as jnp
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from pbrl.envs.gym import EnvError
from pbrl.envs.physics import Physics
from pbrl.envs.tasks import RewardBefore
from pbrl.envs.wrappers import BonusOnEveryStep, ForwardVelocity, StateReward
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


def task_of(env: gymnasium.Env) -> Task:
    """Return the task of a live environment. Raises `EnvError` for one that has no twin, with the reason."""
    name, base = env.spec.id if env.spec else type(env).__name__, env.unwrapped
    kind = type(base).__name__ if type(base).__module__.startswith("gymnasium.envs.mujoco.") else ""
    if kind in NONE:
        raise EnvError(f"{name} has no differentiable twin: {NONE[kind]}")
    if kind not in TASKS or not type(base).__module__.endswith("_v5"):
        raise EnvError(f"{name} has no differentiable twin; Gymnasium's MuJoCo tasks at -v5 and pbrl's own have one")
    task, wrappers = TASKS[kind](base), []
    while isinstance(env, gymnasium.Wrapper):
        wrappers.append(env)
        env = env.env
    for wrapper in reversed(wrappers):
        if type(wrapper) not in (TimeLimit, OrderEnforcing):
            if type(wrapper).__name__ not in WRAPPERS or not type(wrapper).__module__.startswith("pbrl."):
                raise EnvError(f"{name} has no differentiable twin: nothing is known of its {type(wrapper).__name__}")
            task = WRAPPERS[type(wrapper).__name__](task, wrapper)
    return task


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
        cost = env._reward_dist_weight * _norm(apart) + env._reward_control_weight * jnp.square(action).sum()
        obs = [jnp.cos(angles), jnp.sin(angles), after.qpos[2:], after.qvel[:2], apart[:2]]
        return Outcome(jnp.concatenate(obs), -cost, False)

    return Task(outcome, {name: _body(env, name) for name in ("fingertip", "target")})


def pusher(env: Any) -> Task:
    """Distances of the object from tip and goal, and the squared action."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        near, far = _norm(read["object"] - read["tips_arm"]), _norm(read["object"] - read["goal"])
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
        reward = env._forward_reward_weight * _speed(env, before, after)
        reward -= env._ctrl_cost_weight * jnp.square(action).sum()
        terminated: Array | bool = False
        if stands is not None:
            standing = stands(after)
            reward += env._healthy_reward * standing
            terminated = ~standing & env._terminate_when_unhealthy
        obs = jnp.concatenate([after.qpos[hidden:], jnp.clip(after.qvel, -clip, clip)])
        return Outcome(obs, reward, terminated)

    return Task(outcome, {})


# pbrl's wrappers


def forward_velocity(task: Task, wrapper: ForwardVelocity) -> Task:
    """Put Δx/dt in front of the observation and pay for it."""
    env: Any = wrapper.unwrapped

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        inner, speed = task.outcome(before, action, after, read), _speed(env, before, after)
        reward = speed + wrapper.alive - wrapper.control * jnp.square(action).sum()
        return Outcome(jnp.concatenate([speed[None], inner.obs]), reward, inner.terminated)

    return task._replace(outcome=outcome)


def bonus_on_every_step(task: Task, wrapper: BonusOnEveryStep) -> Task:
    """Pay the bonus on the terminating step too."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        obs, reward, terminated = task.outcome(before, action, after, read)
        return Outcome(obs, reward + wrapper.bonus * terminated, terminated)

    return task._replace(outcome=outcome)


def reward_before(task: Task, wrapper: RewardBefore) -> Task:
    """Pay for Pusher's distances before the step."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        tip, thing, goal = (before.read[name] for name in ("tips_arm", "object", "goal"))
        reward = -_norm(thing - goal) - 0.5 * _norm(thing - tip) - 0.1 * jnp.square(action).sum()
        return task.outcome(before, action, after, read)._replace(reward=reward)

    return task._replace(outcome=outcome, kept=("tips_arm", "object", "goal"))


def state_reward(task: Task, wrapper: StateReward) -> Task:
    """Pay for speed and height before the step; never terminate."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        reward = before.state.qvel[0] - wrapper.control * jnp.square(action).sum()
        if wrapper.height is not None:
            reward += 1.0 - 3.0 * (before.state.qpos[wrapper.hidden] - wrapper.height) ** 2
        return Outcome(jnp.concatenate([after.qpos[wrapper.hidden :], after.qvel]), reward, False)

    return Task(outcome, {})


def fixed_swimmer(task: Task, wrapper: StateReward) -> Task:
    """Observe the nose's speed as the last number, and pay for that of the step before."""
    env, inner = wrapper.unwrapped, state_reward(task, wrapper)

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        speed = (read["nose"] - before.read["nose"]) / env.dt  # pyright: ignore[reportAttributeAccessIssue]
        obs = jnp.append(inner.outcome(before, action, after, read).obs, speed)
        return Outcome(obs, before.obs[-1] - wrapper.control * jnp.square(action).sum(), False)

    return Task(outcome, {"nose": ("site_xpos", (0, 0))}, ("nose",))


def pitch_as_vector(task: Task, wrapper: gymnasium.Wrapper) -> Task:
    """Observe sine and cosine of the pitch."""

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        inner = task.outcome(before, action, after, read)
        pitch = inner.obs[2]
        obs = jnp.concatenate([inner.obs[:2], jnp.stack([jnp.sin(pitch), jnp.cos(pitch)]), inner.obs[3:]])
        return inner._replace(obs=obs)

    return task._replace(outcome=outcome)


def unchanged(task: Task, wrapper: gymnasium.Wrapper) -> Task:
    """Return the task as it is: the wrapper changes first states alone."""
    return task


WRAPPERS: dict[str, Callable[[Task, Any], Task]] = {
    "ForwardVelocity": forward_velocity,
    "BonusOnEveryStep": bonus_on_every_step,
    "RewardBefore": reward_before,
    "StateReward": state_reward,
    "FixedSwimmer": fixed_swimmer,
    "PitchAsVector": pitch_as_vector,
    "StillStart": unchanged,
}


def _speed(env: Any, before: Moment, after: Physics) -> Array:
    return (after.qpos[0] - before.state.qpos[0]) / env.dt


def _body(env: Any, name: str) -> tuple[str, int]:
    return "xpos", env.data.body(name).id


def _within(x: Array, bounds: tuple[float, float]) -> Array:
    return (bounds[0] < x) & (x < bounds[1])


def _norm(x: Array) -> Array:
    """Return ‖x‖ with a gradient of 0 at 0."""
    square = jnp.square(x).sum()
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
