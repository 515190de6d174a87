"""Every program in `examples/` runs, at sizes that compile in seconds."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from small_agents import config, module

import pbrl
from pbrl.envs.gym import GymEnv
from pbrl.runs import checkpoint
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.trained import export

EXAMPLES = Path(__file__).parents[1] / "examples"
ELSEWHERE = {
    "run_mujoco": ".ci/run",
    "run_pod": "tests/parallel/test_hosts.py",
    "rail": "tests/test_docs.py",
    "watch": "tests/test_watch.py",
}
"""Examples that are run by something else, and by what."""
SCHEDULE = {
    "total_steps": 24, "warmup_steps": 20, "batch_size": 8, "updates_per_step": 1, "model_batch_size": 8,
    "imagine_batch": 8, "imagine_buffer": 32, "eval_every": 24, "eval_episodes": 1, "log_every": 24,
}  # fmt: skip


def example(name):
    """Import an example as a module of its own."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    sys.modules[name] = made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def tiny(agent, **schedule):
    """Return changes by path that make an agent's networks and its run as small as can be."""
    small, default = config(agent, ensemble_size=2, elites=2, target_members=1), module(agent).Config()
    names = [name for name in default.__dataclass_fields__ if getattr(small, name) != getattr(default, name)]
    changes = {f"config.{name}": getattr(small, name) for name in names}
    return changes | {f"schedule.{name}": value for name, value in (SCHEDULE | schedule).items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run."""
    schedule = replace(Schedule(**SCHEDULE), model_every=0)
    made = Run("sac", "Pendulum-v1", (3,), config("sac"), schedule, tmp_path_factory.mktemp("examples") / "run")
    host.train(made)
    return made.folder


def test_a_loop_of_ones_own(tmp_path):
    loop = example("own_loop")
    small = replace(
        loop.CONFIG, actor_hidden=(8,), critic_hidden=(8,), model_hidden=(8,), ensemble_size=2, elites=2,
        target_members=1, max_epochs=2, horizon=2,
    )  # fmt: skip
    schedule = replace(loop.SCHEDULE, **SCHEDULE, model_every=10)
    with jax.debug_key_reuse(True):
        scores = loop.main(tmp_path, small, schedule)
    assert len(scores) == 1 and -2_000 < scores[0] < 0
    fresh = loop.start(GymEnv("Pendulum-v1").spec, small, schedule)
    learner, info, step = checkpoint.restore(tmp_path, fresh)
    assert (step, info, learner.replay.size) == (24, {"seed": 0}, 24)
    assert learner.skipped == 0 and learner.fitted > 0 and learner.imagined.size == 8


def test_acting(run):
    returns = example("load_and_act").main(run, seed=3, episodes=1)
    assert len(returns) == 1 and -2_000 < returns[0] < 0


@pytest.mark.skipif(bool(export.missing("onnx")), reason="the packages of pbrl[export] are not installed")
def test_export(run, tmp_path):
    own, *others = example("export_and_run").main(run, tmp_path)
    for actions in others:
        np.testing.assert_allclose(actions, own, atol=1e-5)


def test_fine_tuning(tmp_path):
    curves = example("fine_tune").main(tmp_path, **tiny("sac"))
    first, fresh, tuned = (pbrl.load(tmp_path / name).state.ac.actor for name in ("first", "fresh", "tuned"))
    assert curves.keys() == {"first", "fresh", "tuned"}
    moved = [
        max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (first, other)), strict=True))
        for other in (tuned, fresh)
    ]
    assert 0 < moved[0] < 0.02, moved  # begun with it, and trained on for a few steps


def test_a_comparison(tmp_path):
    agents = {name: module(name) for name in ("td3", "sac")}
    final, picture = example("compare_agents").main(tmp_path, agents, range(2), tiny)
    assert final.keys() == agents.keys() and all(returns.shape == (2,) for returns in final.values())
    assert picture.stat().st_size > 10_000


def test_the_model_beside_the_truth(tmp_path):
    curves = example("oracle_or_model").main(tmp_path, (0,), **tiny("maac", model_every=24, imagine_every=24))
    assert curves.keys() == {"model", "oracle"}
    for steps, returns in curves.values():
        assert list(steps) == [0, 24] and returns.shape == (1, 2)


def test_every_example_is_short_and_says_how_to_run_it_and_is_tested():
    tested = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) < 100, file.name
        assert f"python examples/{file.name}" in text.split('"""')[1], f"{file.name} says no command"
        assert f'example("{file.stem}")' in tested or file.stem in ELSEWHERE, f"nothing runs {file.name}"
