"""A learned environment: an ensemble for the dynamics, reward and termination known or learned, as one `Dynamics`.

MAGE's and MAAC's differ in the networks' variance, in the optimiser, and in who imagines: all members of MAGE's, of
MAAC's and MBPO's those whose held-out rows are predicted best, the elites. The world takes single gradient steps and
judges its members; `train.fitting` runs the epochs.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.models.ensemble import MEMBERS, BoundedEnsemble, Ensemble, HomoscedasticEnsemble
from pbrl.models.heads import RewardHead, TerminationHead
from pbrl.nn import networks
from pbrl.nn.normalizer import Statistics
from pbrl.types import Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

NOISES = {"state": BoundedEnsemble, "constant": HomoscedasticEnsemble}


class Hyperparameters(Protocol):
    """The fields that MAGE's and MAAC's configurations have in common."""

    model_lr: float
    model_weight_decay: float
    model_hidden: tuple[int, ...]
    ensemble_size: int
    head_hidden: tuple[int, ...]
    learn_reward: bool
    bound_std: bool


class MageHyperparameters(Hyperparameters, Protocol):
    """The fields that `mage_world` reads."""

    grad_clip: float


class MaacHyperparameters(Hyperparameters, Protocol):
    """The fields that `maac_world` reads."""

    model_activation: str
    model_noise: str
    elites: int


@flax.struct.dataclass
class WorldState:
    """What training changes: parameters, optimiser, the statistics that the last fit normalised by, and who counts."""

    params: dict[str, Params]
    opt_state: optax.OptState
    stats: Statistics
    elites: Array  # i32[elites], the members that imagine: the best by their held-out rows at the last fit, or all


@dataclass(frozen=True)
class EnsembleWorld:
    """Architecture and optimiser, for an environment. A part that `spec` knows is learned only if `learn_reward`."""

    spec: EnvSpec
    ensemble: Ensemble
    optimizer: optax.GradientTransformation
    head_hidden: tuple[int, ...]
    learn_reward: bool
    bounded: bool
    """Whether deviations that it divides by are bounded: `Statistics.init`."""
    elites: int

    @property
    def reward(self) -> RewardHead | None:
        """The learned reward, if any."""
        needed = self.learn_reward or self.spec.reward_fn is None
        return RewardHead(self.spec.obs_size, self.spec.action_size, self.head_hidden) if needed else None

    @property
    def termination(self) -> TerminationHead | None:
        """The learned termination, if any."""
        needed = self.spec.termination_fn is None
        return TerminationHead(self.spec.obs_size, self.spec.action_size, self.head_hidden) if needed else None

    def init(self, key: Key) -> WorldState:
        """Draw parameters and start the optimiser."""
        dynamics_key, reward_key, termination_key = jax.random.split(key, 3)
        params = {"dynamics": self.ensemble.init(dynamics_key)}
        if self.reward:
            params["reward"] = self.reward.init(reward_key)
        if self.termination:
            params["termination"] = self.termination.init(termination_key)
        stats = Statistics.init(self.spec.obs_size, self.spec.action_size, bounded=self.bounded)
        return WorldState(params, self.optimizer.init(params), stats, jnp.arange(self.elites))

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

        params, opt_state, _, metrics, norm = networks.descend(loss, self.optimizer, state.params, state.opt_state)
        adopted = jax.tree.map(jnp.copy, stats)  # an alias of the agent's own statistics would break donation
        state = replace(state, params=params, opt_state=opt_state, stats=adopted)
        return state, {**metrics, "model/grad_norm": norm}

    def dynamics(self, state: WorldState) -> Dynamics:
        """Return the learned environment as a simulator over observations: an elite at random for each row and step.

        Its discount carries no gradient.
        """
        params = state.params["dynamics"]
        if self.elites < self.ensemble.size:
            params = self.ensemble.choose(params, state.elites)

        def step(obs: Array, action: Array, key: Key) -> tuple[Array, Array, Array]:
            next_obs = self.ensemble.sample(params, state.stats, obs, action, key)
            return self._outcome(state, obs, action, next_obs)

        return Dynamics(start=lambda batch: batch.obs, step=step, observe=lambda obs: obs)

    def step_each(
        self, state: WorldState, members: Array, obs: Array, action: Array, key: Key
    ) -> tuple[Array, Array, Array]:
        """Step `obs [B, S]` once with each of `members [M]`: next observations `[M, B, S]`, rewards, discounts."""
        params = self.ensemble.choose(state.params["dynamics"], members)
        next_obs = self.ensemble.sample_every(params, state.stats, obs, action, key)
        obs, action = (jnp.broadcast_to(x, (next_obs.shape[0], *x.shape)) for x in (obs, action))
        return self._outcome(state, obs, action, next_obs)

    def step_again(self, state: WorldState, batch: Transition, action: Array) -> tuple[Array, Array]:
        """Take real transitions `[B]` again with other actions `[B, A]`, each elite with the noise that explains them.

        Returns next observations `[elites, B, S]`, at the real actions the real ones, and rewards `[elites, B]`.
        Differentiable in `action`; the noise `(s' - μ(s, a)) / σ(s, a)` is held.
        """
        params = self.ensemble.choose(state.params["dynamics"], state.elites)
        every = partial(jax.tree.map, lambda x: jnp.broadcast_to(x, (state.elites.shape[0], *x.shape)))
        obs, real, action, next_obs = every((batch.obs, batch.action, action, batch.next_obs))
        predict = partial(self.ensemble.predict, params, state.stats, obs)
        mean, std = predict(real)
        noise = jax.lax.stop_gradient((next_obs - mean) / std)
        mean, std = predict(action)
        next_obs, reward, _ = self._outcome(state, obs, action, mean + std * noise)
        return next_obs, reward

    def _outcome(self, state: WorldState, obs: Array, action: Array, next_obs: Array) -> tuple[Array, Array, Array]:
        """Return next observations `[*, S]` with reward and discount `[*]` of the steps that led to them."""
        if self.reward:
            reward = self.reward.predict(state.params["reward"], state.stats, obs, action, next_obs)
        else:
            assert self.spec.reward_fn is not None
            reward = self.spec.reward_fn(obs, action, next_obs)
        if self.termination:
            ended = self.termination.predict(state.params["termination"], state.stats, obs, action, next_obs)
        else:
            assert self.spec.termination_fn is not None
            ended = self.spec.termination_fn(next_obs).astype(next_obs.dtype)
        return next_obs, reward, 1.0 - ended

    def losses(self, state: WorldState, stats: Statistics, batch: Transition) -> Array:
        """Return every member's loss on its own rows `batch [E, B]`, as `[E]`."""
        return self.ensemble.losses(state.params["dynamics"], stats, batch)

    def with_elites(self, state: WorldState, losses: Array) -> WorldState:
        """Let the members with the smallest of `losses [E]` be the ones that imagine."""
        return replace(state, elites=jnp.argsort(losses)[: self.elites])


def mage_world(spec: EnvSpec, config: MageHyperparameters) -> EnsembleWorld:
    """Return the world of MAGE and its baselines: fixed bounds of the variance, all members imagine (App. D)."""
    c = config
    # Rectified Adam (Liu et al. 2020), decoupled weight decay multiplied by the learning rate. While its rectification
    # is undefined (first steps) a bias-corrected momentum step is taken.
    optimizer = optax.chain(
        optax.clip(c.grad_clip),  # by value
        optax.scale_by_radam(),
        optax.add_decayed_weights(c.model_weight_decay),
        optax.scale_by_learning_rate(c.model_lr),
    )
    ensemble = Ensemble(spec.obs_size, spec.action_size, c.model_hidden, c.ensemble_size)
    return EnsembleWorld(spec, ensemble, optimizer, c.head_hidden, c.learn_reward, c.bound_std, c.ensemble_size)


def maac_world(spec: EnvSpec, config: MaacHyperparameters) -> EnsembleWorld:
    """Return the world of MAAC and its baselines: PETS' networks or DHMBPO's, of which the elites imagine."""
    c, sizes = config, (spec.obs_size, spec.action_size)
    # The weight decay is a term of the loss, which Adam scales along.
    optimizer = optax.chain(optax.add_decayed_weights(c.model_weight_decay), optax.adam(c.model_lr))
    kind = NOISES[c.model_noise]
    ensemble = kind(*sizes, c.model_hidden, c.ensemble_size, c.model_activation)
    return EnsembleWorld(spec, ensemble, optimizer, c.head_hidden, c.learn_reward, c.bound_std, c.elites)


def mage_simulator(state: Any) -> Dynamics:
    """Return what a state of MAGE or a baseline imagines with: its oracle where there is one, else its own world."""
    return state.oracle or mage_world(state.spec, state.config).dynamics(state.world)


def maac_simulator(state: Any) -> Dynamics:
    """Return what a state of MAAC or a baseline imagines with: its oracle where there is one, else its own world."""
    return state.oracle or maac_world(state.spec, state.config).dynamics(state.world)


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
    )
