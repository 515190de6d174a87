"""A deterministic actor with C critics and slowly moving targets: what TD3, Dyna-TD3 and MAGE have in common.

The contract: an agent says what is minimised, when, and when targets move; this part holds networks, optimisers and
their state, and takes the steps. Nothing here knows of a model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.agents.parts import critics
from pbrl.agents.parts.critics import ValueBounds
from pbrl.equations import actor_critic
from pbrl.equations.actor_critic import TD_LOSSES, check_obs
from pbrl.nn import networks, normalizer
from pbrl.nn.layers import Layers, of_actor
from pbrl.nn.normalizer import Normalizer
from pbrl.types import Array, EnvSpec, Key, Metrics, Params

NORM_EPSILON = 1e-2
"""Of normalised critics: it bounds how much the norm magnifies a row's slope, which MAGE trains."""


class Hyperparameters(critics.Options, Protocol):
    """The fields of an agent's config that this file reads."""

    discount: float
    tau: float
    actor_lr: float
    critic_lr: float
    grad_clip: float
    exploration_noise: float
    target_noise: float
    target_noise_clip: float
    actor_hidden: tuple[int, ...]
    critic_hidden: tuple[int, ...]
    activation: str
    policy_delay: int
    precision: str


@flax.struct.dataclass
class ActorCriticState:
    """Online and target networks with their optimisers; critics are stacked along axis 0."""

    actor: Params
    critic: Params  # [C, ...]
    target_actor: Params
    target_critic: Params
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    actor_loss: Array  # f32[], of the last actor step: the actor pauses between delayed steps
    updates: Array  # i32[], critic steps so far
    bounds: ValueBounds | None  # where values have them


@dataclass(frozen=True)
class ActorCritic:
    """Networks and optimisers as `config` describes them; `normalize` is applied to every observation."""

    spec: EnvSpec
    config: Hyperparameters
    obs_stats: Normalizer | None = None

    @property
    def _actor(self) -> networks.DeterministicActor:
        c = self.config
        return networks.DeterministicActor(self.spec.action_size, c.actor_hidden, c.activation, c.precision)

    @property
    def _critic(self) -> networks.Critic:
        c = self.config
        named = {"precision": c.precision, "norm": c.critic_norm, "epsilon": NORM_EPSILON}
        return networks.Critic(c.critic_hidden, c.activation, **named)

    @property
    def _actor_tx(self) -> optax.GradientTransformation:
        return _radam(self.config.actor_lr, self.config.grad_clip)

    @property
    def _critic_tx(self) -> optax.GradientTransformation:
        return _radam(self.config.critic_lr, self.config.grad_clip)

    def _inputs(self, obs: Array) -> Array:
        check_obs(self.spec, obs)
        return normalizer.normalize(self.obs_stats, obs) if self.obs_stats else obs

    def init(self, key: Key) -> ActorCriticState:
        """Draw parameters; targets start as copies (aliases would break donation)."""
        actor_key, critic_key = jax.random.split(key)
        obs, action = jnp.zeros(self.spec.obs_size), jnp.zeros(self.spec.action_size)
        actor = networks.init(self._actor, actor_key, obs)
        critic = networks.init_members(self._critic, critic_key, self.config.critics, obs, action)
        return ActorCriticState(
            actor=actor,
            critic=critic,
            target_actor=jax.tree.map(jnp.copy, actor),
            target_critic=jax.tree.map(jnp.copy, critic),
            actor_opt=self._actor_tx.init(actor),
            critic_opt=self._critic_tx.init(critic),
            actor_loss=jnp.zeros(()),
            updates=jnp.zeros((), jnp.int32),
            bounds=critics.bounds(self.config),
        )

    def policy(self, params: Params, obs: Array) -> Array:
        """Return `π(s)` for `obs [*, S]` as `[*, A]`, differentiable in both."""
        return networks.apply(self._actor, params, self._inputs(obs))

    def layers(self, params: Params) -> Layers:
        """Return `policy` of these parameters as plain arrays."""
        spec, activation = self.spec, self.config.activation
        return of_actor(params, self.obs_stats, spec.obs_size, spec.action_size, activation)

    def q(self, params: Params, obs: Array, action: Array) -> Array:
        """Return every critic's `Q_i(s, a)`, `[C, *]`, differentiable in all arguments."""
        return networks.apply_members(self._critic, params, self._inputs(obs), action)

    def value(self, params: Params, obs: Array, action: Array) -> Array:
        """Return what the actor ascends of the critics, `[*]`: `min_i Q_i(s, a)`, or their mean (`actor_critics`)."""
        return actor_critic.over_critics(self.q(params, obs, action), self.config.actor_critics)

    def q_and_action_gradient(self, params: Params, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return `Q_i(s, a)` as `[C, B]` and `∇ₐ Q_i(s, a)` as `[C, B, A]`, differentiable in `params`."""
        obs = self._inputs(obs)

        def one(member: Params) -> tuple[Array, Array]:
            q, pullback = jax.vjp(lambda a: networks.apply(self._critic, member, obs, a), action)
            return q, pullback(jnp.ones_like(q))[0]  # rows do not interact: the gradient of the sum is each row's own

        return jax.vmap(one)(params)

    def target_value(self, state: ActorCriticState, next_obs: Array, key: Key) -> Array:
        """Return `min_j Q̄_j(s', ã)` as `[B]` with `ã = clip(π̄(s') + clip(ε))` (TD3, Algorithm 1).

        The minimum is over all target critics, or a random few (`target_subset`), within the bounds if there are any.
        Differentiable in `next_obs`, with a slope of 0 beyond the bounds. The target networks are constants: no
        optimiser holds them.
        """
        chosen = state.target_critic
        if self.config.target_subset:
            key, chosen_key = jax.random.split(key)
            chosen = critics.drawn(self.config, chosen, chosen_key)
        action = self.policy(state.target_actor, next_obs)
        action = actor_critic.add_noise(action, key, self.config.target_noise, self.config.target_noise_clip)
        value = actor_critic.clipped_minimum(self.q(chosen, next_obs, action))
        return state.bounds.clip(value) if state.bounds else value

    def move_bounds(self, state: ActorCriticState, reward: Array) -> tuple[ActorCriticState, Metrics]:
        """Let the bounds, where there are any, follow rewards `[*]`."""
        if not state.bounds:
            return state, {}
        bounds = state.bounds.follow(reward, self.config.discount)
        return replace(state, bounds=bounds), bounds.metrics()

    def descend_critics(
        self, state: ActorCriticState, loss: Callable[[Params], tuple[Array, Metrics]]
    ) -> tuple[ActorCriticState, Metrics]:
        """Take one step down `loss(critic params) -> (value, metrics)`, and count it."""
        tx = self._critic_tx
        critic, opt_state, value, metrics, norm = networks.descend(loss, tx, state.critic, state.critic_opt)
        state = replace(state, critic=critic, critic_opt=opt_state, updates=state.updates + 1)
        return state, {**metrics, "critic/loss": value, "critic/grad_norm": norm}

    def descend_actor(
        self, state: ActorCriticState, loss: Callable[[Params], tuple[Array, Metrics]]
    ) -> tuple[ActorCriticState, Metrics]:
        """Take one step down `loss(actor params) -> (value, metrics)`; the actor's target follows by τ."""
        tx = self._actor_tx
        actor, opt_state, value, metrics, norm = networks.descend(loss, tx, state.actor, state.actor_opt)
        target = optax.incremental_update(actor, state.target_actor, self.config.tau)
        state = replace(state, actor=actor, actor_opt=opt_state, target_actor=target, actor_loss=value)
        return state, {**metrics, "actor/loss": value, "actor/grad_norm": norm}

    def pause_actor(self, state: ActorCriticState) -> tuple[ActorCriticState, Metrics]:
        """Leave actor and target as they are; the metrics repeat the last step's loss."""
        return state, {"actor/loss": state.actor_loss, "actor/grad_norm": jnp.zeros(())}

    def move_critic_targets(self, state: ActorCriticState) -> ActorCriticState:
        """Let the target critics follow by τ."""
        target = optax.incremental_update(state.critic, state.target_critic, self.config.tau)
        return replace(state, target_critic=target)


def networks_of(state: Any) -> ActorCritic:
    """Return the networks of a state with `spec`, `config` and `stats.obs`, without parameters."""
    return ActorCritic(state.spec, state.config, state.stats.obs)


def _radam(learning_rate: Array | float, clip: Array | float) -> optax.GradientTransformation:
    """Rectified Adam (Liu et al. 2020) on gradients clipped by value, as MAGE's code has it."""
    return optax.chain(optax.clip(clip), optax.radam(learning_rate))  # pyright: ignore[reportArgumentType]


def validate(config: Any) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, naming field, range and value."""
    configs.check(
        config,
        discount=(0, 1),
        tau=(0, 1),
        actor_lr=(0, 1),
        critic_lr=(0, 1),
        grad_clip=(0, float("inf")),
        exploration_noise=(0, float("inf")),
        target_noise=(0, float("inf")),
        target_noise_clip=(0, float("inf")),
        actor_hidden=(1, 65_536),
        critic_hidden=(1, 65_536),
        policy_delay=(1, 1_000),
    )
    configs.check_choice(config, activation=networks.ACTIVATIONS, precision=networks.PRECISIONS, td_loss=TD_LOSSES)
    critics.validate(config)
