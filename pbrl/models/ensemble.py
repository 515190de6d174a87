"""Ensembles of probabilistic networks for the change of the observation."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from pbrl.nn import networks, normalizer
from pbrl.nn.normalizer import Statistics
from pbrl.types import Array, Key, Params, Transition

MIN_LOG_VAR, MAX_LOG_VAR = -5.0, -1.0  # of the normalised change (MAGE code, `models.py`)
MIN_LOG_STD = -6.9  # of DHMBPO's deviations, 1e-3
MEMBERS = "members"  # the entry of the parameters, and of their moments, that has the members' axis


@dataclass(frozen=True)
class Ensemble:
    """The architecture: `size` networks `(s, a) -> N(s' - s)`, diagonal, in normalised units.

    The log-variance is `-5 + 4 sigmoid(raw)`, so the standard deviation stays between 0.08 and 0.61 of the
    data's: the model is never nearly deterministic, and never confidently wrong by much (MAGE code, `models.py`).
    Parameters are stacked under `members`. Which members are asked is data: every function below takes as many as its
    parameters hold, all of them or those that `choose` has picked.
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
        inputs = jnp.zeros(self.obs_size + self.action_size)
        return {MEMBERS: networks.init_members(self._network, key, self.size, inputs)}

    def choose(self, params: Params, members: Array) -> Params:
        """Return the parameters of `members [M]` alone, with what all of them share."""
        return {**params, MEMBERS: jax.tree.map(lambda x: x[members], params[MEMBERS])}

    def _outputs(self, members: Params, stats: Statistics, obs: Array, action: Array) -> Array:
        """Return what the networks `[E]` put out, `[E, B, *]`, for `obs [E, B, S]`."""
        inputs = [normalizer.normalize(stats.obs, obs), normalizer.normalize(stats.action, action)]
        return networks.apply_members(self._network, members, jnp.concatenate(inputs, axis=-1), shared=False)

    def _raw(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return the networks' two outputs `[E, B, S]` for `obs [E, B, S]`."""
        mean, raw = jnp.split(self._outputs(params[MEMBERS], stats, obs, action), 2, axis=-1)
        return mean, raw

    def _delta(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return mean and log-variance `[E, B, S]` of the normalised change for `obs [E, B, S]`."""
        mean, raw = self._raw(params, stats, obs, action)
        return mean, MIN_LOG_VAR + (MAX_LOG_VAR - MIN_LOG_VAR) * jax.nn.sigmoid(raw)

    def predict(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation `[E, B, S]` of the next observation; member e sees `obs[e]`."""
        mean, log_var = self._delta(params, stats, obs, action)
        return obs + normalizer.denormalize(stats.delta, mean), jnp.exp(0.5 * log_var) * normalizer.along(
            stats.delta.std, log_var
        )

    def sample(self, params: Params, stats: Statistics, obs: Array, action: Array, key: Key) -> Array:
        """Draw next observations `[B, S]`, each row from a member chosen uniformly at random for that row.

        Differentiable in `obs` and `action` through mean and standard deviation (reparameterised).
        Each member evaluates only the rows that drew it: a random permutation deals the rows out in equal
        parts, which keeps every row's member uniform at 1/E of the arithmetic of evaluating all of them.
        """
        member_key, noise_key = jax.random.split(key)
        size = _count(params)
        rows = -(-obs.shape[0] // size)  # rounded up; slots that no row fills hold zeros
        slots = jax.random.permutation(member_key, size * rows)[: obs.shape[0]]

        def deal(x: Array) -> Array:
            dealt = jnp.zeros((size * rows, x.shape[-1]), x.dtype).at[slots].set(x, unique_indices=True)
            return dealt.reshape(size, rows, x.shape[-1])

        def collect(x: Array) -> Array:
            return x.reshape(size * rows, x.shape[-1])[slots]

        mean, std = self.predict(params, stats, deal(obs), deal(action))
        return collect(mean) + collect(std) * jax.random.normal(noise_key, obs.shape)

    def sample_every(self, params: Params, stats: Statistics, obs: Array, action: Array, key: Key) -> Array:
        """Draw next observations `[E, B, S]` for `obs [B, S]`, one of every member for each row."""
        size = _count(params)
        mean, std = self.predict(params, stats, *(jnp.broadcast_to(x, (size, *x.shape)) for x in (obs, action)))
        return mean + std * jax.random.normal(key, mean.shape)

    def losses(self, params: Params, stats: Statistics, batch: Transition) -> Array:
        """Return the mean of `(μ - y)²/σ² + log σ²` over rows and coordinates of `batch [E, B]`, `[E]`.

        `y` is the normalised change of the observation. It is twice the negative log-likelihood, up to a constant.
        """
        mean, log_var = self._delta(params, stats, batch.obs, batch.action)
        target = normalizer.normalize(stats.delta, batch.next_obs - batch.obs)
        return (jnp.square(mean - target) * jnp.exp(-log_var) + log_var).mean((1, 2))

    def loss(self, params: Params, stats: Statistics, batch: Transition) -> Array:
        """Return the mean of the members' losses on `batch [E, B]`. Differentiated in `params` only."""
        return self.losses(params, stats, batch).mean()


@dataclass(frozen=True)
class BoundedEnsemble(Ensemble):
    """An ensemble whose bounds of the log-variance are learned: PETS' networks, as MAAC and MBPO use them.

    The raw log-variance is bent below `max` and above `min`, one pair for each coordinate that all members share. The
    loss presses the two together, so that they follow what the data show. Parameters: `members`, `max_log_var [S]`,
    `min_log_var [S]` (MAAC code, `probabilistic_mlp_dynamics_ensemble.py`).
    """

    bound_weight: float = 0.01

    @property
    def _network(self) -> networks.MLP:
        return networks.MLP(self.hidden, 2 * self.obs_size, self.activation)

    def init(self, key: Key) -> Params:
        """Draw the members' parameters, stacked along axis 0; the bounds start at 0.5 and -10."""
        bounds = {"max_log_var": 0.5, "min_log_var": -10.0}
        return {**super().init(key), **{name: jnp.full(self.obs_size, x, float) for name, x in bounds.items()}}

    def _delta(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        mean, raw = self._raw(params, stats, obs, action)
        low, high = (normalizer.along(params[name], raw) for name in ("min_log_var", "max_log_var"))
        raw = high - jax.nn.softplus(high - raw)
        return mean, low + jax.nn.softplus(raw - low)

    def loss(self, params: Params, stats: Statistics, batch: Transition) -> Array:
        """Return the mean of the members' losses on `batch [E, B]`, plus 0.01 times the distance of the bounds."""
        distance = params["max_log_var"].mean() - params["min_log_var"].mean()
        return super().loss(params, stats, batch) + self.bound_weight * distance


@dataclass(frozen=True)
class HomoscedasticEnsemble(Ensemble):
    """An ensemble whose members have one deviation for each coordinate, wherever they are: DHMBPO's.

    Its mean then owes as much to rows that are hard to predict, such as impacts, as to the others; a deviation that
    grows there would excuse it. Parameters: `members`, each with `network` and `log_std [S]` of the normalised change,
    which starts at 0 (DHMBPO code, `gaussian_mlp.py`).
    """

    @property
    def _network(self) -> networks.MLP:
        return networks.MLP(self.hidden, self.obs_size, self.activation)

    def init(self, key: Key) -> Params:
        """Draw the members' parameters, stacked along axis 0; deviations start at those of the data."""
        own = super().init(key)[MEMBERS]
        return {MEMBERS: {"network": own, "log_std": jnp.zeros((self.size, self.obs_size))}}

    def _delta(self, params: Params, stats: Statistics, obs: Array, action: Array) -> tuple[Array, Array]:
        own = params[MEMBERS]
        mean = self._outputs(own["network"], stats, obs, action)
        log_std = jnp.maximum(own["log_std"], MIN_LOG_STD)[:, None]
        return mean, jnp.broadcast_to(2.0 * log_std, mean.shape)


def _count(params: Params) -> int:
    """Return how many members these parameters are of."""
    return jax.tree.leaves(params[MEMBERS])[0].shape[0]
