"""What MAGE, Dyna-TD3 and TD3 have in common: their choice of a TD loss, and the size of their actions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import SPEC, jitted, module, ready, reward_fn, transitions

BONUS = 1_000.0


def well_paid(obs, action, next_obs):
    return reward_fn(obs, action, next_obs) + BONUS


RICH = replace(SPEC, reward_fn=well_paid)


@pytest.mark.parametrize("name", ["mage", "dyna", "td3"])
def test_the_td_loss_is_the_one_chosen(name):
    """Every δ is about 1,000 here: Huber's loss is its mean less a half, the squared one all but the mean's square."""
    scale = {"gradient_weight": 0.0, "lam": 1.0, "loss_scale": 1.0}  # MAGE's TD term alone
    batch = transitions(32)
    batch = replace(batch, reward=batch.reward + BONUS)
    found = {}
    for kind in ("huber", "squared"):
        changes = {"td_loss": kind, **(scale if name == "mage" else {})}
        _, found[kind] = jitted(name, "update")(ready(name, RICH, **changes), batch, jax.random.key(4))
    error = found["huber"]["critic/td_error"]
    np.testing.assert_allclose(found["huber"]["critic/loss"], error - 0.5, rtol=1e-5)
    np.testing.assert_allclose(found["squared"]["critic/loss"], jnp.square(error), rtol=1e-3)


@pytest.mark.parametrize("name", ["mage", "dyna", "td3"])
def test_the_size_of_the_actors_actions_is_told(name):
    """Before the update, without noise."""
    state, batch = ready(name), transitions(32)
    action = module(name).act(state, batch.obs, jax.random.key(0), explore=False)
    _, metrics = jitted(name, "update")(state, batch, jax.random.key(4))
    np.testing.assert_allclose(metrics["actor/abs_action"], jnp.abs(action).mean(), rtol=1e-5)
