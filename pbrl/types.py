"""The types that agents, models, environments and loops share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import flax.struct
import jax
import numpy as np

Array = jax.Array
"""An array of JAX; jitted functions take NumPy arrays as well."""
Key = jax.Array
"""A typed key from `jax.random.key` (legacy `PRNGKey` arrays escape `jax.debug_key_reuse`)."""
Params = Any
"""A pytree of arrays: what a Flax module's `init` returns under `"params"`."""
Metrics = dict[str, Array]
"""Flat scalars, f32[], under keys such as `critic/loss`."""

RewardFn = Callable[[Array, Array, Array], Array]
"""`(obs [*,S], action [*,A] in [-1, 1], next_obs [*,S]) -> reward [*]`, differentiable, any leading axes."""
TerminationFn = Callable[[Array], Array]
"""`next_obs [*,S] -> terminated [*]` (bool), any leading axes."""


@flax.struct.dataclass
class Transition:
    """One step of an environment, or any batch of them (every field has the same leading axes `*`).

    `discount` is 0 where the episode truly terminated and 1 otherwise; a time limit never zeroes it.
    `next_obs` is the observation that the step produced, never the first one of the next episode.
    """

    obs: Array
    """f32[*, S]."""
    action: Array
    """f32[*, A] in [-1, 1]."""
    reward: Array
    """f32[*]."""
    discount: Array
    """f32[*] in {0, 1}."""
    next_obs: Array
    """f32[*, S]."""
    extras: dict[str, Array] = flax.struct.field(default_factory=dict)
    """What an oracle needs besides the observation, such as a simulator's state."""


LARGEST = 1e15
"""The largest magnitude that data, losses and gradients may have: beyond it float32 overflows where sums of squares are
taken. What is larger is handled like what is not finite."""
MOST = 2**31 - 1
"""What an i32 can count; counts of a run's life stay there instead of passing it."""


def width() -> np.dtype:
    """Return the type of JAX's floats here and now: float32, or float64 under `jax_enable_x64`."""
    return np.dtype(jax.dtypes.canonicalize_dtype(float))


def unknown() -> float:
    """Return what stands for a number that there is not: NaN, or infinity where `jax_debug_nans` takes NaN for a fault.

    Logs write either as null.
    """
    return float("inf" if jax.config.jax_debug_nans else "nan")  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class EnvSpec:
    """What an agent must know of its environment; hashable, so that it can be a static field.

    `obs_size` is S and `action_size` A; `episode_length` is the time limit in steps.
    `reward_fn` and `termination_fn` are module-level functions, differentiable (the reward) and free of
    assumptions on leading axes; `None` means unknown: the agent learns it.
    """

    obs_size: int
    action_size: int
    episode_length: int
    reward_fn: RewardFn | None = None
    termination_fn: TerminationFn | None = None


def no_extras(z: Any) -> dict[str, Array]:
    """Say that an observation tells the whole state."""
    return {}


class Dynamics(NamedTuple):
    """What a rollout differentiates through: a learned model or a simulator.

    `start` maps a batch of transitions to latent states, `step` advances them and `observe` reads observations
    off them, all over the same leading axis `[B]`. `step` must be differentiable in `z` and `action`;
    the discount that it returns is in [0, 1] and excludes the agent's own discount factor. It carries no gradient but
    where an algorithm wants one: SVG's learned probability of going on.
    `extras` gives what `start` needs besides the observation to begin at `z` again: nothing, for most.
    """

    start: Callable[[Transition], Any]
    step: Callable[[Any, Array, Key], tuple[Any, Array, Array]]
    observe: Callable[[Any], Array]
    extras: Callable[[Any], dict[str, Array]] = no_extras


@dataclass(frozen=True)
class Abilities:
    """What an agent does with a configuration: loops and checks ask it here, and look at no field or function names."""

    fits: Literal["", "epochs", "windows", "until stopped"] = ""
    """How its model trains (`pbrl.train.fitting`): in whole epochs over the buffer; on windows of consecutive
    transitions drawn at random; in epochs until held-out rows stop every member. Empty: it has no model."""
    members: int = 1
    """Members of the model, each of which trains on a batch of its own, but on windows."""
    window: int = 0
    """Consecutive transitions in a window; 0 where this configuration needs no model after all."""
    imagines: bool = False
    """Offers `imagine`, and its batches may hold imagined transitions."""
    remembers: bool = False
    """Offers `remember`: replay holds more than the transition itself."""
    plans: bool = False
    """Offers `simulator`, `distribution` and `value`, by which one can plan and diagnose."""
    soft: bool = False
    """Its values hold the policy's entropy, at the temperature `state.ac.alpha`."""
    entropy_schedule: bool = False
    """Its target entropy moves with the steps of the environment (`config.entropy_steps`)."""

    @property
    def has_model(self) -> bool:
        """Whether it learns from a model, its own or an oracle."""
        return self.fits != ""

    @property
    def trains_model(self) -> bool:
        """Whether its own model, where it has no oracle, is ever trained."""
        return self.has_model and (self.fits != "windows" or self.window > 0)


class Agent(Protocol):
    """The functions that every module of `pbrl.agents` offers. The module is the agent; it holds no state."""

    Config: Any
    """The dataclass of its hyper-parameters."""
    State: Any
    """The dataclass of all that training changes, with `config` and the static `spec`."""

    def abilities(self, config: Any) -> Abilities:
        """Say what the agent does with this configuration."""
        ...

    def init(self, key: Key, spec: EnvSpec, config: Any = ..., *, oracle: Dynamics | None = None) -> Any:
        """Make a fresh state. Raises `ValueError` for values that cannot work."""
        ...

    def act(self, state: Any, obs: Array, key: Key, *, explore: bool | Array) -> Array:
        """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]; `explore=False` is the mode of the policy.

        `explore` may be traced, so that it needs no `static_argnames`. Raises `ValueError` for another size.
        """
        ...

    def observe(self, state: Any, batch: Transition) -> Any:
        """Fold newly collected transitions `[B]` into the running statistics that normalise the networks' inputs."""
        ...

    def update_model(self, state: Any, batch: Transition, key: Key) -> tuple[Any, Metrics]:
        """One gradient step on what the agent models of the environment; nothing for an agent without a model."""
        ...

    def update(self, state: Any, batch: Transition, key: Key) -> tuple[Any, Metrics]:
        """One pass of the paper's inner loop: critics, actor and targets."""
        ...


class ModelBasedAgent(Agent, Protocol):
    """What an agent with a model offers besides, so that one can plan with it (`pbrl.planning`)."""

    def simulator(self, state: Any) -> Dynamics:
        """Return what imagines: the oracle, or the learned model."""
        ...

    def distribution(self, state: Any, obs: Array) -> tuple[Array, Array | None]:
        """Map `obs [*, S]` to the policy's mean and standard deviation `[*, A]`, both of the action before its tanh.

        A deterministic policy has no standard deviation: `None`.
        """
        ...

    def value(self, state: Any, obs: Array, action: Array) -> Array:
        """Map `obs [*, S]` and `action [*, A]` to what the critics hold of them `[*]`: the smallest, for two."""
        ...


class RememberingAgent(Agent, Protocol):
    """What an agent offers that wants more replayed than the transition itself."""

    def remember(self, state: Any, batch: Transition) -> dict[str, Array]:
        """Return `extras` of newly collected transitions `[*]`, by the state whose actions they hold."""
        ...


class SelfStoppingAgent(Agent, Protocol):
    """What an agent offers whose model decides for itself how long it trains (`pbrl.train.fitting`)."""

    def model_losses(self, state: Any, batch: Transition) -> Array:
        """Return every member's loss on its own rows `batch [E, B]`, as `[E]`."""
        ...

    def choose_elites(self, state: Any, member_losses: Array) -> Any:
        """Take note of the members' best losses `[E]` after a fit."""
        ...
