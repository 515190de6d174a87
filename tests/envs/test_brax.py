"""Brax' environments by their ids: as functions, as oracles, and what is refused."""

import sys
from functools import cache

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


@cache
def states(env):
    """Four states, each after a few steps."""

    def play(key):
        state = env.reset(key)
        for k in jax.random.split(key, 3):
            state, *_ = env.step(state, jax.random.uniform(k, (1,), minval=-1.0, maxval=1.0))
        return state

    return jax.jit(jax.vmap(play))(jax.random.split(KEY, 4))


def as_batch(env, state):
    obs = np.asarray(jax.jit(env.observe)(state))
    nothing = np.zeros(len(obs), obs.dtype)
    return Transition(obs, nothing[:, None], nothing, nothing, obs, env.extras(state))


def test_an_oracle_begins_where_the_environment_stood():
    env, dynamics = registry.find(PENDULUM), oracles.oracle(PENDULUM)
    state, action = states(env), jnp.full((4, 1), 0.3)

    @jax.jit
    def step(state, batch):
        steps = [env.step(z, action) for z in (state, dynamics.start(batch))]
        return [(env.observe(after), *paid) for after, *paid in steps]

    (expected, *paid), (after, *imagined) = step(state, as_batch(env, state))
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert {x.shape for x in (*paid, *imagined)} == {(4,)}
    assert registry.find(f"{PENDULUM}-positional").spec == env.spec and registry.find(PENDULUM) is env
    with pytest.raises(
        ValueError, match=r"inverted_pendulum starts from its simulator's state: expected extras .*, got none of "
    ):
        dynamics.start(as_batch(env, state).replace(extras={}))


def test_the_gradient_is_the_finite_difference(x64):
    env = registry.find(PENDULUM)
    batch = as_batch(env, states(env))

    def value(action):
        z, reward, _ = env.step(env.start(batch), action)
        return reward.sum() + env.observe(z).sum()

    rng, width, run = np.random.default_rng(0), 1e-5, jax.jit(jax.value_and_grad(value))
    actions, direction = rng.uniform(-0.9, 0.9, (4, 1)), rng.normal(size=(4, 1))
    above, below = (float(run(actions + sign * width * direction)[0]) for sign in (1, -1))
    np.testing.assert_allclose((run(actions)[1] * direction).sum(), (above - below) / (2 * width), rtol=1e-6)
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
    assert set(env.extras()) == set(registry.find(PENDULUM).extras(states(registry.find(PENDULUM))))
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


def test_without_brax_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "brax", None)  # as where it is not installed
    for find in (registry.find, GymEnv):
        with pytest.raises(EnvError, match=r"need the package brax: pip install 'pbrl\[brax\]'"):
            find(f"{PENDULUM}-spring")
