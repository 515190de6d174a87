"""SVG(1): noise that explains what happened, held while actions become functions of the policy."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ACTION, ORACLE, SPEC, jitted, learner, module, ready, reward_fn, transitions, true_step
from test_mage_gradients import difference, dot, double, random_directions
from test_svg_gradients import moved, off_kinks

from pbrl.equations import actor_critic
from pbrl.models.ensemble_world import maac_world
from pbrl.train import learn

SVG1, KEY = module("svg1"), jax.random.key(11)
SIZES = {"elites": 2, "critic_lr": 0.0, "initial_temperature": 0.3}


def batch_of(state, rows=12):
    """Replayed rows whose actions were likelier once than now, or less likely."""
    batch = double(transitions(rows, seed=2))
    log_prob = SVG1.remember(state, batch)["log_prob"] + jnp.linspace(-2.0, 2.0, rows)
    return replace(batch, extras={"log_prob": log_prob})


@pytest.mark.parametrize("oracle", [None, ORACLE], ids=["model", "oracle"])
def test_actor_gradient(x64, oracle):
    """Against differences of the objective as the paper has it, with both noises worked out beforehand."""
    state = off_kinks(double(ready("svg1", oracle=oracle, model_activation="tanh", **SIZES)))
    batch, nets, cfg = batch_of(state), SVG1.networks(state), state.config
    gradient = moved(state, batch, "actor", "svg1")

    u = actor_critic.unsquash(batch.action)
    mean, log_std = nets.distribution(state.ac.actor, batch.obs)
    eta = (u - mean) / jnp.exp(log_std)
    weight = jnp.clip(
        jnp.exp(actor_critic.tanh_normal_log_prob(mean, log_std, batch.action) - batch.extras["log_prob"]), 0, 5
    )
    assert (weight == 5).any() and (weight < 1).any()

    def model(action):
        """Mean and deviation of the next state by each elite, `[M, B, S]`."""
        if oracle:
            return true_step(batch.obs, action, None)[0][None], 0.0
        ensemble = maac_world(SPEC, cfg).ensemble
        elites = ensemble.choose(state.world.params["dynamics"], state.world.elites)
        tiled = [jnp.broadcast_to(x, (2, *x.shape)) for x in (batch.obs, action)]
        return ensemble.predict(elites, state.world.stats, *tiled)

    predicted, spread = model(batch.action)
    xi = 0.0 if oracle else (batch.next_obs - predicted) / spread
    value_key = jax.random.split(KEY, 4)[2]

    @jax.jit
    def loss(params):
        mean, log_std = nets.distribution(params, batch.obs)
        action = jnp.tanh(mean + jnp.exp(log_std) * eta)
        predicted, spread = model(action)
        next_obs = predicted + spread * xi
        next_action, next_log_prob = nets.sample(state.ac.actor, next_obs, value_key)
        value = nets.q(state.ac.critic, next_obs, next_action).min(0) - state.ac.alpha * next_log_prob
        reward = reward_fn(batch.obs, action, next_obs)
        log_prob = actor_critic.tanh_normal_log_prob(mean, log_std, action)
        objective = (reward + cfg.discount * batch.discount * value).mean(0) - state.ac.alpha * log_prob
        return -(weight * objective).mean()

    for direction in random_directions(state.ac.actor, 3):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.actor, direction), rtol=1e-5)


def test_at_the_real_action_the_model_says_what_happened(x64):
    state, batch = double(ready("svg1", **SIZES)), double(transitions(12))
    next_obs, reward = maac_world(SPEC, state.config).step_again(state.world, batch, batch.action)
    assert next_obs.shape == (2, 12, 3)
    np.testing.assert_allclose(next_obs, np.broadcast_to(batch.next_obs, next_obs.shape), rtol=1e-9)
    np.testing.assert_allclose(reward, np.broadcast_to(batch.reward, reward.shape), rtol=1e-9)


def test_replay_remembers_how_likely_each_action_was():
    """Uniform until the first update, then by the policy of that moment."""
    made, collect = learner("svg1", rows=4, capacity=20), jax.jit(partial(learn.collect, SVG1))
    np.testing.assert_allclose(made.replay.rows.extras["log_prob"][:4], -ACTION * np.log(2.0), rtol=1e-6)
    batch = jax.tree.map(lambda x: x[:4], made.replay.rows)
    made = replace(made, agent=jitted("svg1", "update")(made.agent, batch, KEY)[0])
    later = transitions(3, seed=5)
    mean, std = jax.jit(SVG1.distribution)(made.agent, later.obs)
    made = collect(made, later, np.zeros(3, bool))
    expected = actor_critic.tanh_normal_log_prob(mean, jnp.log(std), later.action)
    np.testing.assert_allclose(made.replay.rows.extras["log_prob"][4:7], expected, rtol=1e-5)


def test_actions_that_repeat_are_the_same_with_the_slopes_of_a_sample(x64):
    mean, log_std = jnp.array([0.3, -2.0]), jnp.array([-1.0, 0.2])
    action, log_prob = actor_critic.tanh_normal_sample(mean, log_std, KEY)
    same, same_log_prob = actor_critic.tanh_normal_repeat(mean, log_std, action)
    np.testing.assert_allclose(same, action, rtol=1e-12)
    np.testing.assert_allclose(same_log_prob, log_prob, rtol=1e-12)
    slope = jax.grad(lambda m, s: actor_critic.tanh_normal_sample(m, s, KEY)[0].sum(), (0, 1))
    again = jax.grad(lambda m, s: actor_critic.tanh_normal_repeat(m, s, action)[0].sum(), (0, 1))
    for a, b in zip(slope(mean, log_std), again(mean, log_std), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
