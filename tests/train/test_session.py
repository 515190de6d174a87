"""A session asks its driver for what the contract names, and for nothing else."""

import types

import jax
import numpy as np
import pytest
from small_agents import ACTION, SPEC, config, learner
from test_docs import code_of

from pbrl.errors import ActionError, EnvError
from pbrl.runs import checkpoint
from pbrl.runs.layout import Layout
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train.guard import Guard
from pbrl.train.session import Session
from pbrl.train.stopping import Stop


class Walker:
    """A driver that has neither an environment nor an agent, and goes as far as it is let."""

    def __init__(self, run):
        self.run, self.guard, self.step, self.limits, self.closed = run, Guard(run), -1, [], False
        self.learner = jax.tree.map(lambda x: x[None], learner("td3", 3, 5))
        self.layout = Layout.of(SPEC, [-1.0] * ACTION, [1.0] * ACTION)

    def begin(self):
        self.step = 0

    def contents(self):
        return {"learner": {}, "streams": {"step": np.array([self.step])}}

    def shapes(self, capacity):
        raise AssertionError("nothing is resumed here")

    def put_back(self, contents, step):
        raise AssertionError("nothing is resumed here")

    def advance(self, limit):
        self.limits.append(limit)
        self.step = limit

    def scores(self):
        return {"eval/return": np.array([10.0 * self.step]), "eval/length": np.ones(1)}

    def newest_metrics(self):
        return {"critic/loss": np.array([0.5])}

    def episode_returns(self):
        return np.array([float(self.step)])

    def close(self):
        self.closed = True


def test_a_session_takes_any_driver_through_a_schedule(tmp_path, monkeypatch):
    saved = []
    kept = {"best": [], "checkpoints": saved}
    monkeypatch.setattr(checkpoint, "save", lambda folder, *args: kept[folder.name].append(args))
    schedule = Schedule(total_steps=7, warmup_steps=2, model_every=0, log_every=3, eval_every=4, checkpoint_every=5)
    run = Run("td3", "Pendulum-v1", (0,), config("td3"), schedule, tmp_path, sinks=("jsonl",))
    session = Session(run, driver := Walker(run))
    progress = session.run_to_end(Stop(), lambda progress: None)
    session.close()
    assert driver.limits == [2, 3, 4, 5, 6, 7] and driver.closed
    assert [step for step, _, _ in saved] == [5, 7]
    assert saved[0][1] == {"learner": {}, "streams": {"step": np.array([5])}}
    assert saved[0][2]["capacity"] == 5 and saved[0][2]["run"] == run.identity()
    assert saved[0][2]["layout"] == driver.layout.to_json()
    assert [(step, tree["step"], tree["return"]) for step, tree, _ in kept["best"]] == [(5, [4], [40]), (7, [7], [70])]
    train, evaluations = read_rows(tmp_path, "train"), read_rows(tmp_path, "eval")
    assert [(row["step"], row["train/return"], row["critic/loss"]) for row in train] == [
        (3, [3.0], [0.5]),
        (6, [6.0], [0.5]),
        (7, [7.0], [0.5]),
    ]
    assert [(row["step"], row["eval/return"]) for row in evaluations] == [(0, [0.0]), (4, [40.0]), (7, [70.0])]
    assert (progress.step, progress.agent, progress.evaluated_step) == (7, driver.learner.agent, 7)


def test_a_callback_logs_keeps_and_ends_a_run_which_is_saved_once(tmp_path, monkeypatch):
    """The one of docs/reference/training.md; returns are ten times the step."""
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, *args: saved.append((folder.name, args[0])))
    schedule = Schedule(total_steps=9, warmup_steps=2, model_every=0, log_every=3, eval_every=2)
    run = Run("td3", "Pendulum-v1", (0,), config("td3"), schedule, tmp_path, sinks=("jsonl",))
    callbacks = types.ModuleType("callbacks")
    exec(code_of("docs/reference/training.md")[0], callbacks.__dict__)
    session = Session(run, driver := Walker(run))
    monkeypatch.setattr(callbacks.host, "train", lambda run, report: session.run_to_end(Stop(), report))
    scores, best = callbacks.train_until(run, goal=30.0)
    assert scores == {2: 20.0, 4: 40.0} and best["score"] == 40.0 and driver.step == 4
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(best["agent"]))
    assert [step for name, step in saved if name == "checkpoints"] == [4]


def test_what_report_raises_passes_once_the_run_is_saved(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, *args: saved.append((folder.name, step)))
    schedule = Schedule(total_steps=9, warmup_steps=2, model_every=0, log_every=3, eval_every=0)
    run = Run("td3", "Pendulum-v1", (0,), config("td3"), schedule, tmp_path, sinks=("jsonl",))

    def report(progress):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Session(run, driver := Walker(run)).run_to_end(Stop(), report)
    assert ("checkpoints", driver.step) in saved and 0 < driver.step < 9


@pytest.mark.parametrize("kind", [ActionError, EnvError])
def test_an_evaluation_that_cannot_be_ends_the_run_saved(tmp_path, monkeypatch, kind):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, contents, info: saved.append(step))
    schedule = Schedule(total_steps=7, warmup_steps=2, model_every=0, log_every=3, eval_every=4)
    run = Run("td3", "Pendulum-v1", (0,), config("td3"), schedule, tmp_path, sinks=("jsonl",))
    session = Session(run, driver := Walker(run))

    def scores():
        if driver.step == 4:
            raise kind("the action [2.] is out of bounds")
        return Walker.scores(driver)

    monkeypatch.setattr(driver, "scores", scores)
    with pytest.raises(kind, match=r"out of bounds; what was learned is saved at step 4"):
        session.run_to_end(Stop(), lambda progress: None)
    session.close()
    assert saved == [4]
