"""Probe environments: the simplest tasks on which a part that does not work shows at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import config, module

from pbrl.types import Dynamics, EnvSpec, Transition

SPEC = EnvSpec(2, 1, 2)
RATES = {"actor_lr": 1e-2, "critic_lr": 1e-2, "loss_scale": 1.0, "lam": 1.0, "tau": 0.05}


def one_step(obs, action, key):
    """One decision, best at a = obs[0] / 2, then the end."""
    del key
    return obs, -jnp.square(action[..., 0] - 0.5 * obs[..., 0]), jnp.zeros(obs.shape[:-1])


def two_steps(obs, action, key):
    """The first action is only carried over into s'; the second step, whatever is done, pays for its size.

    obs[1] says which step it is. Without the value of s' nothing can be learned about the first action.
    """
    del key
    second = obs[..., 1] > 0.5
    reward = jnp.where(second, -jnp.square(obs[..., 0] - 0.4), 0.0)
    next_obs = jnp.stack([action[..., 0], jnp.ones_like(obs[..., 1])], -1)
    return next_obs, reward, jnp.where(second, 0.0, 1.0)


# Dyna-TD3 is not among them: it evaluates only the policy's own actions, and a noiseless oracle shows it no other, so
# that nothing tells its critic the slope in the action. That is the gap which MAGE closes.
PROBED = ("mage", "td3")


def train(name, step, updates=600):
    """Train on random states, with the true dynamics as oracle where the agent takes one."""
    agent = module(name)
    oracle = Dynamics(start=lambda batch: batch.obs, step=step, observe=lambda obs: obs)
    state = agent.init(
        jax.random.key(0), SPEC, config(name, **RATES, actor_hidden=(16,)), oracle=None if name == "td3" else oracle
    )

    def update(state, key):
        k = jax.random.split(key, 4)
        place = jnp.stack(
            [jax.random.uniform(k[0], (64,), minval=-1, maxval=1), jax.random.bernoulli(k[1], 0.5, (64,))], -1
        )
        action = jax.random.uniform(k[2], (64, 1), minval=-1, maxval=1)
        next_obs, reward, discount = step(place, action, None)
        return agent.update(state, Transition(place, action, reward, discount, next_obs), k[3])

    state, _ = jax.jit(lambda s: jax.lax.scan(update, s, jax.random.split(jax.random.key(1), updates)))(state)
    return lambda obs: np.asarray(agent.act(state, jnp.asarray(obs), jax.random.key(0), explore=False))[..., 0]


@pytest.mark.parametrize("name", PROBED)
def test_the_best_action_of_one_step(name):
    act = train(name, one_step)
    places = np.linspace(-0.8, 0.8, 5)
    np.testing.assert_allclose(act(np.stack([places, np.zeros(5)], -1)), places / 2, atol=0.12)


@pytest.mark.parametrize("name", PROBED)
def test_value_reaches_back_through_the_next_state(name):
    act = train(name, two_steps, 1200)
    np.testing.assert_allclose(act([[0.0, 0.0]]), 0.4, atol=0.15)


@pytest.mark.slow
def test_mage_swings_the_pendulum_up(tmp_path):
    """The `cpu` preset, three seeds, about three minutes on two cores."""
    from pbrl.options import parse
    from pbrl.train.host import train as train_run

    words = f"mage --env pbrl/MagePendulum-v0 --preset cpu --seeds 3 --first-seed 50 --steps 3000 --out {tmp_path}/run"
    progress = train_run(parse(words.split()))
    assert (progress.evaluation["eval/return"] > -250).all(), progress.evaluation
