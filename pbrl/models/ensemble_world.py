"""A learned environment: ensemble dynamics with reward and termination, each known or learned, as one `Dynamics`."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.models.ensemble import Ensemble, Statistics
from pbrl.models.heads import RewardHead, TerminationHead
from pbrl.nn import optim
from pbrl.types import Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


class Hyperparameters(Protocol):
    """The fields of an agent's config that this file reads."""

    model_lr: float
    model_weight_decay: float
    grad_clip: float
    model_hidden: tuple[int, ...]
    ensemble_size: int
    head_hidden: tuple[int, ...]
    learn_reward: bool


@flax.struct.dataclass
class WorldState:
    """What training changes: parameters, optimiser and the statistics that the last fit normalised by."""

    params: dict[str, Params]
    opt_state: optax.OptState
    stats: Statistics


@dataclass(frozen=True)
class World:
    """The architecture and optimiser as `config` describes them, for an environment.

    A part that `spec` knows is not learned, unless `config.learn_reward` asks for it.
    """

    spec: EnvSpec
    config: Hyperparameters

    @property
    def ensemble(self) -> Ensemble:
        """The dynamics `s, a -> s'`."""
        return Ensemble(self.spec.obs_size, self.spec.action_size, self.config.model_hidden, self.config.ensemble_size)

    @property
    def reward(self) -> RewardHead | None:
        """The learned reward, if any."""
        needed = self.config.learn_reward or self.spec.reward_fn is None
        return RewardHead(self.spec.obs_size, self.spec.action_size, self.config.head_hidden) if needed else None

    @property
    def termination(self) -> TerminationHead | None:
        """The learned termination, if any."""
        needed = self.spec.termination_fn is None
        return TerminationHead(self.spec.obs_size, self.spec.action_size, self.config.head_hidden) if needed else None

    @property
    def _tx(self) -> optax.GradientTransformation:
        c = self.config
        return optim.radam(c.model_lr, clip_value=c.grad_clip, weight_decay=c.model_weight_decay)

    def init(self, key: Key) -> WorldState:
        """Draw parameters and start the optimiser."""
        dynamics_key, reward_key, termination_key = jax.random.split(key, 3)
        params = {"dynamics": self.ensemble.init(dynamics_key)}
        if self.reward:
            params["reward"] = self.reward.init(reward_key)
        if self.termination:
            params["termination"] = self.termination.init(termination_key)
        return WorldState(params, self._tx.init(params), Statistics.init(self.spec.obs_size, self.spec.action_size))

    def fit_step(self, state: WorldState, stats: Statistics, batch: Transition) -> tuple[WorldState, Metrics]:
        """Take one gradient step on all parts with `batch [E, B]`, a row of batches per member.

        The state adopts `stats`, which normalise its inputs and targets until the next fit. A batch `[B]` is shared
        by all members. The heads, single networks, use the first member's rows.
        """
        if batch.reward.ndim == 1:
            batch = jax.tree.map(lambda x: jnp.broadcast_to(x, (self.ensemble.size, *x.shape)), batch)
        first = jax.tree.map(lambda x: x[0], batch)

        def loss(params: dict[str, Params]) -> tuple[Array, Metrics]:
            parts = {"model/loss": self.ensemble.loss(params["dynamics"], stats, batch)}
            if self.reward:
                parts["model/reward_loss"] = self.reward.loss(params["reward"], stats, first)
            if self.termination:
                parts["model/termination_loss"] = self.termination.loss(params["termination"], stats, first)
            return jnp.stack(list(parts.values())).sum(), parts

        params, opt_state, _, metrics, grad_norm = optim.descend(loss, self._tx, state.params, state.opt_state)
        adopted = jax.tree.map(jnp.copy, stats)  # an alias of the agent's own statistics would break donation
        return replace(state, params=params, opt_state=opt_state, stats=adopted), {
            **metrics,
            "model/grad_norm": grad_norm,
        }

    def dynamics(self, state: WorldState) -> Dynamics:
        """Return the learned environment as a simulator over observations; its discount carries no gradient."""

        def step(obs: Array, action: Array, key: Key) -> tuple[Array, Array, Array]:
            next_obs = self.ensemble.sample(state.params["dynamics"], state.stats, obs, action, key)
            return (
                next_obs,
                self.reward_of(state, obs, action, next_obs),
                self.discount_of(state, obs, action, next_obs),
            )

        return Dynamics(start=lambda batch: batch.obs, step=step, observe=lambda obs: obs)

    def reward_of(self, state: WorldState, obs: Array, action: Array, next_obs: Array) -> Array:
        if self.reward:
            return self.reward.predict(state.params["reward"], state.stats, obs, action, next_obs)
        assert self.spec.reward_fn is not None
        return self.spec.reward_fn(obs, action, next_obs)

    def discount_of(self, state: WorldState, obs: Array, action: Array, next_obs: Array) -> Array:
        if self.termination:
            return 1.0 - self.termination.predict(state.params["termination"], state.stats, obs, action, next_obs)
        assert self.spec.termination_fn is not None
        return 1.0 - self.spec.termination_fn(next_obs).astype(next_obs.dtype)


def validate(config: Any) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, naming field, range and value."""
    configs.check(
        config,
        model_lr=(0, 1),
        model_weight_decay=(0, float("inf")),
        grad_clip=(0, float("inf")),
        model_hidden=(1, 65_536),
        ensemble_size=(1, 1_024),
        head_hidden=(1, 65_536),
    )
