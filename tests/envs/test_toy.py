import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import config, module

from pbrl.envs import ids
from pbrl.envs.gym import GymEnv
from pbrl.envs.lqr import Lqr, double_integrator
from pbrl.envs.tasks.cartpole import ContinuousCartPole
from pbrl.envs.toy import TOYS
from pbrl.equations.expansion import rollout
from pbrl.types import Transition

KEY = jax.random.key(0)


def batch_of(obs):
    rows = obs.shape[0]
    return Transition(obs, jnp.zeros((rows, 1)), jnp.zeros(rows), jnp.ones(rows), obs)


def test_the_registered_lengths_are_those_of_the_specs():
    assert {name: toy.spec.episode_length for name, toy in TOYS.items()} == ids.TOYS


@pytest.mark.parametrize("name", TOYS)
def test_gymnasium_and_oracle_are_the_same_environment(name):
    """Whole episodes with random actions: observation, reward and end agree between the id and the oracle."""
    env, rng = GymEnv(f"pbrl/Toy{name}-v0"), np.random.default_rng(0)
    oracle = TOYS[name].oracle
    assert env.exact and env.spec == TOYS[name].spec
    obs, ends = env.reset(seed=1), 0
    for _ in range(60):
        action = rng.uniform(-1, 1, env.spec.action_size).astype(np.float32)
        latent, reward, discount = oracle.step(oracle.start(batch_of(jnp.asarray(obs)[None])), action[None], KEY)
        step = env.step(action)
        np.testing.assert_allclose(oracle.observe(latent)[0], step.next_obs, atol=2e-5)
        np.testing.assert_allclose(reward[0], step.reward, atol=1e-5)
        assert bool(discount[0] == 0) == step.terminated
        obs = step.next_obs
        if step.terminated or step.truncated:
            obs, ends = env.reset(), ends + 1
    assert ends >= 1 or env.spec.episode_length > 60 or name == "CartPole"


def test_pendulum_is_gymnasiums_to_1e_6():
    """Step by step from Gymnasium's own states, over a thousand of them."""
    env, rng, toy = gymnasium.make("Pendulum-v1").unwrapped, np.random.default_rng(0), TOYS["Pendulum"]
    states, actions, after, rewards = [], [], [], []
    for episode in range(5):
        env.reset(seed=episode)
        for _ in range(200):
            states.append(np.array(env.state))
            actions.append(rng.uniform(-1, 1, 1))
            obs, reward, *_ = env.step(2 * actions[-1])
            after.append(obs)
            rewards.append(reward)
    with jax.enable_x64(True):
        state, got, _ = toy.step(jnp.asarray(states), jnp.asarray(actions))
        observed = toy.observe(state)
    np.testing.assert_allclose(observed, after, atol=1e-6)
    np.testing.assert_allclose(got, rewards, atol=1e-6)


def test_cartpole_is_the_hosts_to_1e_6():
    env, rng = ContinuousCartPole(), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(200):
        state, action = env.state.copy(), rng.uniform(-1, 1, 1)
        (
            obs,
            *_,
        ) = env.step(action)
        np.testing.assert_allclose(TOYS["CartPole"].step(state, action)[0], obs, atol=1e-6)
        if abs(env.state[2]) > 0.5:
            env.reset(seed=1)


def test_double_integrator_by_hand():
    state, reward, discount = TOYS["DoubleIntegrator"].step(jnp.array([1.0, -0.98]), jnp.array([-1.0]))
    np.testing.assert_allclose(state, [1 - 0.05 * 0.98, -1.0], rtol=1e-6)  # the speed is held at -1
    np.testing.assert_allclose(reward, -0.5 * (1 + 0.98**2 + 1), rtol=1e-6)
    assert discount == 1


def test_double_integrator_episodes_are_the_originals():
    """26 steps from (1, 1) in NumPy; the reward is ten times what the original's `step` pays."""
    env, rng = GymEnv("pbrl/ToyDoubleIntegrator-v0"), np.random.default_rng(0)
    for brakes in (False, True):
        obs, state = env.reset(seed=int(brakes)), np.ones(2)
        np.testing.assert_array_equal(obs, state)
        for t in range(26):
            action = -np.ones(1) if brakes else rng.uniform(-1, 1, 1)
            step = env.step(action)
            np.testing.assert_allclose(step.reward, 10 * -0.05 * (state @ state + action @ action), rtol=1e-5)
            state = np.clip(state + 0.05 * np.array([state[1], action[0]]), -1.0, 1e6)
            np.testing.assert_allclose(step.next_obs, state, atol=1e-5)
            assert (step.terminated, step.truncated) == (False, t == 25)
    np.testing.assert_allclose(state[1], 1 - 26 * 0.05)  # full brakes do not get to the bound at -1


def test_the_closed_form_is_that_of_the_double_integrator(x64):
    """Step, reward and, at the best and at other gains, the gradient through 400 of the toy's own steps."""
    toy, lqr, gain = TOYS["DoubleIntegrator"], double_integrator(), double_integrator().optimal_gain()
    state, action = jax.random.uniform(KEY, (50, 2), minval=-0.9, maxval=2.0), jnp.linspace(-1.0, 1.0, 50)[:, None]
    for ours, closed in zip(toy.step(state, action), lqr.step(state, action, KEY), strict=True):
        np.testing.assert_allclose(ours, closed, rtol=1e-12, atol=1e-12)

    def value(gain):
        path = rollout(toy.oracle, lambda s, key: (s @ gain.T, None), toy.reset(KEY)[None], KEY, 400)
        return (0.9 ** jnp.arange(400) @ path.reward)[0], path

    for k in (gain, gain + 0.1, 0.5 * gain):
        (total, path), slope = jax.value_and_grad(value, has_aux=True)(k)
        np.testing.assert_allclose(lqr.value(k, jnp.ones((2, 2))), total, rtol=1e-9)
        np.testing.assert_allclose(lqr.gradient(k, jnp.ones((2, 2))), slope, rtol=1e-9, atol=1e-9)
        assert jnp.abs(path.action).max() < 1 and path.obs.min() > -1  # no bound was met


@pytest.mark.parametrize("name", TOYS)
def test_leading_axes_are_free_and_gradients_finite(name):
    toy = TOYS[name]
    state = jax.vmap(jax.vmap(toy.reset))(jax.random.split(KEY, (2, 3)))
    action = jnp.full((2, 3, toy.spec.action_size), 0.3)
    after, reward, discount = toy.step(state, action)
    assert after.shape == state.shape and reward.shape == discount.shape == (2, 3)
    slope = jax.grad(lambda s, a: toy.step(s, a)[1].sum() + toy.observe(toy.step(s, a)[0]).sum(), (0, 1))(state, action)
    assert all(np.isfinite(x).all() for x in slope)


@pytest.mark.parametrize("agent", ["mage", "dyna", "svg"])
def test_agents_take_a_toy_as_their_oracle(agent):
    toy = TOYS["Pendulum"]
    state = module(agent).init(KEY, toy.spec, config(agent), oracle=toy.oracle)
    obs = toy.observe(jax.vmap(toy.reset)(jax.random.split(KEY, 16)))
    state = module(agent).observe(state, batch_of(obs))
    _, metrics = jax.jit(module(agent).update)(state, batch_of(obs), KEY)
    assert all(np.isfinite(x) for x in metrics.values())


def problem():
    a, b = jnp.array([[1.0, 0.1], [-0.05, 0.95]]), jnp.array([[0.0], [0.1]])
    return Lqr(a, b, jnp.diag(jnp.array([1.0, 0.5])), 0.2 * jnp.eye(1), 1e-3 * jnp.eye(2), 0.9)


def test_lqr_value_is_that_of_its_own_rollouts(x64):
    """400 steps without noise agree to 1e-9; with noise, the closed form's own recursion does."""
    lqr, gain = problem(), jnp.array([[-0.5, -0.8]])
    still = Lqr(lqr.A, lqr.B, lqr.Q, lqr.R, 0.0 * lqr.W, lqr.discount)
    start = jnp.array([[1.0, -0.5], [0.3, 0.8]])
    path = rollout(still.oracle, lambda s, key: (s @ gain.T, None), start, KEY, 400)
    returns = (0.9 ** jnp.arange(400)[:, None] * path.reward).sum(0)
    second = (start[:, :, None] * start[:, None]).mean(0)
    np.testing.assert_allclose(still.value(gain, second), returns.mean(), rtol=1e-9)
    q = lqr.q_value(gain, start, start @ gain.T)
    np.testing.assert_allclose(lqr.value(gain, second), q.mean(), rtol=1e-12)


def test_lqr_gradient_is_the_derivative_of_the_value(x64):
    lqr, gain, second = problem(), jnp.array([[-0.5, -0.8]]), jnp.array([[1.0, 0.2], [0.2, 0.5]])
    np.testing.assert_allclose(lqr.gradient(gain, second), jax.grad(lqr.value)(gain, second), rtol=1e-9)
    for i in range(2):
        step = jnp.zeros((1, 2)).at[0, i].set(1e-6)
        slope = (lqr.value(gain + step, second) - lqr.value(gain - step, second)) / 2e-6
        np.testing.assert_allclose(lqr.gradient(gain, second)[0, i], slope, rtol=1e-6)


def test_lqr_optimal_gain_has_no_gradient(x64):
    lqr, second = problem(), jnp.eye(2)
    best = lqr.optimal_gain()
    np.testing.assert_allclose(lqr.gradient(best, second), 0.0, atol=1e-9)
    assert lqr.value(best, second) > lqr.value(best + 0.1, second)


def test_lqr_oracle_can_be_a_static_field():
    lqr = problem()
    assert hash(lqr.oracle) == hash(lqr.oracle) and lqr.oracle == lqr.oracle
