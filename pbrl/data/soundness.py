"""Which numbers may enter: not NaN, not infinite, and not so large that nothing can be learned from them.

`LARGEST` bounds all that is stored and learned. Rows from an environment must besides be of a size that the rows before
them make credible: one wild reading of a sensor would stay in the buffer for the rest of a run.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from pbrl.types import LARGEST, Array, Transition

JUMP = 1e5
"""How many times larger than all before (and than 1) an observation or a reward may be."""
MOST = 2**31 - 1  # what an i32 can count
TRIAL = 10  # rows that are believed whatever their size, since they say what is usual


def sound(tree: Any) -> Array:
    """Return whether no value of any leaf is NaN, infinite or beyond `LARGEST`, as bool[]."""
    return jnp.stack([_sound(leaf).all() for leaf in jax.tree.leaves(tree)] or [jnp.array(True)]).all()


def rows(batch: Transition, shape: tuple[int, ...]) -> Array:
    """Return which rows of a batch, whose leading axes are `shape`, are sound, as bool of that shape."""
    verdict = jnp.ones(shape, bool)
    for leaf in jax.tree.leaves(batch):
        verdict &= _sound(leaf).reshape(*shape, -1).all(-1)
    return verdict


def _sound(x: Array) -> Array:
    return jnp.abs(x) <= LARGEST  # False for NaN


@flax.struct.dataclass
class Experience:
    """What sizes an environment's rows have had so far, and the last row that was refused."""

    rows: Array  # i32[], rows so far, refused ones included: the step of the newest, since each step gives one
    obs: Array  # f32[], largest magnitude of an observation among the rows that were believed, at least 1
    reward: Array  # f32[], the same for rewards
    refused_at: Array  # i32[], number of the last row that was refused, from 1 on; 0: none was
    refused: Array  # f32[2], largest magnitudes of its observations and its reward; 0 for none, infinite for NaN

    @classmethod
    def init(cls) -> "Experience":
        """Start without any."""
        zero = jnp.zeros((), jnp.int32)
        return cls(zero, jnp.ones(()), jnp.ones(()), zero.copy(), jnp.zeros(2))

    def judge(self, batch: Transition) -> tuple["Experience", Array]:
        """Return what is known after rows `[B]`, and which of them are to be believed, as bool[B]."""
        shape = batch.reward.shape
        obs = jnp.maximum(_magnitude(batch.obs, shape), _magnitude(batch.next_obs, shape))
        reward = _magnitude(batch.reward, shape)
        usual = (obs <= JUMP * self.obs) & (reward <= JUMP * self.reward)
        believed = rows(batch, shape) & (usual | (self.rows < TRIAL))
        number = jnp.minimum(self.rows, MOST - shape[0]) + jnp.arange(1, shape[0] + 1)
        last = jnp.argmax(jnp.where(believed, 0, number))
        refused = ~believed.all()
        after = Experience(
            rows=number[-1],
            obs=jnp.maximum(self.obs, jnp.where(believed, obs, 0.0).max()),
            reward=jnp.maximum(self.reward, jnp.where(believed, reward, 0.0).max()),
            refused_at=jnp.where(refused, number[last], self.refused_at),
            refused=jnp.where(refused, jnp.stack([obs[last], reward[last]]), self.refused),
        )
        return after, believed


def _magnitude(x: Array, shape: tuple[int, ...]) -> Array:
    """Return the largest magnitude in each row, infinite for NaN."""
    size = jnp.abs(x)
    return jnp.where(jnp.isnan(size), jnp.inf, size).reshape(*shape, -1).max(-1)
