"""Training under JAX's own switches: no rank is promoted, no NaN stands for what is not, no key is used twice."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from small_agents import AGENTS, config, has_model

from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.drivers import driver_module

SCHEDULE = Schedule(
    total_steps=24, warmup_steps=16, batch_size=8, updates_per_step=1, model_every=8, model_batch_size=8,
    model_min_batches=2, eval_every=24, eval_episodes=1, log_every=8,
)  # fmt: skip
IMAGINING = {"imagine_every": 4, "imagine_batch": 8, "imagine_length": (0, 1, 2, 2), "imagine_buffer": 64}


@pytest.fixture
def switches():
    """All of them at once; what is no fault must not pass for one."""
    with jax.numpy_rank_promotion("raise"), jax.debug_nans(True), jax.debug_key_reuse(True):
        yield


QUICK = ("mage", "host"), ("svg", "device"), ("sac", "host"), ("td3", "device")
EACH = [(name, driver) for name in AGENTS for driver in ("host", "device")]


@pytest.mark.parametrize(
    ("name", "driver"), [pytest.param(*one, marks=() if one in QUICK else pytest.mark.slow) for one in EACH]
)
def test_every_agent_trains_under_all_switches(tmp_path, name, driver, switches):
    schedule = SCHEDULE if has_model(name) else replace(SCHEDULE, model_every=0)
    if name in ("mbpo", "maac"):
        schedule = replace(schedule, **IMAGINING)
    env = "pbrl/ToyDoubleIntegrator-v0" if driver == "device" else "Pendulum-v1"
    mode = ("vmap", "map")[(AGENTS.index(name) + (driver == "device")) % 2]  # each agent with one driver, each once
    run = Run(
        name,
        env,
        (0, 1),
        config(name),
        schedule,
        tmp_path,
        driver=driver,
        seed_mode=mode,
    )
    progress = driver_module(run).train(run)
    assert progress.step == schedule.total_steps
    last = read_rows(tmp_path, "train")[-1]
    assert np.isfinite(last["critic/loss"]).all() and last["train/skipped_updates"] == [0, 0]
    assert np.isfinite(read_rows(tmp_path, "eval")[-1]["eval/return"]).all()
