"""What pbrl's wrappers make of a MuJoCo task, differentiable, and a live environment's task with all its own."""

from collections.abc import Callable
from typing import Any

import gymnasium
import jax.numpy as jnp

from pbrl.envs import snapshot
from pbrl.envs.mujoco.physics import Physics
from pbrl.envs.mujoco.tasks import NONE, TASKS, Moment, Outcome, Read, Task, exact_norm, speed_along_x
from pbrl.envs.tasks.mage import RewardBefore
from pbrl.envs.tasks.wrappers import BonusOnEveryStep, ForwardVelocity, StateReward
from pbrl.errors import NoTwin
from pbrl.types import Array


def task_of(env: gymnasium.Env) -> Task:
    """Return the task of a live environment. Raises `NoTwin` for one that has none, with the reason."""
    name, base = env.spec.id if env.spec else type(env).__name__, env.unwrapped
    kind = type(base).__name__ if type(base).__module__.startswith("gymnasium.envs.mujoco.") else ""
    if kind in NONE:
        raise NoTwin(f"{name} has no differentiable twin: {NONE[kind]}")
    if kind not in TASKS or not type(base).__module__.endswith("_v5"):
        raise NoTwin(f"{name} has no differentiable twin: it is none of Gymnasium's MuJoCo tasks at -v5")
    task = TASKS[kind](base)
    for wrapper in reversed(list(snapshot.wrappers(env))):
        if type(wrapper) not in snapshot.STATELESS:
            if type(wrapper).__name__ not in WRAPPERS or not type(wrapper).__module__.startswith("pbrl."):
                raise NoTwin(f"{name} has no differentiable twin: nothing is known of its {type(wrapper).__name__}")
            task = WRAPPERS[type(wrapper).__name__](task, wrapper)
    return task


def forward_velocity(task: Task, wrapper: ForwardVelocity) -> Task:
    """Put Δx/dt in front of the observation and pay for it."""
    env: Any = wrapper.unwrapped

    def outcome(before: Moment, action: Array, after: Physics, read: Read) -> Outcome:
        inner, speed = task.outcome(before, action, after, read), speed_along_x(env, before, after)
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
        reward = -exact_norm(thing - goal) - 0.5 * exact_norm(thing - tip) - 0.1 * jnp.square(action).sum()
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
