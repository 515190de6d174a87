"""What every twin makes of a step's physics, held against Gymnasium's own step, from C MuJoCo's states."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs.ids import MAAC, MAGE, MBPO, POPLIN
from pbrl.envs.make_gym import make
from pbrl.envs.mujoco.physics import Physics
from pbrl.envs.mujoco.tasks import TASKS, Moment, exact_norm
from pbrl.envs.mujoco.wrappers import task_of
from pbrl.errors import EnvError

GYMNASIUM = [f"{name.removesuffix('Env')}-v5" for name in TASKS]
OWN = [e for e in (*MAGE, *MBPO, *POPLIN, *MAAC) if not any(x in e for x in ("Humanoid", "Pendulum", "CartPole"))]


def now(env, task, names):
    data = env.unwrapped.data
    state = Physics(*(jnp.asarray(x.copy()) for x in (data.qpos, data.qvel, data.qacc_warmstart)))
    return state, {n: jnp.asarray(np.array(getattr(data, task.read[n][0])[task.read[n][1]])) for n in names}


@pytest.mark.parametrize("env_id", GYMNASIUM + OWN)
def test_a_task_says_what_its_environment_says(env_id, x64):
    env = make(env_id)
    task, rng = task_of(env), np.random.default_rng(0)
    outcome = jax.jit(task.outcome)
    obs, _ = env.reset(seed=0)
    ends = 0
    for step in range(80):
        before = Moment(*now(env, task, task.kept), jnp.asarray(obs))
        action = rng.uniform(env.action_space.low, env.action_space.high)
        obs, reward, terminated, _, _ = env.step(action)
        said = outcome(before, jnp.asarray(action), *now(env, task, task.read))
        np.testing.assert_allclose(said.obs, obs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(said.reward, float(reward), rtol=0, atol=1e-12)
        assert bool(said.terminated) == terminated
        if terminated or step % 40 == 39:
            obs, _ = env.reset(seed=step)
            ends += terminated
    assert ends or env_id.split("/")[-1] not in ("Hopper-v5", "MageHopper-v0", "InvertedPendulum-v5")
    env.close()


def test_what_cannot_be_true_is_refused_by_name():
    for env_id, reason in (("Humanoid-v5", "PGS"), ("pbrl/MbpoHumanoid-v0", "PGS"), ("Pendulum-v1", "MuJoCo tasks at")):
        env = make(env_id)
        with pytest.raises(EnvError, match=f"{env_id} has no differentiable twin.*{reason}"):
            task_of(env)
    wrapped = gymnasium.wrappers.ClipAction(make("HalfCheetah-v5"))
    with pytest.raises(EnvError, match="HalfCheetah-v5 has no differentiable twin: nothing is known of its ClipAction"):
        task_of(wrapped)


def test_distances_have_a_gradient_at_zero():
    assert not jax.grad(exact_norm)(jnp.zeros(3)).any()
    np.testing.assert_allclose(jax.grad(exact_norm)(jnp.array([3.0, 4.0])), [0.6, 0.8])
