"""Which rows of a buffer each member of an ensemble trains on and which it is judged by: in closed form, for good.

Every block of `BLOCK` rows in a row gives one of them, another for each member, to validation. The choice is a hash of
block and member, so that a row keeps its part while the buffer grows and no index is stored; every member has equally
many rows of both parts. Rows of a block that is not whole yet are in neither.
(MAAC's code splits every new episode at random, 80 to 20, for each member: `dynamics/utils.py`.)
"""

import jax
import jax.numpy as jnp

from pbrl.data import replay
from pbrl.data.replay import BLOCK, Replay
from pbrl.types import Array, Key, Transition

WHOLE_BLOCK = 2 * BLOCK - 1  # rows of a ring that always holds a whole block, wherever it starts


def blocks(buffer: Replay) -> tuple[Array, Array]:
    """Return the number of the oldest whole block that is stored, counted from the first row ever, and how many are."""
    first = -(-(buffer.inserted - buffer.size) // BLOCK)
    return first, jnp.maximum(buffer.inserted // BLOCK - first, 0)


def sample_training(buffer: Replay, key: Key, step: Array, members: int, batch_size: int) -> Transition:
    """Return batch `step` (0, 1, ...) of `replay.epoch_order` over each member's own training rows, `[members, B]`.

    The buffer must hold a whole block.
    """
    order = replay.epoch_order(key, step, (BLOCK - 1) * blocks(buffer)[1], members, batch_size)
    block, offset = order // (BLOCK - 1), order % (BLOCK - 1)
    return _take(buffer, block, lambda held_out: offset + (offset >= held_out))


def training_batches(buffer: Replay, batch_size: int) -> Array:
    """Return how many batches an epoch of `sample_training` has, i32[]."""
    return jnp.maximum((BLOCK - 1) * blocks(buffer)[1] // batch_size, 1)


def sample_held_out(buffer: Replay, key: Key, step: Array, members: int, batch_size: int) -> Transition:
    """Return batch `step` of the rows kept from each member, `[members, B]`, the blocks in the order of `key`."""
    count = blocks(buffer)[1]
    position = (step * batch_size + jnp.arange(batch_size)) % count
    block = jnp.broadcast_to(replay.shuffled(key, position, count), (members, batch_size))
    return _take(buffer, block, lambda held_out: held_out)


def _take(buffer: Replay, block: Array, offset) -> Transition:
    """Gather the rows at `offset(place of the row held out)` of blocks `[M, B]`, counted from the oldest stored one."""
    absolute = blocks(buffer)[0] + block
    oldest = buffer.inserted - buffer.size
    return replay.take(buffer, absolute * BLOCK + offset(_held_out(absolute)) - oldest)


def _held_out(block: Array) -> Array:
    """Return the place within blocks `[M, B]` of the row that is kept from member M, in [0, BLOCK)."""
    root = jax.random.key(0)  # for every run: nothing hangs on which rows they are, only on their staying the same

    def place(member: Array, number: Array) -> Array:
        bits = jax.random.bits(jax.random.fold_in(jax.random.fold_in(root, member), number))
        return (bits % BLOCK).astype(jnp.int32)

    over_rows = jax.vmap(place, in_axes=(None, 0))
    return jax.vmap(over_rows)(jnp.arange(block.shape[0]), block)
