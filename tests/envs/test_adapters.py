"""Adapters to environments of other packages, where those are installed."""

from dataclasses import replace
from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import config

from pbrl.agents import sac
from pbrl.envs import jax_env
from pbrl.envs.gymnax import from_gymnax
from pbrl.envs.playground import from_playground
from pbrl.errors import EnvError
from pbrl.runs.schedule import Schedule
from pbrl.train import device


@pytest.mark.parametrize("name", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_gymnax(name):
    """Its own step with rescaled actions; the time limit is the spec's and ends nothing by itself."""
    gymnax = pytest.importorskip("gymnax")
    theirs, params = gymnax.make(name)
    env = from_gymnax(theirs, params)
    jax_env.check(env, name)
    assert env.spec.episode_length == params.max_steps_in_episode
    box, state = theirs.action_space(params), env.reset(jax.random.key(0))
    (_, inner), step = state, jax.jit(env.step)
    for i, key in enumerate(jax.random.split(jax.random.key(1), env.spec.episode_length + 1)):
        action = jax.random.uniform(key, (1,), minval=-0.1, maxval=0.1)
        state, reward, discount = step(state, action, key)
        assert discount == 1 and np.shape(reward) == ()
        if i < 3:
            obs, inner, expected, *_ = theirs.step_env(key, inner, action * box.high, params)
            np.testing.assert_allclose(env.observe(state), obs, rtol=1e-5)
            np.testing.assert_allclose(reward, expected, rtol=1e-5)


def test_playground():
    """Its own step, and a run on the device whose states hold keys of their own."""
    registry = pytest.importorskip("mujoco_playground").registry
    theirs = registry.load("CartpoleBalance", config_overrides={"impl": "jax"})
    env = from_playground(theirs, episode_length=8)
    jax_env.check(env, "CartpoleBalance")
    state, action = jax.jit(env.reset)(jax.random.key(0)), jnp.array([0.5])
    after, reward, discount = jax.jit(env.step)(state, action, jax.random.key(1))
    expected = jax.jit(theirs.step)(state, action)
    np.testing.assert_allclose(env.observe(after), expected.obs, rtol=1e-5)
    assert reward == expected.reward and discount == 1 - expected.done
    schedule = Schedule(
        total_steps=20, warmup_steps=10, batch_size=8, updates_per_step=1, model_every=0, eval_every=0, log_every=10
    )
    state, metrics = jax.jit(lambda key: device.run(sac, env, config("sac"), schedule, key))(jax.random.key(0))
    assert state.learner.replay.inserted == 20 and np.isfinite(metrics["critic/loss"][-1])
    with pytest.raises(EnvError, match="expected an environment that observes a vector"):
        from_playground(SimpleNamespace(observation_size={"state": (3,)}))


class Sliding:
    """A Playground environment as far as the adapter looks: a block that a test may throw, or whose clock it turns."""

    observation_size, action_size = 1, 1

    def reset(self, key):
        data = SimplePhysics(jnp.zeros(1), jnp.zeros(1), jnp.zeros(()))
        return SlidingState(data, jnp.zeros(1), jnp.zeros(()), jnp.zeros(()))

    def step(self, state, action):
        moved = state.data.qpos + 1e11 * (action > 0.9)
        back = jnp.where(action[0] < -0.9, 0.0, state.data.time + 1.0)
        data = SimplePhysics(moved, moved - state.data.qpos, back)
        return SlidingState(data, jnp.clip(moved, -1, 1), jnp.ones(()), jnp.zeros(()))


@flax.struct.dataclass
class SimplePhysics:
    qpos: jax.Array
    qvel: jax.Array
    time: jax.Array


@flax.struct.dataclass
class SlidingState:
    data: SimplePhysics
    obs: jax.Array
    reward: jax.Array
    done: jax.Array


def test_physics_beyond_mujocos_bounds_or_reset_within_a_step_are_broken_steps():
    env = from_playground(Sliding())
    step, state = jax.jit(env.step), env.reset(jax.random.key(0))
    for action, sound in ((0.0, True), (0.0, True), (-1.0, False), (1.0, False)):
        after, reward, _ = step(state, jnp.array([action]))
        assert np.isfinite(reward) == sound and np.isfinite(env.observe(after)).all()
        state = after if sound else state


def test_states_are_compared_by_their_arrays_alone(monkeypatch):
    def ambiguous(state, other):  # as of MJX' data, whose static fields are NumPy arrays
        raise ValueError("The truth value of an empty array is ambiguous")

    monkeypatch.setattr(SlidingState, "__eq__", ambiguous)
    env = from_playground(Sliding())
    jax_env.check(env, "sliding")
    wider = replace(env, reset=lambda key: replace(env.reset(key), obs=jnp.zeros(2)))
    with pytest.raises(
        EnvError, match=r"reset returns a state of \.obs float32\[2\], step one of \.obs float32\[1\]; make"
    ):
        jax_env.check(wider, "wider")


def test_an_environment_that_resets_itself_is_refused():
    env = from_playground(Sliding())
    wrapped = replace(
        env,
        reset=lambda key: {"state": env.reset(key), "info": {"first_obs": jnp.zeros(1)}},
        step=lambda state, action, key: (state, 0.0, 1.0),
        observe=lambda state: state["state"].obs,
    )
    with pytest.raises(EnvError, match=r"itself within a step .*without that wrapper"):
        jax_env.check(wrapped, "wrapped")
