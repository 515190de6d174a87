"""A small differentiable task and small networks, so that an agent compiles and runs in seconds."""

import importlib
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pbrl.train import learn
from pbrl.types import Dynamics, EnvSpec, Transition

AGENTS = ("mage", "svg", "maac", "dhmbpo", "dyna", "mbpo", "steve", "svg1", "td3", "sac")
VARIANTS = {"xqc": ("sac", {"critic": "categorical", "atoms": 21, "actor_every": 2, "final_lr": 1e-5, "lr_steps": 1e4})}
"""An agent with an option that makes another of it: a name for tests, its module, and what the option takes."""
OBS, ACTION = 3, 2


def reward_fn(obs, action, next_obs):
    return -jnp.square(next_obs).sum(-1) - 0.1 * jnp.square(action).sum(-1) + 0.05 * obs[..., 0]


def termination_fn(next_obs):
    return next_obs[..., 0] > 2.0


SPEC = EnvSpec(OBS, ACTION, 50, reward_fn, termination_fn)
UNKNOWN = EnvSpec(OBS, ACTION, 50)


def true_step(obs, action, key):
    del key
    push = jnp.array([[0.5, 0.0, 0.2], [0.0, 0.3, -0.4]], action.dtype)
    next_obs = 0.9 * obs + jnp.sin(action) @ push
    return next_obs, reward_fn(obs, action, next_obs), 1.0 - termination_fn(next_obs).astype(obs.dtype)


ORACLE = Dynamics(start=lambda batch: batch.obs, step=true_step, observe=lambda obs: obs)


def module(name):
    return importlib.import_module(f"pbrl.agents.{VARIANTS[name][0] if name in VARIANTS else name}")


def has_model(name):
    """Whether an agent learns from a model, of its own or an oracle."""
    return module(name).abilities(module(name).Config()).has_model


def config(name, **changes):
    """Small networks for any agent; fields that it lacks are left out."""
    small = {
        "actor_hidden": (8, 8),
        "critic_hidden": (16, 16),
        "model_hidden": (16, 16),
        "ensemble_size": 4,
        "elites": 4,
        "target_members": 2,
        "horizon": 2,
        "samples": 2,
        "max_epochs": 3,
        "head_hidden": (8,),
        "encoder_hidden": (16,),
        "recurrent_width": 8,
        "actor_warmup": 0.0,
        **(VARIANTS[name][1] if name in VARIANTS else {}),
        **changes,
    }
    cls = module(name).Config
    return cls(**{k: v for k, v in small.items() if k in cls.__dataclass_fields__})


def transitions(*shape, seed=0):
    """Real transitions of the task, with every leading axis of `shape`."""
    return _transitions(seed, shape)


@partial(jax.jit, static_argnums=1)
def _transitions(seed, shape):
    k = jax.random.split(jax.random.key(seed), 2)
    obs = jax.random.normal(k[0], (*shape, OBS))
    action = jnp.tanh(jax.random.normal(k[1], (*shape, ACTION)))
    next_obs, reward, discount = true_step(obs, action, None)
    return Transition(obs, action, reward, discount, next_obs)


def unchanged(before, after):
    """Say whether every leaf is what it was, to the bit."""
    return all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))


def momentum(opt_state):
    """Return an optimiser's first moments: a tenth of the gradient after its first step."""
    return optax.tree_utils.tree_get(opt_state, "mu")


@cache
def jitted(name, function):
    """One program of an agent's function, compiled once for all tests of a process."""
    return jax.jit(getattr(module(name), function))


def ready(name, spec=SPEC, seed=0, oracle=None, **changes):
    """A state that has seen data, so that its normalisers and optimisers are not at their start."""
    return _ready(jax.random.key(seed), config(name, **changes), transitions(64, seed=seed), name, spec, oracle)


@partial(jax.jit, static_argnames=("name", "spec", "oracle"))
def _ready(key, settings, batch, name, spec, oracle):
    """One program for all numbers of a configuration, which are leaves of `settings`."""
    agent = module(name)
    state = agent.observe(agent.init(key, spec, settings, oracle=oracle), batch)
    return agent.update_model(state, transitions(4, 16), jax.random.key(1))[0]


def learner(name, rows, capacity, imagined=0, spec=SPEC, seed=0, oracle=None, **changes):
    """A learner whose buffer of `capacity` holds `rows` of the task, and one for imagined rows."""
    given = config(name, **changes), transitions(rows, seed=seed)
    return _learner(jax.random.key(seed), *given, name, capacity, imagined, spec, oracle)


@partial(jax.jit, static_argnames=("name", "capacity", "imagined", "spec", "oracle"))
def _learner(key, settings, rows, name, capacity, imagined, spec, oracle):
    made = learn.start(module(name), key, spec, settings, capacity, imagined, oracle)
    made = replace(made, fitted=jnp.ones((), jnp.int32))  # so that updates do not wait for the model
    return learn.collect(module(name), made, rows, jnp.zeros(rows.reward.shape, bool))
