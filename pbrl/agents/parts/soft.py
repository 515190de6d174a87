"""A tanh-Gaussian actor with C soft critics, their targets and a learned temperature: what SAC and its kin share.

The contract: an agent says what is minimised and in which order; this part holds networks, optimisers and their state,
and takes the steps. Nothing here knows of a model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.agents.parts import critics
from pbrl.agents.parts.critics import ValueBounds
from pbrl.agents.parts.style import Style
from pbrl.equations import actor_critic
from pbrl.equations.actor_critic import check_obs
from pbrl.nn import networks, normalizer
from pbrl.nn.layers import Layers, of_actor
from pbrl.nn.normalizer import STD_BOUNDS, Normalizer
from pbrl.types import Array, EnvSpec, Key, Metrics, Params, Transition


class Hyperparameters(critics.Options, Protocol):
    """What this file reads of an agent's config: fields, and the style that its class declares."""

    style: ClassVar[Style]
    discount: float
    tau: float
    actor_lr: float
    critic_lr: float
    temperature_lr: float
    initial_temperature: float
    actor_hidden: tuple[int, ...]
    critic_hidden: tuple[int, ...]
    activation: str
    normalize_obs: bool
    precision: str

    @property
    def actor_activation(self) -> str | None:
        """Of the actor, where it is not the critics'."""
        ...


class EntropySchedule(Protocol):
    """The fields that `target_entropy` reads."""

    initial_entropy: float | None
    final_entropy: float | None
    entropy_decay: float
    entropy_steps: float


@flax.struct.dataclass
class SoftState:
    """Networks, targets, log-temperature and their optimisers; critics are stacked along axis 0."""

    actor: Params
    critic: Params  # [C, ...]
    target_critic: Params
    log_alpha: Array  # f32[]
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    alpha_opt: optax.OptState
    bounds: ValueBounds | None  # where values have them

    @property
    def alpha(self) -> Array:
        """The temperature; a constant to whatever is differentiated through it."""
        return jax.lax.stop_gradient(jnp.exp(self.log_alpha))


@dataclass(frozen=True)
class SoftActorCritic:
    """Networks and optimisers as `config` describes them, for observations of which `obs_stats` holds the moments."""

    spec: EnvSpec
    config: Hyperparameters
    obs_stats: Normalizer

    @property
    def _actor(self) -> networks.GaussianActor:
        c, style = self.config, self.config.style
        shape = self.spec.action_size, c.actor_hidden, c.actor_activation or c.activation, style.scheme, c.precision
        return networks.GaussianActor(*shape, style.std, style.log_std_bounds)

    @property
    def _critic(self) -> networks.Critic:
        c = self.config
        return networks.Critic(c.critic_hidden, c.activation, c.style.scheme, c.precision, c.critic_norm)

    def inputs(self, obs: Array) -> Array:
        """Return observations as networks see them: centred and scaled, unless the config asks for raw ones."""
        check_obs(self.spec, obs)
        return normalizer.normalize(self.obs_stats.within(STD_BOUNDS), obs) if self.config.normalize_obs else obs

    def init(self, key: Key) -> SoftState:
        """Draw parameters; the targets start as copies (aliases would break donation)."""
        actor_key, critic_key = jax.random.split(key)
        obs, action = jnp.zeros(self.spec.obs_size), jnp.zeros(self.spec.action_size)
        actor = networks.init(self._actor, actor_key, obs)
        critic = networks.init_members(self._critic, critic_key, self.config.critics, obs, action)
        log_alpha = jnp.log(self.config.initial_temperature) + jnp.zeros(())
        return SoftState(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic),
            log_alpha=log_alpha,
            actor_opt=optax.adam(self.config.actor_lr).init(actor),
            critic_opt=optax.adam(self.config.critic_lr).init(critic),
            alpha_opt=optax.adam(self.config.temperature_lr).init(log_alpha),
            bounds=critics.bounds(self.config),
        )

    def distribution(self, params: Params, obs: Array) -> tuple[Array, Array]:
        """Return mean and log-deviation `[*, A]` of the action before its tanh, for `obs [*, S]`."""
        return networks.apply(self._actor, params, self.inputs(obs))

    def sample(self, params: Params, obs: Array, key: Key) -> tuple[Array, Array]:
        """Draw reparameterised actions `[*, A]` for `obs [*, S]`, and their log-densities `[*]`."""
        return actor_critic.tanh_normal_sample(*self.distribution(params, obs), key)

    def log_prob(self, params: Params, obs: Array, action: Array) -> Array:
        """Return the log-density `[*]` of given actions `[*, A]` for `obs [*, S]`."""
        return actor_critic.tanh_normal_log_prob(*self.distribution(params, obs), action)

    def repeat(self, params: Params, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return given actions `[*, A]` as functions of the policy, by the noise that would make them, and log π `[*]`.

        The values are those of `action`; differentiable in `params` and `obs`, the noise is held.
        """
        return actor_critic.tanh_normal_repeat(*self.distribution(params, obs), action)

    def mode(self, params: Params, obs: Array) -> Array:
        """Return the action `[*, A]` of the distribution's mean before squashing."""
        return actor_critic.tanh_normal_mode(self.distribution(params, obs)[0])

    def layers(self, params: Params) -> Layers:
        """Return `mode` of these parameters as plain arrays."""
        c, spec = self.config, self.spec
        moments = self.obs_stats.within(STD_BOUNDS) if c.normalize_obs else None
        return of_actor(params, moments, spec.obs_size, spec.action_size, c.actor_activation or c.activation)

    def q(self, params: Params, obs: Array, action: Array) -> Array:
        """Return every critic's `Q_i(s, a)`, `[C, *]`, differentiable in all arguments."""
        return networks.apply_members(self._critic, params, self.inputs(obs), action)

    def value(self, params: Params, obs: Array, action: Array) -> Array:
        """Return what the actor ascends of the critics, `[*]`: `min_i Q_i(s, a)`, or their mean (`actor_critics`)."""
        return actor_critic.over_critics(self.q(params, obs, action), self.config.actor_critics)

    def soft_target(self, state: SoftState, next_obs: Array, key: Key) -> tuple[Array, Array]:
        """Return `min_j Q̄_j(s', a')` and `log π(a'|s')`, both `[B]`, for `a' ~ π(s')` of the current actor.

        The minimum is over all target critics, or a random few (`target_subset`), within the bounds if there are any.
        """
        chosen = state.target_critic
        if self.config.target_subset:
            key, chosen_key = jax.random.split(key)
            chosen = critics.drawn(self.config, chosen, chosen_key)
        action, log_prob = self.sample(state.actor, next_obs, key)
        return self.bounded(state, actor_critic.clipped_minimum(self.q(chosen, next_obs, action))), log_prob

    def bounded(self, state: SoftState, value: Array) -> Array:
        """Return values `[*]` within the bounds of the state, where it has any (`bound_values`)."""
        return state.bounds.clip(value) if state.bounds else value

    def move_bounds(self, state: SoftState, reward: Array, log_prob: Array) -> tuple[SoftState, Metrics]:
        """Let the bounds, where there are any, follow `r - α log π(a|s)` `[*]`; of replayed rows π is today's."""
        if not state.bounds:
            return state, {}
        bounds = state.bounds.follow(reward - state.alpha * log_prob, self.config.discount)
        return replace(state, bounds=bounds), bounds.metrics()

    def descend_critics(
        self, state: SoftState, loss: Callable[[Params], tuple[Array, Metrics]]
    ) -> tuple[SoftState, Metrics]:
        """Take one step down `loss(critic params) -> (value, metrics)`."""
        tx = optax.adam(self.config.critic_lr)
        critic, opt_state, value, metrics, grad_norm = networks.descend(loss, tx, state.critic, state.critic_opt)
        metrics = {**metrics, "critic/loss": value, "critic/grad_norm": grad_norm}
        return replace(state, critic=critic, critic_opt=opt_state), metrics

    def regress_critics(self, state: SoftState, batch: Transition, y: Array) -> tuple[SoftState, Metrics]:
        """Take one step of every `Q_i(s, a)` towards targets `y [B]` of transitions `[B]`, by the squared TD error."""

        def loss(critic: Params) -> tuple[Array, Metrics]:
            q = self.q(critic, batch.obs, batch.action)
            td_error = y[None] - q
            loss = actor_critic.squared_td_loss(td_error)
            return loss, {"critic/q": q.mean(), "critic/td_error": jnp.abs(td_error).mean()}

        return self.descend_critics(state, loss)

    def descend_actor(
        self, state: SoftState, loss: Callable[[Params], tuple[Array, Array]]
    ) -> tuple[SoftState, Array, Metrics]:
        """Take one step down `loss(actor params) -> (value, log π(a|s) [B])`; the second is returned in between."""
        (value, log_prob), gradient = jax.value_and_grad(loss, has_aux=True)(state.actor)
        state, metrics = self.step_actor(state, gradient, value, log_prob)
        return state, log_prob, metrics

    def step_actor(
        self, state: SoftState, gradient: Params, value: Array, log_prob: Array
    ) -> tuple[SoftState, Metrics]:
        """Take one step of the actor against the gradient of a loss of this value, given `log π(a|s) [B]`."""
        tx = optax.adam(self.config.actor_lr)
        actor, opt_state, grad_norm = networks.step(gradient, tx, state.actor, state.actor_opt)
        metrics = {"actor/loss": value, "actor/grad_norm": grad_norm, "actor/entropy": -log_prob.mean()}
        return replace(state, actor=actor, actor_opt=opt_state), metrics

    def adapt_temperature(self, state: SoftState, log_prob: Array, target: Array | float) -> tuple[SoftState, Metrics]:
        """Move the temperature towards the target entropy, given `log π(a|s) [B]` of the policy's own actions."""

        def loss(log_alpha: Array) -> tuple[Array, None]:
            weight = log_alpha if self.config.style.log_temperature else jnp.exp(log_alpha)
            return actor_critic.temperature_loss(weight, log_prob, target), None

        tx = optax.adam(self.config.temperature_lr)
        log_alpha, opt_state, value, _, grad_norm = networks.descend(loss, tx, state.log_alpha, state.alpha_opt)
        metrics = {
            "temperature/alpha": state.alpha,
            "temperature/target_entropy": target,
            "temperature/loss": value,
            "temperature/grad_norm": grad_norm,
        }
        return replace(state, log_alpha=log_alpha, alpha_opt=opt_state), metrics

    def move_targets(self, state: SoftState) -> SoftState:
        """Let the target critics follow by τ."""
        return replace(
            state, target_critic=optax.incremental_update(state.critic, state.target_critic, self.config.tau)
        )


def networks_of(state: Any) -> SoftActorCritic:
    """Return the networks of a state with `spec`, `config` and `stats.obs`, without parameters."""
    return SoftActorCritic(state.spec, state.config, state.stats.obs)


def target_entropy(config: EntropySchedule, steps: Array) -> Array:
    """Return the target entropy of a resolved config after `steps` of the environment: `entropy_schedule`."""
    initial, final = config.initial_entropy, config.final_entropy
    return actor_critic.entropy_schedule(steps, initial, final, config.entropy_decay, config.entropy_steps)  # pyright: ignore[reportArgumentType]


def validate(config: Any) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, naming field, range and value."""
    inf = float("inf")
    configs.check(
        config,
        discount=(0, 1),
        tau=(0, 1),
        actor_lr=(0, 1),
        critic_lr=(0, 1),
        temperature_lr=(0, 1),
        initial_temperature=(1e-30, inf),
        actor_hidden=(1, 65_536),
        critic_hidden=(1, 65_536),
    )
    configs.check_choice(config, activation=networks.ACTIVATIONS, precision=networks.PRECISIONS)
    critics.validate(config)
