"""Adapters to environments of other packages, where those are installed."""

import jax
import numpy as np
import pytest

from pbrl.envs import base
from pbrl.envs.gymnax import from_gymnax


@pytest.mark.parametrize("name", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_gymnax(name):
    """Its own step with rescaled actions; the time limit is the spec's and ends nothing by itself."""
    gymnax = pytest.importorskip("gymnax")
    theirs, params = gymnax.make(name)
    env = from_gymnax(theirs, params)
    base.check(env, name)
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
