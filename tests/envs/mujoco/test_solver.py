"""The constraint solver against the conditions of a minimum and against differences, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs.mujoco import solver
from pbrl.envs.mujoco.batch_last import batch_last
from pbrl.envs.mujoco.problem import Problem
from pbrl.envs.mujoco.solver import Limits

LIMITS = Limits(40, 20, 1e-12)
SIZE, BATCH = 5, 7


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def problems(rows, in_force, seed=0):
    """Return problems: two equalities, three rows with friction loss, contacts of which some are in force."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(SIZE, SIZE, BATCH))
    inertia = np.einsum("ikb,jkb->ijb", root, root) + np.eye(SIZE)[..., None]
    jacobian = rng.normal(size=(rows, SIZE, BATCH))
    for b in range(BATCH):
        jacobian[5:, :, b][rng.permutation(rows - 5)[in_force:]] = 0.0
    bounds = np.full((rows, BATCH), np.inf)
    bounds[2:5] = rng.uniform(0.1, 2.0, (3, BATCH))
    low = np.where(np.arange(rows)[:, None] < 5, -bounds, 0.0)
    parts = (
        rng.normal(size=(SIZE, BATCH)),
        jacobian,
        rng.uniform(0.1, 50.0, (rows, BATCH)),
        rng.normal(size=(rows, BATCH)),
    )
    return Problem(*map(jnp.asarray, (10.0 * inertia, 10.0 * parts[0], *parts[1:], low, bounds)))


def minimum(problem, *starts):
    return batch_last(functools.partial(solver._minimum, LIMITS))(
        *problem, *(starts or (jnp.zeros((SIZE, BATCH)),) * 2)
    )


def slope(problem, a):
    push = problem.pushes(jnp.einsum("mnb,nb->mb", problem.jacobian, a) - problem.reference)
    return (
        jnp.einsum("ijb,jb->ib", problem.inertia, a) - problem.force - jnp.einsum("mnb,mb->nb", problem.jacobian, push)
    )


@pytest.mark.parametrize(("rows", "in_force"), [(12, 5), (60, 10), (60, 50)])  # all rows, few of many, many of many
def test_the_slope_vanishes_wherever_the_search_begins(rows, in_force):
    problem = problems(rows, in_force)
    far = 100.0 * jax.random.normal(jax.random.key(1), (2, SIZE, BATCH))
    found = [jax.jit(minimum)(problem, *starts) for starts in (jnp.zeros((2, SIZE, BATCH)), far)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    np.testing.assert_allclose(slope(problem, found[0]), 0.0, atol=1e-9)
    bends = problem.bends(jnp.einsum("mnb,nb->mb", problem.jacobian, found[0]) - problem.reference)
    assert bends[:2].all() and not bends[2:5].all() and bends[5:].any() and not bends[5:].all()


@pytest.mark.parametrize("name", ["inertia", "force", "jacobian", "stiffness", "reference", "high"])
def test_derivatives_are_those_of_the_minimum(name):
    problem, weights = problems(12, 5), jax.random.normal(jax.random.key(2), (SIZE, BATCH))
    value = getattr(problem, name)
    toward = jax.random.normal(jax.random.key(3), value.shape)
    if name == "inertia":
        toward += jnp.swapaxes(toward, 0, 1)
    if name == "high":
        toward = jnp.where(jnp.isfinite(value), toward, 0.0)

    @jax.jit
    def at(step):
        return jnp.sum(jnp.square(minimum(problem._replace(**{name: value + step * toward}))) * weights)

    difference = (at(1e-6) - at(-1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(at)(0.0), difference, rtol=1e-6)
    of_slope = jax.jit(jax.grad(at))
    twice = (of_slope(1e-5) - of_slope(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(of_slope)(0.0), twice, rtol=1e-5, atol=1e-7)


def test_seeds_are_solved_in_one_batch():
    two = [problems(60, 10, seed) for seed in (0, 1)]
    both = jax.vmap(minimum)(jax.tree.map(lambda *x: jnp.stack(x), *two))
    np.testing.assert_allclose(both, jnp.stack([minimum(p) for p in two]), atol=1e-12)
    text = str(jax.make_jaxpr(jax.vmap(minimum))(jax.tree.map(lambda *x: jnp.stack(x), *two)))
    assert f"f64[{SIZE},{2 * BATCH}]" in text  # not a loop for each seed


def test_a_positive_definite_system_is_solved():
    problem = problems(12, 5)
    found = batch_last(solver.divided)(problem.inertia, problem.force)
    np.testing.assert_allclose(jnp.einsum("ijb,jb->ib", problem.inertia, found), problem.force, atol=1e-10)
    np.testing.assert_allclose(solver.divided(problem.inertia[..., 0], problem.force[:, 0]), found[:, 0], atol=1e-12)
