import jax
import jax.numpy as jnp
import numpy as np

from pbrl.nn import normalizer


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
    stats, x = normalizer.update(normalizer.init(3), data), jnp.array([1.01, 2.0, 200.0])
    np.testing.assert_allclose(normalizer.normalize(stats, x, (0.1, 10.0)), [10.0, 1.0, 10.0], rtol=1e-5)
    np.testing.assert_allclose(
        normalizer.denormalize(stats, normalizer.normalize(stats, x, (0.1, 10.0)), (0.1, 10.0)), x, rtol=1e-6
    )
    np.testing.assert_array_equal(normalizer.normalize(normalizer.init(3), x, (0.1, 10.0)), x)


def test_the_mean_follows_after_a_million_rows():
    """Rows one at a time, as an environment gives them: 1.0 at first, 1.35 later; float32 alone would stay behind."""
    drawn = np.random.default_rng(0).normal(size=2_000_000).astype(np.float32)
    rows = np.where(np.arange(2_000_000) < 200_000, 1.0 + 0.1 * drawn, 1.35 + 0.03 * drawn).astype(np.float32)
    fold = jax.jit(lambda n, xs: jax.lax.scan(lambda n, x: (normalizer.update(n, x[None, None]), None), n, xs)[0])
    after = fold(normalizer.init(1), rows)
    np.testing.assert_allclose(after.mean, rows.astype(np.float64).mean(), rtol=1e-5)
    np.testing.assert_allclose(after.std, rows.astype(np.float64).std(), rtol=1e-4)
