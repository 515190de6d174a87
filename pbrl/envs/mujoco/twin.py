"""Differentiable twins of Gymnasium's MuJoCo tasks, and of pbrl's: environments in JAX that are their own oracles.

A twin steps the task's own model by `physics` and makes of it what `tasks` says, from the state of the live simulator
that a transition carries in its `extras`.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import gymnasium
import jax.numpy as jnp
import numpy as np

from pbrl.envs import make_gym
from pbrl.envs.jax_env import JaxEnv, for_rows, require_extras
from pbrl.envs.mujoco import physics
from pbrl.envs.mujoco.batch_last import over_rows
from pbrl.envs.mujoco.physics import Physics
from pbrl.envs.mujoco.resets import reset_of
from pbrl.envs.mujoco.tasks import Moment, Read, Task
from pbrl.envs.mujoco.wrappers import task_of
from pbrl.types import Array, Dynamics, Key, Transition, width

ITERATIONS = {"fidelity": (10, 10), "speed": (5, 8)}
"""Preset: most iterations of the constraint solver and of its line search; `docs/environments.md` has the errors."""
STATE = ("qpos", "qvel", "qacc_warmstart")


def twin(env_id: str, preset: str = "fidelity") -> Dynamics:
    """Return the dynamics of a MuJoCo task as a differentiable function: `environment(...).oracle`."""
    return environment(env_id, preset).oracle


def environment(env_id: str, preset: str = "fidelity") -> JaxEnv:
    """Return a MuJoCo task in JAX; the same object at every call.

    Observation and reward are differentiable in state and action, save at clips and where contacts begin or end; the
    discount carries no gradient. Backwards only, at every order: JAX refuses forward mode. As an oracle it starts from
    `extras`, which `reader` reads off a live environment. Computes in float64 where JAX does (`jax_enable_x64`),
    else in float32.

    Raises `EnvError` for a task without a twin, and for versions of MuJoCo that it was not tested with.
    """
    return _environment(env_id, preset, width())


@functools.cache
def _environment(env_id: str, preset: str, _dtype: Any) -> JaxEnv:
    env = make_gym.make(env_id)
    spec = make_gym.spec_of(env_id, env)
    task, first, base = task_of(env), reset_of(env), cast(Any, env.unwrapped)
    bounds = base.action_space
    low, high = np.asarray(bounds.low), np.asarray(bounds.high)
    simulator = physics.simulator(base.model, base.frame_skip, ITERATIONS[preset])

    def reset(key: Key) -> Moment:
        qpos, qvel = first(key)
        state = Physics(*(jnp.asarray(x, float) for x in (qpos, qvel, jnp.zeros_like(qvel))))
        read = simulator.look(state, jnp.zeros(low.shape), functools.partial(_read, task, stepped=False))
        here = Moment(state, {name: read[name] for name in task.kept}, jnp.zeros(spec.obs_size))
        return here._replace(obs=task.outcome(here, jnp.zeros(low.shape), state, read).obs)

    def step(before: Moment, action: Array) -> tuple[Moment, Array, Array]:
        control: Any = low + 0.5 * (action + 1.0) * (high - low)
        state, read, sound = simulator.step(before.state, control, functools.partial(_read, task, stepped=True))
        obs, reward, terminated = task.outcome(before, control, state, read)
        after = Moment(state, {name: read[name] for name in task.kept}, obs)
        reward = jnp.where(sound, reward, jnp.nan)  # a broken step, as where C MuJoCo resets itself
        return after, reward, 1.0 - jnp.asarray(terminated, reward.dtype)

    def observe(z: Moment) -> Array:
        return z.obs

    def start(batch: Transition) -> Moment:
        require_extras(batch, (*STATE, *task.kept), env_id, "the live environment, by `pbrl.envs.mujoco.twin.reader`,")
        state = Physics(*(batch.extras[name] for name in STATE))
        return Moment(state, {name: batch.extras[name] for name in task.kept}, batch.obs)

    def extras(z: Moment) -> dict[str, Array]:
        return {**dict(zip(STATE, z.state, strict=True)), **z.read}

    return JaxEnv(spec, reset, for_rows(step, over_rows), observe, start, extras)


def reader(env: gymnasium.Env, dtype: Any = None) -> Callable[[], dict[str, np.ndarray]]:
    """Return a function that reads what the twin of a live environment starts from: the next transition's `extras`.

    Raises `EnvError` for a task without a twin.
    """
    dtype = dtype or width()
    task, data = task_of(env), env.unwrapped.data  # pyright: ignore[reportAttributeAccessIssue]
    fields = {**{name: (name, slice(None)) for name in STATE}, **{name: task.read[name] for name in task.kept}}
    return lambda: {name: np.array(getattr(data, field)[index], dtype) for name, (field, index) in fields.items()}


def _read(task: Task, m: Any, d: Any, *, stepped: bool) -> Read:
    if stepped and any(field == "cfrc_ext" for field, _ in task.read.values()):
        from mujoco.mjx._src import smooth

        d = smooth.rne_postconstraint(m, d)  # Gymnasium calls it after its steps
    return {
        name: getattr(d if hasattr(d, field) else d._impl, field)[index] for name, (field, index) in task.read.items()
    }
