"""XQC's gradients, taken from `update` itself, against central differences in float64."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from small_agents import jitted, momentum, ready, transitions
from test_mage_gradients import KEY, difference, dot, double, random_directions

from pbrl.agents.sac import networks

SETTINGS = {"critic_lr": 0.0, "actor_every": 1, "final_lr": None, "lr_steps": None, "activation": "swish"}


@pytest.fixture
def moved(x64):
    """A state, a batch, what an update makes of the state, and its metrics; the critics keep their weights."""
    state, batch = double(ready("xqc", **SETTINGS)), double(transitions(12, seed=2))
    return state, batch, *jitted("xqc", "update")(state, batch, KEY)


def check(opt_state, params, loss):
    """Projection to length 1 comes after the gradient, of which Adam's first moment holds a tenth."""
    gradient = jax.tree.map(lambda mu: 10.0 * np.asarray(mu), momentum(opt_state))
    for direction in random_directions(params, 3):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, params, direction), rtol=1e-5)


def test_critic_gradient(moved):
    """The cross-entropy, through the moments of the joined batch too."""
    state, batch, after, _ = moved

    def loss(params):
        critic = replace(state.ac.critic, params=params)
        changed = replace(state, ac=replace(state.ac, critic=critic))
        return float(jitted("xqc", "update")(changed, batch, KEY)[1]["critic/loss"])

    check(after.ac.critic_opt, state.ac.critic.params, loss)


def test_actor_gradient(moved):
    """SAC's loss, through the batch's moments of the actor and by the running ones of the critics after their step.

    `update` itself cannot be asked for differences: the next actions, too, are the actor's, and move those moments.
    """
    state, batch, after, metrics = moved
    nets, key = networks(state), jax.random.split(KEY)[1]

    @jax.jit
    def loss(params):
        action, log_prob, _ = nets.sample_by_batch(params, state.ac.actor.moments, batch.obs, key)
        return (state.ac.alpha * log_prob - nets.scaled_q(after.ac.critic, batch.obs, action).min(0)).mean()

    np.testing.assert_allclose(loss(state.ac.actor.params), metrics["actor/loss"], rtol=1e-10)
    check(after.ac.actor_opt, state.ac.actor.params, lambda params: float(loss(params)))
