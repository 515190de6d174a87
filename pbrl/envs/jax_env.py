"""Environments as pure functions: what the device driver trains on, and Gymnasium's interface to those with an id."""

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from pbrl.envs import BRAX, TOYS, oracles
from pbrl.envs.tasks import rewards
from pbrl.errors import EnvError, NoTwin
from pbrl.types import Array, Dynamics, EnvSpec, Key, Transition, no_extras, width

F = TypeVar("F", bound=Callable)


@dataclass(frozen=True)
class JaxEnv:
    """An environment as functions of its state, any pytree of arrays; hashable, so that it can be a static field.

    Nothing here counts steps: whoever steps it cuts episodes at `spec.episode_length`, so that a time limit is never
    mistaken for an end. A broken step may return NaN.

    Attributes:
        spec: sizes, the time limit, and the known reward and termination functions, where there are any.
        reset: `key -> state`, the first of an episode.
        step: `(state, action [A] in [-1, 1], key) -> (state, reward [], discount [])`; the discount is 0 where the
            episode terminated and 1 otherwise.
        observe: `state -> f32[S]`.
        start: `batch of transitions -> states`, each as it was before its action, for an oracle alone. Then `step` and
            `observe` take any leading axes, and are differentiable in state and action.
        extras: `state -> dict of arrays`, what `start` needs besides the observation; stored with each transition.
    """

    spec: EnvSpec
    reset: Callable[[Key], Any]
    step: Callable[..., tuple[Any, Array, Array]]
    observe: Callable[[Any], Array]
    start: Callable[[Transition], Any] | None = None
    extras: Callable[[Any], dict[str, Array]] = no_extras

    @property
    def oracle(self) -> Dynamics:
        """The environment as what a rollout differentiates through. Raises `EnvError` where it has no `start`."""
        if self.start is None:
            raise EnvError("this environment cannot begin in a replayed transition's state; give it a `start`")
        return Dynamics(self.start, self.step, self.observe, self.extras)


def from_spec(
    spec: EnvSpec,
    reset: Callable[[Key], Array],
    advance: Callable[[Array, Array], Array],
    observe: Callable[[Array], Array] = lambda state: state,
    recover: Callable[[Array], Array] = lambda obs: obs,
) -> JaxEnv:
    """Make an environment without noise that pays and ends by its spec's known functions; it can be an oracle.

    Args:
        spec: with `reward_fn` and `termination_fn`.
        reset: `key -> state [D]`.
        advance: `(state [*, D], action [*, A]) -> next state`.
        observe: `state [*, D] -> [*, S]`.
        recover: inverts `observe`, so that a batch of observations is all that an oracle needs.
    """
    reward_fn, termination_fn = spec.reward_fn, spec.termination_fn
    if reward_fn is None or termination_fn is None:
        raise EnvError("expected a spec with reward_fn and termination_fn, got None; write `JaxEnv(...)` with a `step`")

    def step(state: Array, action: Array, key: Key | None = None) -> tuple[Array, Array, Array]:
        after = advance(state, action)
        reward = reward_fn(observe(state), action, observe(after))
        return after, reward, 1.0 - termination_fn(observe(after)).astype(reward.dtype)

    return JaxEnv(spec, reset, step, observe, start=lambda batch: recover(batch.obs))


def physics_precision() -> str:
    """Return with what precision physics multiply matrices: `jax_default_matmul_precision`, or else full float32.

    Accelerators multiply with fewer bits where nobody says, too few for contacts.
    """
    return str(jax.config.jax_default_matmul_precision or "highest")  # pyright: ignore[reportAttributeAccessIssue]


def precise(function: F) -> F:
    """Let physics multiply matrices with `physics_precision`."""

    @functools.wraps(function)
    def precisely(*args: Any) -> Any:
        with jax.default_matmul_precision(physics_precision()):
            return function(*args)

    return cast(F, precisely)


def check(env: JaxEnv, name: str) -> None:
    """Raise `EnvError` where the functions do not fit together: shapes and types, without computing anything."""
    key, action = jax.eval_shape(lambda: (jax.random.key(0), jnp.zeros(env.spec.action_size)))
    state = jax.eval_shape(env.reset, key)
    after, reward, discount = jax.eval_shape(env.step, state, action, key)
    describe = lambda tree: jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", tree)  # noqa: E731
    if describe(after) != describe(state):
        raise EnvError(
            f"{name}: reset returns a state of {describe(state)}, step one of {describe(after)}; make them one"
        )
    shapes = {
        "the observation": (jax.eval_shape(env.observe, state).shape, (env.spec.obs_size,)),
        "the reward": (jnp.shape(reward), ()),
        "the discount": (jnp.shape(discount), ()),
    }
    for what, (got, expected) in shapes.items():
        if got != expected:
            raise EnvError(f"{name}: {what} has shape {got}, expected {expected} for one state without leading axes")


def require_extras(batch: Transition, names: Sequence[str], env_id: str, source: str) -> None:
    """Raise `ValueError` where transitions lack what an oracle starts from; `source` says who has it."""
    missing = [name for name in names if name not in batch.extras]
    if missing:
        raise ValueError(
            f"the oracle of {env_id} starts from its simulator's state: expected extras {', '.join(names)}, got none "
            f"of {', '.join(missing)}; {source} has them"
        )


def for_rows(step: Callable[[Any, Array], tuple]) -> Callable[..., tuple]:
    """Let the noiseless step of one state take a batch of them as well, and a key that it has no use for."""

    def either(state: Any, action: Array, key: Key | None = None) -> tuple:
        return (jax.vmap(step) if action.ndim > 1 else step)(state, action)

    return either


OWN: dict[str, JaxEnv] = {}
"""What `register` has been given."""


def register(env_id: str, env: JaxEnv) -> None:
    """Give an environment of one's own an id, for a `Run`; under it Gymnasium makes it as well, so `pbrl eval` does.

    Raises `EnvError` for an id that is taken, and as `check` does.
    """
    check(env, env_id)
    if env_id in gymnasium.registry and env_id not in OWN:
        raise EnvError(f"{env_id} is an environment of Gymnasium's already; choose another id")
    gymnasium.registry.pop(env_id, None)  # a notebook's cell runs again
    OWN[env_id] = env
    rewards.KNOWN[env_id] = env.spec.reward_fn, env.spec.termination_fn
    steps = env.spec.episode_length
    gymnasium.register(env_id, "pbrl.envs.jax_env:Gym", max_episode_steps=steps, kwargs={"env_id": env_id})


def plain(env_id: str) -> str:
    """Return an id without the `module:` that it may begin with, and import the module, which registers the id.

    Raises `EnvError` for a module that cannot be imported.
    """
    module, colon, name = env_id.rpartition(":")
    if not colon:
        return env_id
    try:
        importlib.import_module(module)
    except Exception as error:  # of a program of the user's own
        problem = f"{type(error).__name__}: {error}"
        raise EnvError(f"{env_id}: cannot import {module} ({problem}); is it on PYTHONPATH?") from error
    return name


def is_jax(env_id: str) -> bool:
    """Return whether the id is that of functions in JAX, so that a driver on the device needs no twin."""
    env_id = plain(env_id)
    return env_id in OWN or env_id.startswith(BRAX) or env_id in {f"pbrl/Toy{name}-v0" for name in TOYS}


def find(env_id: str) -> JaxEnv:
    """Return the environment of an id, or its differentiable twin. Raises `EnvError` where it has neither."""
    env_id = plain(env_id)
    if env_id in OWN:
        return OWN[env_id]
    if env_id.startswith(BRAX):
        from pbrl.envs import brax  # which imports this module

        return brax.environment(env_id)
    if env_id in oracles.TWINS:
        from pbrl.envs import toy  # which imports this module

        return toy.TOYS[oracles.TWINS[env_id]]
    from pbrl.envs.mujoco import twin  # which imports this module

    try:
        return twin.environment(env_id)
    except NoTwin as error:
        raise NoTwin(
            f"{error}. What has one: Gymnasium's MuJoCo tasks at -v5 but the Humanoids, pbrl's variants of them, "
            f"{BRAX}NAME-BACKEND, {', '.join(oracles.TWINS)}, and any functions of your own (docs/oracles.md, "
            "docs/device.md). An agent trains on it with a learned model, without --oracle and --driver device"
        ) from None


class Gym(gymnasium.Env):
    """A JAX environment with Gymnasium's interface; its keys come from Gymnasium's own seeded generator."""

    metadata = {"render_modes": []}  # noqa: RUF012, Gymnasium's own interface

    def __init__(self, env_id: str):
        self.jax_env = env = find(env_id)
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
