"""SVG's learned environment: dynamics fitted on sequences, reward and termination of (s, a), all differentiable.

The dynamics are deterministic and recurrent (Amos et al. 2021, §3.1 and App. A), or MAGE's ensemble.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.equations.expansion import scan
from pbrl.models.ensemble import Ensemble
from pbrl.nn import networks, normalizer
from pbrl.nn.normalizer import STD_BOUNDS, Statistics
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


Latent = tuple[Array, networks.Hidden]
"""Observation `[B, S]` and what the recurrent cells remember."""


@dataclass(frozen=True)
class Recurrent:
    """The architecture: `x_{t+1} = x_t + dec(h_{t+1})`, `h_{t+1} = GRU(enc(x_t, u_t), h_t)`, `h_0 = 0`.

    Observations are those that the caller works in, normalised for SVG.
    """

    obs_size: int
    action_size: int
    encoder_hidden: tuple[int, ...] = (512, 512)
    width: int = 512
    layers: int = 2

    @property
    def _cell(self) -> networks.RecurrentCell:
        return networks.RecurrentCell(self.obs_size, self.encoder_hidden, self.width, self.layers)

    def init(self, key: Key) -> Params:
        """Draw parameters."""
        hidden = (jnp.zeros(self.width),) * self.layers
        return networks.init(self._cell, key, hidden, jnp.zeros(self.obs_size), jnp.zeros(self.action_size))

    def start(self, obs: Array) -> Latent:
        """Return the latent state of a trajectory's first observation `[*, S]`: nothing remembered."""
        return obs, None

    def step(self, params: Params, latent: Latent, action: Array) -> Latent:
        """Advance by one action `[*, A]`; differentiable in the observation, the hidden state and the action."""
        obs, hidden = latent
        hidden, delta = networks.apply(self._cell, params, hidden, obs, action)
        return obs + delta, hidden

    def unroll(self, params: Params, obs: Array, actions: Array, *, detach: bool) -> Array:
        """Predict `[H, *, S]` from the first observation `[*, S]` and the actions `[H, *, A]` that were taken.

        `detach` stops the gradient in the observation that is handed on, in the network's input and in the sum
        alike, which leaves the hidden state as the one path between steps (SVG code, `dx.py`, `detach_xt`).
        """

        def step(latent: Latent, action: Array) -> tuple[Latent, Array]:
            given, hidden = latent
            latent = self.step(params, (jax.lax.stop_gradient(given) if detach else given, hidden), action)
            return latent, latent[0]

        return scan(step, self.start(obs), actions)[1]

    def loss(self, params: Params, obs: Array, actions: Array, next_obs: Array) -> Array:
        """Return the mean squared error over steps, rows and coordinates of windows `[H, B]`.

        `obs [B, S]` is the first observation, `next_obs [H, B, S]` what each action really led to. Differentiated in
        `params` only.
        """
        return jnp.square(self.unroll(params, obs, actions, detach=True) - next_obs).mean()


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
        return optax.chain(optax.clip_by_global_norm(self.config.model_max_norm), optax.adam(self.config.model_lr))  # pyright: ignore[reportArgumentType]

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
        head_tx = optax.adam(self.config.head_lr)
        opts = self._dynamics_tx.init(dynamics), head_tx.init(reward), head_tx.init(termination)
        return SequenceWorldState(dynamics, reward, termination, *opts)

    def _normalized(self, obs: Array) -> Array:
        return normalizer.normalize(self.stats.obs.within(STD_BOUNDS), obs) if self.config.normalize_obs else obs

    def _observed(self, x: Array) -> Array:
        return normalizer.denormalize(self.stats.obs.within(STD_BOUNDS), x) if self.config.normalize_obs else x

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

        params, opt_state, value, _, grad_norm = networks.descend(
            loss, self._dynamics_tx, state.dynamics, state.dynamics_opt
        )
        metrics = {"model/loss": value, "model/grad_norm": grad_norm}
        return replace(state, dynamics=params, dynamics_opt=opt_state), metrics

    def fit_heads(self, state: SequenceWorldState, batch: Transition) -> tuple[SequenceWorldState, Metrics]:
        """Take one gradient step each on reward (squared error, raw units) and termination with transitions `[B]`.

        Both are functions of (s, a), never of s'. A termination's label is `1 - discount`: time limits are no ends.
        """
        x, tx = self._normalized(batch.obs), optax.adam(self.config.head_lr)

        def reward_loss(params: Params) -> tuple[Array, None]:
            return jnp.square(self._predict(params, x, batch.action) - batch.reward).mean(), None

        def ended_loss(params: Params) -> tuple[Array, None]:
            logit = self._predict(params, x, batch.action)
            return termination_loss(logit, 1.0 - batch.discount, self.config.balance_terminations), None

        reward, reward_opt, reward_error, _, reward_norm = networks.descend(
            reward_loss, tx, state.reward, state.reward_opt
        )
        termination, termination_opt, entropy, _, termination_norm = networks.descend(
            ended_loss, tx, state.termination, state.termination_opt
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


def termination_loss(logit: Array, terminated: Array, balanced: bool) -> Array:
    """Return the mean cross-entropy of `logit [B]` against labels `terminated [B]` in {0, 1}.

    `balanced` multiplies the positive rows by (negatives / positives), where a batch has any (SVG code, `agent.py`).
    """
    positives = terminated.sum()
    ratio = jnp.where(positives > 0, (terminated.size - positives) / jnp.maximum(positives, 1.0), 1.0)
    weight = jnp.where(terminated > 0, ratio if balanced else 1.0, 1.0)
    return (weight * optax.sigmoid_binary_cross_entropy(logit, terminated)).mean()


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
