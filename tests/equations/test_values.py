import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.equations import actor_critic, expansion
from pbrl.models.sequence_world import termination_loss


def test_td_target_by_hand():
    target = actor_critic.td_target(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]), jnp.array([10.0, 10.0]), 0.9)
    np.testing.assert_allclose(target, [10.0, 2.0])


def test_soft_td_target_by_hand():
    args = (jnp.array([1.0]), jnp.array([0.5]), jnp.array([10.0]), jnp.array([-2.0]))
    np.testing.assert_allclose(actor_critic.soft_td_target(*args, 0.5, 0.8), [1 + 0.8 * 0.5 * 11])


def test_value_expansion_by_hand():
    """r = 1, 2, 3; the second step terminates, so the third reward and the terminal value never count."""
    rewards, terminal = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([100.0])
    alive = expansion.value_expansion(rewards, jnp.ones((3, 1)), terminal, 0.5)
    np.testing.assert_allclose(alive, [1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 100])
    ended = expansion.value_expansion(rewards, jnp.array([[1.0], [0.0], [1.0]]), terminal, 0.5)
    np.testing.assert_allclose(ended, [2.0])


def test_value_expansion_without_steps_is_the_terminal_value():
    np.testing.assert_allclose(
        expansion.value_expansion(jnp.zeros((0, 2)), jnp.zeros((0, 2)), jnp.array([3.0, 4.0]), 0.9), [3, 4]
    )


def test_soft_value_expansion_by_hand():
    """Two steps, the first of which goes on with probability 1/2; the entropy counts throughout."""
    args = jnp.array([[1.0], [2.0]]), jnp.array([[0.5], [1.0]]), jnp.array([[-1.0], [-2.0], [4.0]]), jnp.array([10.0])
    expected = (1 + 0.1 * 1) + 0.8 * (0.5 * 2 + 0.1 * 2) + 0.64 * (0.5 * 10 - 0.1 * 4)
    np.testing.assert_allclose(expansion.soft_value_expansion(*args, 0.1, 0.8), [expected], rtol=1e-6)


def test_soft_value_expansion_of_no_steps_is_what_sac_maximises():
    nothing = jnp.zeros((0, 1))
    value = expansion.soft_value_expansion(nothing, nothing, jnp.array([[2.0]]), jnp.array([10.0]), 0.5, 0.9)
    np.testing.assert_allclose(value, [9.0])


def test_mve_targets_by_hand():
    """Every state of a real step and two imagined ones; the second step may end the episode."""
    rewards, discounts = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [0.5], [1.0]])
    log_probs = jnp.array([[1.0], [2.0], [-3.0]])
    third = 3 + 0.8 * (10 + 0.1 * 3)
    second = 2 + 0.8 * 0.5 * (third - 0.1 * 2)
    first = 1 + 0.8 * (second - 0.1 * 1)
    targets = expansion.mve_targets(rewards, discounts, log_probs, jnp.array([10.0]), 0.1, 0.8)
    np.testing.assert_allclose(targets[:, 0], [first, second, third], rtol=1e-6)
    one = expansion.mve_targets(rewards[:1], discounts[:1], log_probs[:1], jnp.array([10.0]), 0.1, 0.8)
    values = (jnp.array([x]) for x in (1.0, 1.0, 10.0, 1.0))
    np.testing.assert_allclose(one[0], actor_critic.soft_td_target(*values, 0.1, 0.8), rtol=1e-6)


@pytest.mark.parametrize(("x", "expected"), [(0.0, 0.0), (0.5, 0.125), (1.0, 0.5), (-3.0, 2.5)])
def test_huber_by_hand(x, expected):
    assert actor_critic.huber(jnp.array(x)) == expected


def test_td_loss_is_half_the_sum_over_critics():
    assert actor_critic.td_loss(jnp.array([[0.5, 3.0], [0.0, -1.0]])) == pytest.approx((0.125 + 2.5 + 0 + 0.5) / 4)
    one = jnp.array([[0.5, 3.0]])
    assert actor_critic.td_loss(one) == pytest.approx(0.5 * (0.125 + 2.5) / 2)  # one critic: half, too


def test_a_squared_td_loss_counts_large_errors_in_full():
    """Inside ±1 its slope is twice Huber's (PyTorch's mse has no half); at δ = 3 it is 6 times, at -50 100 times."""
    error = jnp.array([[0.5, 3.0], [0.0, -50.0]])
    assert actor_critic.td_loss(error, "squared") == pytest.approx(0.5 * (0.25 + 9 + 0 + 2_500) / 2)
    slopes = {kind: jax.grad(actor_critic.td_loss)(error, kind) for kind in actor_critic.TD_LOSSES}
    np.testing.assert_allclose(slopes["huber"], jnp.array([[0.5, 1.0], [0.0, -1.0]]) / 4)
    np.testing.assert_allclose(slopes["squared"], jnp.array([[1.0, 6.0], [0.0, -100.0]]) / 4)


def test_action_gradient_loss_by_hand():
    """One norm of 5 (Huber 4.5) and one of 0.5 (0.125)."""
    error = jnp.array([[[3.0, 4.0], [0.3, -0.4]]])
    assert actor_critic.action_gradient_loss(error) == pytest.approx(0.5 * (4.5 + 0.125) / 2)


def test_norm_has_a_finite_gradient_at_zero():
    assert jax.grad(lambda x: actor_critic.safe_norm(x).sum())(jnp.zeros((2, 3))).tolist() == [[0.0] * 3] * 2


def test_the_smaller_critic_counts_and_has_the_gradient():
    q = jnp.array([[1.0, 5.0], [3.0, 2.0]])
    mean = lambda q: actor_critic.clipped_minimum(q).mean()  # noqa: E731
    assert mean(q) == 1.5
    assert jax.grad(mean)(q).tolist() == [[0.5, 0.0], [0.0, 0.5]]


def test_squared_td_loss_is_a_sum_over_critics_of_weighted_means():
    error, weight = jnp.array([[1.0, 2.0], [0.0, 3.0]]), jnp.array([1.0, 0.5])
    assert actor_critic.squared_td_loss(error) == pytest.approx((1 + 4) / 2 + 9 / 2)
    assert actor_critic.squared_td_loss(error, weight) == pytest.approx((1 + 2) / 2 + 4.5 / 2)


def test_temperature_loss_by_hand():
    """Entropy 3 against a target of 1, weighed by 0.5: 0.5 · 2, of slope 2 in the weight; log π carries no gradient."""
    slope = jax.value_and_grad(actor_critic.temperature_loss, (0, 1))
    value, (weight_slope, other) = slope(jnp.array(0.5), jnp.array([-2.0, -4.0]), 1.0)
    assert value == pytest.approx(1.0) and weight_slope == pytest.approx(2.0) and not other.any()


def test_termination_loss_balances_what_is_rare():
    """One of four rows ends, so that it weighs as much as the other three together."""
    logit, label = jnp.array([0.0, 0.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0, 0.0])
    plain, balanced = (termination_loss(logit, label, b) for b in (False, True))
    assert plain == pytest.approx(np.log(2)) and balanced == pytest.approx(6 / 4 * np.log(2))
    assert termination_loss(logit, jnp.zeros(4), True) == pytest.approx(np.log(2))


def test_steve_weighs_candidates_by_their_certainty():
    """Estimates (1, 3) of variance 1 and (6, 10) of variance 4: weights 4/5 and 1/5, target 0.8 · 2 + 0.2 · 8."""
    candidates = jnp.array([[[1.0], [3.0]], [[6.0], [10.0]]])  # [K + 1, N, B]
    y, weights = expansion.steve_mixture(candidates)
    np.testing.assert_allclose(weights[:, 0], [0.8, 0.2], rtol=1e-6)
    np.testing.assert_allclose(y, [3.2], rtol=1e-6)


def test_steve_is_td_where_later_candidates_are_all_but_worthless():
    candidates = jnp.array([[[1.0], [3.0]], [[-1e12], [1e12]], [[-1e15], [3e15]]])
    np.testing.assert_allclose(expansion.steve_mixture(candidates)[0], [2.0], rtol=1e-5)


def test_steve_gives_a_candidate_whose_estimates_agree_all_the_weight():
    y, weights = expansion.steve_mixture(jnp.array([[[5.0], [5.0]], [[6.0], [10.0]]]))
    np.testing.assert_allclose((y[0], weights[0, 0]), (5.0, 1.0), rtol=1e-6)


def test_neighbours_minima_of_one_two_and_four_critics():
    four = actor_critic.neighbour_minima(jnp.array([4.0, 2.0, 3.0, 5.0]))
    assert four.tolist() == [2.0, 2.0, 3.0, 4.0]
    assert actor_critic.neighbour_minima(jnp.array([4.0, 2.0])).tolist() == [2.0, 2.0]
    assert actor_critic.neighbour_minima(jnp.array([4.0])).tolist() == [4.0]


def test_shapes_that_would_broadcast_are_refused():
    """`[B]` against `[B, 1]` makes `[B, B]` of a target, silently."""
    reward, value = jnp.ones(3), jnp.ones((3, 1))
    with pytest.raises(AssertionError, match="shape"):
        actor_critic.td_target(reward, reward, value, 0.9)
    with pytest.raises(AssertionError, match="shape"):
        actor_critic.squared_td_loss(jnp.ones((2, 3)), jnp.ones((3, 1)))
    with pytest.raises(AssertionError, match="shape"):
        expansion.value_expansion(jnp.ones((2, 3)), jnp.ones((2, 3)), value, 0.9)
    with pytest.raises(AssertionError, match="rank"):
        actor_critic.td_loss(reward)
