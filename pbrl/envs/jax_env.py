"""What an environment in JAX is: pure functions of its state, on which the device driver trains."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

from pbrl.envs.pictures import Picture
from pbrl.errors import EnvError
from pbrl.types import Array, Dynamics, EnvSpec, Key, Transition, no_extras

F = TypeVar("F", bound=Callable)


@dataclass(frozen=True)
class JaxEnv:
    """An environment as functions of its state, any pytree of arrays; hashable, so that it can be a static field.

    Nothing here counts steps: whoever steps it cuts episodes at `spec.episode_length`, so that a time limit is never
    mistaken for an end. Nor does a step begin an episode: its state is the one that the action led to. A broken step
    returns NaN.

    Attributes:
        spec: sizes, the time limit, and the known reward and termination functions, where there are any.
        reset: `key -> state`, the first of an episode.
        step: `(state, action [A] in [-1, 1], key) -> (state, reward [], discount [])`; the discount is 0 where the
            episode terminated and 1 otherwise.
        observe: `state -> f32[S]`.
        start: `batch of transitions -> states`, each as it was before its action, for an oracle alone. Then `step` and
            `observe` take any leading axes, and are differentiable in state and action: at ±1 `from_inside`.
        extras: `state -> dict of arrays`, what `start` needs besides the observation; stored with each transition.
        picture: how a state is drawn, for `pbrl video`; not all can be.
    """

    spec: EnvSpec
    reset: Callable[[Key], Any]
    step: Callable[..., tuple[Any, Array, Array]]
    observe: Callable[[Any], Array]
    start: Callable[[Transition], Any] | None = None
    extras: Callable[[Any], dict[str, Array]] = no_extras
    picture: Picture | None = None

    def __post_init__(self) -> None:
        """Let every step, whoever wrote it, be differentiated `from_inside` the bounds of actions."""
        object.__setattr__(self, "step", _inside(self.step))

    @property
    def oracle(self) -> Dynamics:
        """The environment as what a rollout differentiates through. Raises `EnvError` where it has no `start`."""
        if self.start is None:
            raise EnvError("this environment cannot begin in a replayed transition's state; give it a `start`")
        return Dynamics(self.start, self.step, self.observe, self.extras)


@jax.custom_jvp
def from_inside(action: Array) -> Array:
    """Return actions `[*, A]` as they are, such that what is computed from them is differentiated from within ±1.

    A clip to its bounds, as physics have it, shares the gradient at a tie: half of it would be lost at exactly ±1,
    where float32's tanh and clipped noise end. Where something is differentiated, an action at a bound is pulled in by
    four units of rounding, so that no rescaling ends in a tie, unless it adds an offset of many times the range's
    width. Beyond the bounds the derivative is what it was.
    """
    return action


@from_inside.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (action,) = primals
    edge = 1.0 - 4.0 * float(jnp.finfo(action.dtype).eps)
    pulled = action + jax.lax.stop_gradient(jnp.clip(action, -edge, edge) - action)
    return jnp.where(jnp.abs(action) <= 1.0, pulled, action), tangents[0]


@functools.cache
def _inside(step: Callable) -> Callable:
    """Return a step that is differentiated `from_inside`; the same for the same, since steps are static fields."""

    @functools.wraps(step)
    def inside(state: Any, action: Array, *key: Key | None) -> tuple[Any, Array, Array]:
        return step(state, from_inside(jnp.asarray(action)), *key)

    return inside


def from_spec(
    spec: EnvSpec,
    reset: Callable[[Key], Array],
    advance: Callable[[Array, Array], Array],
    observe: Callable[[Array], Array] = lambda state: state,
    recover: Callable[[Array], Array] = lambda obs: obs,
    picture: Picture | None = None,
) -> JaxEnv:
    """Make an environment without noise that pays and ends by its spec's known functions; it can be an oracle.

    Args:
        spec: with `reward_fn` and `termination_fn`.
        reset: `key -> state [D]`.
        advance: `(state [*, D], action [*, A]) -> next state`.
        observe: `state [*, D] -> [*, S]`.
        recover: inverts `observe`, so that a batch of observations is all that an oracle needs.
        picture: how a state is drawn.
    """
    reward_fn, termination_fn = spec.reward_fn, spec.termination_fn
    if reward_fn is None or termination_fn is None:
        raise EnvError("expected a spec with reward_fn and termination_fn, got None; write `JaxEnv(...)` with a `step`")

    def step(state: Array, action: Array, key: Key | None = None) -> tuple[Array, Array, Array]:
        after = advance(state, action)
        reward = reward_fn(observe(state), action, observe(after))
        return after, reward, 1.0 - termination_fn(observe(after)).astype(reward.dtype)

    return JaxEnv(spec, reset, step, observe, start=lambda batch: recover(batch.obs), picture=picture)


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


MAX_STATE = 1e10
"""MuJoCo's `mjMAXVAL`: of a position, velocity or acceleration beyond it, it resets itself."""


def within_bounds(*arrays: Array) -> Array:
    """Return whether MuJoCo would go on from these positions, velocities or accelerations, as bool[]."""
    return jnp.stack([(jnp.abs(x) <= MAX_STATE).all() for x in arrays]).all()


def paid(before: Any, after: Any, reward: Array) -> Array:
    """Return a step's reward; NaN, for a broken step, where the physics in its state are no sound ones.

    Positions and velocities are looked at, and the clock, which goes back where a state has been reset. Of Brax' states
    these are in `pipeline_state`, of Playground's in `data`.
    """
    sound = jnp.array(True)
    for part in ("pipeline_state", "data"):
        there: Any = getattr(after, part, None)
        if moving := [getattr(there, name) for name in ("q", "qd", "qpos", "qvel") if hasattr(there, name)]:
            sound &= within_bounds(*moving)
        if there is not None and hasattr(there, "time"):
            sound &= there.time >= getattr(before, part).time
    return jnp.where(sound, reward, jnp.nan)


FIRST = ("first_obs", "first_state", "first_pipeline_state", "first_data")
"""What wrappers of Brax and Playground that reset within a step keep in their states."""


def check(env: JaxEnv, name: str) -> None:
    """Raise `EnvError` where the functions do not fit together: shapes and types, without computing anything.

    Also for one that begins its next episode within a step, as Brax' `AutoResetWrapper` does: the observation that the
    action led to is lost.
    """
    key, action = jax.eval_shape(lambda: (jax.random.key(0), jnp.zeros(env.spec.action_size)))
    state = jax.eval_shape(env.reset, key)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    if any(first in path for path in paths for first in FIRST):
        raise EnvError(
            f"{name} resets itself within a step (AutoResetWrapper); hand over the environment without that wrapper, "
            "since pbrl begins episodes itself"
        )
    after, reward, discount = jax.eval_shape(env.step, state, action, key)
    reset, stepped = _described(state), _described(after)
    if reset != stepped:
        differing = [path for path in {**reset, **stepped} if reset.get(path) != stepped.get(path)]
        raise EnvError(
            f"{name}: reset returns a state of {_some(reset, differing)}, step one of {_some(stepped, differing)}; "
            "make them one"
        )
    shapes = {
        "the observation": (jax.eval_shape(env.observe, state).shape, (env.spec.obs_size,)),
        "the reward": (jnp.shape(reward), ()),
        "the discount": (jnp.shape(discount), ()),
    }
    for what, (got, expected) in shapes.items():
        if got != expected:
            raise EnvError(f"{name}: {what} has shape {got}, expected {expected} for one state without leading axes")


def _described(state: Any) -> dict[str, str]:
    """Return type and shape of each array of a state by its path.

    States are not compared themselves: they may be dataclasses that hold NumPy arrays as static fields (MJX'), of which
    `==` has no truth value.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path) or "(all)": f"{x.dtype}{list(x.shape)}" for path, x in leaves}


def _some(described: dict[str, str], paths: list[str]) -> str:
    """Name the first few of some arrays of a state."""
    return ", ".join(f"{path} {described.get(path, 'nothing')}" for path in paths[:5])


def require_extras(batch: Transition, names: Sequence[str], env_id: str, source: str) -> None:
    """Raise `ValueError` where transitions lack what an oracle starts from; `source` says who has it."""
    missing = [name for name in names if name not in batch.extras]
    if missing:
        raise ValueError(
            f"the oracle of {env_id} starts from its simulator's state: expected extras {', '.join(names)}, got none "
            f"of {', '.join(missing)}; {source} has them"
        )


def for_rows(step: Callable[[Any, Array], tuple], over: Callable = jax.vmap) -> Callable[..., tuple]:
    """Let the noiseless step of one state take a batch of them as well, by `over`, and a key that it has no use for."""

    def either(state: Any, action: Array, key: Key | None = None) -> tuple:
        return (over(step) if action.ndim > 1 else step)(state, action)

    return either
