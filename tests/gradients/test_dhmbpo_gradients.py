"""DHMBPO's gradients, taken from `update` itself, against central differences in float64 and a closed form."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_agents import ORACLE, config, jitted, module, momentum, ready, transitions, unchanged
from test_mage_gradients import difference, dot, double, loss_of, random_directions
from test_svg_gradients import PARTS, moved, off_kinks

from pbrl.agents.parts import critics
from pbrl.envs.lqr import double_integrator
from pbrl.equations.actor_critic import soft_td_target, squared_td_loss
from pbrl.equations.expansion import rollout, soft_value_expansion
from pbrl.types import EnvSpec, Transition

BATCH, KEY, DHMBPO = 12, jax.random.key(11), module("dhmbpo")
PLAIN = {"bound_values": False, "scale_values": False, "critic_lr": 0.0}
FLAVOURS = {
    "plain": PLAIN,
    "oracle": PLAIN | {"oracle": ORACLE, "horizon": 4},
    "smallest": PLAIN | {"actor_critics": "min", "target_subset": 0, "critic_norm": "none"},
    "elites": PLAIN | {"elites": 2},
}


def alive(state):
    """Critics that answer: fresh ones have a last layer of zeros, which no action moves."""
    rng = np.random.default_rng(5)

    def stir(path, x):
        return x + 0.3 * rng.normal(size=x.shape) if path[-1].key == "kernel" and x.shape[-1] == 1 else x

    stirred = {n: jax.tree_util.tree_map_with_path(stir, getattr(state.ac, n)) for n in PARTS if "critic" in n}
    return off_kinks(double(replace(state, ac=replace(state.ac, **stirred))))


def starts(count=BATCH):
    """States from which no step terminates."""
    batch = double(transitions(count, seed=2))
    return replace(batch, obs=0.2 * batch.obs)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_actor_gradient(x64, flavour):
    """With still critics (rate 0) the actor's loss depends on its own parameters alone, through the shared rollout."""
    state, batch = alive(ready("dhmbpo", **FLAVOURS[flavour])), double(transitions(BATCH, seed=2))
    gradient, loss = moved(state, batch, "actor", "dhmbpo"), loss_of(state, batch, "actor", "dhmbpo")
    for direction in random_directions(state.ac.actor, 3):
        np.testing.assert_allclose(dot(gradient, direction), difference(loss, state.ac.actor, direction), rtol=1e-5)


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_gradients_of_scaled_and_bounded_values(x64, monkeypatch, part):
    """The bounds move with the actor's entropy, and are constants to both gradients: here they stand still."""
    monkeypatch.setattr(critics, "RATE", 0.0)
    state = alive(ready("dhmbpo", critic_lr=0.0, critics=4, actor_hidden=(7,)))  # a program of this test's own
    held = critics.ValueBounds(np.array(-30.0), np.array(50.0), np.array(True))
    state, batch = replace(state, ac=replace(state.ac, bounds=held)), double(transitions(BATCH, seed=2))
    gradient, loss = moved(state, batch, part, "dhmbpo"), loss_of(state, batch, part, "dhmbpo")
    for direction in random_directions(getattr(state.ac, part), 3):
        change = difference(loss, getattr(state.ac, part), direction)
        np.testing.assert_allclose(dot(gradient, direction), change, rtol=1e-5)


def test_one_training_step_is_mbpos_critic(x64):
    """H = 1: the first states, the policy's actions there, and the soft TD target of the imagined transition."""
    state, batch = alive(ready("dhmbpo", oracle=ORACLE, horizon=1, target_subset=0, **PLAIN)), starts()
    nets, (roll_key, last_key, _) = DHMBPO.networks(state), jax.random.split(KEY, 3)
    path = rollout(ORACLE, partial(nets.sample, state.ac.actor), batch.obs, roll_key, 1)
    next_q, next_log_prob = nets.soft_target(state.ac, path.final_obs, last_key)
    alpha, gamma = state.ac.alpha, state.config.discount
    y = soft_td_target(path.reward[0], path.discount[0], next_q, next_log_prob, alpha, gamma)
    error = y - nets.q(state.ac.critic, batch.obs, path.action[0])
    _, metrics = jitted("dhmbpo", "update")(state, batch, KEY)
    np.testing.assert_allclose(metrics["critic/loss"], squared_td_loss(error), rtol=1e-10)


def test_from_replayed_states_it_is_svg(x64):
    """Where nothing terminates, the objective and its gradient are those of SAC-SVG(H), eq. 7."""
    settings = PLAIN | {"actor_critics": "min", "target_subset": 0, "horizon": 3}
    state, batch = alive(ready("dhmbpo", oracle=ORACLE, **settings)), starts()
    nets, (roll_key, last_key, _) = DHMBPO.networks(state), jax.random.split(KEY, 3)

    def svg(actor):
        path = rollout(ORACLE, partial(nets.sample, actor), batch.obs, roll_key, 3)
        action, log_prob = nets.sample(actor, path.final_obs, last_key)
        q = nets.value(state.ac.critic, path.final_obs, action)
        log_probs = jnp.concatenate([path.info, log_prob[None]])
        alpha, gamma = state.ac.alpha, state.config.discount
        return -soft_value_expansion(path.reward, path.discount, log_probs, q, alpha, gamma).mean()

    value, gradient = jax.value_and_grad(svg)(state.ac.actor)
    _, metrics = jitted("dhmbpo", "update")(state, batch, KEY)
    np.testing.assert_allclose(metrics["actor/loss"], value, rtol=1e-10)
    np.testing.assert_allclose(metrics["actor/grad_norm"], optax.global_norm(gradient), rtol=1e-10)


def test_the_update_moves_only_what_it_trains(x64):
    state = ready("dhmbpo")
    after, _ = jitted("dhmbpo", "update")(state, transitions(BATCH), KEY)
    assert unchanged(state.world, after.world) and not unchanged(state.ac, after.ac)


def test_with_the_true_dynamics_the_gradient_is_the_linear_quadratic_one(x64):
    """A linear policy, hardly noisy, through 300 true steps: the closed form's gradient in the gain, near to it."""
    lqr = double_integrator()
    gain = np.array([[-0.1, -0.3]])
    settings = config("dhmbpo", actor_hidden=(), horizon=300, discount=lqr.discount, **PLAIN)
    state = double(jax.jit(lambda: DHMBPO.init(KEY, EnvSpec(2, 1, 26), settings, oracle=lqr.oracle))())
    linear = {"kernel": np.concatenate([gain.T, np.zeros((2, 1))], 1), "bias": np.array([0.0, -30.0])}
    state = replace(state, ac=replace(state.ac, actor={"MLP_0": {"Dense_0": linear}}, log_alpha=np.array(-60.0)))
    obs = 2e-2 * np.array([[1.0, 1.0], [0.5, -1.0]])  # small: there a tanh is a line, and 1e-5 of noise is little
    zero = np.zeros(2)
    after, _ = jitted("dhmbpo", "update")(state, Transition(obs, np.zeros((2, 1)), zero, zero + 1.0, obs), KEY)
    moment = momentum(after.ac.actor_opt)["MLP_0"]["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(-10.0 * np.asarray(moment), lqr.gradient(gain, (obs.T @ obs) / 2)[0], rtol=2e-3)
