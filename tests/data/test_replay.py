import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbrl.data import replay
from pbrl.types import Transition

EXAMPLE = Transition(jnp.zeros(1), jnp.zeros(1), jnp.zeros(()), jnp.zeros(()), jnp.zeros(1))
add = jax.jit(replay.add)


def row(value, discount=1.0, **changes):
    fields = {"obs": [value], "action": [0.0], "reward": value, "discount": discount, "next_obs": [value + 1]}
    return Transition(**{k: jnp.asarray([v], jnp.float32) for k, v in {**fields, **changes}.items()})


def fill(capacity, lasts):
    ring = replay.init(EXAMPLE, capacity)
    for t, last in enumerate(lasts):
        ring = add(ring, row(float(t)), jnp.array([bool(last)]))
    return ring


def windows(lasts, capacity, length):
    """All windows within an episode, in plain Python."""
    stored = list(range(max(0, len(lasts) - capacity), len(lasts)))
    return {t for t in stored if t + length <= len(lasts) and not any(lasts[t : t + length - 1])}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 5))
def test_sequences_are_exactly_the_windows_within_episodes(lasts, length):
    capacity = 12
    ring = fill(capacity, lasts)
    expected = windows(lasts, capacity, length)
    assert int(replay.count_sequences(ring, length)) == len(expected)
    if not expected:
        return
    drawn = np.asarray(replay.sample_sequences(ring, jax.random.key(0), 300, length).reward)
    assert (np.diff(drawn, axis=0) == 1).all()
    assert set(drawn[0].astype(int)) <= expected
    if len(expected) < 12:
        assert set(drawn[0].astype(int)) == expected


def test_termination_and_truncation_stay_apart():
    ring = replay.init(EXAMPLE, 4)
    ring = add(ring, row(0.0, discount=0.0), jnp.array([True]))  # terminated
    ring = add(ring, row(1.0, discount=1.0), jnp.array([True]))  # time limit: still bootstrapped
    rows = replay.take(ring, jnp.arange(2))
    assert rows.discount.tolist() == [0.0, 1.0]
    assert rows.next_obs[:, 0].tolist() == [1.0, 2.0]  # each episode's own final observation
    assert int(replay.count_sequences(ring, 2)) == 0


def test_ring_keeps_the_newest_rows_in_order():
    ring = fill(5, [False] * 12)
    assert int(ring.size) == 5
    assert replay.take(ring, jnp.arange(5)).reward.tolist() == [7, 8, 9, 10, 11]
    assert set(np.asarray(replay.sample(ring, jax.random.key(0), 200).reward)) == {7, 8, 9, 10, 11}


@pytest.mark.parametrize("field", ["obs", "action", "reward", "next_obs"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused_and_cut_sequences(field, bad):
    ring = fill(8, [False, False])
    ring = add(ring, row(2.0, **{field: bad if field == "reward" else [bad]}), jnp.array([False]))
    ring = add(ring, row(3.0), jnp.array([False]))
    assert int(ring.refused) == 1 and int(ring.size) == 3
    assert replay.take(ring, jnp.arange(3)).reward.tolist() == [0, 1, 3]
    assert int(replay.count_sequences(ring, 2)) == 1  # rows 0-1; 1-3 has a gap


def test_batches_of_rows_are_consecutive():
    rows = jax.tree.map(lambda *x: jnp.concatenate(x), row(0.0), row(1.0, reward=np.nan), row(2.0), row(3.0))
    ring = add(replay.init(EXAMPLE, 8), rows, jnp.zeros(4, bool))
    assert replay.take(ring, jnp.arange(3)).reward.tolist() == [0, 2, 3]
    assert int(replay.count_sequences(ring, 2)) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 1000])
def test_shuffled_is_a_bijection(size):
    for seed in range(5):
        order = jax.jit(replay.shuffled)(jax.random.key(seed), jnp.arange(size), size)
        assert sorted(order.tolist()) == list(range(size))


def test_shuffling_no_rows_ends():
    """A buffer may be empty although steps were taken: rows that are not finite are refused."""
    assert replay.shuffled(jax.random.key(0), jnp.arange(3), 0).tolist() == [0, 0, 0]


def test_shuffled_orders_look_uniform():
    """Each row lands at each place about equally often, and so does each ordered pair of neighbours."""
    size, draws = 12, 6000
    orders = jax.vmap(lambda k: replay.shuffled(k, jnp.arange(size), size))(jax.random.split(jax.random.key(1), draws))
    orders = np.asarray(orders)
    places = np.stack([np.bincount(orders[:, i], minlength=size) for i in range(size)])
    pairs = np.zeros((size, size))
    np.add.at(pairs, (orders[:, :-1].ravel(), orders[:, 1:].ravel()), 1)
    pairs = pairs[~np.eye(size, dtype=bool)]
    assert np.abs(places / draws * size - 1).max() < 0.25  # 5 standard errors are 0.21
    assert np.abs(pairs / pairs.mean() - 1).max() < 0.35


def test_epochs_hold_each_row_once_and_members_differ():
    ring = fill(64, [False] * 50)
    batches = [replay.sample_epoch(ring, jax.random.key(3), jnp.asarray(i), 3, 16).reward for i in range(6)]
    for first in (0, 3):  # 50 // 16 = 3 batches an epoch, 2 rows left over
        epoch = np.concatenate([np.asarray(b) for b in batches[first : first + 3]], axis=1)
        assert all(len(set(member)) == 48 for member in epoch)
        assert len({tuple(member) for member in epoch}) == 3
    assert not np.array_equal(batches[0], batches[3])


def test_epoch_of_a_small_buffer_repeats_its_rows():
    batch = replay.sample_epoch(fill(64, [False] * 5), jax.random.key(0), jnp.asarray(0), 2, 16).reward
    assert all(sorted(np.bincount(member.astype(int))) == [3, 3, 3, 3, 4] for member in np.asarray(batch))


@pytest.mark.parametrize(("size", "expected"), [(25, 120), (1000, 120), (30_720, 120), (100_000, 390), (10_000, 156)])
def test_whole_epochs_of_at_least_120_batches(size, expected):
    """1000 rows make 3 batches an epoch and so 40 epochs; 30,720 and more make one epoch (MAGE code)."""
    assert replay.epoch_batches(size, 256, 120) == expected


def test_growing_keeps_rows_and_sequences():
    ring = replay.grow(fill(4, [False, False, True]), 10)
    assert ring.capacity == 10
    assert int(replay.count_sequences(ring, 2)) == 2
    ring = add(ring, row(3.0), jnp.array([False]))
    assert replay.take(ring, jnp.arange(4)).reward.tolist() == [0, 1, 2, 3]
