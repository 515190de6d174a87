"""MAGE's gradients, taken from `update` itself, against central differences in float64.

The first step of rectified Adam is plain momentum, so that with one update and no clipping a network moves by
`-learning_rate · gradient` exactly: the whole path from `update` to the parameters is under test.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ORACLE, UNKNOWN, jitted, ready, transitions, unchanged

from pbrl.models.ensemble_world import mage_world

BATCH, KEY = 12, jax.random.key(11)


def double(tree):
    """The same numbers in float64 and in NumPy, so that arithmetic on them compiles nothing."""
    return jax.tree.map(lambda x: np.asarray(x, float) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def make(name="mage", **kwargs):
    defaults = {"critic_lr": 1.0, "actor_lr": 1.0, "grad_clip": 1e9, "policy_delay": 1}
    return double(ready(name, **{**defaults, **kwargs})), double(transitions(BATCH, seed=2))


def moved(state, batch, part, name="mage"):
    """The gradient of one network, read off the step that it took."""
    after, _ = jitted(name, "update")(state, batch, KEY)
    return jax.tree.map(lambda before, now: before - np.asarray(now), getattr(state.ac, part), getattr(after.ac, part))


def loss_of(state, batch, part, name="mage"):
    """The loss that `update` reports for one network, in that network's parameters; it compiles nothing of its own."""

    def loss(params):
        changed = replace(state, ac=replace(state.ac, **{part: params}))
        return float(jitted(name, "update")(changed, batch, KEY)[1][f"{part}/loss"])

    return loss


def difference(loss, params, direction, step=1e-6):
    up, down = (jax.tree.map(lambda p, d, s=s: p + s * d, params, direction) for s in (step, -step))
    return (loss(up) - loss(down)) / (2 * step)


def random_directions(params, count=5):
    for i in range(count):
        rng = np.random.default_rng(i)
        yield jax.tree.map(lambda x, rng=rng: rng.normal(size=x.shape), params)


def dot(a, b):
    return sum(np.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("name, norm", [("mage", "none"), ("mage", "layer"), ("dyna", "none"), ("td3", "none")])
def test_critic_gradient(x64, name, norm):
    state, batch = make(name, critic_norm=norm)
    gradient, loss = moved(state, batch, "critic", name), loss_of(state, batch, "critic", name)
    for direction in random_directions(state.ac.critic):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.critic, direction), rtol=1e-5)


@pytest.mark.parametrize("unknown", [False, True])
def test_critic_gradient_with_learned_parts_and_oracle(x64, unknown):
    state, batch = make(spec=UNKNOWN, critics=1) if unknown else make(oracle=ORACLE)
    gradient, loss = moved(state, batch, "critic"), loss_of(state, batch, "critic")
    for direction in random_directions(state.ac.critic, 3):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.critic, direction), rtol=1e-5)


@pytest.mark.parametrize("name", ["mage", "dyna", "td3"])
def test_actor_gradient(x64, name):
    """With still critics the actor's loss depends on its own parameters alone."""
    state, batch = make(name, critic_lr=0.0)
    gradient, loss = moved(state, batch, "actor", name), loss_of(state, batch, "actor", name)
    if name != "td3":  # the reported loss sees the actor through the imagined action as well, but not the gradient
        assert np.isfinite(dot(gradient, gradient))
    for direction in random_directions(state.ac.actor):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.actor, direction), rtol=1e-5)


def test_action_gradient_of_the_td_error(x64):
    """∇ₐδ through reward, model mean and noise, and target policy, coordinate by coordinate, for both critics."""
    state, batch = make()
    cfg, ac = state.config, state.ac
    step_key, smooth_key = jax.random.split(KEY)
    from pbrl.agents.mage import networks

    nets, dynamics = networks(state), mage_world(state.spec, cfg).dynamics(state.world)
    action = np.asarray(jax.jit(nets.policy)(ac.actor, batch.obs))

    @jax.jit
    def td_error(action):
        next_obs, reward, discount = dynamics.step(batch.obs, action, step_key)
        noise = jnp.clip(0.2 * jax.random.normal(smooth_key, action.shape, action.dtype), -0.5, 0.5)
        next_action = jnp.clip(nets.policy(ac.target_actor, next_obs) + noise, -1, 1)
        next_q = nets.q(ac.target_critic, next_obs, next_action).min(0)
        return reward + 0.99 * discount * next_q - nets.q(ac.critic, batch.obs, action)

    columns = []
    for j in range(action.shape[-1]):
        step = 1e-6 * (np.arange(action.shape[-1]) == j)
        columns.append((np.asarray(td_error(action + step)) - np.asarray(td_error(action - step))) / 2e-6)
    norms, error = np.linalg.norm(np.stack(columns, -1), axis=-1), np.abs(td_error(action))
    _, metrics = jitted("mage", "update")(state, batch, KEY)
    np.testing.assert_allclose(metrics["critic/gradient_error"], norms.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["critic/td_error"], error.mean(), rtol=1e-5)
    huber = lambda x: np.where(x < 1, x**2 / 2, x - 0.5)  # noqa: E731
    loss = 5.0 * (huber(norms).mean() + 0.2 * huber(error).mean())  # eq. 8 in the released code's scale
    np.testing.assert_allclose(metrics["critic/loss"], loss, rtol=1e-6)


def test_rows_do_not_interact(x64):
    """The gradient of a row's TD error in its own action does not see the other rows' actions."""
    state, batch = make(oracle=ORACLE)
    from pbrl.agents.mage import networks

    slopes = jax.jit(networks(state).q_and_action_gradient)
    _, together = slopes(state.ac.critic, batch.obs, batch.action)
    _, alone = slopes(state.ac.critic, batch.obs[3:4], batch.action[3:4])
    np.testing.assert_allclose(together[:, 3:4], alone, rtol=1e-12)


def test_update_moves_only_what_it_trains(x64):
    """No gradient leaks into the model, and update_model leaves actor and critics alone."""
    state, batch = make()
    after, _ = jitted("mage", "update")(state, batch, KEY)
    assert unchanged(state.world, after.world) and not unchanged(state.ac.critic, after.ac.critic)
    fitted, _ = jitted("mage", "update_model")(state, double(transitions(4, 16)), KEY)
    assert unchanged(state.ac, fitted.ac) and not unchanged(state.world, fitted.world)
