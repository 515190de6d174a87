from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.nn import normalizer
from pbrl.nn.normalizer import Statistics


def test_moments_equal_numpy_over_all_batches():
    data = np.random.default_rng(0).normal(5.0, [0.1, 1.0, 30.0], (1000, 3)).astype(np.float32)
    stats, cut = normalizer.init(3), 0
    for size in (1, 1, 7, 391, 600):
        stats = jax.jit(normalizer.update)(stats, data[cut : cut + size])
        cut += size
    np.testing.assert_allclose(stats.mean, data.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats.std, data.std(0), rtol=1e-4)


def test_no_data_and_constant_data_leave_the_scale_alone():
    stats = normalizer.init(2)
    assert normalizer.normalize(stats, jnp.array([3.0, -4.0])).tolist() == [3.0, -4.0]
    for _ in range(3):
        stats = normalizer.update(stats, jnp.array([[2.0, 2.0]]))
    assert normalizer.normalize(stats, jnp.array([3.0, 2.0])).tolist() == [1.0, 0.0]


def test_denormalize_inverts_normalize():
    stats = normalizer.update(normalizer.init(2), jnp.array([[1.0, 10.0], [3.0, 50.0]]))
    x = jnp.array([[0.3, -7.0]])
    np.testing.assert_allclose(normalizer.denormalize(stats, normalizer.normalize(stats, x)), x, rtol=1e-6)


def test_large_offsets_do_not_cancel():
    data = 1e4 + np.random.default_rng(1).normal(size=(2000, 1)).astype(np.float32)
    stats = normalizer.init(1)
    for row in data:
        stats = normalizer.update(stats, row[None])
    np.testing.assert_allclose(stats.std, data.std(0), rtol=1e-2)


def test_bounds_clip_the_deviation_once_there_is_data():
    data = np.array([[0.0, 0.0, 0.0], [0.02, 2.0, 200.0]], np.float32)  # deviations 0.01, 1 and 100
    none, x = normalizer.init(3, bounds=(0.1, 10.0)), jnp.array([1.01, 2.0, 200.0])
    stats = normalizer.update(none, data)
    np.testing.assert_allclose(normalizer.normalize(stats, x), [10.0, 1.0, 10.0], rtol=1e-5)
    np.testing.assert_allclose(normalizer.denormalize(stats, normalizer.normalize(stats, x)), x, rtol=1e-6)
    np.testing.assert_array_equal(normalizer.normalize(none, x), x)


def test_the_mean_follows_after_a_million_rows():
    """Rows one at a time, as an environment gives them: 1.0 at first, 1.35 later; float32 alone would stay behind."""
    drawn = np.random.default_rng(0).normal(size=2_000_000).astype(np.float32)
    rows = np.where(np.arange(2_000_000) < 200_000, 1.0 + 0.1 * drawn, 1.35 + 0.03 * drawn).astype(np.float32)
    fold = jax.jit(lambda n, xs: jax.lax.scan(lambda n, x: (normalizer.update(n, x[None, None]), None), n, xs)[0])
    after = fold(normalizer.init(1), rows)
    np.testing.assert_allclose(after.mean, rows.astype(np.float64).mean(), rtol=1e-5)
    np.testing.assert_allclose(after.std, rows.astype(np.float64).std(), rtol=1e-4)


FOLD = jax.jit(lambda n, xs: jax.lax.scan(lambda n, x: (normalizer.update(n, x[None]), None), n, xs)[0])


@pytest.mark.parametrize("wild", [1e4, 1e10, 1e15, 1e20, -3e38, np.inf, np.nan])
@pytest.mark.parametrize("before", [20, 1_000])
def test_one_wild_row_does_not_blind(wild, before):
    rows = np.random.default_rng(2).normal(size=(before + 500, 2)).astype(np.float32)
    rows[before, 1] = wild
    stats = FOLD(normalizer.init(2), rows)
    assert (np.abs(stats.mean) < 2.0).all() and (0.5 < stats.std).all() and (stats.std < 5.0).all()


def test_a_lasting_change_of_scale_is_followed():
    rows = np.random.default_rng(3).normal(size=(3_000, 1)).astype(np.float32)
    rows[1_000:] *= 1e6
    after = FOLD(normalizer.init(1), rows)
    np.testing.assert_allclose(after.std, rows.std(0), rtol=0.02)  # what the first few such rows were cut by


def test_ordinary_rows_count_whole():
    """Rare events of a hundred deviations, as contact forces are: no row is cut."""
    rows = np.zeros((2_000, 2), np.float32)
    rows[:, 0] = np.random.default_rng(4).normal(size=2_000)
    rows[[700, 1_500], 1] = 20.0
    np.testing.assert_allclose(FOLD(normalizer.init(2), rows).std, rows.std(0), rtol=1e-4)


@pytest.mark.parametrize("spent", [2**24 - 5, 2**31 - 20])
def test_counting_goes_past_what_float32_and_i32_hold(spent):
    stats = replace(normalizer.init(1), count=jnp.array(spent, jnp.int32), squares=jnp.array([4.0 * spent]))
    stats = FOLD(stats, np.random.default_rng(5).normal(0.0, 2.0, (100, 1)).astype(np.float32))
    assert int(stats.count) == min(spent + 100, 2**31 - 1)
    np.testing.assert_allclose(stats.std, 2.0, rtol=1e-3)


def test_a_nearly_constant_coordinate_is_not_blown_up():
    rows = np.zeros((1_001, 1), np.float32)
    rows[-1] = 1e-4
    free, bounded = (FOLD(Statistics.init(1, 1, bounded=b).obs, rows) for b in (False, True))
    assert float(normalizer.normalize(free, jnp.array([0.6]))[0]) > 1e4  # as the paper's code has it
    assert float(normalizer.normalize(bounded, jnp.array([0.6]))[0]) == pytest.approx(6.0, rel=1e-4)
    target = FOLD(Statistics.init(1, 1, bounded=True).delta, rows)
    assert float(target.std[0]) == pytest.approx(1e-3)
