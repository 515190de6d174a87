import re

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.nn import networks


def test_swish_and_its_first_three_derivatives_are_flax_own(x64):
    import flax.linen as nn

    x = jnp.linspace(-30.0, 30.0, 601)
    ours, theirs = networks.swish, nn.swish
    for _ in range(4):
        np.testing.assert_allclose(jax.vmap(ours)(x), jax.vmap(theirs)(x), rtol=1e-10, atol=1e-12)
        ours, theirs = jax.grad(ours), jax.grad(theirs)


def test_members_are_independent_networks(key):
    net, x = networks.MLP((8,), 2), jnp.ones((5, 3))
    params = networks.init_members(net, key, 3, x)
    shared = networks.apply_members(net, params, x)
    own = networks.apply_members(net, params, jnp.stack([x, 2 * x, 3 * x]), shared=False)
    for i in range(3):
        one = jax.tree.map(lambda p, i=i: p[i], params)
        np.testing.assert_allclose(shared[i], networks.apply(net, one, x), rtol=1e-5)
        np.testing.assert_allclose(own[i], networks.apply(net, one, (i + 1) * x), rtol=1e-5)
    assert not np.allclose(shared[0], shared[1])


def test_actor_stays_in_bounds_and_critic_returns_a_number_a_row(key):
    actor, critic = networks.DeterministicActor(2, (8,)), networks.Critic((8,))
    obs = 100.0 * jax.random.normal(key, (4, 6, 3))
    action = networks.apply(actor, networks.init(actor, key, obs), obs)
    assert action.shape == (4, 6, 2) and float(jnp.abs(action).max()) <= 1.0
    assert networks.apply(critic, networks.init(critic, key, obs, action), obs, action).shape == (4, 6)


def test_a_layers_norm_centres_and_scales_each_row_in_front_of_the_activation(key):
    plain, normed = networks.MLP((8,), 1, "relu"), networks.MLP((8,), 1, "relu", norm="layer", epsilon=0.5)
    x = 3.0 * jax.random.normal(key, (5, 4))
    params = networks.init(normed, key, x)
    assert jax.tree.structure(params) == jax.tree.structure(networks.init(plain, key, x))  # nothing more is learned
    kernel, bias = (np.asarray(params["Dense_0"][name]) for name in ("kernel", "bias"))
    features = np.asarray(x) @ kernel + bias
    features -= features.mean(-1, keepdims=True)
    features /= np.sqrt((features**2).mean(-1, keepdims=True) + 0.5)
    by_hand = np.maximum(features, 0) @ np.asarray(params["Dense_1"]["kernel"]) + np.asarray(params["Dense_1"]["bias"])
    np.testing.assert_allclose(networks.apply(normed, params, x), by_hand, rtol=1e-5, atol=1e-6)


def test_orthogonal_weights_are_flax_own_and_are_never_factored_in_a_batch(key):
    """With jax 0.10 two batched QRs at once wait for each other forever on two cores."""
    import flax.linen as nn

    net, keys, x = networks.MLP((8, 6), 2, scheme="orthogonal"), jax.random.split(key, 3), jnp.ones((1, 4))
    draw = jax.jit(jax.vmap(lambda k: networks.init_members(net, k, 2, x)))  # seeds of two critics
    factored = re.findall(r"@lapack_sgeqrf.* : \(tensor<([\dx]+)xf32>\)", draw.lower(keys).as_text())
    assert factored and {len(shape.split("x")) for shape in factored} == {2}
    weights = jax.vmap(lambda k: networks.orthogonal(k, (4, 8)))(keys)
    for k, mine in zip(keys, weights, strict=True):
        np.testing.assert_array_equal(mine, nn.initializers.orthogonal()(k, (4, 8)))
