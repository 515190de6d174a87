"""First states of the twins: Gymnasium's distributions, and Gymnasium's observation of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs.make_gym import make
from pbrl.envs.mujoco import twin
from pbrl.envs.mujoco.resets import reset_of
from pbrl.envs.mujoco.tasks import TASKS

DRAWS = 1_000


@pytest.mark.parametrize("env_id", [*(f"{k.removesuffix('Env')}-v5" for k in TASKS), "pbrl/PetsHalfCheetah-v0"])
def test_episodes_begin_as_gymnasiums_do(env_id):
    """Mean and deviation of every coordinate; whether positions, and velocities, are uniform or normal."""
    env, theirs = make(env_id), []
    for seed in range(DRAWS):
        env.reset(seed=seed)
        data = env.unwrapped.data
        theirs.append(np.concatenate([data.qpos, data.qvel]))
    draw = jax.jit(jax.vmap(lambda key: jnp.concatenate(reset_of(env)(key))))
    ours, theirs = np.asarray(draw(jax.random.split(jax.random.key(0), DRAWS))), np.stack(theirs)
    scale = theirs.std(0)
    fixed, count = scale < 1e-9, env.unwrapped.model.nq
    np.testing.assert_allclose(ours[:, fixed], theirs[:, fixed], atol=1e-6)
    for part in (np.arange(len(fixed)) < count, np.arange(len(fixed)) >= count):
        a, b = (x[:, part & ~fixed] for x in (ours, theirs))
        assert (np.abs(a.mean(0) - b.mean(0)) < 5 * b.std(0) * np.sqrt(2 / DRAWS)).all()
        np.testing.assert_allclose(a.std(0), b.std(0), rtol=0.12)
        spread = [np.abs((x - x.mean(0)) / x.std(0)).mean() for x in (a, b)]  # 0.87 where uniform, 0.80 where normal
        assert abs(spread[0] - spread[1]) < 0.03
    env.close()


@pytest.mark.parametrize("env_id", ["InvertedDoublePendulum-v5", "Ant-v5", "pbrl/PoplinSwimmer-v0"])
def test_the_first_observation_is_gymnasiums(env_id, x64, monkeypatch):
    """With a force of constraints, contact forces that no step has computed yet, and a speed of 0."""
    env = make(env_id)
    obs, _ = env.reset(seed=3)
    data = env.unwrapped.data
    monkeypatch.setattr(twin, "reset_of", lambda env: lambda key: (data.qpos.copy(), data.qvel.copy()))
    ours = twin._environment.__wrapped__(env_id, "fidelity", True)
    moment = jax.jit(ours.reset)(jax.random.key(0))
    np.testing.assert_allclose(ours.observe(moment), obs, rtol=0, atol=1e-12)
    for name, value in twin.reader(env, np.float64)().items():
        if name != "qacc_warmstart":  # where the solver begins
            np.testing.assert_allclose(ours.extras(moment)[name], value, atol=1e-12)
    env.close()
