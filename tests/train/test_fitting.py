"""Fits that stop by themselves: who trains on, what is gone back to, who imagines."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_agents
from small_agents import ORACLE, config, jitted, module, transitions

from pbrl.runs import feasible
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting

MAAC, KEY = module("maac"), jax.random.key(3)
SCHEDULE = Schedule(total_steps=200, warmup_steps=20, model_batch_size=16)


learner = partial(small_agents.learner, "maac", rows=100, capacity=200)


def fit(made, **changes):
    return jax.jit(partial(fitting.fit, MAAC, schedule=replace(SCHEDULE, **changes)))(made, KEY, batches=1)


def members(state):
    return [np.asarray(x) for x in jax.tree.leaves(state.world.params["dynamics"]["members"])]


def judge(state, rows):
    """Losses on rows of every member's own, [E]."""
    batch = jax.tree.map(lambda x: np.broadcast_to(x, (4, *x.shape)), rows)
    return np.asarray(jitted("maac", "model_losses")(state, batch))


def test_a_fit_lowers_the_held_out_loss_and_says_how_long_it_took():
    made = learner(rows=200)
    after, metrics = fit(made, model_batch_size=32)
    fresh = transitions(200, seed=9)
    assert (judge(after.agent, fresh) < judge(made.agent, fresh)).all()
    assert float(metrics["model/epochs"]) == 3  # `max_epochs` of the small config


def course(**changes):
    values = {
        "best": {"members": jnp.array([7.0, 8.0])},
        "best_loss": jnp.array([1.0, 1.0]),
        "average": jnp.array([1.0, 1.0]),
        "active": jnp.array([True, True]),
        "stale": jnp.int32(0),
        "epoch": jnp.int32(4),
    }
    return fitting._Course(**{**values, **changes})


def test_a_member_stops_when_its_running_average_rises():
    """Persistence 0.9: 1.0 and 0.9 give an average of 0.99, 1.0 and 1.2 one of 1.02."""
    settings = config("maac", persistence=0.9)
    after = fitting._judged(course(), {"members": jnp.array([1.0, 2.0])}, jnp.array([0.9, 1.2]), settings)
    np.testing.assert_allclose(after.average, [0.99, 1.02], rtol=1e-6)
    assert after.active.tolist() == [True, False] and int(after.epoch) == 5
    np.testing.assert_allclose(after.best_loss, [0.9, 1.0])
    assert after.best["members"].tolist() == [1.0, 8.0]  # the second keeps its better self
    again = fitting._judged(after, {"members": jnp.array([1.0, 2.0])}, jnp.array([0.1, 0.1]), settings)
    assert again.active.tolist() == [True, False]  # what has stopped stays so


@pytest.mark.parametrize(("loss", "average"), [(2.0, 2.9), (-2.0, -1.4)])
def test_no_member_stops_at_its_first_epoch(loss, average):
    """The average starts at 1.5 times a positive loss, two thirds of a negative one: 0.9 · 1.5 · 2 + 0.1 · 2."""
    fresh = course(average=jnp.full(2, jnp.nan), epoch=jnp.int32(0), best_loss=jnp.full(2, -9.0))
    after = fitting._judged(fresh, fresh.best, jnp.full(2, loss), config("maac", persistence=0.9))
    np.testing.assert_allclose(after.average, average, rtol=1e-6)
    assert after.active.all()


def test_a_loss_that_is_not_finite_stops_its_member():
    after = fitting._judged(course(), course().best, jnp.array([jnp.nan, 0.5]), config("maac"))
    assert after.active.tolist() == [False, True] and after.best["members"].tolist() == [7.0, 8.0]


def test_patience_lasts_five_epochs_without_an_improvement_of_one_per_cent():
    settings, state, active = config("maac", stopping="patience"), course(), []
    for loss in (0.995, 0.994, 0.993, 0.992, 0.991, 0.9905):
        state = fitting._judged(state, state.best, jnp.array([loss, 2.0]), settings)
        active.append(state.active.tolist())
    assert active == [[True, True]] * 5 + [[False, False]]
    one_improves = fitting._judged(course(stale=jnp.int32(5)), course().best, jnp.array([0.9, 2.0]), settings)
    assert one_improves.active.all() and int(one_improves.stale) == 0


def test_stopped_members_no_longer_change_and_the_best_come_back(monkeypatch):
    """Member 0 stops after an epoch, whatever its loss; all go back to where their held-out loss was lowest."""
    real, seen = fitting._judged, []

    def stop_first(course, state, loss, config):
        after = real(course, state, jnp.where(course.epoch == 0, loss, 1e3), config)  # later epochs look worse
        seen.append(1)
        return after._replace(active=jnp.array([False, True, True, True]))

    monkeypatch.setattr(fitting, "_judged", stop_first)
    made = learner(rows=200)
    long, _ = fitting.fit(MAAC, made, KEY, 1, replace(SCHEDULE, model_batch_size=32))
    monkeypatch.setattr(fitting, "_judged", real)
    one = replace(made, agent=replace(made.agent, config=replace(made.agent.config, max_epochs=1)))
    short, _ = fitting.fit(MAAC, one, KEY, 1, replace(SCHEDULE, model_batch_size=32))
    assert seen
    for a, b in zip(members(long.agent), members(short.agent), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_a_fit_that_helps_nobody_changes_nobody():
    made = learner(model_lr=1.0)  # far too large
    after, _ = fit(made)
    for a, b in zip(members(made.agent), members(after.agent), strict=True):
        np.testing.assert_array_equal(a, b)


def test_elites_are_the_members_with_the_smallest_losses():
    state = learner(elites=2, target_members=1).agent
    chosen = MAAC.choose_elites(state, jnp.array([3.0, 1.0, 4.0, 2.0]))
    assert chosen.world.elites.tolist() == [1, 3]


def test_the_elites_alone_imagine():
    """With deviations of nothing, every imagined row is what one of the two elites says, and both have their say."""
    from pbrl.models.ensemble_world import maac_world

    state = MAAC.choose_elites(learner(elites=2, target_members=1).agent, jnp.array([3.0, 1.0, 4.0, 2.0]))
    dynamics = {**state.world.params["dynamics"], "max_log_var": np.full(3, -60.0), "min_log_var": np.full(3, -90.0)}
    state = replace(state, world=replace(state.world, params={"dynamics": dynamics}))

    @jax.jit
    def say(state, batch):
        world = maac_world(state.spec, state.config)
        said = [world.step_each(state.world, jnp.array([m]), batch.obs, batch.action, KEY)[0][0] for m in range(4)]
        return MAAC.simulator(state).step(batch.obs, batch.action, KEY)[0], jnp.stack(said)

    imagined, said = say(state, transitions(64))
    agrees = np.isclose(said, imagined, rtol=1e-4, atol=1e-5).all(-1)  # [4, 64]
    assert agrees[[1, 3]].any(0).all() and agrees[1].sum() == agrees[3].sum() == 32 and not agrees[[0, 2]].any()


@pytest.mark.parametrize(("step", "due"), [(10, 0), (20, 1), (21, 0), (40, 0), (50, 1), (100, 1)])
def test_fits_begin_with_the_end_of_the_warm_up(step, due):
    assert fitting.fit_batches(MAAC.abilities(config("maac")), replace(SCHEDULE, model_every=50), step) == due


@pytest.mark.parametrize(("most", "due"), [(0, 390), (400, 390), (120, 120), (150, 150)])
def test_a_fit_in_epochs_ends_after_its_most_batches(most, due):
    """100,000 rows have 390 whole batches of 256, one epoch, which a bound cuts short."""
    schedule = Schedule(total_steps=100_000, model_max_batches=most)
    batches = fitting.fit_batches(module("mage").abilities(config("mage")), schedule, 100_000)
    assert batches == due
    with pytest.raises(ValueError, match="model_max_batches: expected 0, or at least"):
        replace(schedule, model_max_batches=119).validate()


@pytest.mark.parametrize(("most", "epochs"), [(0, 3), (1, 1), (5, 2), (100, 3)])
def test_no_epoch_begins_after_the_most_batches(most, epochs):
    """Of 200 rows 160 train: four batches of 40 make an epoch."""
    schedule = replace(SCHEDULE, model_batch_size=40, model_max_batches=most)
    _, metrics = jax.jit(lambda made: fitting.fit(MAAC, made, KEY, 1, schedule))(learner(rows=200))
    assert float(metrics["model/epochs"]) == epochs


def test_an_oracle_needs_no_fit():
    made = learner(rows=30, oracle=ORACLE)
    assert fitting.fit(MAAC, made, KEY, 1, SCHEDULE) == (made, {})


def test_a_ring_too_small_to_hold_rows_out_is_refused():
    with pytest.raises(ValueError, match=r"schedule\.buffer_size: expected at least 9 rows.*got 6"):
        feasible.check(MAAC, config("maac"), replace(SCHEDULE, buffer_size=6))
