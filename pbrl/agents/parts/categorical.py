"""XQC's actor and critics (Palenicek et al. 2025, arXiv 2509.25174): batch norm, unit weights, values as distributions.

The contract is that of `soft`: the agent says what is minimised and in which order. Networks are `batch_norm.Normed`,
so that running moments travel with the parameters; only a target critic has none, which batches alone evaluate. Values
are distributions of the return in units of its deviation so far (`ReturnScale`): temperature, losses and `scaled_q` are
in these units, and `q` is in those of the environment's reward.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.agents.parts.soft import Hyperparameters, SoftActorCritic, SoftState
from pbrl.equations import actor_critic, distributional
from pbrl.nn import batch_norm, networks
from pbrl.nn.batch_norm import Normed, NormedMLP
from pbrl.nn.layers import Layers, of_weights
from pbrl.nn.normalizer import STD_BOUNDS
from pbrl.nn.return_scale import ReturnScale
from pbrl.types import Array, Key, Metrics, Params, Transition

LOG_STD_BOUNDS = (-10.0, 2.0)  # clipped (XQC code, `mlp.py`)
ENTROPY_PER_ACTION = -0.5  # the target entropy (XQC code, `xqc_learner.py`)
NEEDS = {"critic_norm": "none", "target_subset": 0, "actor_critics": "min", "bound_values": False}
"""Fields that have one value here, since a critic is normalised and combined in its own way."""
ALONE = {"actor_every": 1, "final_lr": None, "lr_steps": None}
"""Fields that the squared critic does not read, and their defaults."""


class CategoricalHyperparameters(Hyperparameters, Protocol):
    """What this file reads of a config besides."""

    discount: float
    atoms: int
    value_bound: float
    actor_every: int
    final_lr: float | None
    lr_steps: float | None


class Target(NamedTuple):
    """What critics learn from a batch, and the rows whose moments normalise it."""

    obs: Array  # [2B, S], s and s' joined
    action: Array  # [2B, A], a and a' ~ π(s')
    probability: Array  # [B, K]
    clipped: Array  # f32[], share of the target's atoms that the outermost ones stand for


@dataclass(frozen=True)
class CategoricalActorCritic(SoftActorCritic):
    """As `SoftActorCritic`, whose policies, densities and temperature these are too; critics give distributions."""

    config: CategoricalHyperparameters
    returns: ReturnScale

    @property
    def _actor(self) -> NormedMLP:
        c, width = self.config, 2 * self.spec.action_size
        return NormedMLP(c.actor_hidden, width, c.actor_activation or c.activation, c.precision)

    @property
    def _critic(self) -> NormedMLP:
        return NormedMLP(self.config.critic_hidden, self.config.atoms, self.config.activation, self.config.precision)

    @property
    def atoms(self) -> Array:
        """The values `[K]` that a distribution has, in deviations of the return."""
        return distributional.support(self.config.value_bound, self.config.atoms)

    def init(self, key: Key) -> SoftState:
        """Draw networks with weights of length 1; the target starts as a copy (aliases would break donation)."""
        actor_key, critic_key = jax.random.split(key)
        obs, pair = jnp.zeros((1, self.spec.obs_size)), jnp.zeros((1, self.spec.obs_size + self.spec.action_size))
        actor = batch_norm.init(self._actor, actor_key, obs)
        keys = jax.random.split(critic_key, self.config.critics)
        critic = jax.vmap(lambda k: batch_norm.init(self._critic, k, pair))(keys)
        log_alpha = jnp.log(self.config.initial_temperature) + jnp.zeros(())
        return SoftState(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic.params),
            log_alpha=log_alpha,
            actor_opt=optax.adam(self.config.actor_lr).init(actor.params),
            critic_opt=optax.adam(self.config.critic_lr).init(critic.params),
            alpha_opt=optax.adam(self.config.temperature_lr).init(log_alpha),
            bounds=None,
        )

    def distribution(self, params: Normed, obs: Array) -> tuple[Array, Array]:
        """Return mean and log-deviation `[*, A]` before the tanh for `obs [*, S]`, by running moments."""
        return _bounded(batch_norm.by_running(self._actor, params, self.inputs(obs)))

    def sample_by_batch(self, params: Params, moments: Params, obs: Array, key: Key) -> tuple[Array, Array, Params]:
        """Draw actions for `obs [B, S]` by these rows' own moments: `(action, log π, running moments after it)`."""
        out, moments = batch_norm.by_batch(self._actor, params, moments, self.inputs(obs))
        return *actor_critic.tanh_normal_sample(*_bounded(out), key), moments

    def layers(self, params: Normed) -> Layers:
        """Return `mode` of these parameters as plain arrays: norms are folded into the layers beside them."""
        c, spec = self.config, self.spec
        moments = self.obs_stats.within(STD_BOUNDS) if c.normalize_obs else None
        activation = c.actor_activation or c.activation
        return of_weights(batch_norm.folded(params), moments, spec.obs_size, spec.action_size, activation)

    def q(self, params: Normed, obs: Array, action: Array) -> Array:
        """Return every critic's mean `Q_i(s, a)`, `[C, *]`, by running moments, in units of the reward."""
        return self.returns.scale * self.scaled_q(params, obs, action)

    def scaled_q(self, params: Normed, obs: Array, action: Array) -> Array:
        """Return `q` in deviations of the return, the units of temperature and losses."""
        pair = self._pairs(obs, action)
        logits = jax.vmap(lambda net: batch_norm.by_running(self._critic, net, pair))(params)
        return distributional.expectation(jax.nn.softmax(logits), self.atoms)

    def _pairs(self, obs: Array, action: Array) -> Array:
        return jnp.concatenate([self.inputs(obs), action], axis=-1)

    def log_probability(self, params: Params, moments: Params, obs: Array, action: Array) -> tuple[Array, Params]:
        """Return every critic's log-probabilities `[C, *, K]` by the rows' own moments, and the running ones after."""
        pair = self._pairs(obs, action)
        logits, moments = jax.vmap(lambda p, m: batch_norm.by_batch(self._critic, p, m, pair))(params, moments)
        return jax.nn.log_softmax(logits), moments

    def soft_target(self, state: SoftState, batch: Transition, key: Key) -> Target:
        """Return the distribution of `r + γ d (Z̄(s', a') - α log π(a'|s'))` on the atoms; `a' ~ π(s')`.

        Rewards `[B]` are in deviations of the return. `Z̄` is that of the target critic with the smaller mean. Targets
        see one batch of both (s, a) and (s', a'), as the critics will.
        """
        rows, atoms = batch.reward.shape[0], self.atoms
        next_action, log_prob = self.sample(state.actor, batch.next_obs, key)
        obs, action = jnp.concatenate([batch.obs, batch.next_obs]), jnp.concatenate([batch.action, next_action])
        log_p, _ = self.log_probability(state.target_critic, state.critic.moments, obs, action)
        following = distributional.of_smallest_mean(jnp.exp(log_p[:, rows:]), atoms)
        wide = lambda x: jnp.broadcast_to(x[:, None], following.shape)  # noqa: E731
        places = actor_critic.soft_td_target(
            wide(batch.reward),
            wide(batch.discount),
            jnp.broadcast_to(atoms[None], following.shape),
            wide(log_prob),
            state.alpha,
            self.config.discount,
        )
        clipped = (jnp.abs(places) >= self.config.value_bound).mean()
        return Target(obs, action, distributional.project(following, places, atoms), clipped)

    def regress_critics(self, state: SoftState, batch: Transition, y: Target) -> tuple[SoftState, Metrics]:
        """Take one step of every critic's distribution of (s, a) towards targets, by the cross-entropy."""
        rows, atoms, scale = batch.reward.shape[0], self.atoms, self.returns.scale

        def loss(params: Params) -> tuple[Array, tuple[Params, Array]]:
            log_p, moments = self.log_probability(params, state.critic.moments, y.obs, y.action)
            log_p = log_p[:, :rows]
            return distributional.cross_entropy(y.probability, log_p), (moments, jnp.exp(log_p))

        tx = optax.adam(self.config.critic_lr)
        step = networks.descend(loss, tx, state.critic.params, state.critic_opt)
        params, opt_state, value, (moments, probability), grad_norm = step
        q = scale * distributional.expectation(probability, atoms)
        td_error = scale * distributional.expectation(y.probability, atoms)[None] - q
        metrics = {"critic/loss": value, "critic/grad_norm": grad_norm, "critic/q": q.mean()}
        metrics |= {"critic/td_error": jnp.abs(td_error).mean()}
        metrics |= {"critic/clipped": y.clipped, "critic/reward_scale": scale}
        return replace(state, critic=Normed(batch_norm.unit_weights(params), moments), critic_opt=opt_state), metrics

    def descend_actor(
        self, state: SoftState, loss: Callable[[Params], tuple[Array, tuple[Array, Params]]]
    ) -> tuple[SoftState, Array, Metrics]:
        """Take one step down `loss(params) -> (value, (log π(a|s) [B], moments))`; log π is returned in between."""
        tx = optax.adam(self.config.actor_lr)
        step = networks.descend(loss, tx, state.actor.params, state.actor_opt)
        params, opt_state, value, (log_prob, moments), grad_norm = step
        state = replace(state, actor=Normed(batch_norm.unit_weights(params), moments), actor_opt=opt_state)
        return state, log_prob, {"actor/loss": value, "actor/grad_norm": grad_norm, "actor/entropy": -log_prob.mean()}

    def pause_actor(
        self, state: SoftState, loss: Callable[[Params], tuple[Array, tuple[Array, Params]]]
    ) -> tuple[SoftState, Array, Metrics]:
        """Return what `descend_actor` does without a step: only running moments move on (XQC code, `actor.py`)."""
        value, (log_prob, moments) = loss(state.actor.params)
        metrics = {"actor/loss": value, "actor/grad_norm": jnp.zeros(()), "actor/entropy": -log_prob.mean()}
        return replace(state, actor=Normed(state.actor.params, moments)), log_prob, metrics

    def still_temperature(self, state: SoftState, log_prob: Array, target: Array | float) -> Metrics:
        """Return the metrics of `adapt_temperature` where it makes no step."""
        loss = actor_critic.temperature_loss(state.alpha, log_prob, target)
        values = {"alpha": state.alpha, "target_entropy": target, "loss": loss, "grad_norm": jnp.zeros(())}
        return {f"temperature/{name}": value for name, value in values.items()}

    def move_targets(self, state: SoftState) -> SoftState:
        """Let the target critics' parameters follow by τ; their weights are not put back to length 1."""
        target = optax.incremental_update(state.critic.params, state.target_critic, self.config.tau)
        return replace(state, target_critic=target)


def _bounded(out: Array) -> tuple[Array, Array]:
    """Cut the actor's outputs `[*, 2 A]` into mean and clipped log-deviation."""
    mean, raw = jnp.split(out, 2, axis=-1)
    return mean, jnp.clip(raw, *LOG_STD_BOUNDS)


def acts_now(state: SoftState, config: CategoricalHyperparameters) -> Array:
    """Return whether the actor moves with the critics' newest step: with the first, and every `actor_every`-th."""
    made = optax.tree_utils.tree_get(state.critic_opt, "count")
    return (made - 1) % config.actor_every == 0


def at(config: Any, steps: Array) -> Any:
    """Return a config whose learning rates are those after `steps` of the environment.

    They fall in a line to `final_lr` at `lr_steps`; actor's and temperature's by the steps that these make, so that of
    three critic steps to one they are a third of the way there (XQC code: the schedule counts an optimiser's steps).
    """
    if config.final_lr is None:
        return config
    way = jnp.clip(steps / config.lr_steps, 0.0, 1.0)
    slow = way / config.actor_every
    falls = lambda rate, way: rate + (config.final_lr - rate) * way  # noqa: E731
    return replace(
        config,
        critic_lr=falls(config.critic_lr, way),
        actor_lr=falls(config.actor_lr, slow),
        temperature_lr=falls(config.temperature_lr, slow),
    )


def validate(config: Any) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, or that another critic does not read."""
    if config.critic != "categorical":
        for name, usual in ALONE.items():
            value = getattr(config, name)
            if value is not None if usual is None else value != usual:
                raise ValueError(f"config.{name}: the squared critic has none; drop it, or take critic='categorical'")
        return
    for name, needed in NEEDS.items():
        if getattr(config, name) != needed:
            raise ValueError(
                f"config.{name}: a categorical critic has norm, minimum and bounds of its own; expected {needed!r}, "
                f"got {getattr(config, name)!r}"
            )
    if (config.final_lr is None) != (config.lr_steps is None):
        raise ValueError("config.final_lr and config.lr_steps say together how rates fall: give both or neither")
    configs.check(config, atoms=(2, 65_536), value_bound=(1e-6, 1e9), actor_every=(1, 1_000))
    configs.check(config, final_lr=(0, 1), lr_steps=(1, float("inf")))
