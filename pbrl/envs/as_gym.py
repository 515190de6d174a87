"""An environment in JAX with Gymnasium's interface: what Gymnasium makes of an id that is one in JAX."""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from pbrl.envs import registry
from pbrl.errors import EnvError
from pbrl.types import width


class JaxAsGym(gymnasium.Env):
    """The environment of an id, stepped by compiled functions; its keys come from Gymnasium's own seeded generator."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012, Gymnasium's own interface

    def __init__(self, env_id: str, render_mode: str | None = None):
        """Compile an environment's functions. Raises `EnvError` where pictures are asked for and it has none."""
        self.jax_env, self.render_mode = registry.find(env_id), render_mode
        env, picture = self.jax_env, self.jax_env.picture
        if render_mode and picture is None:
            raise EnvError(
                f"{env_id} cannot be filmed: it has no picture of its state; give its JaxEnv one (pbrl.envs.pictures)"
            )
        if picture is not None:
            self.metadata = {**self.metadata, "render_fps": picture.frames_per_second}
        self._reset = jax.jit(lambda seed: env.reset(jax.random.key(seed)))
        self._step = jax.jit(lambda state, action, seed: env.step(state, action, jax.random.key(seed)))
        self._observe, self._extras = jax.jit(env.observe), jax.jit(env.extras)
        self.observation_space = Box(-np.inf, np.inf, (env.spec.obs_size,), width().type)
        self.action_space = Box(-1.0, 1.0, (env.spec.action_size,), width().type)
        self.state = self._reset(0)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Draw a first state."""
        super().reset(seed=seed)
        self.state = self._reset(self._draw())
        return np.asarray(self._observe(self.state)), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take an action within [-1, 1]."""
        self.state, reward, discount = self._step(self.state, np.asarray(action, width()), self._draw())
        return np.asarray(self._observe(self.state)), float(reward), bool(discount == 0), False, {}

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draw the state it is in."""
        picture = self.jax_env.picture
        return None if picture is None else picture.draw(jax.device_get(self.state))

    def extras(self) -> dict[str, np.ndarray]:
        """Return what its oracle starts from here besides the observation."""
        return jax.tree.map(np.asarray, self._extras(self.state))

    def _draw(self) -> int:
        return int(self.np_random.integers(2**31))

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return all that it holds, each array of the state by its path."""
        leaves = jax.tree_util.tree_leaves_with_path(self.state)
        return {f"state{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go back to a snapshot."""
        self.state = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.asarray(state[f"state{jax.tree_util.keystr(path)}"], leaf.dtype), self.state
        )
