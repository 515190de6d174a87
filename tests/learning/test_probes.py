"""Probe environments: the simplest tasks on which a part that does not work shows at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import config, has_model, module

from pbrl.envs.toy import TOYS
from pbrl.types import Transition

RATES = {"actor_lr": 1e-2, "critic_lr": 1e-2, "loss_scale": 1.0, "lam": 1.0, "tau": 0.05}
# Where entropy is paid for, little is wanted, so that the mode is what the reward asks for.
SOFT = {"temperature_lr": 0.0, "initial_temperature": 1e-3, "model_lr": 1e-2, "head_lr": 1e-2, "normalize_obs": False}

# Dyna-TD3 is not among them: it evaluates only the policy's own actions, and a noiseless oracle shows it no other, so
# that nothing tells its critic the slope in the action. That is the gap which MAGE closes.
PROBED = ("mage", "svg", "td3", "sac")


def train(name, probe, updates=600):
    """Train on random states, with the true dynamics as oracle where the agent takes one."""
    agent, toy = module(name), TOYS[probe]
    state = agent.init(
        jax.random.key(0),
        toy.spec,
        config(name, **RATES, **SOFT, actor_hidden=(16,)),
        oracle=toy.oracle if has_model(name) else None,
    )

    def update(state, key):
        k = jax.random.split(key, 4)
        place = jnp.stack(
            [jax.random.uniform(k[0], (64,), minval=-1, maxval=1), jax.random.bernoulli(k[1], 0.5, (64,))], -1
        )
        action = jax.random.uniform(k[2], (64, 1), minval=-1, maxval=1)
        next_obs, reward, discount = toy.step(place, action)
        return agent.update(state, Transition(place, action, reward, discount, next_obs), k[3])

    state, _ = jax.jit(lambda s: jax.lax.scan(update, s, jax.random.split(jax.random.key(1), updates)))(state)
    return lambda obs: np.asarray(agent.act(state, jnp.asarray(obs), jax.random.key(0), explore=False))[..., 0]


@pytest.mark.parametrize("name", PROBED)
def test_the_best_action_of_one_step(name):
    act = train(name, "ProbeOne")
    places = np.linspace(-0.8, 0.8, 5)
    np.testing.assert_allclose(act(np.stack([places, np.zeros(5)], -1)), places / 2, atol=0.12)


@pytest.mark.parametrize("name", PROBED)
def test_value_reaches_back_through_the_next_state(name):
    act = train(name, "ProbeTwo", 1200)
    np.testing.assert_allclose(act([[0.0, 0.0]]), 0.4, atol=0.15)


@pytest.mark.slow
def test_mage_swings_the_pendulum_up(tmp_path):
    """The `cpu` preset, three seeds, about three minutes on two cores."""
    from pbrl.cli.options import parse
    from pbrl.train.host import train as train_run

    words = f"mage --env pbrl/MagePendulum-v0 --preset cpu --seeds 3 --first-seed 50 --steps 3000 --out {tmp_path}/run"
    progress = train_run(parse(words.split()))
    assert (progress.evaluation["eval/return"] > -250).all(), progress.evaluation


@pytest.mark.slow
def test_svg_swings_the_pendulum_up(tmp_path):
    """The `cpu` preset, three seeds, about two minutes on two cores."""
    from pbrl.cli.options import parse
    from pbrl.train.host import train as train_run

    words = f"svg --env Pendulum-v1 --preset cpu --seeds 3 --first-seed 50 --steps 6000 --out {tmp_path}/run"
    progress = train_run(parse(words.split()))
    assert (progress.evaluation["eval/return"] > -250).all(), progress.evaluation
