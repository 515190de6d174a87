from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.data import replay, soundness
from pbrl.data.soundness import Experience
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


def judged(values, reward=0.0, experience=None):
    """Judge a path of observations that takes these values, one row for each pair of them."""
    experience, verdicts = experience or Experience.init(), []
    judge = jax.jit(Experience.judge)
    rewards = np.broadcast_to(reward, len(values) - 1)
    for before, after, paid in zip(values[:-1], values[1:], rewards, strict=True):
        row = batch(after, paid)
        experience, believed = judge(experience, replace(row, obs=row.obs.at[0, 0].set(before)))
        verdicts.append(bool(believed[0]))
    return experience, verdicts


@pytest.mark.parametrize("wild", [3e4, 1e12, 1e20, -1e25, np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 1, 20])
def test_a_wild_observation_is_refused_whenever_it_comes(wild, at):
    values = np.full(30, 2.0)
    values[at] = wild
    experience, verdicts = judged(values)
    assert [i for i, believed in enumerate(verdicts) if not believed] == [i for i in (at - 1, at) if i >= 0]
    assert int(experience.refused_at) == at + 1 and experience.usual.tolist() == [2.0, 1.0]
    size = float(experience.refused[0])
    assert size == pytest.approx(abs(wild)) if np.isfinite(wild) else size == np.inf


def test_each_wild_reading_is_judged_by_what_lasts():
    values = np.ones(60)
    values[[10, 20, 30, 40]] = 5e4, 5e9, 5e14, 2e4
    assert judged(values)[1].count(False) == 8


@pytest.mark.parametrize("at", [0, 20])
def test_a_wild_reward_is_refused_too(at):
    rewards = np.full(30, -3.0)
    rewards[at] = 1e10
    experience, verdicts = judged(np.ones(31), rewards)
    assert [i for i, believed in enumerate(verdicts) if not believed] == [at]
    assert bool(experience.judge(batch(0.0, reward=-1e5))[1][0])  # a penalty of 100,000 is one


def test_a_change_that_lasts_is_believed_with_its_second_step():
    assert judged([1e9, 3e9, 2e9, 1e12])[1] == [True, True, True]  # large units from the start
    assert judged([0.0, 1e6, 1e6, 2e6])[1] == [False, True, True]
    assert judged(np.ones(6), [0.0, 1e9, 1e9, 2e9, -1e9])[1] == [True, False, True, True, True]
    assert not judged([1e9, 1.1e15])[1][0]


@pytest.mark.parametrize("wild", [np.nan, np.inf, -1.1e4, 1e20])
def test_whatever_can_be_refused_is_doubtful_before_jax_sees_it(wild):
    """Readings below the least bound are believed after any history, so that nobody needs to ask."""
    calm = batch([0.0, 7e3, -7e3], jnp.array([0.0, 7e4, -7e4]))
    assert not soundness.doubtful(jax.tree.map(np.asarray, calm)) and Experience.init().judge(calm)[1].all()
    for name in ("obs", "next_obs", "reward"):
        value = np.asarray(getattr(calm, name)).copy()
        value[1] = 10 * wild
        assert soundness.doubtful(jax.tree.map(np.asarray, replace(calm, **{name: value})))


def test_rows_are_counted_past_what_an_i32_holds():
    experience = replace(Experience.init(), counts=jnp.array([2**31 - 2, 0], jnp.int32))
    for _ in range(3):
        experience, believed = experience.judge(batch([0.0, 1e9]))
        assert believed.tolist() == [True, False]  # the row between them begins at 0
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
