import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.equations import distributional

ATOMS = np.array([-1.0, 0.0, 1.0])


def test_atoms_lie_evenly_within_the_bound():
    np.testing.assert_allclose(distributional.support(5.0, 5), [-5.0, -2.5, 0.0, 2.5, 5.0])
    assert distributional.support(5.0, 101).shape == (101,)


def test_expectation_by_hand():
    p = jnp.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(distributional.expectation(p, ATOMS), [-0.25, 1.0])


def test_the_smaller_mean_decides_for_the_whole_distribution():
    """Row 0: means -0.25 and 0; row 1: means 1 and 0."""
    first, second = [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    found = distributional.of_smallest_mean(jnp.array([first, second]), ATOMS)
    np.testing.assert_allclose(found, [first[0], second[1]])


def test_projection_by_hand():
    """Mass at -0.3 goes to -1 and 0 by 0.3 and 0.7; on an atom it stays; beyond the last one it lies there."""
    p = jnp.array([[0.2, 0.3, 0.5]])
    moved = distributional.project(p, jnp.array([[-0.3, 0.0, 7.0]]), ATOMS)
    np.testing.assert_allclose(moved, [[0.2 * 0.3, 0.2 * 0.7 + 0.3, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(distributional.project(p, jnp.array([[-1.0, -1.0, 1.0]]), ATOMS), [[0.5, 0.0, 0.5]])
    np.testing.assert_allclose(distributional.project(p, ATOMS[None], ATOMS), p)


def test_projection_of_a_return_by_hand():
    """r = 0.5, γ = 0.5: atoms -1, 0, 1 come to lie at 0, 0.5 and 1."""
    p = jnp.array([[0.2, 0.3, 0.5]])
    moved = distributional.project(p, 0.5 + 0.5 * ATOMS[None], ATOMS)
    np.testing.assert_allclose(moved, [[0.0, 0.2 + 0.15, 0.15 + 0.5]], rtol=1e-6)


def test_projection_keeps_mass_and_mean(x64):
    rng = np.random.default_rng(0)
    atoms = distributional.support(2.0, 21)
    p, places = rng.dirichlet(np.ones(21), 64), rng.uniform(-2.0, 2.0, (64, 21))
    moved = distributional.project(jnp.asarray(p), jnp.asarray(places), atoms)
    np.testing.assert_allclose(moved.sum(-1), 1.0)
    np.testing.assert_allclose(distributional.expectation(moved, atoms), (p * places).sum(-1), atol=1e-12)
    assert (moved >= 0).all()


def test_cross_entropy_by_hand():
    """Two critics and two rows: -log 1/2 and -(log 1/4)/2 - (log 3/4)/2, and twice -log 1/2."""
    target = jnp.array([[1.0, 0.0], [0.5, 0.5]])
    p = jnp.array([[[0.5, 0.5], [0.25, 0.75]], [[0.5, 0.5], [0.5, 0.5]]])
    first = (np.log(2) - 0.5 * np.log(0.25) - 0.5 * np.log(0.75)) / 2
    assert float(distributional.cross_entropy(target, jnp.log(p))) == pytest.approx(first + np.log(2))


def test_the_gradient_in_logits_is_the_difference_of_probabilities():
    target, logits = jnp.array([[0.2, 0.8]]), jnp.array([[[0.3, -0.1]]])
    gradient = jax.grad(lambda x: distributional.cross_entropy(target, jax.nn.log_softmax(x)))(logits)
    np.testing.assert_allclose(gradient[0], jax.nn.softmax(logits)[0] - target, rtol=1e-5)
