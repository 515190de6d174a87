import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl import losses, values


def test_td_target_by_hand():
    target = values.td_target(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), jnp.array([10.0, 10.0]), 0.9)
    np.testing.assert_allclose(target, [10.0, 2.0])


def test_soft_td_target_by_hand():
    args = (jnp.array([1.0]), jnp.array([0.5]), jnp.array([10.0]), jnp.array([-2.0]))
    np.testing.assert_allclose(values.soft_td_target(*args, 0.5, 0.8), [1 + 0.8 * 0.5 * 11])


def test_value_expansion_by_hand():
    """r = 1, 2, 3; the second step terminates, so the third reward and the terminal value never count."""
    rewards, terminal = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([100.0])
    alive = values.value_expansion(rewards, jnp.ones((3, 1)), terminal, 0.5)
    np.testing.assert_allclose(alive, [1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 100])
    ended = values.value_expansion(rewards, jnp.array([[1.0], [0.0], [1.0]]), terminal, 0.5)
    np.testing.assert_allclose(ended, [2.0])


def test_value_expansion_without_steps_is_the_terminal_value():
    np.testing.assert_allclose(
        values.value_expansion(jnp.zeros((0, 2)), jnp.zeros((0, 2)), jnp.array([3.0, 4.0]), 0.9), [3, 4]
    )


@pytest.mark.parametrize(("x", "expected"), [(0.0, 0.0), (0.5, 0.125), (1.0, 0.5), (-3.0, 2.5)])
def test_huber_by_hand(x, expected):
    assert losses.huber(jnp.array(x)) == expected


def test_td_loss_is_a_mean_over_critics_and_batch():
    assert losses.td_loss(jnp.array([[0.5, 3.0], [0.0, -1.0]])) == pytest.approx((0.125 + 2.5 + 0 + 0.5) / 4)


def test_action_gradient_loss_by_hand():
    """One norm of 5 (Huber 4.5) and one of 0.5 (0.125)."""
    error = jnp.array([[[3.0, 4.0], [0.3, -0.4]]])
    assert losses.action_gradient_loss(error) == pytest.approx((4.5 + 0.125) / 2)


def test_norm_has_a_finite_gradient_at_zero():
    assert jax.grad(lambda x: losses.safe_norm(x).sum())(jnp.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


def test_deterministic_policy_loss_takes_the_smaller_critic():
    q = jnp.array([[1.0, 5.0], [3.0, 2.0]])
    assert losses.deterministic_policy_loss(q) == -1.5
    assert jax.grad(losses.deterministic_policy_loss)(q).tolist() == [[-0.5, 0.0], [0.0, -0.5]]
