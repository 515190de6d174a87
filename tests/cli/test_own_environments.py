"""Environments of a user's own on the command line: how they are named, and what is said where their code fails."""

import importlib
import shlex
import sys
import textwrap
from functools import partial

import gymnasium
import pytest

from pbrl.cli import main, options, repeat

SMALL = (
    *("--steps=20", "--schedule.warmup-steps=10", "--schedule.batch-size=8", "--schedule.updates-per-step=1"),
    *("--schedule.eval-every=20", "--schedule.eval-episodes=1", "--schedule.log-every=20", "--sinks=jsonl"),
    *("--schedule.model-every=0", "--config.actor-hidden=8", "--config.critic-hidden=8,8"),
)
RAIL = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box


class Rail(gymnasium.Env):
    observation_space, action_space = Box(-9, 9, (1,)), Box(-1, 1, (1,))

    def __init__(self, fails="", render_mode=None):
        self.fails = fails
        if fails == "constructor":
            self._wrong()

    def _wrong(self):
        return {}["no such key"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if self.fails == "step":
            self._wrong()
        return np.zeros(1, np.float32), 0.0, False, False, {}


gymnasium.register("Rail-v0", Rail, max_episode_steps=5)
"""


def call(*argv):
    """Carry out a command line in this process; return its exit code."""
    try:
        return main.guarded(partial(main.run, argv))
    except SystemExit as error:
        return error.code


@pytest.fixture
def module(monkeypatch, tmp_path):
    """Write a module of a name of its own, which can be imported."""

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "unused"))
    return write


def test_arguments_and_wrappers_are_read_and_written_again():
    words = ["--env-kwargs", "g=5.0", "healthy_z_range=(0.2, 1)", "xml=a.xml", "--wrap", "frame-skip=2", "m:f=-1,2"]
    run = options.parse(["sac", "--env", "Pendulum-v1", *words])
    assert run.env_kwargs == {"g": 5.0, "healthy_z_range": (0.2, 1), "xml": "a.xml"}
    assert run.wrap == ("frame-skip=2", "m:f=-1,2")
    again = options.parse(shlex.split(repeat.command_line(run))[2:])
    assert again.identity() == run.identity() and again.folder == run.folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--env-kwargs", "g"), "--env-kwargs g: expected NAME=VALUE"),
        (("--env-kwargs", "g=1", "g=2"), "g comes twice"),
        (("--env-kwargs", "g={1}"), "--env-kwargs g: expected a finite number, text"),
        (("--env-kwargs", "render_mode=human"), "'render_mode' can be no argument here"),
        (("--wrap", "skip=2"), "there is no 'skip'"),
        (("--driver=device", "--wrap", "flatten"), "take neither arguments nor wrappers"),
    ],
)
def test_words_that_cannot_be_are_refused(words, message, capsys):
    assert call("train", "sac", "--env", "Pendulum-v1", *words) == 2
    assert message in capsys.readouterr().err


def test_an_argument_that_the_constructor_does_not_take_is_named(capsys, module, tmp_path):
    assert call("train", "td3", "--env", "Pendulum-v1", "--env-kwargs", "gravity=5", *SMALL) == 2
    said = capsys.readouterr().err
    assert "unexpected keyword argument 'gravity'" in said and len(said.splitlines()) == 1


@pytest.mark.parametrize("fails", ["constructor", "step"])
@pytest.mark.filterwarnings("ignore:.*an episode")
def test_a_bug_shows_its_traceback_below_the_sentence(fails, capsys, module, tmp_path):
    name = module(f"rail_{fails}", RAIL)
    assert call("train", "td3", "--env", f"{name}:Rail-v0", "--env-kwargs", f"fails={fails}", *SMALL) == 2
    first, *traceback = capsys.readouterr().err.strip().splitlines()
    assert first.startswith("pbrl: ") and "no such key" in first
    assert traceback[0] == "Traceback (most recent call last):" and traceback[-1] == "KeyError: 'no such key'"
    files = [line for line in traceback if line.startswith("  File")]
    assert len(files) == 2 and all(f"{name}.py" in line for line in files)  # neither pbrl's nor Gymnasium's
    assert any("in _wrong" in line for line in files)


@pytest.mark.filterwarnings("always:.*an episode")
def test_an_episode_that_is_cut_shows_why(module):
    from pbrl.envs.gym import GymEnv
    from pbrl.train.evaluate import Evaluator

    name = module("rail_cut", RAIL)
    evaluator = Evaluator(partial(GymEnv, f"{name}:Rail-v0", fails="step"), (0,), 1)
    with pytest.warns(
        UserWarning, match=r"an episode is left out, since (.|\n)*in _wrong(.|\n)*KeyError: 'no such key'"
    ):
        evaluator.run(lambda obs, extras: [[[0.0]]], 0)


@pytest.mark.parametrize(
    ("env", "source", "message", "shown"),
    [
        ("no_such_module:X-v0", "", "there is no module 'no_such_module'; install it, or name the folder", ""),
        ("asks:X-v0", "import no_such_package", "asks imports 'no_such_package', which is not installed", "asks.py"),
        (
            "wrong:X-v0",
            "1 / 0",
            "importing wrong raised ZeroDivisionError: division by zero (wrong.py, line 1)",
            "1 / 0",
        ),
        ("typo:X-v0", "x = = 1", "importing typo raised SyntaxError", "x = = 1"),
        ("empty:Rail-v7", "", "empty registers no environment 'Rail-v7'", ""),
    ],
)
def test_an_import_error_is_shown_as_what_it_is(env, source, message, shown, capsys, module):
    if not env.startswith("no_such"):
        module(env.partition(":")[0], source)
    assert call("train", "td3", "--env", env, *SMALL) == 2
    said = capsys.readouterr().err
    assert message in said.splitlines()[0]
    assert shown in said and ("  File" in said) == bool(shown)


def test_a_bare_id_is_looked_for_in_a_module_of_its_name(capsys, module):
    module("rail_car", RAIL.replace("Rail-v0", "RailCar-v0"))
    assert call("train", "td3", "--env", "RailCar-v0", *SMALL) == 2
    assert "if the module rail_car registers it, write rail_car:RailCar-v0" in capsys.readouterr().err
    assert call("train", "td3", "--env", "FetchReach-v4", *SMALL) == 2
    assert "write gymnasium_robotics:FetchReach-v4" in capsys.readouterr().err
    assert call("train", "td3", "--env", "Random-v0", *SMALL) == 2  # Python has a module of that name
    assert "write" not in capsys.readouterr().err


def test_a_run_on_an_id_that_a_program_registered_says_what_to_pass(capsys, module, tmp_path):
    name = module("bogie", RAIL.replace("Rail-v0", "Bogie-v0"))
    importlib.import_module(name)
    folder = str(tmp_path / "run")
    assert call("train", "td3", "--env", "Bogie-v0", *SMALL, "--out", folder) == 0
    del gymnasium.registry["Bogie-v0"], sys.modules[name]  # as in another process
    capsys.readouterr()
    assert call("eval", folder, "--episodes=1") == 2
    said = capsys.readouterr().err
    assert "was trained on Bogie-v0, which a program registered" in said
    assert "add PYTHONPATH=. in front and --trust-env bogie" in said and len(said.splitlines()) == 1
    assert call("eval", folder, "--episodes=1", "--trust-env", "bogie") == 0
