from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.data import replay, soundness
from pbrl.data.soundness import JUMP, Experience
from pbrl.types import Transition


def batch(values, reward=0.0):
    values = jnp.atleast_1d(jnp.asarray(values, float))
    n, zeros = len(values), jnp.zeros(len(values))
    return Transition(jnp.zeros((n, 2)), zeros[:, None], zeros + reward, zeros + 1.0, jnp.stack([zeros, values], 1))


def test_sound_sees_every_leaf():
    good = {"a": jnp.ones(3), "b": jnp.zeros((), jnp.int32)}
    assert bool(soundness.sound(good))
    for bad in (jnp.nan, jnp.inf, -1e30, 2e15):
        assert not bool(jax.jit(soundness.sound)({**good, "c": jnp.array([1.0, bad])}))


@pytest.mark.parametrize("wild", [3e5, 1e20, -1e25, np.nan, np.inf])
def test_a_wild_observation_is_refused_and_named(wild):
    experience, judge = Experience.init(), jax.jit(Experience.judge)
    for _ in range(20):
        experience, believed = judge(experience, batch(2.0))
        assert bool(believed[0])
    experience, believed = judge(experience, batch(wild))
    assert not bool(believed[0]) and int(experience.refused_at) == 21
    size = float(experience.refused[0])
    assert size == pytest.approx(abs(wild)) if np.isfinite(wild) else size == np.inf
    experience, believed = judge(experience, batch(1.5 * JUMP))
    assert bool(believed[0]) and int(experience.refused_at) == 21  # less than 100,000 times the 2.0 of before


def test_a_wild_reward_is_refused_too():
    experience = Experience.init()
    for _ in range(20):
        experience, _ = experience.judge(batch(0.0, reward=-3.0))
    assert not bool(experience.judge(batch(0.0, reward=1e25))[1][0])
    assert bool(experience.judge(batch(0.0, reward=-1e5))[1][0])


def test_large_units_are_believed_from_the_start():
    experience = Experience.init()
    for size in (0.0, 0.0, 1e9, 3e9, 1e12):
        experience, believed = experience.judge(batch(size))
        assert bool(believed[0])
    assert not bool(experience.judge(batch(1.1e15))[1][0])


def test_rows_are_counted_past_what_an_i32_holds():
    experience = replace(Experience.init(), counts=jnp.array([2**31 - 2, 0], jnp.int32))
    for _ in range(3):
        experience, believed = experience.judge(batch([0.0, 1e9]))
        assert believed.tolist() == [True, False]
    assert int(experience.rows) == int(experience.refused_at) == 2**31 - 1


@pytest.mark.parametrize("capacity", [7, 60])
def test_the_ring_turns_past_what_an_i32_counts(capacity):
    ring, add = replay.init(jax.tree.map(lambda x: x[0], batch(0.0)), capacity), jax.jit(replay.add)
    last = jnp.ones(3, bool)
    for _ in range(-(-capacity // 3)):
        ring = add(ring, batch([-1.0] * 3, reward=-1.0), last)
    place = (2**31 - 10) // (5 * capacity) * 5 * capacity + int(ring.inserted) % capacity  # the same slot of the ring
    ring = replace(ring, inserted=jnp.array(place, jnp.int32), refused=jnp.array(2**31 - 2, jnp.int32))
    for i in range(2 * capacity):
        ring = add(ring, batch([0.0, 0.0, np.nan], reward=float(i)), last)
        assert 0 < int(ring.inserted) and int(ring.size) == capacity
        newest = replay.take(ring, jnp.arange(capacity))
        expected = np.repeat(np.arange(i - capacity, i + 1), 2)[-capacity:]
        np.testing.assert_array_equal(newest.reward, np.maximum(expected, -1.0))
    assert int(ring.refused) == 2**31 - 1
