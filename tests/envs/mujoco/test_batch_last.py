"""`batch_last` is `vmap` with another layout: values, first and second derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from pbrl.envs.jax_env import for_rows
from pbrl.envs.mujoco.batch_last import batch_last, over_rows

PICK, PUT = np.array([2, 0, 0, 1]), np.array([4, 1])


def scanned(x, w):
    def body(carry, row):
        return carry * 0.9 + row @ w, (carry.sum(), row[1])

    return lax.scan(body, x[0], x)


FUNCTIONS = {
    "elementwise": lambda x, w: jnp.where(x > 0, jnp.sin(x) * 2.0, x**3) + jnp.arctan2(x, 2.0 + x * x),
    "products": lambda x, w: (x @ w, jnp.einsum("ij,kj->ik", x, x), x.ravel() @ x.ravel(), jnp.outer(x[0], x[1])),
    "a long product": lambda x, w: jnp.tile(0.1 * x, (40, 3)).T @ jnp.tile(x, (40, 1)),
    "rows by known indices": lambda x, w: (x[PICK], x[:, 1], x[-1, 0], x[PICK, PICK % 3], jnp.take(x, PICK, axis=1)),
    "indices outside": lambda x, w: (
        jnp.nan_to_num(jnp.take(x, np.array([1, 7]), axis=0)), x.at[np.array([1, 7])].add(w[:2], mode="drop"),
        jnp.take(x, np.array([1, 7]), axis=0, mode="clip"),
    ),
    "rows put": lambda x, w: (
        x.at[PUT].set(w[:2]), x.at[PUT].add(w[:2]), x.at[PICK].add(jnp.ones(3)), x.at[1, 2].multiply(3.0),
    ),
    "rows by found indices": lambda x, w: (
        x[jnp.argmax(x[:, 0])], lax.dynamic_slice(x, (jnp.argmin(x[:, 1]), 0), (1, 3)),
    ),
    "sorted": lambda x, w: (jnp.sort(x, 0), x[jnp.argsort(x[:, 0])], jnp.cumsum(x, 0)),
    "shapes": lambda x, w: (
        x.T.reshape(3, 5, 1), x[None, ::2], jnp.pad(x, ((1, 0), (0, 2))), jnp.flip(x, 0), jnp.concatenate([x, w]),
        jnp.broadcast_to(w.sum(0), (2, 3)), jnp.stack([x, 2.0 * x]), jnp.zeros((0, 3)) @ w,
    ),
    "reductions": lambda x, w: (
        x.sum(0), x.max(), x.min(1), (x > 0).all(1) * 1.0, jnp.tile(x, (9, 1)).sum(), x.prod(1),
    ),
    "scan": scanned,
    "loop": lambda x, w: lax.fori_loop(0, 3, lambda i, y: y @ w * 0.5 + i, x),
    "branches": lambda x, w: lax.cond(x[0, 0] > 0, lambda: x * 2.0, lambda: x @ w),
    "solve": lambda x, w: jnp.linalg.solve(w @ w.T + jnp.eye(3), x.T),
    "the same for all": lambda x, w: (x, jnp.arange(3.0), jnp.eye(3)),
    "vmap": lambda x, w: jax.vmap(lambda row: jnp.cross(row, w[0]) + w @ row)(x),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def inputs(batch=4):
    keys = jax.random.split(jax.random.key(0), 2)
    return jax.random.normal(keys[0], (batch, 5, 3)), jax.random.normal(keys[1], (batch, 3, 3))


def last(tree):
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), tree)


def total(out):
    return sum(jnp.sum(jnp.sin(x) * (1.0 + jnp.arange(x.size).reshape(x.shape) / x.size)) for x in jax.tree.leaves(out))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives_are_those_of_vmap(name):
    function, args = FUNCTIONS[name], inputs()
    mine, theirs = jax.jit(batch_last(function)), jax.vmap(function)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-12, 1e-12), mine(*last(args)), last(theirs(*args)))

    def slope_of_mine(*args):
        return total(jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), batch_last(function)(*last(args))))

    def slope_of_theirs(*args):
        return total(theirs(*args))

    def second(f):
        return lambda *args: sum(jnp.sum(jnp.cos(x) * x) for x in jax.grad(f, (0, 1))(*args))

    for of in (lambda f: f, second):
        found, wanted = (jax.jit(jax.grad(of(f), (0, 1)))(*args) for f in (slope_of_mine, slope_of_theirs))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-8, 1e-8), found, wanted)


def test_a_row_alone_and_seeds_beside_rows_are_the_same():
    def step(state, action):
        return {"x": state["x"] @ action, "y": state["y"] + action[0]}, state["x"].sum()

    rows, (x, action) = functools.partial(for_rows, over=over_rows), inputs()
    state = {"x": x, "y": x[:, 0]}
    many = rows(step)(state, action[..., 0])
    alone = [rows(step)(jax.tree.map(lambda v, i=i: v[i], state), action[i, :, 0]) for i in range(len(x))]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-12), many, jax.tree.map(lambda *v: jnp.stack(v), *alone)
    )
    twice = jax.tree.map(lambda v: jnp.stack([v, v]), (state, action[..., 0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, 1e-12), jax.vmap(rows(step))(*twice), many)
