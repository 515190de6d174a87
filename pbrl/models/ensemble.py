"""Ensemble of probabilistic networks for the change of the observation."""

from dataclasses import dataclass

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import networks, normalizer
from pbrl.normalizer import Normalizer
from pbrl.types import Array, Key, Params, Transition

MIN_LOG_VAR, MAX_LOG_VAR = -5.0, -1.0  # of the normalised change (MAGE code, `models.py`)


@flax.struct.dataclass
class Statistics:
    """Running moments of all collected transitions; they normalise what networks see and predict."""

    obs: Normalizer
    action: Normalizer
    delta: Normalizer  # next_obs - obs
    reward: Normalizer

    @classmethod
    def init(cls, obs_size: int, action_size: int) -> "Statistics":
        """Make the moments of no data."""
        return cls(*(normalizer.init(*shape) for shape in ((obs_size,), (action_size,), (obs_size,), ())))

    def update(self, batch: Transition) -> "Statistics":
        """Fold transitions `[B]` in."""
        return Statistics(
            obs=normalizer.update(self.obs, batch.obs),
            action=normalizer.update(self.action, batch.action),
            delta=normalizer.update(self.delta, batch.next_obs - batch.obs),
            reward=normalizer.update(self.reward, batch.reward),
        )


@dataclass(frozen=True)
class Ensemble:
    """The architecture: `size` networks `(s, a) -> N(s' - s)`, diagonal, in normalised units.

    The log-variance is `-5 + 4 sigmoid(raw)`, so the standard deviation stays between 0.08 and 0.61 of the
    data's: the model is never nearly deterministic, and never confidently wrong by much (MAGE code, `models.py`).
    """

    obs_size: int
    action_size: int
    hidden: tuple[int, ...]
    size: int
    activation: str = "swish"

    @property
    def _network(self) -> networks.MLP:
        return networks.MLP(self.hidden, 2 * self.obs_size, self.activation, scheme="glorot_normal_out")

    def init(self, key: Key) -> Params:
        """Draw the members' parameters, stacked along axis 0."""
        return networks.init_members(self._network, key, self.size, jnp.zeros(self.obs_size + self.action_size))

    def _delta(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return mean and log-variance `[E, B, S]` of the normalised change for `obs [E, B, S]`."""
        inputs = [normalizer.normalize(stats.obs, obs), normalizer.normalize(stats.action, action)]
        out = networks.apply_members(self._network, params, jnp.concatenate(inputs, axis=-1), shared=False)
        mean, raw = jnp.split(out, 2, axis=-1)
        return mean, MIN_LOG_VAR + (MAX_LOG_VAR - MIN_LOG_VAR) * jax.nn.sigmoid(raw)

    def predict(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation `[E, B, S]` of the next observation; member e sees `obs[e]`."""
        mean, log_var = self._delta(params, stats, obs, action)
        return obs + normalizer.denormalize(stats.delta, mean), jnp.exp(0.5 * log_var) * stats.delta.std

    def sample(self, params: Params, stats: Statistics, obs: Array, action: Array, key: Key) -> Array:
        """Draw next observations `[B, S]`, each row from a member chosen uniformly at random for that row.

        Differentiable in `obs` and `action` through mean and standard deviation (reparameterised).
        Each member evaluates only the rows that drew it: a random permutation deals the rows out in equal
        parts, which keeps every row's member uniform at 1/E of the arithmetic of evaluating all of them.
        """
        member_key, noise_key = jax.random.split(key)
        rows = -(-obs.shape[0] // self.size)  # rounded up; slots that no row fills hold zeros
        slots = jax.random.permutation(member_key, self.size * rows)[: obs.shape[0]]

        def deal(x: Array) -> Array:
            dealt = jnp.zeros((self.size * rows, x.shape[-1]), x.dtype).at[slots].set(x, unique_indices=True)
            return dealt.reshape(self.size, rows, x.shape[-1])

        def collect(x: Array) -> Array:
            return x.reshape(self.size * rows, x.shape[-1])[slots]

        mean, std = self.predict(params, stats, deal(obs), deal(action))
        return collect(mean) + collect(std) * jax.random.normal(noise_key, obs.shape)

    def loss(self, params: Params, stats: Statistics, batch: Transition) -> Array:
        """Return the mean of `(μ - y)²/σ² + log σ²` over members, rows and coordinates of `batch [E, B]`.

        Differentiated in `params` only; `y` is the normalised change of the observation.
        """
        mean, log_var = self._delta(params, stats, batch.obs, batch.action)
        target = normalizer.normalize(stats.delta, batch.next_obs - batch.obs)
        return (jnp.square(mean - target) * jnp.exp(-log_var) + log_var).mean()
