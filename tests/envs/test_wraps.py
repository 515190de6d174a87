"""Arguments and wrappers by words, observations of several parts, and environments that functions make."""

import json
import sys
import types
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from small_agents import config

from pbrl.envs import factory
from pbrl.envs.gym import GymEnv
from pbrl.envs.snapshot import form
from pbrl.envs.tasks.rewards import KNOWN, never
from pbrl.errors import EnvError, RunError
from pbrl.runs import record
from pbrl.runs.folder import default_folder, load
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.train.streams import Streams
from pbrl.trained import play, restore


class Counter(gymnasium.Env):
    """Observes the steps taken and pays their number; the space of observations may have parts."""

    action_space = Box(-1, 1, (1,))

    def __init__(self, observation_space=None, stop=1_000):
        self.observation_space, self.stop, self.t = observation_space or Box(0, 10, (2,)), stop, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        self.t += 1
        return self._obs(), float(self.t), self.t == self.stop, False, {}

    def _obs(self):
        numbers = np.full(2, self.t, np.float32)
        if isinstance(self.observation_space, Dict):
            return {"where": numbers, "kind": 1}
        return (numbers, numbers) if isinstance(self.observation_space, Tuple) else numbers


def steps(env, count):
    env.reset(seed=0)
    return [env.step(np.zeros(1)) for _ in range(count)]


def test_frame_skip_adds_rewards_up_and_stops_at_an_end():
    env = GymEnv(partial(Counter, stop=5), wrap=["frame-skip=3"])
    first, second = steps(env, 2)
    assert (first.reward, first.next_obs[0], first.terminated) == (6.0, 3.0, False)
    assert (second.reward, second.next_obs[0], second.terminated) == (9.0, 5.0, True)


@pytest.mark.parametrize(
    ("words", "length"),
    [
        ((), 200),
        (("time-limit=30",), 30),
        (("time-limit=500",), 500),
        (("frame-skip=3",), 67),
        (("frame-skip=3", "time-limit=30"), 30),
        (("time-limit=30", "frame-skip=4"), 8),
    ],
)
def test_episodes_are_as_long_as_the_words_say(words, length):
    env = GymEnv("Pendulum-v1", wrap=words)
    assert env.spec.episode_length == length
    assert [step.truncated for step in steps(env, length)] == [False] * (length - 1) + [True]


def test_what_is_known_holds_only_where_nothing_but_length_changes():
    assert GymEnv("Pendulum-v1", wrap=["flatten", "time-limit=30"]).spec.reward_fn is not None
    assert GymEnv("Pendulum-v1", wrap=["frame-skip=2"]).spec.reward_fn is None


def test_observations_are_rescaled_between_their_bounds():
    env = GymEnv("MountainCarContinuous-v0", wrap=["rescale=0,2"])
    first, space = env.reset(seed=0), gymnasium.make("MountainCarContinuous-v0").observation_space
    expected = 2 * (gymnasium.make("MountainCarContinuous-v0").reset(seed=0)[0] - space.low) / (space.high - space.low)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    with pytest.raises(EnvError, match="--wrap rescale: expected a Box of observations with finite bounds"):
        GymEnv("InvertedPendulum-v5", wrap=["rescale"])


def test_a_wrapped_environment_is_restored_to_the_bit():
    live = GymEnv("Pendulum-v1", wrap=["frame-skip=3", "time-limit=10"])
    steps(live, 4)
    saved = live.snapshot()
    expected = [live.step(np.full(1, 0.5)) for _ in range(6)]
    other = GymEnv("Pendulum-v1", wrap=["frame-skip=3", "time-limit=10"])
    other.restore(saved)
    again = [other.step(np.full(1, 0.5)) for _ in range(6)]
    assert live.exact and form(saved) == form(other.snapshot()) and again[-1].truncated
    np.testing.assert_array_equal([a.next_obs for a in again], [e.next_obs for e in expected])


@pytest.mark.parametrize(
    ("space", "size", "said"),
    [
        (Dict({"where": Box(0, 10, (2,)), "kind": Discrete(3)}), 5, r"a Dict \(where, kind\)|a Dict \(kind, where\)"),
        (Tuple((Box(0, 10, (2,)), Box(0, 10, (2,)))), 4, r"a Tuple \(2 parts\)"),
    ],
)
def test_observations_of_several_parts_become_one_vector(space, size, said):
    with pytest.warns(UserWarning, match=f"Counter.* observes ({said}); agents see it as one vector of {size} numbers"):
        env = GymEnv(partial(Counter, space))
    step = steps(env, 2)[-1]
    assert env.spec.obs_size == step.next_obs.size == size and step.next_obs.sum() in (2 * 2 + 1, 4 * 2)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("frameskip=2", "there is no 'frameskip'; did you mean 'frame-skip'"),
        ("a b:c", "expected MODULE:function"),
        ("module:", "expected MODULE:function"),
    ],
)
def test_words_that_are_none_are_refused_before_anything_is_made(word, message, tmp_path):
    run = Run("td3", "Pendulum-v1", (0,), config("td3"), Schedule(model_every=0), tmp_path, wrap=(word,))
    with pytest.raises(RunError, match=message):
        run.validate()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("frame-skip=0", "--wrap frame-skip=0: expected a number of steps, 1 or more, got 0"),
        ("own_wraps:none", "own_wraps has no function 'none'"),
        ("own_wraps:forgets", "returned a NoneType, expected a gymnasium.Env"),
        ("own_wraps:fails", r"raised ZeroDivisionError: .* \(test_wraps.py, line \d+\)"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
    ],
)
def test_wrappers_that_fail_say_why(word, message, own):
    with pytest.raises(EnvError, match=message):
        GymEnv("Pendulum-v1", wrap=[word])


@pytest.fixture
def own(monkeypatch):
    """A module with wrappers of a user's own."""
    module = types.ModuleType("own_wraps")
    module.forgets = lambda env: None
    module.fails = lambda env: 1 / 0
    module.scaled = lambda env, by: gymnasium.wrappers.TransformReward(env, lambda reward: by * reward)
    monkeypatch.setitem(sys.modules, "own_wraps", module)
    return module


def test_a_wrapper_of_ones_own_takes_its_arguments(own):
    plain, scaled = (steps(GymEnv("Pendulum-v1", wrap=words), 1)[0] for words in ((), ["own_wraps:scaled=3"]))
    np.testing.assert_allclose(scaled.reward, 3 * plain.reward)


def small(env, folder, **changes):
    schedule = Schedule(
        total_steps=20, warmup_steps=10, batch_size=8, updates_per_step=1, model_every=0, eval_every=10,
        eval_episodes=1, log_every=10,
    )  # fmt: skip
    return Run("td3", env, (0,), config("td3"), schedule, folder, sinks=("jsonl",), **changes)


def test_a_run_keeps_arguments_and_wrappers(tmp_path, own):
    run = small("Pendulum-v1", tmp_path / "run", env_kwargs={"g": 5.0}, wrap=("time-limit=8", "own_wraps:scaled=3"))
    assert run.task == "Pendulum-v1 (g=5.0, time-limit=8, own_wraps:scaled=3)"
    host.train(run)
    with pytest.raises(RunError, match=r"names the wrapper time-limit=8 own_wraps:scaled=3, .* --trust-env own_wraps"):
        load(run.folder)
    read = load(run.folder, trust=["own_wraps"])
    assert (read.env_kwargs, read.wrap, read.identity()) == (run.env_kwargs, run.wrap, run.identity())
    state, at = restore.agents(read)
    scores = play.played(read, play.policies(read, state), at, 2).scores
    assert scores["eval/length"] == 8 and read.make_env().gymnasium.unwrapped.g == 5.0
    assert default_folder(run) != default_folder(small("Pendulum-v1", tmp_path))
    with pytest.raises(RunError, match=r"differs in env_kwargs.g \(5.0 there, 6.0 here\)"):
        host.train(small("Pendulum-v1", run.folder, env_kwargs={"g": 6.0}, wrap=run.wrap))
    with pytest.raises(RunError, match=r"env_kwargs.g \(5.0 there, None here\); wrap \(\['time-limit=8'"):
        host.train(small("Pendulum-v1", run.folder))


def test_text_for_an_environment_needs_trust(tmp_path):
    run = small("Pendulum-v1", tmp_path, env_kwargs={"file": ("a", "b.xml")})
    (tmp_path / "config.json").write_text(json.dumps(run.to_json()))
    assert record.run_of(tmp_path).env_kwargs == {"file": ("a", "b.xml")}
    with pytest.raises(RunError, match=r"can name any file or program.* --trust-env Pendulum-v1"):
        load(tmp_path)
    assert load(tmp_path, trust=["Pendulum-v1"]).env_kwargs == run.env_kwargs


@pytest.mark.parametrize("kwargs", [{"render_mode": "human"}, {"not a name": 1}, {"g": object()}, {"g": float("inf")}])
def test_arguments_that_cannot_be_are_refused(kwargs, tmp_path):
    with pytest.raises(RunError, match="env_kwargs"):
        small("Pendulum-v1", tmp_path, env_kwargs=kwargs).validate()


def test_environments_in_jax_say_what_they_cannot(tmp_path):
    with pytest.raises(
        RunError, match="functions in JAX, which take neither arguments nor wrappers; train with --driv"
    ):
        small("pbrl/ToyPendulum-v0", tmp_path, driver="device", wrap=("frame-skip=2",)).validate()
    with pytest.raises(RunError, match="no oracle: a twin is of its id's own settings"):
        small("Pendulum-v1", tmp_path, oracle="fidelity", env_kwargs={"g": 5.0}).validate()


def test_an_environment_as_it_is_and_one_that_a_function_makes():
    pendulum = gymnasium.make("Pendulum-v1", g=2.0)
    assert GymEnv(pendulum).env_id == "Pendulum-v1" and GymEnv(pendulum).spec.reward_fn is None
    assert GymEnv(Counter()).env_id == "Counter" and GymEnv(Counter).env_id == f"{__name__}.Counter()"
    with pytest.raises(EnvError, match="is made already: give stop to its constructor"):
        GymEnv(Counter(), stop=3)
    with pytest.raises(EnvError, match="got 3"):
        GymEnv(3)
    with pytest.raises(EnvError, match=r"returned a int, expected a gymnasium.Env"):
        GymEnv(lambda: 3)
    one = Counter()
    with pytest.raises(EnvError, match="returned one environment twice; let it make a new one at every call"):
        Streams.start(partial(GymEnv, lambda: one), (0, 1))


def make_counter(stop=6):
    return Counter(stop=stop)


def test_a_run_on_an_environment_that_a_function_makes(tmp_path, monkeypatch):
    name = factory.name_of(make_counter)
    monkeypatch.setitem(KNOWN, name, (lambda obs, action, next_obs: next_obs[..., 0], never))
    run = small(make_counter, tmp_path / "run", env_kwargs={"stop": 4})
    assert run.env == name == f"{__name__}.make_counter()"
    host.train(run)
    with pytest.raises(RunError, match=r"only its name is stored.* load\(folder, env=FUNCTION\)"):
        load(run.folder)
    with pytest.raises(RunError, match=r"was trained on .*make_counter.*, not on .*Counter"):
        load(run.folder, env=Counter)
    read = load(run.folder, env=make_counter)
    state, at = restore.agents(read)
    assert play.played(read, play.policies(read, state), at, 1).scores["eval/length"] == 4
    assert host.train(small(make_counter, run.folder, env_kwargs={"stop": 4})).step == 20
    assert read.make_env().spec.reward_fn is None  # of other settings
    assert GymEnv(make_counter).spec.reward_fn is not None
