"""MAAC's gradients, taken from `update` itself, against central differences in float64 and a closed form."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ORACLE, config, jitted, module, momentum, ready, transitions, unchanged
from test_mage_gradients import difference, dot, double, loss_of, random_directions
from test_svg_gradients import moved, off_kinks

from pbrl.envs.lqr import double_integrator
from pbrl.types import EnvSpec, Transition

BATCH, KEY, MAAC = 12, jax.random.key(11), module("maac")
FLAVOURS = {
    "trajectories": {},
    "last actions": {"branch": "end", "critics": 2},
    "oracle": {"oracle": ORACLE, "horizon": 4},
    "learned reward": {"learn_reward": True},
    "elites": {"elites": 2},
    "entropy of the path": {"entropy": "path"},
    "entropy of the path, last actions": {"entropy": "path", "branch": "end", "critics": 2},
}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_actor_gradient(x64, flavour):
    """With still critics (rate 0) the actor's loss depends on its own parameters alone."""
    state = off_kinks(double(ready("maac", critic_lr=0.0, model_activation="tanh", **FLAVOURS[flavour])))
    batch = double(transitions(BATCH, seed=2))
    gradient, loss = moved(state, batch, "actor", "maac"), loss_of(state, batch, "actor", "maac")
    for direction in random_directions(state.ac.actor, 3):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.actor, direction), rtol=1e-5)


def test_critic_gradient(x64):
    state = off_kinks(double(ready("maac", critic_lr=0.0)))
    batch = double(transitions(BATCH, seed=2))
    gradient, loss = moved(state, batch, "critic", "maac"), loss_of(state, batch, "critic", "maac")
    for direction in random_directions(state.ac.critic, 3):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.critic, direction), rtol=1e-5)


def test_temperature_gradient(x64):
    """Entropy - target, without SVG's factor α: the rate at which log α moves, from Adam's first moment."""
    state = double(ready("maac", target_entropy=-1.0))
    after, metrics = jitted("maac", "update")(state, double(transitions(BATCH)), KEY)
    expected = metrics["actor/entropy"] + 1.0
    np.testing.assert_allclose(10.0 * momentum(after.ac.alpha_opt), expected, rtol=1e-9)


def test_the_update_moves_only_what_it_trains(x64):
    """The actor's gradient leaks into neither the model nor its own target's critics."""
    state = ready("maac")
    after, _ = jitted("maac", "update")(state, transitions(BATCH), KEY)
    assert unchanged(state.world, after.world) and not unchanged(state.ac, after.ac)
    still = replace(state, config=replace(state.config, tau=jnp.zeros_like(state.config.tau)))
    still, _ = jitted("maac", "update")(still, transitions(BATCH), KEY)
    assert unchanged(state.ac.target_critic, still.ac.target_critic)


def test_with_the_true_dynamics_the_gradient_is_the_linear_quadratic_one(x64):
    """A linear policy, hardly noisy, through 300 true steps: the closed form's gradient in the gain, near to it."""
    lqr = double_integrator()
    gain = np.array([[-0.1, -0.3]])
    spec = EnvSpec(2, 1, 26)
    settings = config("maac", actor_hidden=(), horizon=300, samples=1, discount=lqr.discount)
    state = double(jax.jit(lambda: MAAC.init(KEY, spec, settings, oracle=lqr.oracle))())
    linear = {"kernel": np.concatenate([gain.T, np.zeros((2, 1))], 1), "bias": np.array([0.0, -20.0])}
    actor = {"MLP_0": {"Dense_0": linear}}
    state = replace(state, ac=replace(state.ac, actor=actor, log_alpha=np.array(-60.0)))
    obs = 1e-3 * np.array([[1.0, 1.0], [0.5, -1.0]])  # small: there a tanh is a line
    zero = np.zeros(2)
    batch = Transition(obs, np.zeros((2, 1)), zero, zero + 1.0, obs)
    after, _ = jitted("maac", "update")(state, batch, KEY)
    moment = momentum(after.ac.actor_opt)["MLP_0"]["Dense_0"]["kernel"][:, 0]
    expected = lqr.gradient(gain, (obs.T @ obs) / 2)[0]
    np.testing.assert_allclose(-10.0 * np.asarray(moment), expected, rtol=1e-5)
