"""Deterministic recurrent dynamics, fitted on sequences (Amos et al. 2021, §3.1 and App. A)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from pbrl.equations.rollout import scan
from pbrl.nn import networks
from pbrl.types import Array, Key, Params

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
