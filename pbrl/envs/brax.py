"""Brax' environments as functions of a state: `brax/NAME` or `brax/NAME-BACKEND`, such as `brax/hopper-positional`.

Brax maintains its physics no more, and says so; its environments still step, in one program with an agent, and three of
its backends have a derivative. `docs/oracles.md` says how good.
"""

import functools
import warnings
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp

from pbrl.envs import notices, pictures
from pbrl.envs.ids import BRAX, JAX_AS_GYM
from pbrl.envs.jax_env import JaxEnv, for_rows, paid, precise, require_extras
from pbrl.errors import EnvError
from pbrl.types import Array, EnvSpec, Transition, width

BACKENDS = ("positional", "spring", "generalized", "mjx")
EPISODE = 1_000  # as Brax' own training wraps all of them


def named(env_id: str) -> tuple[str, str]:
    """Split an id into Brax' name and backend, positional where none is given.

    Raises `EnvError` for unknown ones, and where Brax is not installed.
    """
    envs = _envs()
    name, _, backend = env_id.removeprefix(BRAX).partition("-")
    known = sorted(set(envs._envs) - {"fast"})
    if name not in known or (backend or BACKENDS[0]) not in BACKENDS:
        raise EnvError(
            f"there is no {env_id!r}; expected {BRAX}NAME-BACKEND with a name of {', '.join(known)} "
            f"and a backend of {', '.join(BACKENDS)}"
        )
    return name, backend or BACKENDS[0]


def register(env_id: str) -> None:
    """Let Gymnasium make the environment of an id as well. Raises `EnvError` as `named` does."""
    named(env_id)
    if env_id not in gymnasium.registry:
        gymnasium.register(env_id, JAX_AS_GYM, max_episode_steps=EPISODE, kwargs={"env_id": env_id})


def refuse_without_gradient(env_id: str) -> None:
    """Raise `EnvError` for a backend that cannot be differentiated backwards; warn of one whose gradients go wrong."""
    name, backend = named(env_id)
    if backend == "mjx":
        raise EnvError(
            f"{env_id} cannot be an oracle: the loop in its constraint solver has no derivative. "
            f"Use {BRAX}{name}-positional, or one of Gymnasium's MuJoCo tasks with --oracle"
        )
    if backend == "generalized":
        warnings.warn(
            f"{env_id}: gradients of Brax' generalized backend go wrong first where there are contacts (halfcheetah: "
            f"in one state of twenty from 8 steps on); try `pbrl gradcheck {env_id}`, or {BRAX}{name}-positional",
            stacklevel=1,
        )


def environment(env_id: str) -> JaxEnv:
    """Return the environment of an id; the same object at every call. Raises `EnvError` as `named` does."""
    return _environment(env_id, width())  # Brax' constants have the width that JAX has


@functools.cache
def _environment(env_id: str, _dtype: Any) -> JaxEnv:
    name, backend = named(env_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Brax' physics are no longer maintained: said in the docs
        env = _envs().get_environment(name, backend=backend)
        blank = jax.eval_shape(env.reset, jax.random.key(0))
    kept = {"physics": blank.pipeline_state, "info": blank.info}
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(kept)]
    structure = jax.tree.structure(kept)

    def step(state: Any, action: Array) -> tuple[Any, Array, Array]:
        after = env.step(state, action)
        return after, paid(state, after, after.reward), 1.0 - jax.lax.stop_gradient(after.done)

    def extras(state: Any) -> dict[str, Array]:
        leaves = jax.tree.leaves({"physics": state.pipeline_state, "info": state.info})
        return dict(zip(paths, leaves, strict=True))

    def start(batch: Transition) -> Any:
        require_extras(batch, paths, env_id, "`extras` of its environment")
        there = jax.tree.unflatten(structure, [batch.extras[path] for path in paths])
        nothing = jnp.zeros(batch.obs.shape[:-1], batch.obs.dtype)
        metrics = jax.tree.map(lambda x: jnp.zeros((*nothing.shape, *x.shape), x.dtype), blank.metrics)
        return blank.replace(
            pipeline_state=there["physics"], info=there["info"], obs=batch.obs, reward=nothing, done=nothing,
            metrics=metrics,
        )  # fmt: skip

    def observe(state: Any) -> Array:
        return state.obs

    return JaxEnv(
        EnvSpec(env.observation_size, env.action_size, EPISODE),
        precise(env.reset),
        for_rows(precise(step)),
        observe,
        start,
        extras,
        pictures.of_mujoco(env.sys.mj_model, lambda state: state.pipeline_state.q, 1.0 / float(env.dt)),
    )


def _envs() -> Any:
    try:
        with notices.mjx():
            from brax import envs
    except ModuleNotFoundError as error:
        if error.name != "brax":
            raise
        raise EnvError(f"environments {BRAX}NAME need the package brax: pip install 'pbrl[brax]'") from None
    return envs
