import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ACTION, OBS, SPEC, UNKNOWN, config, reward_fn, termination_fn, transitions

from pbrl.models.ensemble import Ensemble, HomoscedasticEnsemble
from pbrl.models.ensemble_world import NOISES, mage_world
from pbrl.models.heads import RewardHead, TerminationHead
from pbrl.nn.normalizer import Statistics
from pbrl.types import EnvSpec

STATS = jax.jit(lambda: Statistics.init(OBS, ACTION, bounded=False).update(transitions(256, seed=5)))()
ENSEMBLE = Ensemble(OBS, ACTION, (16, 16), 4)


@pytest.fixture(scope="module")
def params():
    return jax.jit(ENSEMBLE.init)(jax.random.key(3))


def test_initial_weights_are_glorot_and_members_differ(params):
    first, last = (np.asarray(params["members"][layer]["kernel"]) for layer in ("Dense_0", "Dense_2"))
    assert first.shape == (4, 5, 16) and last.shape == (4, 16, 6)
    assert np.abs(first).max() <= np.sqrt(6 / (5 + 16))  # uniform in ±sqrt(6 / (in + out))
    assert abs(float(last.std()) - np.sqrt(2 / (16 + 6))) < 0.05  # normal with variance 2 / (in + out)
    assert not np.array_equal(first[0], first[1])


def test_standard_deviation_keeps_its_bounds(params):
    batch = transitions(4, 50)
    _, std = jax.jit(ENSEMBLE.predict)(params, STATS, 100 * np.asarray(batch.obs), batch.action)
    relative = np.asarray(std) / STATS.delta.std
    assert 0.0820 < float(relative.min()) < 0.0822 and 0.606 < float(relative.max()) < 0.607  # exp(-2.5), exp(-0.5)


def test_loss_by_hand(params):
    """With all weights zero the mean is the data's and the log-variance -3."""
    zero, batch = jax.tree.map(np.zeros_like, params), transitions(4, 10)
    y = (np.asarray(batch.next_obs) - batch.obs - STATS.delta.mean) / STATS.delta.std
    expected = (np.square(y) * np.exp(3.0) - 3.0).mean()
    np.testing.assert_allclose(jax.jit(ENSEMBLE.loss)(zero, STATS, batch), expected, rtol=1e-5)


def test_one_deviation_for_each_coordinate_by_hand():
    """With weights of zero: the data's mean, the member's own deviation at every row, and their likelihood."""
    ensemble, batch = HomoscedasticEnsemble(OBS, ACTION, (16, 16), 4), transitions(4, 10)
    params = jax.tree.map(np.zeros_like, jax.jit(ensemble.init)(jax.random.key(0)))
    log_std = np.log([[0.5, 1.0, 2.0]]) + 0.1 * np.arange(4)[:, None]
    params["members"]["log_std"] = log_std
    y = (np.asarray(batch.next_obs) - batch.obs - STATS.delta.mean) / STATS.delta.std
    expected = (np.square(y) * np.exp(-2 * log_std[:, None]) + 2 * log_std[:, None]).mean()
    np.testing.assert_allclose(jax.jit(ensemble.loss)(params, STATS, batch), expected, rtol=1e-5)
    _, std = jax.jit(ensemble.predict)(params, STATS, batch.obs, batch.action)
    np.testing.assert_allclose(std, np.broadcast_to(np.exp(log_std)[:, None] * STATS.delta.std, std.shape), rtol=1e-5)
    params["members"]["log_std"] = np.full((4, OBS), -50.0)
    _, floor = jax.jit(ensemble.predict)(params, STATS, batch.obs, batch.action)
    assert (floor > 9e-4 * STATS.delta.std).all()


@pytest.mark.parametrize("kind", NOISES)
def test_members_are_chosen_with_their_own_deviations(kind):
    """Two of four members say what they say among all."""
    ensemble, batch = NOISES[kind](OBS, ACTION, (16, 16), 4), transitions(1, 6)
    params = jax.jit(ensemble.init)(jax.random.key(0))
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(3), x.shape), params)
    every = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, *x.shape[1:])), batch)
    all_of_them = jax.jit(ensemble.predict)(params, STATS, every.obs, every.action)
    few = jax.jit(ensemble.predict)(ensemble.choose(params, jnp.array([3, 1])), STATS, every.obs[:2], every.action[:2])
    for whole, part in zip(all_of_them, few, strict=True):
        np.testing.assert_allclose(whole[jnp.array([3, 1])], part, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 8, 10])
def test_each_row_is_dealt_to_one_uniformly_drawn_member(params, rows):
    """The members are told apart by their means; any number of rows works."""
    last = jax.tree.map(np.zeros_like, params["members"]["Dense_2"])
    last["bias"][:, :OBS] = 100.0 * np.arange(4)[:, None]
    apart = {"members": {**params["members"], "Dense_2": last}}
    batch = transitions(rows)

    def member(key):
        moved = ENSEMBLE.sample(apart, STATS, batch.obs, batch.action, key) - batch.obs
        return jnp.round(((moved - STATS.delta.mean) / STATS.delta.std)[:, 0] / 100.0)

    drawn = np.asarray(jax.jit(jax.vmap(member))(jax.random.split(jax.random.key(0), 4000)))
    shares = np.stack([(drawn == m).mean(0) for m in range(4)])
    np.testing.assert_allclose(shares, 0.25, atol=0.04)  # 5 standard errors are 0.034
    assert shares.sum(0) == pytest.approx(1.0)


def test_sample_equals_the_members_own_mean_and_noise(params):
    """One member: the draw is its mean plus its standard deviation times a standard normal."""
    one, batch = Ensemble(OBS, ACTION, (16, 16), 1), transitions(2000)
    first = jax.tree.map(lambda x: np.asarray(x)[:1], params)

    @jax.jit
    def noise_of(batch):
        mean, std = one.predict(first, STATS, batch.obs[None], batch.action[None])
        return (one.sample(first, STATS, batch.obs, batch.action, jax.random.key(1)) - mean[0]) / std[0]

    noise = np.asarray(noise_of(batch))
    np.testing.assert_allclose([noise.mean(), noise.std()], [0.0, 1.0], atol=0.05)


def test_sample_is_differentiable_row_by_row(params, x64):
    to64 = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)  # noqa: E731
    weights, stats, batch = to64(params), to64(STATS), to64(transitions(6))

    @jax.jit
    @jax.value_and_grad
    def total(action):
        return jnp.sin(ENSEMBLE.sample(weights, stats, batch.obs, action, jax.random.key(2))).sum()

    gradient = total(batch.action)[1]
    for row, column in ((0, 0), (3, 1), (5, 0)):
        step = np.zeros_like(batch.action)
        step[row, column] = 1e-5
        difference = (float(total(batch.action + step)[0]) - float(total(batch.action - step)[0])) / 2e-5
        np.testing.assert_allclose(gradient[row, column], difference, rtol=1e-7)


def test_learned_reward_uses_the_next_observation(key):
    """The released code feeds s twice; the paper's r(s, a, s') must depend on s'."""
    head, batch = RewardHead(OBS, ACTION, (8,)), transitions(5)
    weights = jax.jit(head.init)(key)
    slope = jax.jit(jax.grad(lambda n: head.predict(weights, STATS, batch.obs, batch.action, n).sum()))
    assert np.abs(slope(batch.next_obs)).min() > 0


def test_learned_termination_is_a_probability_without_gradient(key):
    head, batch = TerminationHead(OBS, ACTION, (8,)), transitions(50)
    weights = jax.jit(head.init)(key)
    chance = lambda n: head.predict(weights, STATS, batch.obs, batch.action, n)  # noqa: E731
    found, gradient = jax.jit(lambda n: (chance(n), jax.grad(lambda n: chance(n).sum())(n)))(batch.next_obs)
    assert 0 <= float(found.min()) and float(found.max()) <= 1
    assert not gradient.any()


@pytest.mark.parametrize(
    ("spec", "learn_reward", "parts"),
    [
        (SPEC, False, {"dynamics"}),
        (SPEC, True, {"dynamics", "reward"}),
        (UNKNOWN, False, {"dynamics", "reward", "termination"}),
        (EnvSpec(OBS, ACTION, 50, None, termination_fn), False, {"dynamics", "reward"}),
        (EnvSpec(OBS, ACTION, 50, reward_fn, None), False, {"dynamics", "termination"}),
    ],
)
def test_only_what_is_unknown_is_learned(key, spec, learn_reward, parts):
    world = mage_world(spec, config("mage", learn_reward=learn_reward))
    assert jax.eval_shape(world.init, key).params.keys() == parts


def test_fitting_learns_dynamics_reward_and_termination(key):
    """All three losses fall far below those of predicting the mean (or the base rate) of fresh data."""
    world = mage_world(UNKNOWN, config("mage", model_lr=3e-3, model_hidden=(32, 32), head_hidden=(32,)))
    data = transitions(2000)
    stats = jax.jit(lambda data: Statistics.init(OBS, ACTION, bounded=False).update(data))(data)

    @jax.jit
    def run(key):
        def step(state, key):
            rows = jax.random.randint(key, (4, 64), 0, 2000)
            return world.fit_step(state, stats, jax.tree.map(lambda x: x[rows], data))

        return jax.lax.scan(step, world.init(key), jax.random.split(jax.random.key(7), 1500))[0]

    @jax.jit
    def say(state, fresh):
        rows = (jnp.broadcast_to(x, (4, *x.shape)) for x in (fresh.obs, fresh.action))
        mean, _ = world.ensemble.predict(state.params["dynamics"], stats, *rows)
        return mean, *world.dynamics(state).step(fresh.obs, fresh.action, jax.random.key(1))[1:]

    fresh = jax.tree.map(np.asarray, transitions(1000, seed=9))
    mean, reward, discount = map(np.asarray, say(run(key), fresh))
    assert np.square(mean - fresh.next_obs).mean() / np.square(fresh.next_obs - fresh.obs).mean() < 0.02
    assert np.square(reward - fresh.reward).mean() / fresh.reward.var() < 0.2
    ended = fresh.discount == 0
    assert ended.sum() > 10
    assert discount[ended].mean() < 0.5 < 0.95 < discount[~ended].mean()
