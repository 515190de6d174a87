"""Differentiable twins of Gymnasium's MuJoCo tasks, and of pbrl's, as what a rollout differentiates through.

A twin steps the task's own model by `pbrl.envs.physics` and makes of it what `pbrl.envs.mjx_tasks` says, from the state
of the live simulator that a transition carries in its `extras`.
"""

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from pbrl.envs import physics
from pbrl.envs.gym import make
from pbrl.envs.mjx_tasks import Moment, Read, Task, task_of
from pbrl.envs.physics import Physics
from pbrl.types import Array, Dynamics, Key, Transition

PRESETS = {"fidelity": (10, 10), "speed": (5, 8)}
"""Most iterations of the constraint solver and of its line search; `docs/oracles.md` has the errors of each."""
STATE = ("qpos", "qvel", "qacc_warmstart")


def twin(env_id: str, preset: str = "fidelity") -> Dynamics:
    """Return the dynamics of a MuJoCo task as a differentiable function; the same object at every call.

    `start` wants `extras` with what `reader` reads off the live environment. Observation and reward are
    differentiable in state and action, save at clips and where contacts begin or end; the discount carries no gradient.
    Computes in float64 where JAX does (`jax_enable_x64`), else in float32.

    Raises `EnvError` for a task without a twin, and for versions of MuJoCo that it was not tested with.
    """
    return _twin(env_id, preset, jax.config.read("jax_enable_x64"))


@functools.cache
def _twin(env_id: str, preset: str, _x64: bool) -> Dynamics:
    env = make(env_id)
    task, base = task_of(env), env.unwrapped
    bounds: Any = base.action_space
    low, high = np.asarray(bounds.low), np.asarray(bounds.high)
    advance = physics.stepper(base.model, base.frame_skip, functools.partial(_read, task), PRESETS[preset])  # pyright: ignore
    names = (*STATE, *task.kept)

    def start(batch: Transition) -> Moment:
        missing = [name for name in names if name not in batch.extras]
        if missing:
            raise ValueError(
                f"the twin of {env_id} starts from its simulator's state: expected extras {', '.join(names)}, got none "
                f"of {', '.join(missing)}; `pbrl.envs.mjx.reader` reads them off the live environment"
            )
        state = Physics(*(batch.extras[name] for name in STATE))
        return Moment(state, {name: batch.extras[name] for name in task.kept}, batch.obs)

    def one(before: Moment, action: Array) -> tuple[Moment, Array, Array]:
        control: Any = low + 0.5 * (action + 1.0) * (high - low)
        state, read = advance(before.state, control)
        obs, reward, terminated = task.outcome(before, control, state, read)
        after = Moment(state, {name: read[name] for name in task.kept}, obs)
        return after, reward, 1.0 - jnp.asarray(terminated, reward.dtype)

    def step(z: Moment, action: Array, key: Key) -> tuple[Moment, Array, Array]:
        del key  # deterministic
        return jax.vmap(one)(z, action)

    def observe(z: Moment) -> Array:
        return z.obs

    def extras(z: Moment) -> dict[str, Array]:
        return {**dict(zip(STATE, z.state, strict=True)), **z.read}

    return Dynamics(start, step, observe, extras)


def reader(env: gymnasium.Env, dtype: Any = np.float32) -> Callable[[], dict[str, np.ndarray]]:
    """Return a function that reads what the twin of a live environment starts from: the next transition's `extras`.

    Raises `EnvError` for a task without a twin.
    """
    task, data = task_of(env), env.unwrapped.data  # pyright: ignore[reportAttributeAccessIssue]
    fields = {**{name: (name, slice(None)) for name in STATE}, **{name: task.read[name] for name in task.kept}}
    return lambda: {name: np.array(getattr(data, field)[index], dtype) for name, (field, index) in fields.items()}


def _read(task: Task, m: Any, d: Any) -> Read:
    if any(field == "cfrc_ext" for field, _ in task.read.values()):
        from mujoco.mjx._src import smooth

        d = smooth.rne_postconstraint(m, d)  # Gymnasium calls it after its steps
    return {
        name: getattr(d if hasattr(d, field) else d._impl, field)[index] for name, (field, index) in task.read.items()
    }
