"""XQC as an option of SAC: what an update of `agents/parts/categorical.py` does, piece by piece."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import OBS, SPEC, config, jitted, module, ready, transitions, unchanged

from pbrl.agents.parts import categorical
from pbrl.nn import batch_norm

BATCH, KEY = transitions(32), jax.random.key(1)
MOMENTS_AND_WEIGHTS = ("actor", "critic")


@pytest.fixture(scope="module")
def state():
    """One that has made an update, after which the actor waits once."""
    return jitted("xqc", "update")(ready("xqc"), BATCH, KEY)[0]


def kernels(params):
    return [x for path, x in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "kernel"]


def test_every_units_weights_keep_length_one_in_actor_and_critics(state):
    after, _ = jitted("xqc", "update")(state, BATCH, KEY)
    for net in (state.ac.actor, state.ac.critic, after.ac.actor, after.ac.critic):
        for kernel in kernels(net.params):
            np.testing.assert_allclose(jnp.linalg.norm(kernel, axis=-2), 1.0, rtol=1e-5)


def test_the_actor_waits_while_its_running_moments_go_on(state):
    """With one actor step to two of the critics: the first update moved it, the second does not."""
    start = ready("xqc")
    assert not unchanged(start.ac.actor.params, state.ac.actor.params)
    after, metrics = jitted("xqc", "update")(state, BATCH, KEY)
    assert unchanged(state.ac.actor.params, after.ac.actor.params) and unchanged(state.ac.actor_opt, after.ac.actor_opt)
    assert not unchanged(state.ac.actor.moments, after.ac.actor.moments)
    assert float(metrics["actor/grad_norm"]) == 0.0 == float(metrics["temperature/grad_norm"])
    assert float(after.ac.log_alpha) == float(state.ac.log_alpha)
    again, metrics = jitted("xqc", "update")(after, BATCH, KEY)
    assert not unchanged(after.ac.actor.params, again.ac.actor.params) and float(metrics["actor/grad_norm"]) > 0
    for a, b in ((state, after), (after, again)):
        assert not unchanged(a.ac.critic.params, b.ac.critic.params)


def test_what_critics_learn_from_is_the_papers_target_by_hand(state):
    """One row after the other in NumPy, from the critics' probabilities on the joined batch."""
    nets, cfg = module("xqc").networks(state), state.config
    y = nets.soft_target(state.ac, BATCH, KEY)
    action, log_prob = nets.sample(state.ac.actor, BATCH.next_obs, KEY)
    np.testing.assert_array_equal(y.action[32:], action)
    np.testing.assert_array_equal(y.obs, jnp.concatenate([BATCH.obs, BATCH.next_obs]))
    log_p, _ = nets.log_probability(state.ac.target_critic, state.ac.critic.moments, y.obs, y.action)
    p, atoms = np.exp(np.asarray(log_p))[:, 32:], np.linspace(-5, 5, 21)
    expected = np.zeros((32, 21))
    for row in range(32):
        of = p[np.argmin(p[:, row] @ atoms), row]
        for k, z in enumerate(atoms):
            entropic = z - float(state.ac.alpha) * float(log_prob[row])
            at = float(BATCH.reward[row]) + float(cfg.discount) * float(BATCH.discount[row]) * entropic
            position = (min(max(at, -5.0), 5.0) + 5.0) / 0.5
            left = min(int(np.floor(position)), 19)
            expected[row, left] += of[k] * (left + 1 - position)
            expected[row, left + 1] += of[k] * (position - left)
    np.testing.assert_allclose(y.probability, expected, atol=1e-5)


def test_critics_see_one_batch_of_both_pairs(state):
    """The running mean of their inputs moves towards the mean over (s, a) and (s', a')."""
    nets = module("xqc").networks(state)
    y = nets.soft_target(state.ac, replace(BATCH, reward=BATCH.reward / nets.returns.scale), jax.random.split(KEY)[0])
    pairs = jnp.concatenate([nets.inputs(y.obs), y.action], axis=-1)
    after, _ = jitted("xqc", "update")(state, BATCH, KEY)
    for i in range(2):
        before, now = (s.ac.critic.moments["BatchNorm_0"]["mean"][i] for s in (state, after))
        np.testing.assert_allclose(now, 0.99 * before + 0.01 * pairs.mean(0), rtol=1e-4, atol=1e-6)


def test_targets_follow_the_parameters_and_are_not_put_back_to_length_one(state):
    after, _ = jitted("xqc", "update")(state, BATCH, KEY)
    follow = jax.tree.map(lambda new, old: 0.005 * new + 0.995 * old, after.ac.critic.params, state.ac.target_critic)
    for a, b in zip(jax.tree.leaves(after.ac.target_critic), jax.tree.leaves(follow), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_values_are_told_in_units_of_the_reward(state):
    """Ten times the rewards: the same distributions, ten times the values."""
    more = module("xqc").observe(
        module("xqc").init(jax.random.key(0), SPEC, config("xqc")),
        replace(transitions(64), reward=10.0 * transitions(64).reward),
    )
    less = ready("xqc")
    q, wide = (module("xqc").networks(s).q(less.ac.critic, BATCH.obs, BATCH.action) for s in (less, more))
    assert q.shape == (2, 32)
    np.testing.assert_allclose(10.0 * q[:, :4] / less.returns.scale, wide[:, :4] * 10.0 / more.returns.scale, rtol=1e-4)
    np.testing.assert_allclose(more.returns.scale, 10.0 * less.returns.scale, rtol=1e-5)


@pytest.mark.parametrize(("steps", "critic", "actor"), [(0, 1e-3, 1e-3), (300, 7e-4, 9e-4), (9e9, 0.0, 1e-3 * 2 / 3)])
def test_rates_fall_in_a_line_the_actors_by_its_own_steps(steps, critic, actor):
    given = {"final_lr": 0.0, "lr_steps": 1e3, "actor_every": 3, "critic_lr": 1e-3, "actor_lr": 1e-3}
    rates = categorical.at(config("xqc", **given, temperature_lr=1e-3), jnp.float32(steps))
    np.testing.assert_allclose(
        [rates.critic_lr, rates.actor_lr, rates.temperature_lr], [critic, actor, actor], rtol=1e-5
    )


def test_the_usual_target_entropy_is_half_a_nat_less_for_each_action():
    made = module("xqc").init(KEY, SPEC, config("xqc"))
    assert made.config.initial_entropy == made.config.final_entropy == -SPEC.action_size / 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critic_norm": "layer"}, "config.critic_norm: a categorical critic has norm, .* got 'layer'"),
        ({"final_lr": None}, "config.final_lr and config.lr_steps say together how rates fall"),
        ({"final_lr": 2.0}, "config.final_lr"),
        ({"lr_steps": 0.0}, "config.lr_steps"),
        ({"atoms": 1}, "config.atoms"),
        ({"value_bound": 0.0}, "config.value_bound"),
        ({"actor_every": 0}, "config.actor_every"),
        ({"critic": "squared"}, "config.actor_every: the squared critic has none"),
        ({"critic": "categoric"}, "did you mean 'categorical'"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        module("xqc").init(KEY, SPEC, config("xqc", **changes))


def test_a_squared_critic_has_no_further_leaves():
    """So that checkpoints from before there was a choice are read as they were."""
    state = module("sac").init(KEY, SPEC, config("sac"))
    assert state.returns is None
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.config)}
    assert not names & {".final_lr", ".lr_steps", ".atoms"}
    assert not any("returns" in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state))


def test_acting_does_not_depend_on_the_rows_beside(state):
    many = module("xqc").act(state, BATCH.obs, KEY, explore=False)
    one = module("xqc").act(state, BATCH.obs[0], KEY, explore=False)
    assert one.shape == (2,) and BATCH.obs.shape[-1] == OBS
    np.testing.assert_allclose(one, many[0], rtol=1e-5, atol=1e-6)


def test_running_moments_are_no_parameters_of_an_optimiser(state):
    for part in MOMENTS_AND_WEIGHTS:
        shapes = lambda tree: sorted(x.shape for x in jax.tree.leaves(tree))  # noqa: E731
        adam = getattr(state.ac, f"{part}_opt")[0]
        assert shapes(adam.mu) == shapes(getattr(state.ac, part).params)
    assert isinstance(state.ac.critic, batch_norm.Normed) and not isinstance(state.ac.target_critic, batch_norm.Normed)
