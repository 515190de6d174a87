import jax
import jax.numpy as jnp
import numpy as np

from pbrl.equations import actor_critic

MEAN, LOG_STD = jnp.array([[0.3, -1.2]]), jnp.array([[-0.5, 0.2]])


def test_noise_is_clipped_twice(key):
    noisy = actor_critic.add_noise(jnp.zeros((5000, 1)), key, 0.2, 0.5)
    assert float(jnp.abs(noisy).max()) == 0.5
    assert abs(float(noisy.std()) - 0.2) < 0.01
    edge = actor_critic.add_noise(jnp.full((5000, 1), 0.9), key, 0.2)
    assert float(edge.max()) == 1.0 and float(edge.min()) < 0.9


def test_noise_passes_the_gradient_inside_the_bounds_only(key):
    def total(action):
        return actor_critic.add_noise(action, key, 0.0, 0.5).sum()

    assert jax.grad(total)(jnp.array([0.5, 1.5])).tolist() == [1.0, 0.0]


def test_tanh_normal_agrees_with_its_own_density(key):
    action, log_prob = actor_critic.tanh_normal_sample(MEAN, LOG_STD, key)
    np.testing.assert_allclose(actor_critic.tanh_normal_log_prob(MEAN, LOG_STD, action), log_prob, rtol=1e-4)


def test_tanh_normal_agrees_with_distrax(key):
    import distrax

    normal = distrax.Normal(MEAN, jnp.exp(LOG_STD))
    reference = distrax.Independent(distrax.Transformed(normal, distrax.Tanh()), 1)
    action, log_prob = actor_critic.tanh_normal_sample(MEAN, LOG_STD, key)
    np.testing.assert_allclose(log_prob, reference.log_prob(action), rtol=1e-4)


def test_density_integrates_to_one():
    action = jnp.linspace(-1 + 1e-4, 1 - 1e-4, 20_001)[:, None]
    mean, log_std = (jnp.broadcast_to(x[:, :1], action.shape) for x in (MEAN, LOG_STD))
    density = jnp.exp(actor_critic.tanh_normal_log_prob(mean, log_std, action))
    assert abs(float(jnp.trapezoid(density, action[:, 0])) - 1) < 2e-3


def test_density_is_finite_at_the_bounds_and_far_out(key):
    assert np.isfinite(actor_critic.tanh_normal_log_prob(MEAN, LOG_STD, jnp.array([[1.0, -1.0]]))).all()
    _, log_prob = actor_critic.tanh_normal_sample(jnp.array([[50.0]]), jnp.array([[0.0]]), key)
    assert np.isfinite(log_prob).all()
    assert actor_critic.tanh_normal_mode(MEAN).tolist() == jnp.tanh(MEAN).tolist()
