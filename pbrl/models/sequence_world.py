"""SVG's learned environment: dynamics fitted on sequences, reward and termination of (s, a), all differentiable."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.equations import losses
from pbrl.models.ensemble import Ensemble, Statistics
from pbrl.models.recurrent import Recurrent
from pbrl.nn import networks, normalizer, optim
from pbrl.nn.normalizer import STD_BOUNDS
from pbrl.types import Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

DYNAMICS = ("recurrent", "ensemble")


class Hyperparameters(Protocol):
    """The fields of an agent's config that this file reads."""

    dynamics: str
    encoder_hidden: tuple[int, ...]
    recurrent_width: int
    recurrent_layers: int
    model_hidden: tuple[int, ...]
    ensemble_size: int
    head_hidden: tuple[int, ...]
    model_lr: float
    model_max_norm: float
    head_lr: float
    balance_terminations: bool
    termination_gradient: bool
    normalize_obs: bool


@flax.struct.dataclass
class SequenceWorldState:
    """Parameters and optimisers of dynamics, reward and termination."""

    dynamics: Params
    reward: Params
    termination: Params
    dynamics_opt: optax.OptState
    reward_opt: optax.OptState
    termination_opt: optax.OptState


@dataclass(frozen=True)
class SequenceWorld:
    """The architecture and optimisers as `config` describes them, for data of which `stats` holds the moments."""

    spec: EnvSpec
    config: Hyperparameters
    stats: Statistics

    @property
    def recurrent(self) -> Recurrent:
        """The GRU."""
        c = self.config
        sizes = self.spec.obs_size, self.spec.action_size
        return Recurrent(*sizes, c.encoder_hidden, c.recurrent_width, c.recurrent_layers)

    @property
    def ensemble(self) -> Ensemble:
        """The probabilistic networks that may take the GRU's place."""
        c = self.config
        return Ensemble(self.spec.obs_size, self.spec.action_size, c.model_hidden, c.ensemble_size)

    @property
    def _head(self) -> networks.MLP:
        return networks.MLP(self.config.head_hidden, 1, "relu", "uniform")

    @property
    def _dynamics_tx(self) -> optax.GradientTransformation:
        return optim.adam(self.config.model_lr, max_norm=self.config.model_max_norm)

    def init(self, key: Key) -> SequenceWorldState:
        """Draw parameters and start the optimisers."""
        keys = jax.random.split(key, 3)
        model = self.recurrent if self.config.dynamics == "recurrent" else self.ensemble
        inputs = jnp.zeros(self.spec.obs_size + self.spec.action_size)
        dynamics, reward, termination = (
            model.init(keys[0]),
            networks.init(self._head, keys[1], inputs),
            networks.init(self._head, keys[2], inputs),
        )
        head_tx = optim.adam(self.config.head_lr)
        opts = self._dynamics_tx.init(dynamics), head_tx.init(reward), head_tx.init(termination)
        return SequenceWorldState(dynamics, reward, termination, *opts)

    def _normalized(self, obs: Array) -> Array:
        return normalizer.normalize(self.stats.obs, obs, STD_BOUNDS) if self.config.normalize_obs else obs

    def _observed(self, x: Array) -> Array:
        return normalizer.denormalize(self.stats.obs, x, STD_BOUNDS) if self.config.normalize_obs else x

    def _predict(self, head: Params, x: Array, action: Array) -> Array:
        return networks.apply(self._head, head, jnp.concatenate([x, action], axis=-1))[..., 0]

    def fit_dynamics(self, state: SequenceWorldState, batch: Transition) -> tuple[SequenceWorldState, Metrics]:
        """Take one gradient step on the dynamics with windows `[H, B]` of consecutive transitions.

        The GRU is unrolled over the window from its first observation. An ensemble takes the transitions one by one,
        the same for every member, by its own likelihood.
        """

        def loss(params: Params) -> tuple[Array, None]:
            if self.config.dynamics == "recurrent":
                first, targets = self._normalized(batch.obs[0]), self._normalized(batch.next_obs)
                return self.recurrent.loss(params, first, batch.action, targets), None
            members = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), batch)
            members = jax.tree.map(lambda x: jnp.broadcast_to(x, (self.ensemble.size, *x.shape[1:])), members)
            return self.ensemble.loss(params, self.stats, members), None

        params, opt_state, value, _, grad_norm = optim.descend(
            loss, self._dynamics_tx, state.dynamics, state.dynamics_opt
        )
        metrics = {"model/loss": value, "model/grad_norm": grad_norm}
        return replace(state, dynamics=params, dynamics_opt=opt_state), metrics

    def fit_heads(self, state: SequenceWorldState, batch: Transition) -> tuple[SequenceWorldState, Metrics]:
        """Take one gradient step each on reward (squared error, raw units) and termination with transitions `[B]`.

        Both are functions of (s, a), never of s'. A termination's label is `1 - discount`: time limits are no ends.
        """
        x, tx = self._normalized(batch.obs), optim.adam(self.config.head_lr)

        def reward_loss(params: Params) -> tuple[Array, None]:
            return jnp.square(self._predict(params, x, batch.action) - batch.reward).mean(), None

        def termination_loss(params: Params) -> tuple[Array, None]:
            logit = self._predict(params, x, batch.action)
            return losses.termination_loss(logit, 1.0 - batch.discount, self.config.balance_terminations), None

        reward, reward_opt, reward_error, _, reward_norm = optim.descend(
            reward_loss, tx, state.reward, state.reward_opt
        )
        termination, termination_opt, entropy, _, termination_norm = optim.descend(
            termination_loss, tx, state.termination, state.termination_opt
        )
        state = replace(state, reward=reward, reward_opt=reward_opt)
        state = replace(state, termination=termination, termination_opt=termination_opt)
        return state, {
            "model/reward_loss": reward_error,
            "model/reward_grad_norm": reward_norm,
            "model/termination_loss": entropy,
            "model/termination_grad_norm": termination_norm,
        }

    def simulator(self, state: SequenceWorldState) -> Dynamics:
        """Return the learned environment; gradients flow through dynamics, reward and the probability of going on.

        Without `termination_gradient` none flows through the last.
        """

        def heads(x: Array, action: Array) -> tuple[Array, Array]:
            going_on = 1.0 - jax.nn.sigmoid(self._predict(state.termination, x, action))
            if not self.config.termination_gradient:
                going_on = jax.lax.stop_gradient(going_on)
            return self._predict(state.reward, x, action), going_on

        def step_recurrent(latent: Any, action: Array, key: Key) -> tuple[Any, Array, Array]:
            del key  # deterministic
            return self.recurrent.step(state.dynamics, latent, action), *heads(latent[0], action)

        def step_ensemble(obs: Array, action: Array, key: Key) -> tuple[Array, Array, Array]:
            next_obs = self.ensemble.sample(state.dynamics, self.stats, obs, action, key)
            return next_obs, *heads(self._normalized(obs), action)

        if self.config.dynamics == "ensemble":
            return Dynamics(start=lambda batch: batch.obs, step=step_ensemble, observe=lambda obs: obs)
        return Dynamics(
            start=lambda batch: self.recurrent.start(self._normalized(batch.obs)),
            step=step_recurrent,
            observe=lambda latent: self._observed(latent[0]),
        )


def validate(config: Any) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, naming field, range and value."""
    configs.check(
        config,
        model_lr=(0, 1),
        model_max_norm=(1e-30, float("inf")),
        head_lr=(0, 1),
        encoder_hidden=(1, 65_536),
        recurrent_width=(1, 65_536),
        recurrent_layers=(1, 64),
        model_hidden=(1, 65_536),
        ensemble_size=(1, 1_024),
        head_hidden=(1, 65_536),
    )
    configs.check_choice(config, dynamics=DYNAMICS)
