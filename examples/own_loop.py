"""MAAC in a loop of your own: what `pbrl train` does for one seed, each phase in sight.

    python examples/own_loop.py [FOLDER]           # Pendulum, about two minutes on one core

It prints the return of every evaluation, and saves agent and experience in FOLDER. docs/own_loop.md explains it.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pbrl import maac
from pbrl.envs.gym import GymEnv
from pbrl.runs import checkpoint
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting, learn, model_data
from pbrl.types import Transition

CONFIG = maac.Config(
    horizon=3, samples=1, entropy="path", target_horizon=0, critics=2, ensemble_size=5, elites=5, max_epochs=40,
    actor_hidden=(64, 64), critic_hidden=(128, 128), model_hidden=(128, 128), critic_lr=1e-3, temperature_lr=3e-3,
    initial_temperature=0.1, normalize_obs=True, bound_std=True,
)  # fmt: skip
SCHEDULE = Schedule(
    total_steps=2_000, warmup_steps=500, updates_per_step=4, batch_size=128, model_every=250, model_batch_size=128,
    imagine_batch=5_000, imagine_buffer=20_000, real_fraction=0.5, eval_every=500, eval_episodes=10,
)  # fmt: skip
UNUSED = jax.random.key(0)  # the policy's mode draws nothing


def start(spec, config=CONFIG, schedule=SCHEDULE, seed=0):
    """Make a fresh agent with two empty buffers: what the environment gave, and what the model imagines."""
    made = partial(learn.start, maac, spec=spec, config=config, capacity=schedule.total_steps)
    return jax.jit(partial(made, imagined=schedule.imagine_buffer))(jax.random.key(seed))


def one_row(obs, action, reward, terminated, next_obs):
    """Return a batch `[1]` of one transition. A time limit leaves its discount at 1."""
    return Transition(obs[None], action[None], jnp.array([reward]), jnp.array([1.0 - terminated]), next_obs[None])


def evaluate(env, mode, agent, episodes):
    """Play whole episodes with the policy's mode, and return their mean return."""
    returns = np.zeros(episodes)
    for episode in range(episodes):
        obs, over = env.reset(seed=10_000 + episode), False
        while not over:
            obs, reward, terminated, truncated = env.step(np.asarray(mode(agent, obs, UNUSED)))
            returns[episode] += reward
            over = terminated or truncated
    return returns.mean()


def main(folder, config=CONFIG, schedule=SCHEDULE, seed=0):
    """Train, save at every evaluation, and return the evaluations' mean returns."""
    env, test_env, scores, schedule = GymEnv("Pendulum-v1"), GymEnv("Pendulum-v1"), [], schedule.validate()
    root, learner = jax.random.key(seed + 1), start(env.spec, config, schedule, seed)
    # A program for each phase. Each takes the learner away (donation), so rebind what you pass.
    collect = jax.jit(partial(learn.collect, maac), donate_argnums=0)
    fit = jax.jit(partial(fitting.fit, maac, batches=0, schedule=schedule), donate_argnums=0)  # until it stops
    imagine = jax.jit(partial(model_data.imagine, maac, steps=1, schedule=schedule), donate_argnums=0)
    update = jax.jit(partial(learn.learn, maac, schedule=schedule), donate_argnums=0)
    act, mode = (jax.jit(partial(maac.act, explore=explore)) for explore in (True, False))

    obs = env.reset(seed=seed)
    for step in range(1, schedule.total_steps + 1):
        act_key, fit_key, imagine_key, update_key = jax.random.split(jax.random.fold_in(root, step), 4)
        if step <= schedule.warmup_steps:
            action = learn.random_action(env.spec, act_key)
        else:
            action = act(learner.agent, obs, act_key)
        next_obs, reward, terminated, truncated = env.step(np.asarray(action))
        over = terminated or truncated
        learner = collect(learner, one_row(obs, action, reward, terminated, next_obs), jnp.array([over]))
        obs = env.reset() if over else next_obs

        if schedule.due_after_warmup(step, schedule.model_every):
            learner, fitted = fit(learner, fit_key)
            learner = imagine(learner, imagine_key)
            print(f"step {step}: model fitted, held-out loss {fitted['model/held_out_loss']:.2f}")
        if step >= schedule.warmup_steps:
            learner, metrics = update(learner, update_key)
        if step % schedule.eval_every == 0:
            scores.append(evaluate(test_env, mode, learner.agent, schedule.eval_episodes))
            print(f"step {step}: return {scores[-1]:.0f}, mean Q {metrics['critic/q']:.1f}")
            checkpoint.save(folder, step, learner, {"seed": seed})
    return scores


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["runs/own_loop"]))
