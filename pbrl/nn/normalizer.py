"""Running means and standard deviations as pytrees: of one quantity, and of all that transitions hold."""

import flax.struct
import jax.numpy as jnp

from pbrl.types import Array, Transition

MIN_STD = 1e-6  # below it a coordinate counts as constant and is only centred (MAGE code, `normalizer.py`)
STD_BOUNDS = (0.1, 10.0)  # what the deviation is clipped to before SVG's networks divide by it (`replay_buffer.py`)


@flax.struct.dataclass
class Normalizer:
    """Moments of everything seen so far; `mean` 0 and `std` 1 before anything was."""

    count: Array  # f32[]
    mean: Array  # f32[*D]
    squares: Array  # f32[*D], sum of squared deviations from the mean
    mean_lost: Array  # f32[*D], what rounding has kept from `mean` so far
    squares_lost: Array  # f32[*D], the same for `squares`

    @property
    def std(self) -> Array:
        """Population standard deviation, 1 where it is (almost) zero."""
        std = jnp.sqrt(self.squares / jnp.maximum(self.count, 1.0))
        return jnp.where(std < MIN_STD, 1.0, std)


def init(*shape: int) -> Normalizer:
    """Make the moments of no data, for values of this shape."""
    return Normalizer(jnp.zeros(()), *(jnp.zeros(shape) for _ in range(4)))


def update(normalizer: Normalizer, batch: Array) -> Normalizer:
    """Fold a batch `[B, *D]` in (Chan et al. 1979: pairwise, so that nothing cancels).

    After a million rows a new one moves the mean by less than float32 resolves next to it, so that what rounding drops
    is kept and added later (Kahan 1965).
    """
    n, added = normalizer.count, jnp.asarray(batch.shape[0], float)
    mean = batch.mean(0)
    shift = mean - normalizer.mean
    total = n + added
    new_mean, mean_lost = _add(normalizer.mean, normalizer.mean_lost, shift * (added / total))
    spread = jnp.square(batch - mean).sum(0) + jnp.square(shift) * (n * added / total)
    squares, squares_lost = _add(normalizer.squares, normalizer.squares_lost, spread)
    return Normalizer(total, new_mean, squares, mean_lost, squares_lost)


def _add(total: Array, lost: Array, term: Array) -> tuple[Array, Array]:
    """Return `total + term` with what earlier roundings lost, and what this one loses."""
    term = term + lost
    after = total + term
    return after, term - (after - total)


def normalize(normalizer: Normalizer, x: Array, bounds: tuple[float, float] | None = None) -> Array:
    """Centre and scale `x [..., *D]`; the moments are constants to differentiation with respect to `x`.

    `bounds` clip the standard deviation, once there is data: see `STD_BOUNDS`.
    """
    return (x - normalizer.mean) / _scale(normalizer, bounds)


def denormalize(normalizer: Normalizer, x: Array, bounds: tuple[float, float] | None = None) -> Array:
    """Invert `normalize`."""
    return x * _scale(normalizer, bounds) + normalizer.mean


def _scale(normalizer: Normalizer, bounds: tuple[float, float] | None) -> Array:
    if bounds is None:
        return normalizer.std
    std = jnp.sqrt(normalizer.squares / jnp.maximum(normalizer.count, 1.0))
    return jnp.where(normalizer.count > 0, jnp.clip(std, *bounds), 1.0)


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
        return cls(*(init(*shape) for shape in ((obs_size,), (action_size,), (obs_size,), ())))

    def update(self, batch: Transition) -> "Statistics":
        """Fold transitions `[B]` in."""
        return Statistics(
            obs=update(self.obs, batch.obs),
            action=update(self.action, batch.action),
            delta=update(self.delta, batch.next_obs - batch.obs),
            reward=update(self.reward, batch.reward),
        )
