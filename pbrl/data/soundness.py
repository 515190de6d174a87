"""Which numbers may enter: not NaN, not infinite, and not so large that nothing can be learned from them.

`LARGEST` bounds all that is stored and learned. Rows from an environment must besides be of a size that the rows before
them make credible: one wild reading of a sensor would stay in the buffer for the rest of a run.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from pbrl.types import LARGEST, MOST, Array, Transition

JUMPS = 1e4, 1e5
"""How many times larger than usual an observation, and a reward, may be (`Experience.usual`)."""


def sound(tree: Any) -> Array:
    """Return whether no value of any leaf is NaN, infinite or beyond `LARGEST`, as bool[]."""
    return jnp.stack([_sound(leaf).all() for leaf in jax.tree.leaves(tree)] or [jnp.array(True)]).all()


def rows(batch: Any, shape: tuple[int, ...]) -> Array:
    """Return which rows of a batch, whose leading axes are `shape`, are sound, as bool of that shape."""
    verdict = jnp.ones(shape, bool)
    for leaf in jax.tree.leaves(batch):
        verdict &= _sound(leaf).reshape(*shape, -1).all(-1)
    return verdict


def doubtful(batch: Transition) -> bool:
    """Return whether a row of a batch of NumPy's could be refused at all, whatever came before, without asking JAX.

    What `Experience.judge` holds numbers against is at least `JUMPS`. An array's product with itself, whose root no
    number of it exceeds, takes a tenth of the time that the largest magnitude does.
    """
    bounds = [(batch.obs, JUMPS[0]), (batch.next_obs, JUMPS[0]), (batch.reward, JUMPS[1])]
    if batch.extras:
        bounds += [(leaf, LARGEST) for leaf in batch.extras.values()]
    return not all(np.vdot(values, values) <= bound * bound for values, bound in bounds)  # NaN is doubtful, too


def _sound(x: Array) -> Array:
    return jnp.abs(x) <= LARGEST  # False for NaN


@flax.struct.dataclass
class Experience:
    """What sizes an environment's numbers usually have, and the last rows that were refused.

    In two arrays, since every array of a state costs each call of a program.
    """

    counts: Array  # i32[2], see `rows` and `refused_at`
    sizes: Array  # f32[5], see `usual`, `refused`; last the magnitude of the reward before

    @property
    def rows(self) -> Array:
        """Rows so far, refused ones included: the step of the newest, since each step gives one."""
        return self.counts[..., 0]

    @property
    def refused_at(self) -> Array:
        """Number of the last row that was refused, from 1 on; 0: none was."""
        return self.counts[..., 1]

    @property
    def usual(self) -> Array:
        """Largest magnitudes `[2]` that two observations, and two rewards, in a row have had; at least 1.

        One wild reading does not change what is usual, and a change that lasts does with its second step.
        """
        return self.sizes[..., :2]

    @property
    def refused(self) -> Array:
        """Largest magnitudes `[2]` of the rows that were refused in the last batch that held some; infinite for NaN."""
        return self.sizes[..., 2:4]

    @classmethod
    def init(cls) -> "Experience":
        """Start without any."""
        return cls(jnp.zeros(2, jnp.int32), jnp.array([1.0, 1.0, 0.0, 0.0, 0.0]))

    def judge(self, batch: Transition) -> tuple["Experience", Array]:
        """Return what is known after rows `[B]`, consecutive in time, and which are to be believed, as bool[B]."""
        shape = batch.reward.shape
        before, after, reward = (_magnitude(x, shape) for x in (batch.obs, batch.next_obs, batch.reward))
        obs, others = jnp.maximum(before, after), (batch.action, batch.discount, batch.extras)
        sound = (obs <= LARGEST) & (reward <= LARGEST) & rows(others, shape)
        last = self.sizes[4][None] if shape[0] == 1 else jnp.concatenate([self.sizes[4][None], reward[:-1]])
        usual = jnp.maximum(self.sizes[0], jnp.where(sound, jnp.minimum(before, after), 0.0).max())
        usual_reward = jnp.maximum(self.sizes[1], jnp.where(sound, jnp.minimum(reward, last), 0.0).max())
        believed = sound & (obs <= JUMPS[0] * usual) & (reward <= JUMPS[1] * usual_reward)
        number = jnp.minimum(self.rows, MOST - shape[0]) + jnp.arange(1, shape[0] + 1, dtype=jnp.int32)
        kept = believed.all()
        refused = (
            jnp.where(kept, old, jnp.where(believed, 0.0, new).max())
            for old, new in zip(self.sizes[2:4], (obs, reward), strict=True)
        )
        sizes = [usual, usual_reward, *refused, jnp.where(sound[-1], reward[-1], 0.0)]
        counts = [number[-1], jnp.where(believed, self.refused_at, number).max()]
        return Experience(jnp.stack(counts), jnp.stack(sizes)), believed


def _magnitude(x: Array, shape: tuple[int, ...]) -> Array:
    """Return the largest magnitude in each row of `x [*shape, ...]`, infinite where there is NaN."""
    size = jnp.abs(x).reshape(*shape, -1).max(-1)
    return jnp.where(jnp.isnan(size), jnp.inf, size)
