"""Which rows train a member and which judge it: disjoint, complete, equal in number, and for good."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import transitions

from pbrl.data import replay, validation

MEMBERS, KEY = 3, jax.random.key(4)
ADD = jax.jit(lambda b, x: replay.add(b, x, jnp.zeros(x.reward.shape, bool)))
TRAINING, HELD_OUT = (
    jax.jit(f, static_argnums=(3, 4)) for f in (validation.sample_training, validation.sample_held_out)
)


def buffer(rows, capacity=100):
    """Rows whose reward is their number since the beginning."""
    batch = transitions(rows)
    batch = batch.replace(reward=jnp.arange(rows, dtype=jnp.float32))
    empty = replay.init(jax.tree.map(lambda x: x[0], batch), capacity)
    for at in range(0, rows, 37):
        empty = ADD(empty, jax.tree.map(lambda x, at=at: x[at : at + 37], batch))
    return empty


def parts(b):
    """Every member's rows of both parts, read off one epoch of each: one batch that holds it whole."""
    count = int(validation.blocks(b)[1])
    first = jnp.int32(0)
    training = TRAINING(b, KEY, first, MEMBERS, (validation.BLOCK - 1) * count).reward
    held_out = HELD_OUT(b, KEY, first, MEMBERS, count).reward
    return [[sorted(part[m].astype(int).tolist()) for part in (training, held_out)] for m in range(MEMBERS)]


def test_batches_of_one_epoch_add_up_to_it():
    b = buffer(60)
    whole, small = (
        np.concatenate([TRAINING(b, KEY, jnp.int32(i), MEMBERS, size).reward for i in range(48 // size)], 1)
        for size in (48, 8)
    )
    np.testing.assert_array_equal(whole, small)


@pytest.mark.parametrize(("rows", "capacity"), [(60, 100), (58, 100), (173, 100), (200, 100)])
def test_parts_are_disjoint_and_complete(rows, capacity):
    first = -(-max(rows - capacity, 0) // 5) * 5
    expected = list(range(first, rows // 5 * 5))
    chosen = []
    for training, held_out in parts(buffer(rows, capacity)):
        assert sorted(training + held_out) == expected  # no row twice in an epoch, none left out
        assert [r // 5 for r in held_out] == list(range(first // 5, rows // 5))  # one of every block
        chosen.append(tuple(held_out))
    assert len(set(chosen)) == MEMBERS  # members differ


def test_a_row_keeps_its_part_while_the_buffer_grows_and_wraps():
    before, after = parts(buffer(90)), parts(buffer(143))
    for m in range(MEMBERS):
        still_there = range(45, 90)
        assert set(before[m][1]) & set(still_there) == set(after[m][1]) & set(still_there)


def test_a_batch_larger_than_the_part_repeats_rows():
    b = buffer(11)  # two whole blocks
    training = TRAINING(b, KEY, jnp.int32(0), MEMBERS, 20).reward
    assert all(len(set(np.asarray(row).tolist())) == 8 for row in training)
    assert int(validation.training_batches(b, 20)) == 1
    assert int(validation.training_batches(b, 3)) == 2


def test_members_and_epochs_have_orders_of_their_own():
    b = buffer(100)
    epoch = [TRAINING(b, KEY, jnp.int32(i), MEMBERS, 80).reward for i in (0, 1)]
    assert not np.array_equal(epoch[0], epoch[1]) and not np.array_equal(epoch[0][0], epoch[0][1])
    for m in range(MEMBERS):
        assert sorted(epoch[0][m].tolist()) == sorted(epoch[1][m].tolist())
