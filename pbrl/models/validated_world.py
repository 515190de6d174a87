"""MAAC's and MBPO's learned environment: an ensemble whose members stop, each when its own held-out rows say so.

The world takes single gradient steps and judges its members; `train.fitting` runs the epochs and decides who goes on.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.models.ensemble import BoundedEnsemble, Statistics
from pbrl.models.ensemble_world import World, WorldState
from pbrl.nn import networks, optim
from pbrl.types import Array, Dynamics, Key, Transition

MEMBERS = "members"  # the entry of parameters and moments that has the members' axis


class Hyperparameters(Protocol):
    """The fields of an agent's config that this file and `train.fitting` read."""

    model_lr: float
    model_weight_decay: float
    model_hidden: tuple[int, ...]
    model_activation: str
    ensemble_size: int
    elites: int
    head_hidden: tuple[int, ...]
    learn_reward: bool
    stopping: str
    persistence: float
    max_epochs: int


@flax.struct.dataclass
class HeldOutState(WorldState):
    """A world's state, and which members count."""

    elites: Array  # i32[elites], the best by their held-out rows at the last fit


@dataclass(frozen=True)
class HeldOutWorld(World):
    """The architecture and optimiser as `config` describes them, for an environment; see `World`."""

    config: Hyperparameters  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def ensemble(self) -> BoundedEnsemble:
        """The dynamics `s, a -> s'`."""
        c = self.config
        return BoundedEnsemble(
            self.spec.obs_size, self.spec.action_size, c.model_hidden, c.ensemble_size, c.model_activation
        )

    @property
    def _tx(self) -> optax.GradientTransformation:
        return optim.adam(self.config.model_lr, l2=self.config.model_weight_decay)

    def init(self, key: Key) -> HeldOutState:
        """Draw parameters and start the optimiser."""
        state = super().init(key)
        return HeldOutState(state.params, state.opt_state, state.stats, jnp.arange(self.config.elites))

    def losses(self, state: HeldOutState, stats: Statistics, batch: Transition) -> Array:
        """Return every member's loss on its own rows `batch [E, B]`, as `[E]`."""
        return self.ensemble.losses(state.params["dynamics"], stats, batch)

    def with_elites(self, state: HeldOutState, losses: Array) -> HeldOutState:
        """Let the members with the smallest of `losses [E]` be the ones that imagine."""
        return replace(state, elites=jnp.argsort(losses)[: self.config.elites])

    def _part(self, state: HeldOutState, members: Array) -> tuple["_Part", HeldOutState]:
        """Return the world of these members `[M]` alone."""
        dynamics = state.params["dynamics"]
        own = jax.tree.map(lambda x: x[members], dynamics[MEMBERS])
        state = replace(state, params={**state.params, "dynamics": {**dynamics, MEMBERS: own}})
        return _Part(self.spec, self.config, members.shape[0]), state

    def dynamics(self, state: HeldOutState) -> Dynamics:
        """Return the learned environment as a simulator over observations: an elite at random for each row and step."""
        if self.config.elites == self.config.ensemble_size:
            return super().dynamics(state)
        world, state = self._part(state, state.elites)
        return world.dynamics(state)

    def step_each(
        self, state: HeldOutState, members: Array, obs: Array, action: Array, key: Key
    ) -> tuple[Array, Array, Array]:
        """Step `obs [B, S]` once with each of `members [M]`: next observations `[M, B, S]`, rewards, discounts."""
        world, state = self._part(state, members)
        next_obs = world.ensemble.sample_every(state.params["dynamics"], state.stats, obs, action, key)
        obs, action = (jnp.broadcast_to(x, (next_obs.shape[0], *x.shape)) for x in (obs, action))
        return next_obs, world.reward_of(state, obs, action, next_obs), world.discount_of(state, obs, action, next_obs)

    def step_again(self, state: HeldOutState, batch: Transition, action: Array) -> tuple[Array, Array]:
        """Take real transitions `[B]` again with other actions `[B, A]`, each elite with the noise that explains them.

        Returns next observations `[elites, B, S]`, at the real actions the real ones, and rewards `[elites, B]`.
        Differentiable in `action`; the noise `(s' - μ(s, a)) / σ(s, a)` is held.
        """
        world, state = self._part(state, state.elites)
        every = partial(jax.tree.map, lambda x: jnp.broadcast_to(x, (state.elites.shape[0], *x.shape)))
        obs, real, action, next_obs = every((batch.obs, batch.action, action, batch.next_obs))
        predict = partial(world.ensemble.predict, state.params["dynamics"], state.stats, obs)
        mean, std = predict(real)
        noise = jax.lax.stop_gradient((next_obs - mean) / std)
        mean, std = predict(action)
        next_obs = mean + std * noise
        return next_obs, world.reward_of(state, obs, action, next_obs)


@dataclass(frozen=True)
class _Part(HeldOutWorld):
    """The same world with some members for its whole ensemble."""

    size: int

    @property
    def ensemble(self) -> BoundedEnsemble:
        return replace(super().ensemble, size=self.size)

    def dynamics(self, state: HeldOutState) -> Dynamics:
        return World.dynamics(self, state)


def keep_members(mask: Array, new: Any, old: Any) -> Any:
    """Return `new` with the members outside `mask [E]` as they are in `old`, moments of their gradients included.

    What members share (bounds, learned reward and termination) is `new`'s.
    """

    def choose(path: tuple, x: Array, y: Array) -> Array:
        own = any(getattr(entry, "key", None) == MEMBERS for entry in path)
        return jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, y) if own else x

    return jax.tree_util.tree_map_with_path(choose, new, old)


def validate(config: Any) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, naming field, range and value."""
    configs.check(
        config,
        model_lr=(0, 1),
        model_weight_decay=(0, float("inf")),
        model_hidden=(1, 65_536),
        ensemble_size=(1, 1_024),
        head_hidden=(1, 65_536),
        persistence=(0, 1),
        max_epochs=(1, 1_000_000),
    )
    configs.check_choice(config, model_activation=networks.ACTIVATIONS, stopping=("average", "patience"))
    if not 1 <= config.elites <= config.ensemble_size:
        raise ValueError(
            f"config.elites: expected 1 to ensemble_size ({config.ensemble_size}) members, got {config.elites}"
        )
