"""MuJoCo Playground's environments for the device driver. It is no dependency: `pip install playground` for it."""

from typing import Any

from pbrl.envs import pictures
from pbrl.envs.jax_env import JaxEnv, for_rows, paid, precise
from pbrl.errors import EnvError
from pbrl.types import Array, EnvSpec


def from_playground(env: Any, episode_length: int = 1_000) -> JaxEnv:
    """Adapt what `mujoco_playground.registry.load` returned, with vector observations.

    Load it with `config_overrides={"impl": "jax"}`, but for a GPU that is to step with Warp. Actions in [-1, 1] go in
    as they are, as in Playground's own training. The time limit (its configuration's `episode_length`) is the driver's
    affair. What it rewards is unknown to an agent; no oracle, since MJX' solver has no derivative.

    Raises `EnvError` for observations that are no vector.
    """
    if not isinstance(env.observation_size, int):
        raise EnvError(f"expected an environment that observes a vector, got one with {env.observation_size}")

    def step(state: Any, action: Array) -> tuple[Any, Array, Array]:
        after = env.step(state, action)
        return after, paid(state, after, after.reward), 1.0 - after.done

    spec = EnvSpec(env.observation_size, env.action_size, episode_length)
    model, picture = getattr(env, "mj_model", None), None
    if model is not None:
        picture = pictures.of_mujoco(model, lambda state: state.data.qpos, 1.0 / float(env.dt))
    return JaxEnv(spec, precise(env.reset), for_rows(precise(step)), observe=lambda state: state.obs, picture=picture)
