"""What counts of several critics, and the bounds of values."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ORACLE, SPEC, config, jitted, module, ready, transitions

from pbrl.agents.parts.critics import ValueBounds, drawn
from pbrl.equations.actor_critic import over_critics

KEY = jax.random.key(2)
FEW = ("sac", "mage", "svg")
REST = tuple(pytest.param(name, marks=pytest.mark.slow) for name in ("mbpo", "svg1", "td3", "dyna"))
"""They share the parts of the few, and cost a program each."""


def batch_for(name, rows=32):
    batch = transitions(rows)
    return replace(batch, extras={"log_prob": jnp.zeros(rows)}) if name == "svg1" else batch


def test_bounds_start_with_what_they_see_and_follow_slowly():
    rewards = jnp.linspace(-1.0, 1.0, 101)
    first = ValueBounds.init().follow(rewards, 0.9)
    np.testing.assert_allclose((first.low, first.high), (-9.8, 9.8), rtol=1e-6)  # 1 % and 99 %, over 1 - γ
    then = first.follow(rewards + 1.0, 0.9)
    np.testing.assert_allclose((then.low, then.high), (-9.8 + 3e-3, 9.8 + 3e-3), rtol=1e-6)
    np.testing.assert_allclose(first.clip(jnp.array([-20.0, 3.0, 20.0])), [-9.8, 3.0, 9.8], rtol=1e-6)
    np.testing.assert_allclose(first.scale(jnp.array([-1.0, 0.0, 0.5])), [-9.8, 0.0, 4.9], rtol=1e-6, atol=1e-6)


def test_nothing_is_clipped_before_the_first_rewards():
    np.testing.assert_array_equal(ValueBounds.init().clip(jnp.array([-1e9, 7.0])), [-1e9, 7.0])


def test_the_value_behind_a_termination_is_within():
    """Rewards of 1 alone, as on CartPole, bound values by 0 and 100: a pole that falls is worth little."""
    bounds = ValueBounds.init().follow(jnp.ones(16), 0.99)
    np.testing.assert_allclose(bounds.ends(), (0.0, 100.0), rtol=1e-4)
    costs = ValueBounds.init().follow(-jnp.ones(16), 0.99)
    np.testing.assert_allclose(costs.ends(), (-100.0, 0.0), rtol=1e-4)


def test_a_clipped_value_has_no_slope():
    bounds = ValueBounds.init().follow(jnp.linspace(-1.0, 1.0, 101), 0.9)
    np.testing.assert_array_equal(jax.vmap(jax.grad(bounds.clip))(jnp.array([-20.0, 3.0, 20.0])), [0.0, 1.0, 0.0])


def test_a_subset_is_drawn_anew_and_holds_different_critics():
    settings = config("sac", critics=5, target_subset=2)
    params = {"w": jnp.arange(5.0)}
    seen = {tuple(sorted(np.asarray(drawn(settings, params, jax.random.key(i))["w"]))) for i in range(60)}
    assert len(seen) == 10 and all(a != b for a, b in seen)  # every pair comes up
    whole = drawn(config("sac", critics=5, target_subset=5), params, KEY)["w"]
    np.testing.assert_array_equal(np.sort(whole), params["w"])


def test_the_actor_takes_the_smallest_or_the_mean():
    q = jnp.array([[1.0, 5.0], [3.0, 1.0]])
    np.testing.assert_array_equal(over_critics(q), [1.0, 1.0])
    np.testing.assert_array_equal(over_critics(q, "mean"), [2.0, 3.0])


@pytest.mark.parametrize("name", [*FEW, *REST])
def test_a_pair_of_five_critics_makes_another_target(name):
    """An option that is not passed on would leave the loss as it is."""
    settings = [{"target_subset": k, "critics": 5} for k in (0, 5, 2)]
    losses = [jitted(name, "update")(ready(name, **s), batch_for(name), KEY)[1]["critic/loss"] for s in settings]
    assert losses[2] != pytest.approx(float(losses[0]), rel=1e-3)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("name", [*FEW, "maac", *REST, pytest.param("steve", marks=pytest.mark.slow)])
def test_bounds_stop_a_runaway_critic(name):
    """Target critics of 1e6 teach nothing beyond what rewards allow."""
    state, batch = ready(name, bound_values=True), batch_for(name)
    update = jitted(name, "update")
    state, metrics = update(state, batch, KEY)
    assert float(metrics["critic/low"]) < float(metrics["critic/high"])
    loud = jax.tree.map(lambda x: x + 1e4, state.ac.target_critic)
    state = replace(state, ac=replace(state.ac, target_critic=loud))
    _, bounded = update(state, batch, KEY)
    most = max(abs(float(metrics[f"critic/{end}"])) for end in ("low", "high"))
    assert float(bounded["critic/td_error"]) < 2 * most + abs(float(bounded["critic/q"]))


@pytest.mark.parametrize("name", ["maac", "steve"])
@pytest.mark.parametrize("option", [{"target_subset": 2}, {"actor_critics": "mean"}])
def test_steves_mixture_refuses_what_it_cannot_carry(name, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}: {name} cannot carry it, STEVE's weights"):
        module(name).init(KEY, SPEC, config(name, **option))


@pytest.mark.parametrize("name", ["sac", "mage", "dhmbpo"])
def test_options_that_cannot_be(name):
    for option, message in (
        ({"target_subset": 3, "critics": 2}, "target_subset"),
        ({"actor_critics": "max"}, "actor_critics"),
        ({"critic_norm": "batch"}, "critic_norm"),
    ):
        with pytest.raises(ValueError, match=message):
            module(name).init(KEY, SPEC, config(name, **option))


def test_a_scale_needs_bounds():
    with pytest.raises(ValueError, match="scale_values: expected bound_values"):
        module("dhmbpo").init(KEY, SPEC, config("dhmbpo", bound_values=False))


def test_a_scaled_critic_begins_in_the_middle_of_its_bounds():
    state = ready("dhmbpo", oracle=ORACLE)
    after, metrics = jitted("dhmbpo", "update")(state, transitions(32), KEY)
    middle = 0.5 * (float(metrics["critic/low"]) + float(metrics["critic/high"]))
    assert float(metrics["critic/q"]) == pytest.approx(middle, rel=1e-5)
    assert after.ac.bounds.seen
