import jax
import jax.numpy as jnp
import numpy as np

from pbrl import networks


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
