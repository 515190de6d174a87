from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import SPEC, config, jitted, module, ready, transitions

from pbrl.agents.parts.soft import target_entropy


@pytest.mark.parametrize(("steps", "expected"), [(0, 2.0), (500, -4 + 6 * 0.5**4), (1000, -4.0), (3000, -4.0)])
def test_target_entropy_follows_its_schedule(steps, expected):
    """From 2 to -4 over 1,000 steps with exponent 4, and constant afterwards (SVG eq. 14)."""
    schedule = {"initial_entropy": 2.0, "final_entropy": -4.0, "entropy_decay": 4.0, "entropy_steps": 1000.0}
    assert target_entropy(config("sac", **schedule), jnp.float32(steps)) == pytest.approx(expected)


def test_an_exponent_of_zero_keeps_the_initial_entropy():
    flat = config("sac", initial_entropy=1.0, final_entropy=-3.0, entropy_decay=0.0, entropy_steps=10.0)
    assert [float(target_entropy(flat, jnp.float32(t))) for t in (0, 10, 20)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["sac", "svg"])
def test_the_usual_target_is_one_nat_less_for_each_action(name):
    state = module(name).init(jax.random.key(0), SPEC, config(name))
    assert state.config.initial_entropy == state.config.final_entropy == -SPEC.action_size
    given = module(name).init(jax.random.key(0), SPEC, config(name, initial_entropy=1.0))
    assert given.config.final_entropy == 1.0


@pytest.mark.parametrize("name", ["sac", "svg"])
def test_the_clock_counts_environment_steps(name):
    """The schedule reads how many transitions were observed, so that it survives a resume and any update ratio."""
    state = ready(name, initial_entropy=0.0, final_entropy=-1.0, entropy_steps=128.0)
    for expected in (-0.5, -1.0):  # 64 and 128 of 128 transitions
        _, metrics = jitted(name, "update")(state, transitions(8), jax.random.key(0))
        np.testing.assert_allclose(metrics["temperature/target_entropy"], expected)
        state = module(name).observe(state, transitions(64))


def test_the_warm_up_ends_on_time():
    """64 transitions were observed: at a warm-up of 64 the model is used, at 65 not yet."""
    free, through = (ready("svg", actor_warmup=float(w)) for w in (65, 64))
    sac = replace(ready("sac"), ac=free.ac, stats=free.stats.obs)
    expected = jitted("sac", "update")(sac, transitions(32), jax.random.key(1))[1]["actor/loss"]
    losses = [jitted("svg", "update")(s, transitions(32), jax.random.key(1))[1]["actor/loss"] for s in (free, through)]
    assert losses[0] == pytest.approx(float(expected), rel=1e-6) and losses[1] != pytest.approx(
        float(expected), rel=1e-3
    )


def test_deviations_stay_in_their_bounds_and_keep_a_gradient():
    """However far the raw output goes, log σ is within [-5, 2] and not flat at the bounds."""
    from pbrl.nn import networks

    actor = networks.GaussianActor(2, (8,))
    params = networks.init(actor, jax.random.key(0), jnp.zeros(3))
    obs = 3.0 * jax.random.normal(jax.random.key(1), (64, 3))
    spread = jax.tree.map(lambda p: 4.0 * p, params)
    _, log_std = networks.apply(actor, spread, obs)
    assert -5.0 <= float(log_std.min()) < -3.5 and 0.5 < float(log_std.max()) <= 2.0
    assert float(networks.apply(actor, params, jnp.zeros((1, 3)))[1][0, 0]) == pytest.approx(
        -1.5
    )  # tanh(0): the middle


def test_raw_observations_on_request():
    plain, scaled = ready("sac", normalize_obs=False), ready("sac")
    obs = transitions(4).obs
    np.testing.assert_array_equal(module("sac").networks(plain).inputs(obs), obs)
    assert not np.allclose(module("sac").networks(scaled).inputs(obs), obs)
