"""Brax' environments by their ids: as functions, as oracles, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import config

from pbrl.envs import jax_env, oracles, registry
from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError
from pbrl.types import Transition

KEY, PENDULUM = jax.random.key(0), "brax/inverted_pendulum"


def states(env, count):
    def play(key):
        state = env.reset(key)
        for k in jax.random.split(key, 3):
            state, *_ = env.step(state, jax.random.uniform(k, (1,), minval=-1.0, maxval=1.0))
        return state

    return jax.jit(jax.vmap(play))(jax.random.split(KEY, count))


def as_batch(env, state):
    obs = env.observe(state)
    nothing = jnp.zeros(len(obs))
    return Transition(obs, nothing[:, None], nothing, nothing, obs, env.extras(state))


def test_an_oracle_begins_where_the_environment_stood():
    env, dynamics = registry.find(PENDULUM), oracles.oracle(PENDULUM)
    state, action = states(env, 4), jnp.full((4, 1), 0.3)
    there, step = dynamics.start(as_batch(env, state)), jax.jit(env.step)
    for z in (state, there):
        after, reward, discount = step(z, action)
        np.testing.assert_allclose(env.observe(after), env.observe(step(state, action)[0]), rtol=1e-6)
        assert reward.shape == discount.shape == (4,)
    assert registry.find(f"{PENDULUM}-positional").spec == env.spec and registry.find(PENDULUM) is env
    with pytest.raises(
        ValueError, match=r"inverted_pendulum starts from its simulator's state: expected extras .*, got none of "
    ):
        dynamics.start(as_batch(env, state).replace(extras={}))


def test_the_gradient_is_the_finite_difference(x64):
    env = registry.find(PENDULUM)
    there = env.start(as_batch(env, states(env, 4)))

    def value(action):
        z, reward, _ = env.step(there, action)
        return reward.sum() + env.observe(z).sum()

    actions = jax.random.uniform(KEY, (4, 1), minval=-0.9, maxval=0.9)
    direction, width, run = jax.random.normal(KEY, actions.shape), 1e-5, jax.jit(jax.value_and_grad(value))
    difference = (run(actions + width * direction)[0] - run(actions - width * direction)[0]) / (2 * width)
    np.testing.assert_allclose((run(actions)[1] * direction).sum(), difference, rtol=1e-6)
    with jax.enable_x64(False):  # the constants of one width are not those of the other
        jax_env.check(registry.find(PENDULUM), PENDULUM)
        assert registry.find(PENDULUM) is not env


def test_an_agent_trains_on_the_device_and_is_judged_by_gymnasium(tmp_path):
    from pbrl.runs.run import Run
    from pbrl.runs.schedule import Schedule
    from pbrl.train import device

    schedule = Schedule(
        total_steps=30, warmup_steps=10, batch_size=8, updates_per_step=1, model_every=0, eval_every=0, log_every=15
    )
    run = Run("td3", PENDULUM, (0,), config("td3"), schedule, tmp_path, driver="device")
    progress = device.train(run)
    assert progress.step == 30 and np.isfinite(progress.metrics["critic/loss"]).all()
    env = GymEnv(PENDULUM)
    obs = env.reset(seed=0)
    after = env.step(np.zeros(1))
    assert env.spec.episode_length == 1_000 and obs.shape == after.next_obs.shape == (4,) and env.exact
    assert set(env.extras()) == set(registry.find(PENDULUM).extras(states(registry.find(PENDULUM), 1)))
    env.close()


def test_what_does_not_exist_or_has_no_gradient_is_refused():
    with pytest.raises(EnvError, match=r"there is no 'brax/cheetah'; expected brax/NAME-BACKEND.*halfcheetah.*spring"):
        registry.find("brax/cheetah")
    with pytest.raises(EnvError, match="there is no 'brax/hopper-fast'"):
        GymEnv("brax/hopper-fast")
    with pytest.raises(EnvError, match=r"hopper-mjx cannot be an oracle.*brax/hopper-positional"):
        oracles.oracle("brax/hopper-mjx")
    with pytest.warns(UserWarning, match="go wrong first where there are contacts"):
        oracles.oracle(f"{PENDULUM}-generalized")
