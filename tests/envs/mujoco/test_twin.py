"""Twins against C MuJoCo from the same states: steps, and gradients against C MuJoCo's own differences."""

import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs.make_gym import make
from pbrl.envs.mujoco import physics, tasks, twin
from pbrl.envs.mujoco.wrappers import task_of
from pbrl.errors import EnvError
from pbrl.types import Transition

KEY = jax.random.key(0)


def visited(env_id, count, every=3, dtype=np.float64):
    """Steps of the live environment under random actions, as transitions whose extras are its simulator's state."""
    env, rng, rows = make(env_id), np.random.default_rng(0), []
    obs, _ = env.reset(seed=0)
    read = twin.reader(env, dtype)
    low, high = env.action_space.low.astype(float), env.action_space.high.astype(float)
    for step in range(count * every):
        action = rng.uniform(-1, 1, low.shape)
        extras = read()
        after, reward, terminated, _, _ = env.step(low + 0.5 * (action + 1) * (high - low))
        if step % every == 0:
            rows.append(Transition(obs, action, float(reward), 1.0 - terminated, after, extras))
        obs = after
        if terminated:
            obs, _ = env.reset(seed=step)
    env.close()
    return jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *rows)


TWINS = [f"{name.removesuffix('Env')}-v5" for name in tasks.TASKS]
VARIANTS = ("pbrl/PoplinSwimmer-v0", "pbrl/MageHalfCheetah-v0", "pbrl/MbpoHopper-v0")


@pytest.mark.parametrize("env_id", [*TWINS, *VARIANTS])
def test_a_step_is_that_of_mujoco(env_id, x64):
    batch, dynamics = visited(env_id, 20), twin.twin(env_id)
    z, reward, discount = jax.jit(dynamics.step)(dynamics.start(batch), batch.action, KEY)
    error = jnp.abs(dynamics.observe(z) - batch.next_obs).max(-1)
    assert jnp.percentile(error, 95) < 1e-12
    np.testing.assert_allclose(reward, batch.reward, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(discount, batch.discount)


@pytest.mark.parametrize("field", ["qpos", "qvel"])
def test_where_mujoco_would_start_anew_a_twins_step_is_broken(field):
    """C MuJoCo does so beyond 1e10, and Hopper's observation, which clips velocities, would hide it."""
    batch = visited("Hopper-v5", 3, dtype=np.float32)
    bad = batch.extras[field].at[1, 0].set(3e10).at[2, 0].set(jnp.nan)
    batch = batch.replace(extras={**batch.extras, field: bad})
    dynamics = twin.twin("Hopper-v5")
    _, reward, _ = jax.jit(dynamics.step)(dynamics.start(batch), batch.action, KEY)
    assert np.isfinite(reward).tolist() == [True, False, False]


def test_the_gradient_is_that_of_mujoco(x64):
    """HalfCheetah, through contacts: eight steps' return in every action, against central differences of C MuJoCo."""
    env_id, horizon, width = "HalfCheetah-v5", 8, 1e-6
    env, batch, dynamics = make(env_id), visited(env_id, 8, every=7), twin.twin(env_id)
    actions = jax.random.uniform(KEY, (horizon, *batch.action.shape), minval=-0.9, maxval=0.9)
    direction = jax.random.normal(jax.random.key(1), actions.shape)

    def imagined(actions):
        def step(z, action):
            z, reward, _ = dynamics.step(z, action, KEY)
            return z, reward

        z, rewards = jax.lax.scan(step, dynamics.start(batch), actions)
        return (rewards.sum(0) + dynamics.observe(z).sum(-1)).sum()

    def real(actions, row):
        data, total = env.unwrapped.data, 0.0
        env.reset(seed=0)
        for name in twin.STATE:
            getattr(data, name)[:] = batch.extras[name][row]
        for action in actions[:, row]:
            obs, reward, *_ = env.step(np.asarray(action))
            total += reward
        return total + obs.sum()

    slopes = (jax.jit(jax.grad(imagined))(actions) * direction).sum((0, 2))
    ends = (np.asarray(actions + sign * width * direction) for sign in (1, -1))
    above, below = (np.array([real(end, row) for row in range(8)]) for end in ends)
    error = np.abs(slopes - (above - below) / (2 * width)) / np.abs(slopes)
    assert np.median(error) < 1e-6 and np.isfinite(slopes).all()


def test_a_twin_is_one_object_and_wants_the_simulators_state():
    dynamics = twin.twin("Reacher-v5")
    assert twin.twin("Reacher-v5") == dynamics and twin.environment("Reacher-v5") is twin.environment("Reacher-v5")
    assert twin.twin("Reacher-v5", "speed") != dynamics
    batch = visited("Reacher-v5", 2, dtype=np.float32)
    moment = dynamics.start(batch)
    assert all(x.dtype == np.float32 for x in batch.extras.values())
    jax.tree.map(np.testing.assert_array_equal, dynamics.extras(moment), batch.extras)
    with pytest.raises(ValueError, match=r"Reacher-v5.*expected extras qpos, qvel, qacc_warmstart, got none of qvel"):
        dynamics.start(batch.replace(extras={n: x for n, x in batch.extras.items() if n != "qvel"}))


def test_what_is_read_of_the_moment_before_is_carried_on():
    """Ant is paid for the way of its torso as the last evaluation left it."""
    batch = visited("Ant-v5", 2, dtype=np.float32)
    assert set(batch.extras) == {*twin.STATE, "torso"}
    env = make("Ant-v5")
    assert task_of(env).kept == ("torso",)
    env.close()


def test_other_versions_are_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"mujoco": "9.9.9"}.get(name, "3.17.0"))
    with pytest.raises(EnvError, match=r"tested with mujoco and mujoco-mjx 3\.17\.0.*found 9\.9\.9 and 3\.17\.0"):
        physics.require_tested()


def test_contacts_of_curved_shapes_have_a_finite_derivative(x64):
    """Pusher's arm near its cylinder, in a state where MJX's search for a contact gives NaN backwards."""
    env = make("Pusher-v5")
    mjx, model = physics._mjx(), env.unwrapped.model
    m, blank = mjx.put_model(model), mjx.make_data(model)
    env.close()
    collide, _ = physics._collision(m, blank)
    qpos = jnp.array([
        0.22017053, 0.3141027, -1.48401137, -2.29751713, 1.4853751, -0.11136426, 0.89164924, -0.18185352, -0.13742321,
        0.0, 0.0,
    ])  # fmt: skip

    def stock(d):
        from mujoco.mjx._src import collision_driver

        return collision_driver.collision(m, d)._impl.contact

    ours, theirs, forward = (
        jax.jit(derivative(lambda q, way=way: way(physics.kinematics(m, blank.replace(qpos=q))).dist.sum()))(qpos)
        for derivative, way in ((jax.grad, collide), (jax.grad, stock), (jax.jacfwd, stock))
    )
    assert not np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, forward, rtol=1e-9, atol=1e-12)
