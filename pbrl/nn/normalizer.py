"""Running means and standard deviations as pytrees: of one quantity, and of all that transitions hold.

No row can spoil them: see `update`. What a nearly constant coordinate is divided by is a choice of who makes them: see
`Normalizer.bounds`.
"""

import math
from dataclasses import replace

import flax.struct
import jax.numpy as jnp

from pbrl.types import LARGEST, MOST, Array, Transition

MIN_STD = 1e-6  # below it a coordinate counts as constant and is only centred (MAGE code, `normalizer.py`)
STD_BOUNDS = (0.1, 10.0)
"""What the deviation of a network's input is clipped to (SVG code, `replay_buffer.py`)."""
TARGET_BOUNDS = (1e-3, math.inf)
"""The same for what networks predict: a wider bound would hide what they can learn."""
REACH = 30.0
"""How many scales (see `update`) from the mean a row counts whole, however few came before it."""


@flax.struct.dataclass
class Normalizer:
    """Moments of everything seen so far; `mean` 0 and `std` 1 before anything was."""

    count: Array  # i32[], rows so far: float32 would stop counting at 2^24
    mean: Array  # f32[*D]
    squares: Array  # f32[*D], sum of squared deviations from the mean
    mean_lost: Array  # f32[*D], what rounding has kept from `mean` so far
    squares_lost: Array  # f32[*D], the same for `squares`
    bounds: tuple[float, float] | None = flax.struct.field(pytree_node=False, default=None)
    """What `std` is clipped to once there is data, so that no rare change of a nearly constant coordinate enters a
    network as thousands of deviations. `None`: 1 below `MIN_STD` and free above, as MAGE's code has it."""

    @property
    def std(self) -> Array:
        """Population standard deviation within `bounds`; 1 before there is data."""
        deviation = _deviation(self)
        if self.bounds is None:
            return jnp.where(deviation < MIN_STD, 1.0, deviation)
        return jnp.where(self.count > 0, jnp.clip(deviation, *self.bounds), 1.0)

    def within(self, bounds: tuple[float, float]) -> "Normalizer":
        """Return the same moments with other bounds of the standard deviation."""
        return replace(self, bounds=bounds)


def init(*shape: int, bounds: tuple[float, float] | None = None) -> Normalizer:
    """Make the moments of no data, for values of this shape."""
    return Normalizer(jnp.zeros((), jnp.int32), *(jnp.zeros(shape) for _ in range(4)), bounds=bounds)


def update(normalizer: Normalizer, batch: Array) -> Normalizer:
    """Fold a batch `[B, *D]` in (Chan et al. 1979: pairwise, so that nothing cancels).

    One row at most doubles the scale, which is the largest of 1 and all coordinates' |mean| + deviation so far. A value
    further from the mean than `REACH` scales, and than √(3 n) after n rows, counts as if it lay there; NaN counts as
    the mean. So a lasting change is followed within a few rows, and one wild row is forgotten.

    After a million rows a new one moves the mean by less than float32 resolves next to it, so that what rounding drops
    is kept and added later (Kahan 1965). Beyond `MOST` the oldest rows fade.
    """
    batch = _within_reach(normalizer, batch)
    more = batch.shape[0]
    n, added = normalizer.count.astype(float), jnp.asarray(more, float)
    mean = batch.mean(0)
    shift = mean - normalizer.mean
    total = n + added
    new_mean, mean_lost = _add(normalizer.mean, normalizer.mean_lost, shift * (added / total))
    spread = jnp.square(batch - mean[None]).sum(0) + jnp.square(shift) * (n * added / total)
    squares, squares_lost = _add(normalizer.squares, normalizer.squares_lost, spread)
    full = normalizer.count > MOST - more
    kept = jnp.where(full, n / total, 1.0)
    return replace(
        normalizer,
        count=jnp.where(full, normalizer.count, normalizer.count + more),
        mean=new_mean,
        squares=squares * kept,
        mean_lost=mean_lost,
        squares_lost=squares_lost * kept,
    )


def _within_reach(normalizer: Normalizer, batch: Array) -> Array:
    """Return a batch `[B, *D]` whose values lie no further from the mean than one row may."""
    scale = jnp.maximum((jnp.abs(normalizer.mean) + _deviation(normalizer)).max(), 1.0)
    n = normalizer.count.astype(float)
    reach = jnp.where(n > 0, scale * jnp.maximum(REACH, jnp.sqrt(3.0 * n)), LARGEST)
    mean = normalizer.mean[None]
    return jnp.where(jnp.isnan(batch), mean, jnp.clip(batch, mean - reach, mean + reach))


def _deviation(normalizer: Normalizer) -> Array:
    return jnp.sqrt(normalizer.squares / jnp.maximum(normalizer.count, 1))


def _add(total: Array, lost: Array, term: Array) -> tuple[Array, Array]:
    """Return `total + term` with what earlier roundings lost, and what this one loses."""
    term = term + lost
    after = total + term
    return after, term - (after - total)


def normalize(normalizer: Normalizer, x: Array) -> Array:
    """Centre and scale `x [..., *D]`; the moments are constants to differentiation with respect to `x`."""
    return (x - along(normalizer.mean, x)) / along(normalizer.std, x)


def denormalize(normalizer: Normalizer, x: Array) -> Array:
    """Invert `normalize`."""
    return x * along(normalizer.std, x) + along(normalizer.mean, x)


@flax.struct.dataclass
class Statistics:
    """Running moments of all collected transitions; they normalise what networks see and predict."""

    obs: Normalizer
    action: Normalizer
    delta: Normalizer  # next_obs - obs
    reward: Normalizer

    @classmethod
    def init(cls, obs_size: int, action_size: int, *, bounded: bool) -> "Statistics":
        """Make the moments of no data; `bounded` by `STD_BOUNDS`, and by `TARGET_BOUNDS` what models predict."""
        inputs, targets = (STD_BOUNDS, TARGET_BOUNDS) if bounded else (None, None)
        return cls(
            obs=init(obs_size, bounds=inputs),
            action=init(action_size, bounds=inputs),
            delta=init(obs_size, bounds=targets),
            reward=init(bounds=targets),
        )

    def update(self, batch: Transition) -> "Statistics":
        """Fold transitions `[B]` in."""
        return Statistics(
            obs=update(self.obs, batch.obs),
            action=update(self.action, batch.action),
            delta=update(self.delta, batch.next_obs - batch.obs),
            reward=update(self.reward, batch.reward),
        )


def along(x: Array, other: Array) -> Array:
    """Give `x [*D]` leading axes of length 1, as many as `other [..., *D]` has more: `jax_numpy_rank_promotion`."""
    return x.reshape((1,) * (other.ndim - x.ndim) + x.shape)
