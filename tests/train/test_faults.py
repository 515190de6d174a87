"""Environments that break: what they cost, and that nothing learned is lost by it."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import counting_agent
import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box

import pbrl
from pbrl.envs.gym import GymEnv
from pbrl.errors import ActionError, EnvError
from pbrl.runs import checkpoint
from pbrl.runs.folder import load
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.train.evaluate import Evaluator, statistics
from pbrl.train.streams import MAX_FAULTS, Streams
from pbrl.trained import play, restore

LIMIT = 10  # steps of an episode
SCHEDULE = Schedule(
    total_steps=60, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=1_000, eval_every=30,
    eval_episodes=2, log_every=10, checkpoint_every=10**6,
)  # fmt: skip


class Fragile(gymnasium.Env):
    """Counts the calls of all its copies, which a test may make break."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,)), Box(-1.0, 1.0, (1,))
    resets = steps = 0
    broken_reset = broken_step = staticmethod(never := lambda count: False)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Fragile.resets += 1
        if Fragile.broken_reset(Fragile.resets):
            raise RuntimeError("no contact")
        return np.zeros(2), {}

    def step(self, action):
        Fragile.steps += 1
        if Fragile.broken_step(Fragile.steps):
            raise RuntimeError("no contact")
        return np.full(2, 0.1), 1.0, False, False, {}


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Train one seed of the counting agent, and return its folder."""
    monkeypatch.setitem(sys.modules, "pbrl.agents.counting", counting_agent)
    monkeypatch.setitem(pbrl.AGENTS, "counting", "counts")
    gymnasium.register("test/Fragile-v0", entry_point=Fragile, max_episode_steps=LIMIT)

    def train(**broken) -> Path:
        Fragile.resets = Fragile.steps = 0
        for name in ("broken_reset", "broken_step"):
            monkeypatch.setattr(Fragile, name, staticmethod(broken.get(name, Fragile.never)))
        config = counting_agent.Config()
        host.train(Run("counting", "test/Fragile-v0", (0,), config, SCHEDULE, tmp_path, sinks=("jsonl",)))
        return tmp_path

    yield train
    gymnasium.registry.pop("test/Fragile-v0", None)


def returns(folder):
    return [float(row["eval/return"][0]) for row in read_rows(folder, "eval")]


FIRST = 2 * LIMIT  # steps of the first evaluation, before any training


def test_a_broken_episode_is_left_out_of_its_evaluation(train):
    with pytest.warns(
        UserWarning, match="evaluation at step 30: an episode is left out, since .* RuntimeError: no con"
    ):
        folder = train(broken_step=lambda count: count == FIRST + 30 + 5)
    assert returns(folder) == [LIMIT] * 3
    assert checkpoint.steps(folder / "checkpoints")[-1] == 60
    assert [row["eval/episodes"] for row in read_rows(folder, "eval")] == [[2], [1], [2]]


def test_an_evaluation_tells_its_episodes_spread():
    returns = np.array([[1.0, 3.0, np.nan, 8.0], [np.nan] * 4])
    told = statistics(returns, 2 * returns)
    assert told["eval/episodes"].tolist() == [3, 0]
    for name, value in (("", 4.0), ("_std", np.std([1.0, 3.0, 8.0])), ("_min", 1.0), ("_max", 8.0)):
        np.testing.assert_allclose(told[f"eval/return{name}"], [value, np.nan])
    np.testing.assert_array_equal(told["eval/length"], [8.0, np.nan])


def test_an_evaluation_without_a_whole_episode_says_so_and_training_goes_on(train):
    with pytest.warns(UserWarning, match="evaluation at step 30: an episode is left out"):
        folder = train(broken_step=lambda count: FIRST + 30 < count <= FIRST + 32)
    np.testing.assert_array_equal(returns(folder), [LIMIT, np.nan, LIMIT])


def test_a_broken_reset_costs_an_episode_that_has_not_begun(train):
    # The first is the training environment's, as is the first after the evaluation's two.
    folder = train(broken_reset=lambda count: count in (1, 5))
    assert returns(folder) == [LIMIT] * 3
    assert checkpoint.steps(folder / "checkpoints")[-1] == 60


@pytest.mark.filterwarnings("ignore:evaluation at step 30")
@pytest.mark.parametrize("kind", ["step", "reset"])
def test_an_environment_that_stays_broken_ends_the_run_and_loses_nothing(train, tmp_path, kind):
    after = FIRST + 25 if kind == "step" else 5  # resets: to begin with, two of the first evaluation, two more
    with pytest.raises(
        EnvError,
        match=rf"its {kind} raised RuntimeError: no contact \(test_faults.py, line \d+\); what was learned is saved",
    ):
        train(**{f"broken_{kind}": lambda count: count > after})
    saved = checkpoint.steps(tmp_path / "checkpoints")[-1]
    assert saved == (34 if kind == "step" else 29)
    with pytest.warns(UserWarning, match="new episodes begin here"):
        train(broken_step=lambda count: count == 3)  # one more does not end it
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == 60


class CannotClose(Fragile):
    """Has nothing to close any more."""

    def close(self):
        raise AttributeError("'NoneType' object has no attribute 'free'")


def test_a_close_that_fails_neither_ends_nor_spoils_a_run(train, tmp_path):
    gymnasium.register("test/Fragile-v0", entry_point=CannotClose, max_episode_steps=LIMIT)
    with pytest.warns(UserWarning, match="its close raised AttributeError"):
        train()
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == 60 and returns(tmp_path) == [LIMIT] * 3


def test_an_environment_that_ends_the_process_ends_its_episode_alone(train):
    def end(count):
        if count == FIRST + 15:
            raise SystemExit(0)

    with pytest.warns(UserWarning, match=r"seed 0: an episode of training is cut, since .* raised SystemExit: 0"):
        folder = train(broken_step=end)
    assert checkpoint.steps(folder / "checkpoints")[-1] == 60
    assert read_rows(folder, "train")[-1]["train/refused_rows"] == [1]


def test_a_save_in_the_middle_of_a_step_is_resumed_with_new_episodes():
    """Environments before the broken one have stepped, and the broken one may hold anything."""
    streams = Streams.start(partial(GymEnv, "pbrl/ToyPendulum-v0"), (0, 1))
    streams.step(np.ones((2, 1)))
    saved = streams.snapshot()
    assert streams.restore(saved) and streams.episodes.tolist() == [1, 1]
    saved["faults"][1] = MAX_FAULTS
    assert not streams.restore(saved)
    assert streams.episodes.tolist() == [2, 2] and not streams.faults.any() and not streams.returns.any()
    streams.close()


def test_an_action_that_is_not_finite_is_no_broken_episode():
    evaluator = Evaluator(lambda: GymEnv("pbrl/ToyPendulum-v0"), (0,), 1)
    with pytest.raises(ActionError, match="the policy has diverged"):
        evaluator.run(lambda obs, extras: np.full((1, 1, 1), np.nan), 0)
    evaluator.close()


class Alone(Fragile):
    """There is one of it: another cannot be made while it is open."""

    alive, ends = 0, ()

    def __init__(self):
        if Alone.alive:
            raise RuntimeError("serial port is busy")
        Alone.alive += 1

    def close(self):
        Alone.alive -= 1


@pytest.fixture
def alone(monkeypatch):
    """Return a function that trains on an environment of which there is one."""
    monkeypatch.setitem(sys.modules, "pbrl.agents.counting", counting_agent)
    monkeypatch.setitem(pbrl.AGENTS, "counting", "counts")
    gymnasium.register("test/Alone-v0", entry_point=Alone, max_episode_steps=LIMIT)
    monkeypatch.setattr(Fragile, "broken_step", staticmethod(Fragile.never))
    monkeypatch.setattr(Fragile, "broken_reset", staticmethod(Fragile.never))

    def run(folder, **changes):
        schedule = replace(SCHEDULE, **changes)
        return Run("counting", "test/Alone-v0", (0,), counting_agent.Config(), schedule, folder, sinks=("jsonl",))

    yield run
    gymnasium.registry.pop("test/Alone-v0", None)
    assert Alone.alive == 0


def test_an_environment_that_exists_once_trains_without_evaluations(alone, tmp_path):
    Fragile.steps = 0
    host.train(alone(tmp_path, eval_every=0))
    assert Fragile.steps == SCHEDULE.total_steps and not read_rows(tmp_path, "eval")
    learner, _ = restore.learners(load(tmp_path))  # makes one as well, and closes it
    assert learner.replay.inserted.tolist() == [SCHEDULE.total_steps]
    with pytest.warns(UserWarning, match=r"one episode of each seed after the other, since .* port is busy"):
        scores = play.played(load(tmp_path), lambda obs, extras: np.zeros((1, 1, 1)), 60, 3).scores
    assert scores["eval/episodes"].tolist() == [3] and scores["eval/return"].tolist() == [LIMIT]


def test_an_environment_that_exists_once_says_how_to_evaluate_on_it(alone, tmp_path):
    with pytest.raises(EnvError, match=r"busy; evaluation needs one of its.* --schedule.eval-on-training-env=True or"):
        host.train(alone(tmp_path))
    assert not list(tmp_path.iterdir())


def test_training_evaluates_on_the_same_instance_and_never_trains_on_the_cut(alone, tmp_path):
    run = alone(tmp_path, eval_every=25, eval_on_training_env=True)
    host.train(run)
    rows = read_rows(tmp_path, "eval")
    assert [row["step"] for row in rows] == [0, 25, 50, 60] and returns(tmp_path) == [LIMIT] * 4
    assert [row["eval/episodes"] for row in rows] == [[2]] * 4
    learner, _ = restore.learners(load(tmp_path))
    stored = learner.replay
    assert (stored.rows.discount[0] == 1).all()
    # Steps 1 to 25, 26 to 50 and on: ten to an episode, the third of each cut short after five.
    lengths = np.bincount(np.unique(stored.episode[0], return_inverse=True)[1])
    assert lengths.tolist() == [10, 10, 5, 10, 10, 5, 10]
    scores = play.played(run, lambda obs, extras: np.zeros((1, 1, 1)), 60, 3).scores
    assert scores["eval/episodes"].tolist() == [3]


def test_a_resumed_run_evaluates_on_the_training_environment_alike(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pbrl.agents.counting", counting_agent)
    monkeypatch.setitem(pbrl.AGENTS, "counting", "counts")
    schedule = replace(SCHEDULE, eval_every=25, eval_on_training_env=True)

    def train(folder, steps):
        run = Run("counting", "Pendulum-v1", (0, 1), counting_agent.Config(), schedule, folder, sinks=("jsonl",))
        host.train(replace(run, schedule=replace(schedule, total_steps=steps)))
        return restore.learners(load(folder))[0].replay.rows

    straight = train(tmp_path / "straight", 60)
    train(tmp_path / "cut", 25)
    jax.tree.map(np.testing.assert_array_equal, train(tmp_path / "cut", 60), straight)
