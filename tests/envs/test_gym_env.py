"""Which Gymnasium environments are taken, and what becomes of their numbers."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError

VECTOR, UNIT = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))


class Fake(gymnasium.Env):
    """Ends after five steps; remembers the last action."""

    def __init__(self, observation_space=VECTOR, action_space=UNIT, fault=None):
        self.observation_space, self.action_space, self.fault, self.t = observation_space, action_space, fault, 0

    def _obs(self):
        obs = np.full(self.observation_space.shape, self.t, self.observation_space.dtype)
        if self.fault == "obs" and self.t == 3:
            obs[1] = np.nan
        return obs

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._obs(), {}

    def step(self, action):
        self.t, self.action = self.t + 1, action
        if self.fault == "crash":
            1 / 0  # noqa: B018
        reward = np.nan if self.fault == "reward" and self.t == 3 else 1.0
        return self._obs(), reward, self.t == 5, False, {}


@pytest.fixture
def make():
    """Register a fake environment for one test and make it."""

    def make(limit=None, **kwargs):
        gymnasium.register("test/Fake-v0", entry_point=lambda **kw: Fake(**kwargs), max_episode_steps=limit)
        return GymEnv("test/Fake-v0")

    yield make
    gymnasium.registry.pop("test/Fake-v0", None)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-0.4, 0.4), (0, 1), (-3, 1), ([-1, -2], [0.5, 2]), (-1e-3, 1e-3)])
def test_actions_are_rescaled_to_any_bounds(make, low, high):
    low, high = (np.broadcast_to(np.asarray(x, np.float32), (2,)) for x in (low, high))
    env = make(action_space=Box(low, high))
    env.reset(seed=0)
    for action, expected in ((-1.0, low), (1.0, high), (0.0, (low + high) / 2)):
        env.step(np.full(2, action))
        np.testing.assert_allclose(env._env.unwrapped.action, expected, rtol=1e-6, atol=1e-9)
        assert env._env.unwrapped.action.dtype == np.float32


def test_actions_out_of_range_are_refused_not_clipped(make):
    env = make()
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"expected an action in \[-1, 1\], which pbrl rescales, got \[0. 7.\]"):
        env.step(np.array([0.0, 7.0]))


def test_whatever_an_environment_raises_becomes_an_env_error(make):
    env = make(fault="crash")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="test/Fake-v0: its step raised ZeroDivisionError"):
        env.step(np.zeros(2))


def test_what_is_known_of_an_id_does_not_hold_for_other_settings():
    assert GymEnv("Pendulum-v1", g=5.0).spec.reward_fn is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.uint8])
def test_observations_become_float32(make, dtype):
    env = make(observation_space=Box(0, 100, (3,), dtype))
    assert env.reset(seed=0).dtype == np.float32
    assert env.step(np.zeros(2)).next_obs.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"observation_space": Dict({"a": VECTOR, "b": Sequence(VECTOR)})}, "parts of which have no fixed size"),
        ({"observation_space": Tuple((VECTOR, Graph(VECTOR, None)))}, "parts of which have no fixed size"),
        ({"observation_space": Discrete(4)}, "observes a Discrete; pbrl takes vectors"),
        ({"observation_space": MultiBinary(4)}, "observes a MultiBinary"),
        ({"observation_space": Text(4)}, "observes a Text"),
        ({"observation_space": Box(0, 255, (8, 8, 3), np.uint8)}, r"shape \(8, 8, 3\); pbrl takes non-empty vectors"),
        ({"observation_space": Box(0, 1, ())}, r"shape \(\)"),
        ({"observation_space": Box(0, 1, (0,))}, r"shape \(0,\)"),
        ({"action_space": Discrete(4)}, "acts by Discrete; value gradients need continuous actions"),
        ({"action_space": MultiDiscrete([2, 3])}, "acts by MultiDiscrete"),
        ({"action_space": Box(0, 5, (2,), np.int32)}, "takes a Box of floats with low < high"),
        ({"action_space": Box(np.array([0, 1], np.float32), np.array([1, 1], np.float32))}, "low < high"),
        ({"action_space": MultiBinary(3)}, "acts by MultiBinary"),
        ({"action_space": Dict({"a": UNIT})}, "acts by Dict"),
        ({"action_space": Box(-1, 1, (2, 2))}, r"acts by arrays of shape \(2, 2\)"),
        ({"action_space": Box(-1, 1, (0,))}, r"acts by arrays of shape \(0,\)"),
        ({"action_space": Box(-np.inf, np.inf, (2,))}, "actions without bounds; give it some"),
        ({"action_space": Box(0, np.inf, (2,))}, "actions without bounds"),
    ],
)
def test_other_spaces_are_refused_in_one_sentence(make, spaces, message):
    with pytest.raises(EnvError, match=message) as error:
        make(**spaces)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("HalfCheeta-v5", "did you mean 'HalfCheetah-v5'"),
        ("pbrl/MageHoper-v0", "did you mean 'pbrl/MageHopper-v0'"),
        ("Qqqqqq-v9", "`pbrl list` names those that work"),
        ("CartPole-v1", "acts by Discrete"),
        ("HalfCheetah-v2", "cannot be made.*MuJoCo tasks are at -v5 today"),
    ],
)
def test_ids_that_do_not_work_say_what_to_do(env_id, message):
    with pytest.raises(EnvError, match=message) as error:
        GymEnv(env_id)
    assert "\n" not in str(error.value)


def test_the_final_observation_is_the_episodes_own(make):
    env = make()
    env.reset(seed=0)
    steps = [env.step(np.zeros(2)) for _ in range(5)]
    assert [s.terminated for s in steps] == [False] * 4 + [True]
    assert not any(s.truncated for s in steps)
    assert steps[-1].next_obs.tolist() == [5, 5, 5]


def test_time_limits_are_no_terminations(make):
    env = make(limit=3)
    env.reset(seed=0)
    steps = [env.step(np.zeros(2)) for _ in range(3)]
    assert steps[-1][2:] == (False, True)
    assert env.spec.episode_length == 3


def test_an_environment_without_limit_gets_one(make):
    assert make().spec.episode_length == 1000


@pytest.mark.parametrize(("fault", "message"), [("obs", "observation is nan at index 1"), ("reward", "reward is nan")])
def test_numbers_that_are_not_finite_are_named(make, fault, message):
    env = make(fault=fault)
    env.reset(seed=0)
    env.step(np.zeros(2))
    env.step(np.zeros(2))
    with pytest.raises(EnvError, match=f"test/Fake-v0: the {message}"):
        env.step(np.zeros(2))


def test_nan_actions_never_reach_mujoco():
    env = GymEnv("InvertedPendulum-v5")
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"action .* is not finite"):
        env.step(np.array([np.nan]))


def test_what_is_known_of_an_environment_is_in_its_spec():
    known, unknown = GymEnv("Pendulum-v1").spec, GymEnv("Hopper-v5").spec
    assert known.reward_fn is not None and known.termination_fn is not None
    assert unknown.reward_fn is None and unknown.termination_fn is None
    assert (unknown.obs_size, unknown.action_size, unknown.episode_length) == (11, 3, 1000)
