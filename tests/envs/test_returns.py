"""What an environment's code returns or raises, right or wrong: each wrong thing is one sentence, and no traceback."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from pbrl.envs.gym import GymEnv
from pbrl.errors import EndedAtOnce, EnvError


class Fake(gymnasium.Env):
    """Counts."""

    observation_space, action_space = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3), {}

    def step(self, action):
        return np.ones(3), 1.0, False, False, {}


class Returns(Fake):
    """Returns what a test likes in place of one of its five values, or raises it."""

    def __init__(self, where, value):
        super().__init__()
        self.where, self.value = where, value

    def step(self, action):
        if self.where == "raise":
            raise self.value
        if self.where == "all":
            return self.value
        result = dict(zip(NAMES, super().step(action), strict=True))
        return tuple((result | {self.where: self.value}).values())


class Odd:
    """Cannot be converted."""

    def __array__(self, *args, **kwargs):
        raise SystemExit(0)


NAMES = ("obs", "reward", "terminated", "truncated", "info")
GOOD = np.ones(3)


@pytest.fixture
def returning():
    """Return a function that makes an environment whose step returns one thing of a test's own, and resets it."""

    def make(where, value):
        gymnasium.register("test/Returns-v0", entry_point=lambda: Returns(where, value))
        env = GymEnv("test/Returns-v0")
        env.reset(seed=0)
        return env

    yield make
    gymnasium.registry.pop("test/Returns-v0", None)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("reward", None, "the reward is None, expected a number"),
        ("reward", "1.0", "the reward is '1.0', expected a number"),
        ("reward", b"1", "the reward is b'1', expected a number"),
        ("reward", 1j, "the reward is 1j, expected a number"),
        ("reward", {"r": 1.0}, "the reward is {'r': 1.0}, expected a number"),
        ("reward", np.ones(2), r"the reward has shape \(2,\), expected a number"),
        ("reward", [], r"the reward has shape \(0,\), expected a number"),
        ("reward", [[1.0], [1.0, 2.0]], "its conversion of the reward raised ValueError"),
        ("reward", Odd(), "its conversion of the reward raised SystemExit: 0"),
        ("reward", np.array([np.nan]), "the reward is nan"),
        ("reward", np.float16(np.inf), "the reward is inf"),
        ("reward", 1e39, "the reward is 1e.39"),
        ("reward", -1e300, "the reward is -1e.300"),
        ("reward", 10**400, "the reward is 1000"),
        ("terminated", None, "terminated is None, expected True or False"),
        ("terminated", "False", "terminated is 'False', expected True or False"),
        ("truncated", np.array([True, False]), r"truncated is array\(\[ True, False\]\), expected True or False"),
        ("terminated", 0.5, "terminated is 0.5, expected True or False"),
        ("terminated", np.nan, "terminated is nan, expected True or False"),
        ("obs", None, "the observation is None, expected a vector of numbers"),
        ("obs", "abc", "the observation is 'abc', expected a vector of numbers"),
        ("obs", {"x": GOOD}, "the observation is {'x': array"),
        ("obs", [1.0, None, 2.0], r"the observation is \[1.0, None, 2.0\], expected a vector of numbers"),
        ("obs", ["1", "2", "3"], ".*expected a vector of numbers"),
        ("obs", GOOD * 1j, ".*expected a vector of numbers"),
        ("obs", GOOD[:2], r"the observation has shape \(2,\), its space promised \(3,\)"),
        ("obs", GOOD[None], r"the observation has shape \(1, 3\)"),
        ("obs", 1.0, r"the observation has shape \(\)"),
        ("obs", [1.0, [2.0], 3.0], "its conversion of the observation raised ValueError"),
        ("obs", GOOD * 1e39, "the observation is 1e.39 at index 0"),
        ("all", None, "its step raised TypeError"),
        ("all", (GOOD, 1.0, False, {}), "its step raised ValueError: not enough values to unpack"),
        ("raise", SystemExit(0), "its step raised SystemExit: 0"),
        ("raise", SystemExit("window closed"), "its step raised SystemExit: window closed"),
        ("raise", GeneratorExit(), "its step raised GeneratorExit"),
        ("raise", MemoryError(), "its step raised MemoryError"),
        (
            "raise",
            RuntimeError("two\nlines"),
            "its step raised RuntimeError: two lines .test_returns.py, line [0-9]+.$",
        ),
    ],
)
def test_what_a_step_gives_that_is_no_step_is_an_env_error(returning, where, value, message):
    with pytest.raises(EnvError, match=f"^test/Returns-v0: {message}") as raised:
        returning(where, value).step(np.zeros(2))
    assert "\n" not in str(raised.value)
    if where == "raise":
        assert raised.value.__cause__ is value  # with its traceback


@pytest.mark.parametrize(
    ("where", "value", "seen"),
    [
        ("reward", np.array([0.5], np.float32), 0.5),
        ("reward", np.array(0.5), 0.5),
        ("reward", [[0.5]], 0.5),
        ("reward", 2, 2.0),
        ("reward", True, 1.0),
        ("terminated", np.array([True]), True),
        ("terminated", np.bool_(False), False),
        ("truncated", 1, True),
        ("truncated", np.array([[0]]), False),
        ("obs", [1, 2, 3], [1.0, 2.0, 3.0]),
        ("obs", (1, True, 0.5), [1.0, 1.0, 0.5]),
        ("obs", GOOD.astype(np.float16), [1.0, 1.0, 1.0]),
    ],
)
def test_arrays_of_one_element_and_numbers_of_any_kind_pass(returning, where, value, seen):
    step = returning(where, value).step(np.zeros(2))
    got = getattr(step, {"obs": "next_obs"}.get(where, where))
    assert np.array_equal(got, seen) and type(got) in (np.ndarray, float, bool)


def test_ctrl_c_within_a_step_passes(returning):
    with pytest.raises(KeyboardInterrupt):
        returning("raise", KeyboardInterrupt()).step(np.zeros(2))
    with pytest.raises(EndedAtOnce):
        returning("raise", EndedAtOnce(143)).step(np.zeros(2))


class Failing(Fake):
    """Fails where a step does not."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": None}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, how, **_):
        super().__init__()
        self.how = how

    def reset(self, *, seed=None, options=None):
        if self.how == "reset":
            raise SystemExit(0)
        result = super().reset(seed=seed)
        return result[0] if self.how == "old reset" else result

    def render(self):
        if self.how == "render":
            raise SystemExit(0)

    def close(self):
        if self.how == "close":
            raise SystemExit(0)


@pytest.fixture
def failing():
    """Return a function that makes an environment that fails elsewhere."""

    def make(how):
        gymnasium.register("test/Failing-v0", entry_point=lambda **_: Failing(how))
        return GymEnv("test/Failing-v0")

    yield make
    gymnasium.registry.pop("test/Failing-v0", None)


def test_failures_of_reset_and_render_are_env_errors(failing):
    with pytest.raises(EnvError, match="test/Failing-v0: its reset raised SystemExit: 0"):
        failing("reset").reset(seed=0)
    with pytest.raises(EnvError, match=r"its reset returned array.*, expected \(observation, info\)"):
        failing("old reset").reset(seed=0)
    env = failing("render")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="its render raised SystemExit: 0"):
        env.render()
    env = failing("no picture")
    env.reset(seed=0)
    with pytest.raises(EnvError, match="its picture is None, expected an array"):
        env.render()
    assert env.frames_per_second == 30


def test_a_close_that_fails_is_a_warning(failing):
    with pytest.warns(UserWarning, match=r"its close raised SystemExit: 0 .*; nothing of the run is lost"):
        failing("close").close()


def test_a_constructor_that_ends_the_process_is_an_env_error():
    def entry_point():
        raise SystemExit(0)

    gymnasium.register("test/Ends-v0", entry_point=entry_point)
    with pytest.raises(EnvError, match="test/Ends-v0 cannot be made: 0"):
        GymEnv("test/Ends-v0")
    gymnasium.registry.pop("test/Ends-v0")
