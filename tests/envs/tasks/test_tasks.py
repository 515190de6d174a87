"""Known rewards and terminations against the live environments, on random transitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import MAAC, MAGE, MBPO, POPLIN, TASKS
from pbrl.envs.tasks.cartpole import ContinuousCartPole
from pbrl.envs.tasks.rewards import KNOWN

BOUND = 1e-5
CAN_END = {
    *("pbrl/MageHopper-v0", "pbrl/MageWalker2d-v0", "pbrl/MageCartPole-v0", "InvertedPendulum-v5"),
    *("pbrl/MbpoHopper-v0", "pbrl/MbpoWalker2d-v0", "pbrl/MbpoAnt-v0", "pbrl/MbpoHumanoid-v0"),
}


def collect(env_id, count=1000, seed=0):
    env, rng = GymEnv(env_id), np.random.default_rng(seed)
    obs, rows = env.reset(seed=seed), []
    for t in range(count):
        action = rng.uniform(-1, 1, env.spec.action_size).astype(np.float32)
        step = env.step(action)
        rows.append((obs, action, step.reward, step.terminated, step.next_obs))
        obs = env.reset(seed=seed + t + 1) if step.terminated or step.truncated else step.next_obs
    return [np.array(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("env_id", KNOWN)
def test_functions_equal_the_live_environment(env_id):
    obs, action, reward, terminated, next_obs = collect(env_id)
    reward_fn, termination_fn = KNOWN[env_id]
    if reward_fn is not None:
        error = np.abs(np.asarray(reward_fn(obs, action, next_obs), np.float64) - reward).max()
        assert error <= BOUND, error
        assert reward_fn(
            obs.reshape(10, 100, -1), action.reshape(10, 100, -1), next_obs.reshape(10, 100, -1)
        ).shape == (10, 100)
    if termination_fn is not None:
        np.testing.assert_array_equal(termination_fn(next_obs), terminated)
        assert terminated.any() == (env_id in CAN_END)


def test_what_is_known_of_the_tasks():
    """MBPO's Δx/dt is no function of what an agent sees; all else is known."""
    assert all(KNOWN[env_id][1] is not None for env_id in TASKS)
    assert {env_id for env_id in TASKS if KNOWN[env_id][0] is None} == set(MBPO)


@pytest.mark.parametrize("env_id", [env_id for env_id in TASKS if env_id not in MBPO])
def test_known_rewards_have_finite_gradients(env_id):
    reward_fn = KNOWN[env_id][0]
    obs, action, _, _, next_obs = collect(env_id, 50)
    same, zero = ([make(x) for x in (obs, action, next_obs)] for make in (jnp.ones_like, jnp.zeros_like))
    for points in ((obs, action, next_obs), same, zero):
        gradients = jax.grad(lambda o, a, n: reward_fn(o, a, n).sum(), (0, 1, 2))(*map(jnp.asarray, points))
        assert all(np.isfinite(g).all() for g in gradients)


SIZES = {
    **dict(zip(MAGE, ((18, 6), (12, 3), (18, 6), (10, 2), (23, 7), (3, 1), (4, 1)), strict=True)),
    **dict(zip(MBPO, ((17, 6), (11, 3), (17, 6), (27, 8), (45, 17)), strict=True)),
    **dict(zip(POPLIN, ((27, 8), (17, 6), (11, 3), (9, 2), (17, 6), (19, 6)), strict=True)),
    **dict(zip(MAAC, ((17, 6), (27, 8), (11, 3), (17, 6)), strict=True)),
}


@pytest.mark.parametrize("env_id", TASKS)
def test_sizes_are_the_papers(env_id):
    env = GymEnv(env_id)
    assert (env.spec.obs_size, env.spec.action_size) == SIZES[env_id]
    assert env.spec.episode_length == TASKS[env_id][1]


def test_the_velocity_entry_is_the_displacement_over_time():
    env = GymEnv("pbrl/MageHalfCheetah-v0")
    assert env.reset(seed=0)[0] == 0.0
    before = env._env.unwrapped.data.qpos[0]
    step = env.step(np.ones(6))
    np.testing.assert_allclose(step.next_obs[0], (env._env.unwrapped.data.qpos[0] - before) / 0.05, rtol=1e-6)


@pytest.mark.parametrize("paper", ["Mage", "Mbpo", "Poplin", "Maac"])
def test_walker_has_the_original_feet(paper):
    model = GymEnv(f"pbrl/{paper}Walker2d-v0")._env.unwrapped.model
    assert model.geom("foot_geom").friction[0] == 0.9 and model.geom("foot_left_geom").friction[0] == 1.9


def test_the_bonus_is_paid_on_the_last_step_too():
    env = GymEnv("pbrl/MageHopper-v0")
    env.reset(seed=3)
    while not (step := env.step(np.ones(3))).terminated:
        pass
    np.testing.assert_allclose(step.reward, step.next_obs[0] + 1.0 - 3e-3, rtol=1e-5)


def test_cartpole_follows_its_equations():
    """One step by hand from x = 0, v = 1, θ = 0.1, ω = -0.5 with 5 N."""
    env = ContinuousCartPole()
    env.reset(seed=0)
    env.state = np.array([0.0, 1.0, 0.1, -0.5])
    temp = (5.0 + 0.05 * 0.25 * np.sin(0.1)) / 1.1
    angular = (9.8 * np.sin(0.1) - np.cos(0.1) * temp) / (0.5 * (4 / 3 - 0.1 * np.cos(0.1) ** 2 / 1.1))
    linear = temp - 0.05 * angular * np.cos(0.1) / 1.1
    obs, reward, *_ = env.step(np.array([0.5]))
    np.testing.assert_allclose(obs, [0.02, 1 + 0.02 * linear, 0.1 - 0.01, -0.5 + 0.02 * angular], rtol=1e-12)
    assert reward == 1.0
    assert env.render().shape == (200, 400, 3)
