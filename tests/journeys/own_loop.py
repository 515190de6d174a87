"""A loop of one's own around MAAC's functions alone: what the README and docs/own_loop.md say of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pbrl import maac, replay
from pbrl.envs.gym import GymEnv
from pbrl.runs import checkpoint
from pbrl.types import Transition

env = GymEnv("Pendulum-v1")
small = maac.Config(
    actor_hidden=(8, 8), critic_hidden=(16, 16), model_hidden=(16, 16), ensemble_size=2, elites=2, target_members=1,
    horizon=2, samples=1, normalize_obs=True,
)  # fmt: skip
init_key, root = jax.random.split(jax.random.key(0))
state = maac.init(init_key, env.spec, small)
buffer = replay.init(Transition(jnp.zeros(3), jnp.zeros(1), jnp.zeros(()), jnp.zeros(()), jnp.zeros(3)), 500)
act = jax.jit(maac.act)


@jax.jit
def fit(state, buffer, key):
    """Take one step on the model; each member has a batch of its own."""
    rows_key, step_key = jax.random.split(key)
    rows = jax.tree.map(lambda x: x.reshape(2, 16, *x.shape[1:]), replay.sample(buffer, rows_key, 32))
    return maac.update_model(state, rows, step_key)


@jax.jit
def update(state, buffer, key):
    """Half real transitions, half imagined ones."""
    rows_key, imagine_key, update_key = jax.random.split(key, 3)
    real = replay.sample(buffer, rows_key, 16)
    imagined, _ = maac.imagine(state, real, imagine_key)
    batch = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), real, imagined)
    return maac.update(state, batch, update_key)


add = jax.jit(replay.add, donate_argnums=0)
obs, losses = env.reset(seed=0), []
for step in range(250):
    act_key, fit_key, update_key = jax.random.split(jax.random.fold_in(root, step), 3)
    action = np.asarray(act(state, obs, act_key, explore=True))
    next_obs, reward, terminated, truncated = env.step(action)
    over = terminated or truncated
    row = Transition(obs[None], action[None], jnp.array([reward]), jnp.array([1.0 - terminated]), next_obs[None])
    state, buffer = maac.observe(state, row), add(buffer, row, jnp.array([over]))
    obs = env.reset() if over else next_obs
    if step >= 50:
        state, of_model = fit(state, buffer, fit_key)
        state, metrics = update(state, buffer, update_key)
        losses.append(float(of_model["model/loss"]))
assert int(buffer.size) == 250 and all(np.isfinite(value) for value in metrics.values())
assert np.mean(losses[-20:]) < np.mean(losses[:20]), losses

checkpoint.save(Path("saved"), 250, state, {"seed": 0})
again, info, step = checkpoint.restore(Path("saved"), maac.init(jax.random.key(1), env.spec, small))
mode = [np.asarray(act(one, obs, root, explore=False)) for one in (state, again)]
assert (step, info) == (250, {"seed": 0}) and (mode[0] == mode[1]).all()

try:
    maac.update(state, Transition(obs, action, jnp.zeros(()), jnp.ones(()), obs), root)
except ValueError as error:
    assert "expected transitions [B]" in str(error)
else:
    raise AssertionError("a transition without a batch axis should have been refused")
