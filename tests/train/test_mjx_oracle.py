"""Training on a MuJoCo task with its twin as the model: the simulator's state travels through the replay buffer."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from small_agents import config
from test_resume import SCHEDULE

from pbrl.envs.mujoco import twin as mjx
from pbrl.runs.run import Run
from pbrl.train import host

ENV = "InvertedPendulum-v5"
LEARNING = replace(SCHEDULE, total_steps=25)
IMAGINING = replace(
    SCHEDULE, updates_per_step=0, imagine_every=10, imagine_batch=8, imagine_length=(0, 1, 3, 3), imagine_buffer=200
)


@pytest.mark.parametrize(("name", "schedule"), [("mage", LEARNING), ("maac", IMAGINING)])
def test_rows_lead_the_twin_from_obs_to_next_obs(tmp_path, name, schedule):
    """The real ones, and those that were imagined in a chain; MAGE learns from them."""
    driver = host.Driver(Run(name, ENV, (3,), config(name), schedule, tmp_path, oracle="fidelity"))
    driver.begin()
    for _ in range(schedule.total_steps):
        driver.advance(schedule.total_steps)
    learner = jax.tree.map(lambda x: x[0], driver.learner)
    driver.close()
    assert int(learner.skipped) == 0 and learner.agent.world is None
    twin, step = mjx.twin(ENV), jax.jit(mjx.twin(ENV).step)
    for buffer in filter(None, (learner.replay, learner.imagined)):
        rows = jax.tree.map(lambda x, n=int(buffer.inserted): x[:n], buffer.rows)
        z, reward, _ = step(twin.start(rows), rows.action, jax.random.key(0))
        np.testing.assert_allclose(twin.observe(z), rows.next_obs, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(reward, rows.reward)
    assert (learner.imagined is None) == (name == "mage")
