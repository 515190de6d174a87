"""Learned reward and learned termination, both functions of (s, a, s')."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from pbrl.nn import networks, normalizer
from pbrl.nn.normalizer import Statistics
from pbrl.types import Array, Key, Params, Transition


@dataclass(frozen=True)
class Head:
    """A network that maps `(s, a, s')` to one number; reward and termination differ in what it means."""

    obs_size: int
    action_size: int
    hidden: tuple[int, ...]
    activation: str = "swish"

    @property
    def _network(self) -> networks.MLP:
        return networks.MLP(self.hidden, 1, self.activation, scheme="glorot_normal_out")

    def init(self, key: Key) -> Params:
        """Draw parameters."""
        return networks.init(self._network, key, jnp.zeros(2 * self.obs_size + self.action_size))

    def output(self, params: Params, stats: Statistics, obs: Array, action: Array, next_obs: Array) -> Array:
        """Return the raw output `[*]`. Actions enter as they are, observations normalised (MAGE `reward_model.py`)."""
        inputs = [normalizer.normalize(stats.obs, obs), action, normalizer.normalize(stats.obs, next_obs)]
        return networks.apply(self._network, params, jnp.concatenate(inputs, axis=-1))[..., 0]


class RewardHead(Head):
    """Reward `r̂(s, a, s')`, trained by squared error (MAGE App. B.2)."""

    def predict(self, params: Params, stats: Statistics, obs: Array, action: Array, next_obs: Array) -> Array:
        """Return the reward `[*]`, differentiable in all three inputs."""
        return normalizer.denormalize(stats.reward, self.output(params, stats, obs, action, next_obs))

    def loss(self, params: Params, stats: Statistics, batch: Transition) -> Array:
        """Return the mean squared error of the predicted reward over `batch [B]`."""
        return jnp.square(self.predict(params, stats, batch.obs, batch.action, batch.next_obs) - batch.reward).mean()


class TerminationHead(Head):
    """Probability that the step into s' terminated, trained by cross-entropy."""

    def predict(self, params: Params, stats: Statistics, obs: Array, action: Array, next_obs: Array) -> Array:
        """Return the probability `[*]`; it carries no gradient, as a known termination has none."""
        return jax.lax.stop_gradient(jax.nn.sigmoid(self.output(params, stats, obs, action, next_obs)))

    def loss(self, params: Params, stats: Statistics, batch: Transition) -> Array:
        """Return the mean cross-entropy over `batch [B]`; its label is `1 - discount`, so time limits are no ends."""
        logit = self.output(params, stats, batch.obs, batch.action, batch.next_obs)
        return optax.sigmoid_binary_cross_entropy(logit, 1.0 - batch.discount).mean()
