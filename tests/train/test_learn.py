"""The phases of training: cadence, the guard against non-finite updates, and seeds beside each other."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import learner, module, transitions

from pbrl.parallel import devices
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting, learn

SCHEDULE = Schedule(total_steps=256, warmup_steps=0, batch_size=32, updates_per_step=3, model_batch_size=16)
MAGE = module("mage")


def start(seed=0, rows=60):
    return learner("mage", rows, SCHEDULE.capacity, seed=seed)


def stacked(seeds):
    return jax.tree.map(lambda *x: np.stack(x), *[start(s) for s in seeds])


def leaves(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_equal(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


update = jax.jit(partial(learn.learn, MAGE, schedule=SCHEDULE))


def poison(learner, value=np.nan):
    """Put a value into a target critic's bias: every target, and so every critic loss, follows it."""
    target = jax.tree.map(lambda x: x, learner.agent.ac.target_critic)
    bias = target["MLP_0"]["Dense_0"]["bias"]
    target["MLP_0"]["Dense_0"]["bias"] = np.where(np.arange(bias.shape[-1]), bias, np.float32(value))
    return replace(learner, agent=replace(learner.agent, ac=replace(learner.agent.ac, target_critic=target)))


def test_one_step_makes_the_scheduled_updates():
    learner, metrics = update(start(), jax.random.key(1))
    assert int(learner.agent.ac.updates) == 3
    assert np.isfinite([float(v) for v in metrics.values()]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_update_changes_nothing_but_its_counters(bad):
    before = poison(start(), bad)
    after, metrics = update(before, jax.random.key(1))
    assert_equal(before.agent, after.agent)
    assert (int(after.skipped), int(after.streak)) == (3, 3)
    assert all(np.isnan(float(v)) for v in metrics.values())


def test_the_streak_ends_with_a_good_update():
    before = start()
    after, _ = update(replace(poison(before), skipped=jnp.int32(2), streak=jnp.int32(2)), jax.random.key(1))
    assert (int(after.skipped), int(after.streak)) == (5, 5)
    healed, _ = update(replace(after, agent=before.agent), jax.random.key(2))
    assert (int(healed.skipped), int(healed.streak)) == (5, 0)
    assert int(healed.agent.ac.updates) == 3


def test_good_steps_of_the_model_do_not_hide_that_the_agents_updates_fail():
    """SVG fits its model before every update: the streak of one phase is not the other's to end."""
    learner, model = poison(start()), start()
    for i in range(3):
        learner, _ = fitting.fit(MAGE, learner, jax.random.key(i), 2, SCHEDULE)
        learner, _ = update(learner, jax.random.key(i))
    assert (int(learner.streak), int(learner.fit_streak)) == (9, 0)
    broken = jax.tree.map(lambda x: np.asarray(x) * np.float32(np.nan), model.agent.world.params)
    model = replace(model, agent=replace(model.agent, world=replace(model.agent.world, params=broken)))
    after, _ = fitting.fit(MAGE, model, jax.random.key(0), 2, SCHEDULE)
    assert (int(after.streak), int(after.fit_streak), int(after.skipped)) == (0, 2, 2)


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_one_bad_seed_leaves_the_others_alone_to_the_bit(mode):
    keys = jax.random.split(jax.random.key(1), 3)
    phase = jax.jit(devices.over_seeds(lambda one, key: learn.learn(MAGE, one, key, SCHEDULE), mode))
    good = stacked((0, 1, 2))
    bad = jax.tree.map(lambda p, g: np.stack([g[0], p[1], g[2]]), poison(good), good)
    after_good, after_bad = phase(good, keys)[0], phase(bad, keys)[0]
    for seed in (0, 2):
        pick = lambda tree, i=seed: jax.tree.map(lambda x: np.asarray(x)[i], tree)  # noqa: E731
        assert_equal(pick(after_good), pick(after_bad))
    assert after_bad.streak.tolist() == [0, 3, 0]


def test_one_after_the_other_equals_each_alone_to_the_bit():
    """`map` makes a seed's numbers independent of its neighbours; `vmap` does not promise that."""
    keys = jax.random.split(jax.random.key(1), 3)
    phase = jax.jit(devices.over_seeds(lambda one, key: learn.learn(MAGE, one, key, SCHEDULE), "map"))
    three = phase(stacked((0, 1, 2)), keys)[0]
    one = phase(stacked((2,)), keys[2:])[0]
    assert_equal(jax.tree.map(lambda x: np.asarray(x)[2:], three), one)


def test_fit_counts_its_batches_and_compiles_once():
    traces = []

    @jax.jit
    def fit(learner, key, batches):
        traces.append(1)
        return fitting.fit(MAGE, learner, key, batches, SCHEDULE)

    learner = start()
    for batches in (4, 9):
        before = int(learner.agent.world.opt_state[1].count)
        learner, metrics = fit(learner, jax.random.key(batches), batches)
        assert int(learner.agent.world.opt_state[1].count) - before == batches
    assert len(traces) == 1
    assert "model/loss" in metrics


def test_rows_that_are_not_finite_reach_neither_buffer_nor_statistics():
    learner, bad = start(), replace(transitions(1), reward=np.full(1, np.nan, np.float32))
    after = jax.jit(partial(learn.collect, MAGE))(learner, bad, np.ones(1, bool))
    assert_equal(learner.agent, after.agent)
    assert int(after.replay.refused) == 1 and int(after.replay.size) == int(learner.replay.size)
