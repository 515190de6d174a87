import jax
import jax.numpy as jnp
import numpy as np
from small_agents import ORACLE, transitions, true_step

from pbrl.equations import expansion
from pbrl.types import Dynamics


def policy(obs, key):
    return jnp.tanh(obs[..., :2]), jnp.zeros(obs.shape[0])


def test_rollout_equals_a_python_loop(key):
    z = transitions(5).obs
    path = expansion.rollout(ORACLE, policy, z, key, 4)
    obs = z
    for t in range(4):
        np.testing.assert_allclose(path.obs[t], obs, rtol=1e-6)
        obs, reward, discount = true_step(obs, policy(obs, None)[0], None)
        np.testing.assert_allclose(path.reward[t], reward, rtol=1e-5)
        np.testing.assert_allclose(path.discount[t], discount)
    np.testing.assert_allclose(path.final_obs, obs, rtol=1e-6)


def test_no_steps_leave_the_start(key):
    path = expansion.rollout(ORACLE, policy, transitions(5).obs, key, 0)
    assert path.obs.shape == (0, 5, 3)
    np.testing.assert_array_equal(path.final_obs, transitions(5).obs)


def test_gradient_through_policy_and_dynamics_is_the_finite_difference(x64, key):
    z = transitions(4).obs

    def value(gain):
        path = expansion.rollout(ORACLE, lambda obs, k: (jnp.tanh(gain * obs[..., :2]), 0.0), z, key, 5)
        return expansion.value_expansion(path.reward, path.discount, path.final_obs.sum(-1), 0.9).sum()

    gain, step = jnp.float64(0.7), 1e-5
    difference = (value(gain + step) - value(gain - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(value)(gain), difference, rtol=1e-7)


def test_the_first_latent_state_may_lack_what_later_ones_have(key):
    """A model whose memory begins as nothing rolls out as one whose memory begins as zeros."""

    def simulator(memory):
        def step(z, action, key):
            obs, kept = z
            kept = obs if kept is None else 0.5 * kept + obs
            return (0.9 * obs + 0.1 * kept, kept), obs.sum(-1), jnp.ones(obs.shape[0])

        return Dynamics(start=lambda batch: (batch.obs, memory), step=step, observe=lambda z: z[0])

    for horizon in (0, 1, 4):
        nothing, zeros = (
            expansion.rollout(model, policy, model.start(transitions(5)), key, horizon)
            for model in (simulator(None), simulator(jnp.zeros((5, 3))))
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), nothing, zeros)
