"""What must coincide when a term is switched off."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_agents import ORACLE, SPEC, UNKNOWN, config, jitted, module, momentum, ready, transitions, unchanged

from pbrl.equations import actor_critic

KEY = jax.random.key(4)


def assert_same(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **{"rtol": 1e-5, "atol": 1e-7, **tolerance})


@pytest.mark.parametrize("spec", [SPEC, UNKNOWN])
@pytest.mark.parametrize("ddpg", [False, True])
def test_mage_without_the_gradient_term_is_dyna(spec, ddpg):
    """Ten updates long, networks, targets and optimisers agree (loss_scale · λ = 1 is Dyna's weight)."""
    flavour = {"critics": 1, "policy_delay": 1} if ddpg else {}
    mage, dyna = ready("mage", spec, gradient_weight=0.0, **flavour), ready("dyna", spec, **flavour)
    assert_same(mage.ac, dyna.ac)
    steps = [jitted(name, "update") for name in ("mage", "dyna")]
    for i in range(10):
        batch, key = transitions(32, seed=i), jax.random.key(i)
        mage, _ = steps[0](mage, batch, key)
        dyna, _ = steps[1](dyna, batch, key)
    assert_same(mage.ac, dyna.ac)
    full = ready("mage", spec, **flavour)
    full, _ = steps[0](full, batch, KEY)
    assert not np.allclose(momentum(full.ac.critic_opt)["MLP_0"]["Dense_0"]["kernel"], 0.0)


def test_a_seed_means_the_same_first_networks_in_all_three():
    """So that agents are compared from one start."""
    states = [jax.jit(lambda n=n: module(n).init(KEY, SPEC, config(n)))() for n in ("mage", "dyna", "td3")]
    for state in states[1:]:
        assert unchanged((states[0].ac.actor, states[0].ac.critic), (state.ac.actor, state.ac.critic))


def test_the_gradient_term_is_not_idle():
    """The identity above would be empty if the term changed nothing."""
    batch = transitions(32)
    with_term, _ = jitted("mage", "update")(ready("mage"), batch, KEY)
    without, _ = jitted("mage", "update")(ready("mage", gradient_weight=0.0), batch, KEY)
    change = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), with_term.ac.critic, without.ac.critic)
    assert max(jax.tree.leaves(change)) > 1e-5


def test_dyna_on_true_dynamics_is_td3_on_real_transitions():
    """Real transitions whose actions are the policy's own are what an exact model imagines."""
    dyna, td3 = ready("dyna", oracle=ORACLE), ready("td3")
    td3 = replace(td3, ac=dyna.ac, stats=dyna.stats.obs)
    batch = transitions(32)
    action = module("dyna").act(dyna, batch.obs, KEY, explore=False)
    z, reward, discount = ORACLE.step(batch.obs, action, KEY)
    real = replace(batch, action=action, reward=reward, discount=discount, next_obs=z)
    _, smooth_key = jax.random.split(KEY)
    assert_same(jitted("dyna", "update")(dyna, batch, KEY)[0].ac, jitted("td3", "update")(td3, real, smooth_key)[0].ac)


def test_loss_scale_and_lambda_make_the_released_weights():
    """The code's (gradient 20, TD 1) is λ = 0.05 at scale 20: the same loss and the same step."""
    batch = transitions(32)
    a = ready("mage", lam=0.05, loss_scale=20.0)
    b = ready("mage", lam=1.0, loss_scale=1.0, gradient_weight=20.0)
    (a, ma), (b, mb) = (jitted("mage", "update")(s, batch, KEY) for s in (a, b))
    assert_same(ma, mb)
    assert_same(a.ac, b.ac)


def test_terminated_transitions_do_not_bootstrap():
    """With every step terminal, the target is the reward: the value of the next state is out of play."""
    state, batch = ready("td3"), transitions(32)
    ended = replace(batch, discount=jnp.zeros(32))
    loud = jax.tree.map(lambda x: x + 100.0, state.ac.target_critic)
    changed = replace(state, ac=replace(state.ac, target_critic=loud))
    losses = [jitted("td3", "update")(s, ended, KEY)[1]["critic/loss"] for s in (state, changed)]
    assert losses[0] == losses[1]
    assert jitted("td3", "update")(changed, batch, KEY)[1]["critic/loss"] > 2 * losses[0]


def test_delayed_updates():
    """The actor moves at every second update and its target with it; the critics' target moves at every one."""
    state, moves, update = ready("mage"), [], jitted("mage", "update")
    for i in range(4):
        new, _ = update(state, transitions(32), jax.random.key(i))
        kernel = lambda tree: jax.tree.leaves(tree)[1]  # noqa: E731
        moves.append(
            [
                not np.array_equal(kernel(getattr(state.ac, p)), kernel(getattr(new.ac, p)))
                for p in ("actor", "target_actor", "critic", "target_critic")
            ]
        )
        state = new
    assert moves == [[False, False, True, True], [True] * 4] * 2


@pytest.mark.parametrize("name", ["mage", "dyna", "svg", "maac"])
def test_an_oracle_leaves_no_model_behind(name):
    state = module(name).init(KEY, UNKNOWN, config(name), oracle=ORACLE)
    assert state.world is None
    assert module(name).update_model(state, transitions(4, 8), KEY) == (state, {})


@pytest.mark.parametrize("changes", [{"horizon": 0}, {"actor": "sac"}, {"actor_warmup": 1e9}], ids=str)
def test_svg_without_model_steps_is_sac(changes):
    """Ten updates long: SVG(0), the actor's SAC loss by config, and the warm-up all take SAC's very steps."""
    svg, sac = ready("svg", **changes), ready("sac")
    svg = replace(svg, ac=jax.tree.map(jnp.copy, sac.ac))
    steps = [jitted(name, "update") for name in ("svg", "sac")]
    for i in range(10):
        batch, key = transitions(32, seed=i), jax.random.key(i)
        svg, ours = steps[0](svg, batch, key)
        sac, theirs = steps[1](sac, batch, key)
        np.testing.assert_allclose(ours["actor/loss"], theirs["actor/loss"], rtol=1e-6)
        np.testing.assert_allclose(ours["actor/grad_norm"], theirs["actor/grad_norm"], rtol=1e-6)
    assert_same(svg.ac, sac.ac, rtol=1e-5, atol=1e-6)


def test_the_model_steps_are_not_idle():
    """The identity above would be empty if H changed nothing."""
    losses = [
        jitted("svg", "update")(ready("svg", horizon=h), transitions(32), KEY)[1]["actor/loss"] for h in (0, 1, 2)
    ]
    assert len({round(float(x), 4) for x in losses}) == 3


def test_value_expansion_of_no_steps_is_the_td_target():
    td, mve = (ready("svg", horizon=0, critic=c) for c in ("td", "mve"))
    (td, a), (mve, b) = (jitted("svg", "update")(s, transitions(32), KEY) for s in (td, mve))
    assert_same(a, b)
    assert_same(td.ac, mve.ac)


def test_the_four_cells_of_figure_4_differ():
    cells = {(a, c): ready("svg", actor=a, critic=c) for a in ("sac", "svg") for c in ("td", "mve")}
    metrics = {k: jitted("svg", "update")(s, transitions(32), KEY)[1] for k, s in cells.items()}
    assert metrics["sac", "td"]["critic/loss"] == pytest.approx(float(metrics["svg", "td"]["critic/loss"]))
    assert metrics["sac", "mve"]["critic/loss"] == pytest.approx(float(metrics["svg", "mve"]["critic/loss"]))
    assert metrics["sac", "td"]["critic/loss"] != pytest.approx(float(metrics["sac", "mve"]["critic/loss"]), rel=1e-3)
    assert metrics["sac", "td"]["actor/loss"] != pytest.approx(float(metrics["svg", "td"]["actor/loss"]), rel=1e-3)
    assert [s.config.sequence_length for s in cells.values()] == [0, 2, 2, 2]


def test_on_terminal_transitions_value_expansion_learns_the_reward_alone():
    """Behind a real termination nothing is imagined: those states have no weight, and the target is the reward."""
    state = ready("svg", critic="mve")
    ended = replace(transitions(32), discount=jnp.zeros(32))
    loud = jax.tree.map(lambda x: x + 100.0, state.ac.target_critic)
    changed = replace(state, ac=replace(state.ac, target_critic=loud))
    losses = [jitted("svg", "update")(s, ended, KEY)[1]["critic/loss"] for s in (state, changed)]
    assert losses[0] == losses[1]


def test_maac_without_model_steps_has_sacs_losses():
    """H = 0, K = 0, one sample, two critics: TD targets of the twin minimum, and SAC's loss of the actor."""
    state, batch = ready("maac", horizon=0, target_horizon=0, samples=1, critics=2), transitions(32)
    nets, cfg = module("maac").networks(state), state.config
    after, metrics = jitted("maac", "update")(state, batch, KEY)
    target_key, actor_key = jax.random.split(KEY)
    next_q, next_log_prob = nets.soft_target(state.ac, batch.next_obs, jax.random.split(target_key)[0])
    y = actor_critic.soft_td_target(batch.reward, batch.discount, next_q, next_log_prob, state.ac.alpha, cfg.discount)
    error = y - nets.q(state.ac.critic, batch.obs, batch.action)
    np.testing.assert_allclose(metrics["critic/loss"], actor_critic.squared_td_loss(error), rtol=1e-6)

    def sac(actor):
        action, log_prob = nets.sample(actor, batch.obs, jax.random.split(actor_key)[1])
        q = nets.value(after.ac.critic, batch.obs, action)
        return (state.ac.alpha * log_prob - q).mean()

    value, gradient = jax.value_and_grad(sac)(state.ac.actor)
    np.testing.assert_allclose(metrics["actor/loss"], value, rtol=1e-6)
    np.testing.assert_allclose(metrics["actor/grad_norm"], optax.global_norm(gradient), rtol=1e-6)
    first = jax.tree.map(
        lambda m, old: 10.0 * (m - 0.9 * old), momentum(after.ac.actor_opt), momentum(state.ac.actor_opt)
    )
    assert_same(first, gradient, rtol=1e-4, atol=1e-6)


def test_maacs_model_steps_and_candidates_are_not_idle():
    """The identity above would be empty if H, N or K changed nothing."""
    critic = ({}, {"target_horizon": 0}, {"target_horizon": 1})
    actor = ({"horizon": 0}, {"horizon": 1}, {"samples": 3}, {"branch": "end"})
    metrics = [jitted("maac", "update")(ready("maac", **c), transitions(32), KEY)[1] for c in (*critic, *actor)]
    assert len({float(m["critic/loss"]) for m in metrics[:3]}) == 3
    assert len({float(m["actor/loss"]) for m in (metrics[0], *metrics[3:])}) == 5


def test_entropy_of_the_path_pays_the_later_actions_too():
    """Beside "first", the loss has α Σ γ^t log π of the actions at t = 1 … H; the temperature moves alike."""
    batch, maac = transitions(32), module("maac")
    state = ready("maac", entropy="path")
    after, path = jitted("maac", "update")(state, batch, KEY)
    _, first = jitted("maac", "update")(ready("maac", entropy="first"), batch, KEY)
    found = maac.trajectories(
        maac.networks(state), maac.simulator(state), state.config, after.ac.critic, state.ac.actor, batch,
        jax.random.split(KEY)[1],
    )  # fmt: skip
    later = jnp.concatenate([found[0].info[1:], found[2][None]]).mean(1)
    discounts = state.config.discount ** jnp.arange(1, len(later) + 1)
    extra = state.ac.alpha * (discounts * later).sum()
    np.testing.assert_allclose(path["actor/loss"] - first["actor/loss"], extra, rtol=1e-4)
    assert path["temperature/loss"] == first["temperature/loss"] and abs(extra) > 1e-3


def test_two_critics_leave_steve_next_to_nothing_but_td():
    """As in the released code: both estimates of candidate 0 are one minimum, so that it looks certain."""
    going_on = replace(transitions(32), discount=jnp.ones(32))  # after an end all candidates agree
    weights = {
        c: float(jitted("maac", "update")(ready("maac", critics=c), going_on, KEY)[1]["critic/weight_0"])
        for c in (2, 4)
    }
    assert weights[2] > 0.95 and weights[4] < 0.8
