"""Runs that compute everything in float64."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from small_agents import config, has_model
from test_resume import PENDULUM, SCHEDULE, STEPS, assert_same, final

from pbrl import AGENTS
from pbrl.cli import options, repeat
from pbrl.errors import RunError
from pbrl.runs.folder import load
from pbrl.runs.run import Run
from pbrl.train import device, host
from pbrl.trained import restore


def make_run(path, name, **changes):
    schedule = SCHEDULE
    if not has_model(name):
        schedule = replace(schedule, model_every=0)
    if name in ("maac", "mbpo"):
        schedule = replace(schedule, imagine_every=10, imagine_batch=8, imagine_length=(0, 1, 2, 2), imagine_buffer=99)
    return Run(name, "pbrl/ToyPendulum-v0", (3,), config(name), schedule, path, float64=True, **changes)


@pytest.mark.parametrize(("name", "driver"), [*((name, host) for name in AGENTS), ("maac", device)])
def test_no_number_is_of_another_width(tmp_path, x64, name, driver):
    run = make_run(tmp_path, name, driver=driver.__name__.rpartition(".")[2])
    driver.train(run)
    learner, _ = restore.learners(load(tmp_path))
    kinds = {np.asarray(x).dtype for x in jax.tree.leaves(learner)}
    assert {np.dtype(np.float64)} == {kind for kind in kinds if np.issubdtype(kind, np.floating)}


def test_it_resumes_to_the_bit(tmp_path, x64):
    straight, cut = (make_run(tmp_path / where, "mage", oracle="fidelity") for where in ("straight", "cut"))
    host.train(straight)
    host.train(replace(cut, schedule=replace(cut.schedule, total_steps=STEPS // 2)))
    host.train(cut)
    assert_same(final(straight), final(cut))


def test_widths_are_not_mixed(tmp_path, x64):
    assert make_run(tmp_path, "td3").validate().title == "td3, float64"
    narrow = replace(make_run(tmp_path, "td3"), float64=False)
    with pytest.raises(RunError, match="this run computes in float32, jax in float64: pass --float64, or unset"):
        host.check(narrow)
    with jax.enable_x64(False), pytest.raises(RunError, match="this run computes in float64, jax in float32"):
        host.check(replace(narrow, float64=True))
    assert not list(tmp_path.iterdir())


def test_the_flag_stands_alone_and_has_a_folder_of_its_own():
    words = ["td3", "--env", PENDULUM, "--preset", "cpu"]
    plain, wide = options.parse(words), options.parse([*words, "--float64", "--steps=2000"])
    assert wide.float64 and not plain.float64 and wide.schedule.total_steps == 2000
    assert wide.folder.name.startswith("td3-float64-") and wide.title == "td3, float64"
    assert "--float64" in repeat.command_line(wide) and "--float64" not in repeat.command_line(plain)
