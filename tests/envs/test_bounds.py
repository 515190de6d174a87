"""Derivatives at exactly the bounds of actions are those from inside, for every family of oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs import registry, toy
from pbrl.envs.jax_env import JaxEnv, from_inside, from_spec
from pbrl.envs.lqr import double_integrator
from pbrl.types import EnvSpec

KEY = jax.random.key(0)


def clipped(state, action):
    """A library's clip, which shares the gradient at a tie."""
    return 0.9 * state + 0.5 * jnp.clip(3.0 * action, -3.0, 3.0)


def paid(obs, action, next_obs):
    return -jnp.square(next_obs).sum(-1) - 0.1 * jnp.square(action).sum(-1)


def step(state, action, key):
    after = clipped(state, action)
    return after, paid(state, action, after), jnp.ones(state.shape[:-1])


SPEC = EnvSpec(2, 2, 20, paid, lambda next_obs: next_obs[..., 0] > 100.0)
OWN = {
    "from_spec": from_spec(SPEC, lambda key: jnp.array([0.3, -0.2]), clipped),
    "JaxEnv": JaxEnv(SPEC, lambda key: jnp.array([0.3, -0.2]), step, lambda state: state, lambda batch: batch.obs),
}
TOYS = [f"pbrl/Toy{name}-v0" for name in ("Pendulum", "CartPole", "DoubleIntegrator", "PointMass")]
SIMULATORS = ("InvertedPendulum-v5", "Reacher-v5", "pbrl/MbpoHopper-v0", "brax/inverted_pendulum-generalized")
FAMILIES = (
    *(
        *OWN,
        *TOYS,
        "Pendulum-v1",
        pytest.param("HalfCheetah-v5", marks=pytest.mark.slow),
        "brax/inverted_pendulum-spring",
    ),
    *(pytest.param(name, marks=pytest.mark.slow) for name in (*SIMULATORS, "brax/reacher-positional")),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_derivative_at_a_bound_is_that_from_inside(name, x64):
    """Of reward and observation after a step, in all actions at ±1, against one-sided differences."""
    env = OWN.get(name) or registry.find(name)
    start, rng, width = jax.jit(env.reset)(KEY), np.random.default_rng(0), 1e-6
    weight = jnp.asarray(rng.normal(size=env.spec.obs_size))

    @jax.jit
    @jax.value_and_grad
    def value(action):
        state, reward, _ = env.oracle.step(start, action, KEY)
        return reward + weight @ env.observe(state)

    for sign in (1.0, -1.0):
        action = np.full(env.spec.action_size, sign)
        inwards = -sign * np.abs(rng.normal(size=action.shape))
        here, one, two = (float(value(action + h * inwards)[0]) for h in (0.0, width, 2 * width))
        slope = float((value(action)[1] * inwards).sum())
        np.testing.assert_allclose(slope, (4 * one - two - 3 * here) / (2 * width), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_rescaling_of_an_action_at_a_bound_ends_in_a_tie(dtype, x64):
    for low, high in ((-1.0, 1.0), (-0.4, 0.4), (-3.0, 3.0), (0.0, 100.0), (-7.0, 0.3)):

        def force(action, low=dtype(low), high=dtype(high)):
            control = low + dtype(0.5) * (from_inside(action) + 1) * (high - low)
            return jnp.clip(control, low, high).sum()

        slope = jax.grad(force)(jnp.array([-1.0, -0.5, 0.0, 0.5, 1.0], dtype))
        np.testing.assert_allclose(slope, 0.5 * (high - low), rtol=1e-6)


def test_a_step_alone_takes_actions_as_they_are():
    action = jnp.array([-1.0, 1.0, 1.5, jnp.nan])
    np.testing.assert_array_equal(from_inside(action), action)
    beyond = jax.grad(lambda a: jnp.clip(from_inside(a), -1.0, 1.0).sum())(jnp.array([-1.5, 0.2, 1.5]))
    np.testing.assert_array_equal(beyond, [0.0, 1.0, 0.0])
    twice = jax.grad(jax.grad(lambda a: jnp.clip(from_inside(a), -1.0, 1.0) ** 3))(1.0)
    np.testing.assert_allclose(twice, 6.0, rtol=1e-5)


def test_environments_of_one_step_are_one():
    """Steps are static fields: another object for the same function would compile again."""
    again = from_spec(SPEC, OWN["from_spec"].reset, clipped)
    other = JaxEnv(SPEC, OWN["JaxEnv"].reset, step, OWN["JaxEnv"].observe, OWN["JaxEnv"].start)
    assert OWN["JaxEnv"] == other and OWN["JaxEnv"].oracle == other.oracle and again != other


def test_a_state_held_at_a_bound_moves_from_inside_and_nan_stays():
    slope = jax.vmap(jax.grad(lambda x: toy.held(x, -1.0, 1.0)))
    np.testing.assert_array_equal(slope(jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0])), [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(toy.held(jnp.array([jnp.nan, 3.0]), -1.0, 1.0), [jnp.nan, 1.0])


def test_a_linear_quadratic_problem_has_no_bound():
    problem, state = double_integrator(), jnp.array([1.0, 1.0])
    slope = jax.grad(lambda a: problem.step(state, a, KEY)[1])(jnp.array([1.0]))
    np.testing.assert_allclose(slope, [-1.0])
