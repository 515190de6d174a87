"""Batch-normalised networks, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.nn import batch_norm
from pbrl.nn.batch_norm import EPSILON, MOMENTUM, Normed, NormedMLP

NET = NormedMLP((5, 4), 3)


@pytest.fixture
def x(key):
    return 3.0 * jax.random.normal(key, (12, 2)) + jnp.array([[1.0, -20.0]])


@pytest.fixture
def net(key, x):
    """One whose learned scales and shifts are not at their start, and that has seen batches."""
    net = batch_norm.init(NET, key, x)
    params = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), net.params)
    _, moments = batch_norm.by_batch(NET, params, net.moments, x)
    return Normed(params, moments)


def normed(x, params, mean, var):
    return (x - mean) / np.sqrt(var + EPSILON) * params["scale"] + params.get("bias", 0.0)


def run(net, x, moments_of):
    """The network's equations in NumPy, each norm by `moments_of(name, features)`; and what the norms were given."""
    params, given = jax.tree.map(np.asarray, net.params), {}
    x = np.asarray(x)
    for i in range(len(NET.hidden) + 1):
        given[f"BatchNorm_{i}"] = x
        x = normed(x, params[f"BatchNorm_{i}"], *moments_of(f"BatchNorm_{i}", x))
        x = (np.maximum(x, 0) if i else x) @ params[f"Dense_{i}"]["kernel"]
    return x + params["Dense_2"]["bias"], given


def test_a_batch_is_normalised_by_its_own_moments(net, x):
    out, _ = batch_norm.by_batch(NET, net.params, net.moments, x)
    expected, _ = run(net, x, lambda name, features: (features.mean(0), features.var(0)))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_running_moments_move_by_a_hundredth_towards_the_batchs(net, x):
    _, given = run(net, x, lambda name, features: (features.mean(0), features.var(0)))
    _, moments = batch_norm.by_batch(NET, net.params, net.moments, x)
    for name, features in given.items():
        for kind, seen in (("mean", features.mean(0)), ("var", features.var(0))):
            expected = MOMENTUM * np.asarray(net.moments[name][kind]) + (1 - MOMENTUM) * seen
            np.testing.assert_allclose(moments[name][kind], expected, rtol=1e-4, atol=1e-5)


def test_running_moments_alone_count_otherwise_so_that_rows_do_not_interact(net, x):
    known = jax.tree.map(np.asarray, net.moments)
    expected, _ = run(net, x, lambda name, _: (known[name]["mean"], known[name]["var"]))
    out = batch_norm.by_running(NET, net, x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batch_norm.by_running(NET, net, x[:1]), out[:1], rtol=1e-5, atol=1e-6)


def test_folding_the_norms_into_the_layers_changes_nothing(net, x):
    out = np.asarray(x)
    layers = batch_norm.folded(net)
    for i, (kernel, bias) in enumerate(layers):
        out = out @ kernel + bias
        out = np.maximum(out, 0) if i < len(layers) - 1 else out
    np.testing.assert_allclose(out, batch_norm.by_running(NET, net, x), rtol=1e-4, atol=1e-5)


def test_weights_into_a_unit_have_length_one_and_biases_stay(net):
    stacked = jax.tree.map(lambda p: jnp.stack([p, 3.0 * p]), net.params)
    unit = batch_norm.unit_weights(stacked)
    for i in range(3):
        np.testing.assert_allclose(jnp.linalg.norm(unit[f"Dense_{i}"]["kernel"], axis=-2), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(unit["Dense_2"]["bias"], stacked["Dense_2"]["bias"])
    np.testing.assert_array_equal(unit["BatchNorm_1"]["scale"], stacked["BatchNorm_1"]["scale"])
    np.testing.assert_array_equal(batch_norm.unit_weights({"kernel": jnp.zeros((2, 1))})["kernel"], 0.0)


def test_the_first_networks_weights_have_length_one(key, x):
    for i in range(3):
        kernel = batch_norm.init(NET, key, x).params[f"Dense_{i}"]["kernel"]
        np.testing.assert_allclose(jnp.linalg.norm(kernel, axis=0), 1.0, rtol=1e-6)


def test_all_leaves_are_float64_where_floats_are(x64, key):
    x = jnp.ones((4, 2))
    net = batch_norm.init(NET, key, x)
    out, moments = batch_norm.by_batch(NET, net.params, net.moments, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((net, moments, out))} == {jnp.dtype("float64")}
