"""Replay buffer: a ring of transitions as a pytree, for one stream of experience (`vmap` it over seeds).

`add` must be donated where it is jitted: an un-donated add copies the whole buffer.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl.data import soundness
from pbrl.types import MOST, Array, Key, Transition

BLOCK = 5  # rows in a row of which `validation` keeps one from each member of an ensemble


@flax.struct.dataclass
class Replay:
    """The ring. Rows lie in the order of time, cut where an episode ended or a row was refused."""

    rows: Transition
    """Every leaf [capacity, ...]."""
    episode: Array
    """i32[capacity], counts up by one after every cut."""
    inserted: Array
    """i32[], rows ever stored, less whole rounds once there are too many to count: see `_turned_back`."""
    cuts: Array
    """i32[], episode number of the next row; it may wrap, since only neighbours' are compared."""
    refused: Array
    """i32[], rows that were not sound (`pbrl.data.soundness`)."""

    @property
    def capacity(self) -> int:
        """Rows that fit."""
        return self.episode.shape[-1]

    @property
    def size(self) -> Array:
        """Rows that are filled, i32[]."""
        return jnp.minimum(self.inserted, self.capacity)


def init(example: Transition, capacity: int) -> Replay:
    """Make an empty ring for rows shaped like `example` (no batch axis). At most 2^29 rows can be indexed."""
    rows = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.asarray(x).dtype), example)
    zero = jnp.zeros((), jnp.int32)
    return Replay(rows, jnp.full(capacity, -1, jnp.int32), zero, zero.copy(), zero.copy())


def grow(replay: Replay, capacity: int) -> Replay:
    """Make room for more rows; the ring must not have wrapped around yet. A smaller `capacity` changes nothing."""
    more = max(capacity - replay.capacity, 0)
    rows = jax.tree.map(lambda x: jnp.pad(x, [(0, more)] + [(0, 0)] * (x.ndim - 1)), replay.rows)
    return replace(replay, rows=rows, episode=jnp.pad(replay.episode, (0, more), constant_values=-1))


def add(
    replay: Replay, batch: Transition, last: Array, keep: Array | bool = True, sound: Array | None = None
) -> Replay:
    """Store rows `[B]`, consecutive in time; `last [B]` marks the final step of an episode, terminated or cut short.

    A row that is not `sound [B]` (by default, that `soundness.rows` does not find so) is refused and counted, and no
    sequence runs across its gap; one outside `keep [B]` is passed over. Of more rows than fit the newest stay.
    """
    sound = soundness.rows(batch, last.shape) if sound is None else sound
    stored, before = sound & keep, _turned_back(replay, last.shape[0])
    place = before + jnp.cumsum(stored, dtype=jnp.int32) - stored
    slot = jnp.where(stored, place % replay.capacity, replay.capacity)  # one past the end: dropped
    if last.shape[0] > replay.capacity:  # two rows for one slot would be written in any order
        slot = jnp.where(place < place[-1] + stored[-1] - replay.capacity, replay.capacity, slot)
    cut = last | ~stored
    episode = replay.cuts + jnp.cumsum(cut, dtype=jnp.int32) - cut
    return Replay(
        rows=jax.tree.map(lambda ring, x: ring.at[slot].set(x, mode="drop"), replay.rows, batch),
        episode=replay.episode.at[slot].set(episode, mode="drop"),
        inserted=before + stored.sum(dtype=jnp.int32),
        cuts=replay.cuts + cut.sum(dtype=jnp.int32),
        refused=count_up(replay.refused, (keep & ~sound).sum(dtype=jnp.int32)),
    )


def _turned_back(replay: Replay, more: int) -> Array:
    """Return `inserted`, less whole rounds of the full ring where `more` rows would be too many to count, i32[].

    Only where the next row goes hangs on it, and which block of rows it belongs to (`validation`): a round is a
    multiple of both.
    """
    one = replay.capacity * (BLOCK if replay.capacity * BLOCK < MOST // 4 else 1)
    rounds = MOST // 2 // one * one
    return jnp.where(replay.inserted > MOST - more, replay.inserted - rounds, replay.inserted)


def count_up(count: Array, more: Array | int) -> Array:
    """Return the sum of two counts, i32[], or the largest that there is."""
    return jnp.minimum(count, MOST - more) + more


def take(replay: Replay, index: Array) -> Transition:
    """Gather rows by index, oldest first: 0 is the oldest row that is still stored. Any shape of `index`."""
    oldest = jnp.where(replay.inserted > replay.capacity, replay.inserted % replay.capacity, 0)
    slot = (oldest + index) % replay.capacity
    return jax.tree.map(lambda x: x[slot], replay.rows)


def sample(replay: Replay, key: Key, batch_size: int) -> Transition:
    """Draw rows `[B]` uniformly with replacement. The buffer must hold at least one."""
    return take(replay, jax.random.randint(key, (batch_size,), 0, replay.size))


def sample_sequences(replay: Replay, key: Key, batch_size: int, length: int) -> Transition:
    """Draw windows `[length, B]` of consecutive rows, uniformly over all windows that lie within one episode.

    The buffer must hold such a window: see `count_sequences`.
    """
    total = jnp.cumsum(_window_starts(replay, length))
    pick = jax.random.randint(key, (batch_size,), 0, total[-1])
    start = jnp.searchsorted(total, pick, side="right")
    return take(replay, start[None] + jnp.arange(length)[:, None])


def count_sequences(replay: Replay, length: int) -> Array:
    """Return how many windows of `length` rows lie within one episode, i32[]."""
    return _window_starts(replay, length).sum()


def _window_starts(replay: Replay, length: int) -> Array:
    """Mark the indices (oldest first) at which a window of `length` stays within an episode."""
    index = jnp.arange(replay.capacity)
    oldest = jnp.where(replay.inserted > replay.capacity, replay.inserted % replay.capacity, 0)
    episode = replay.episode[(oldest + index) % replay.capacity]
    final = jnp.minimum(index + length - 1, replay.capacity - 1)
    return (index + length <= replay.size) & (episode == episode[final])


def shuffled(key: Key, position: Array, size: Array) -> Array:
    """Map positions `[*]` in [0, size) to row indices by the random order of all rows that `key` stands for.

    Nothing of the buffer's size is stored or sorted: the order is a keyed bijection of [0, 2^k), walked until it
    lands below `size` (cycle walking, Black and Rogaway 2002), so `size` may be traced. Of no rows it is the first.
    """
    size = jnp.maximum(jnp.asarray(size, jnp.uint32), 1)  # below 0 the walk would never land
    bits = 32 - jax.lax.clz(jnp.maximum(size - 1, 1))
    mask = (jnp.uint32(1) << bits) - 1
    shift = jnp.maximum(bits // 2, 1)
    multiplier, offset = jax.random.bits(key, (2, 4), jnp.uint32)

    def scramble(x: Array) -> Array:
        for r in range(4):  # each line is a bijection of [0, 2^k): odd multiplier and offset, then a xor-shift
            x = (x * (multiplier[r] | 1) + offset[r]) & mask
            x ^= x >> shift
        return x

    def walk(x: Array) -> Array:
        return jnp.where(x >= size, scramble(x), x)

    rows = jax.lax.while_loop(lambda x: (x >= size).any(), walk, scramble(position.astype(jnp.uint32)))
    return rows.astype(jnp.int32)


def epoch_order(key: Key, step: Array, rows: Array, members: int, batch_size: int) -> Array:
    """Return which of `rows` rows (a number, traced or not) make batch `step` of an endless stream of epochs, `[E, B]`.

    Each member has an order of its own in every epoch. An epoch has `rows // B` batches; the rows left over are skipped
    in that epoch's order (MAGE code, `buffer.py`). Fewer rows than B fill the only batch up by repetition.
    """
    per_epoch = jnp.maximum(rows // batch_size, 1)
    position = (step % per_epoch * batch_size + jnp.arange(batch_size)) % rows
    keys = jax.random.split(jax.random.fold_in(key, step // per_epoch), members)
    return jax.vmap(lambda k: shuffled(k, position, rows))(keys)


def sample_epoch(replay: Replay, key: Key, step: Array, members: int, batch_size: int) -> Transition:
    """Return batch `step` (0, 1, ...) of `epoch_order` over all rows, `[members, B]`."""
    return take(replay, epoch_order(key, step, replay.size, members, batch_size))


def epoch_batches(size: int, batch_size: int, at_least: int) -> int:
    """Return how many batches the fewest whole epochs hold that make `at_least` of them."""
    per_epoch = max(size // batch_size, 1)
    return -(-at_least // per_epoch) * per_epoch
