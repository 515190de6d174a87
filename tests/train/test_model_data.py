"""Imagined transitions: chained or one step at a time, never beyond an end, mixed in the right share."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_agents
from small_agents import ORACLE, module, termination_fn

from pbrl.runs.schedule import Schedule
from pbrl.train import learn, model_data

MAAC, KEY = module("maac"), jax.random.key(3)
SCHEDULE = Schedule(
    total_steps=200, warmup_steps=20, batch_size=40, imagine_every=10, imagine_batch=30, imagine_buffer=500
)


learner = partial(small_agents.learner, "maac", rows=50, capacity=200, imagined=SCHEDULE.imagined_capacity)


def imagine(made, steps, **changes):
    program = jax.jit(partial(model_data.imagine, MAAC, schedule=replace(SCHEDULE, **changes)))
    return program(made, KEY, steps=steps).imagined


def stored(buffer):
    return jax.tree.map(lambda x: np.asarray(x[: int(buffer.inserted)]), buffer.rows)


def test_chained_rows_go_on_where_the_last_ended_and_stop_at_ends():
    made = learner(oracle=ORACLE)
    rows = stored(imagine(made, 3))
    real = {tuple(x) for x in np.asarray(made.replay.rows.obs[:50]).round(5).tolist()}
    assert {tuple(x) for x in rows.obs[:30].round(5).tolist()} <= real
    ended = rows.discount[:30] == 0
    np.testing.assert_array_equal(ended, termination_fn(rows.next_obs[:30]))
    assert 0 < ended.sum() < 30
    second = 30 - ended.sum()
    np.testing.assert_array_equal(rows.obs[30 : 30 + second], rows.next_obs[:30][~ended])
    third = second - (rows.discount[30 : 30 + second] == 0).sum()
    assert len(rows.obs) == 30 + second + third


def test_one_step_at_a_time_starts_from_real_states_always():
    made = learner(oracle=ORACLE)
    rows = stored(imagine(made, 3, imagine_chained=False))
    real = {tuple(x) for x in np.asarray(made.replay.rows.obs[:50]).round(5).tolist()}
    assert len(rows.obs) == 90 and {tuple(x) for x in rows.obs.round(5).tolist()} <= real
    assert not np.array_equal(rows.obs[:30], rows.obs[30:60])


def test_actions_are_the_policys_own():
    made = learner(oracle=ORACLE)
    still = jax.tree.map(np.zeros_like, made.agent.ac.actor)
    last = sorted(still["MLP_0"])[-1]
    still["MLP_0"][last]["bias"] = np.float32([0.5, -0.5, -20.0, -20.0])
    made = replace(made, agent=replace(made.agent, ac=replace(made.agent.ac, actor=still)))
    action = stored(imagine(made, 2)).action
    np.testing.assert_allclose(action, np.broadcast_to(np.tanh([0.5, -0.5]), action.shape), rtol=1e-5)


def test_the_newest_stay_where_more_come_than_fit():
    made = learner(oracle=ORACLE)
    made = replace(made, imagined=learner(imagined=20, oracle=ORACLE).imagined)
    small, large = (imagine(m, 1, imagine_chained=False) for m in (made, learner(oracle=ORACLE)))
    assert int(small.inserted) == 30 and int(small.size) == 20
    rows = small.rows.obs[np.arange(10, 30) % 20]
    np.testing.assert_array_equal(rows, large.rows.obs[10:30])


def test_rows_that_are_not_finite_are_refused_and_not_gone_on_from():
    broken = ORACLE._replace(step=lambda z, a, k: _half_nan(*ORACLE.step(z, a, k)))
    buffer = imagine(learner(oracle=broken), 2)
    rows = stored(buffer)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(rows)) and int(buffer.refused) > 0


def _half_nan(z, reward, discount):
    return jnp.where(jnp.arange(z.shape[0])[:, None] % 2 == 0, z, jnp.nan), reward, discount


@pytest.mark.parametrize(("share", "real"), [(0.0, 0), (0.05, 2), (0.5, 20), (1.0, 40)])
def test_batches_mix_real_and_imagined_rows(share, real):
    made = learner(oracle=ORACLE)
    made = replace(made, imagined=imagine(made, 1))
    marked = replace(made.imagined, rows=replace(made.imagined.rows, reward=np.full(500, 77.0, np.float32)))
    schedule = replace(SCHEDULE, real_fraction=share)
    batch = jax.jit(partial(learn._mixture, schedule=schedule))(replace(made, imagined=marked), KEY)
    assert batch.reward.shape == (40,) and (np.asarray(batch.reward) != 77.0).sum() == real


@pytest.mark.parametrize(
    ("step", "length"), [(10, 0), (20, 1), (25, 0), (30, 1), (100, 1), (150, 8), (200, 15), (900, 15), (905, 0)]
)
def test_trajectories_grow_by_their_schedule(step, length):
    """From 1 at step 100 to 15 at step 200, halfway 8; the first ones at the end of the warm-up."""
    assert replace(SCHEDULE, imagine_length=(100, 200, 1, 15)).imagined_steps(step) == length


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"real_fraction": 1.5}, r"schedule.real_fraction: expected a share in \[0, 1\], got 1.5"),
        ({"imagine_length": (1, 2, 3)}, r"schedule.imagine_length: expected \(from step, to step"),
        ({"imagine_length": (1, 2, 0, 3)}, "from length, to length"),
        ({"imagine_batch": 0}, "schedule.imagine_batch: expected an integer from 1 to 2147483647, got 0"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SCHEDULE, **changes).validate()
