"""A restored environment goes on to the bit, through ends of episodes and resets."""

from functools import partial

import gymnasium
import numpy as np
import pytest

from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import MAAC, POPLIN, TASKS
from pbrl.runs.seeding import TRAINING_STREAM, episode_seed
from pbrl.train.streams import UNSAVED, Streams

STANDARD = ("HalfCheetah-v5", "Hopper-v5", "Ant-v5", "Humanoid-v5", "InvertedPendulum-v5", "Reacher-v5", "Pendulum-v1")


def play(env, actions, seed):
    """Step on, resetting at ends with seeds derived from how many there were; every third reset goes unseeded."""
    seen, ends = [], 0
    for action in actions:
        step = env.step(action)
        seen.append([*step.next_obs, step.reward, step.terminated, step.truncated])
        if step.terminated or step.truncated:
            ends += 1
            seen.append([*env.reset(None if ends % 3 == 0 else seed + ends), 0, 0, 0])
    return np.array(seen)


@pytest.mark.parametrize("env_id", [*TASKS, *STANDARD])
def test_restoring_changes_no_bit(env_id):
    live, other = GymEnv(env_id), GymEnv(env_id)
    assert live.exact
    actions = np.random.default_rng(1).uniform(-1, 1, (450, live.spec.action_size))
    live.reset(seed=7)
    other.reset(seed=99)
    play(live, actions[:137], 10)
    saved = {name: x.copy() for name, x in live.snapshot().items()}
    straight = play(live, actions[137:], 500)
    play(other, actions[:33], 77)
    other.restore(saved)
    np.testing.assert_array_equal(play(other, actions[137:], 500), straight)


@pytest.mark.parametrize("env_id", [*POPLIN, *MAAC])
def test_restoring_changes_no_bit_at_the_time_limit(env_id):
    """These never terminate: the play above sees no end of theirs. Here the 11th step after restoring is the last."""
    live, other = GymEnv(env_id), GymEnv(env_id)
    saved = live.spec.episode_length - 11
    actions = np.random.default_rng(2).uniform(-1, 1, (saved + 31, live.spec.action_size))
    live.reset(seed=3)
    play(live, actions[:saved], 10)
    other.restore(live.snapshot())
    straight = play(live, actions[saved:], 0)
    assert straight[:, -1].nonzero()[0].tolist() == [10]
    np.testing.assert_array_equal(play(other, actions[saved:], 0), straight)


def test_a_snapshot_holds_the_swimmers_last_nose_velocity():
    """The next reward is paid for it, and no position or velocity of the simulator determines it."""
    live, other = GymEnv("pbrl/PoplinSwimmer-v0"), GymEnv("pbrl/PoplinSwimmer-v0")
    live.reset(seed=0)
    before = live.step(np.ones(2)).next_obs
    other.reset(seed=1)
    other.restore(live.snapshot())
    assert abs(before[8]) > 1e-3
    assert other.step(np.zeros(2)).reward == pytest.approx(before[8], rel=1e-6)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "pbrl/MageCartPole-v0"])
def test_shapes_do_not_depend_on_the_moment(env_id):
    env = GymEnv(env_id)
    env.reset(seed=0)
    before = {name: (x.shape, x.dtype) for name, x in env.snapshot().items()}
    play(env, np.zeros((100, env.spec.action_size)), 0)
    assert {name: (x.shape, x.dtype) for name, x in env.snapshot().items()} == before


class Counter(gymnasium.Env):
    """An environment of one's own, with hidden state."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.total = 0.0
        return np.array([0.0]), {}

    def step(self, action):
        self.total += float(action[0]) + self.np_random.normal()
        return np.array([self.total]), self.total, False, False, {}


class CounterThatSaves(Counter):
    def snapshot(self):
        return {"total": np.array(self.total)}

    def restore(self, state):
        self.total = float(state["total"])


def test_wrappers_with_state_are_not_exact():
    def wrapped():
        return gymnasium.wrappers.NormalizeObservation(gymnasium.make("Pendulum-v1"))

    gymnasium.register("test/Wrapped-v0", entry_point=wrapped, max_episode_steps=50)
    try:
        assert not GymEnv("test/Wrapped-v0").exact
    finally:
        gymnasium.registry.pop("test/Wrapped-v0")


@pytest.mark.parametrize(("cls", "exact"), [(Counter, False), (CounterThatSaves, True)])
def test_ones_own_environment_takes_part_by_two_methods(cls, exact):
    gymnasium.register("test/Counter-v0", entry_point=cls, max_episode_steps=50)
    try:
        live, other = GymEnv("test/Counter-v0"), GymEnv("test/Counter-v0")
        assert live.exact == exact
        live.reset(seed=1)
        play(live, np.ones((20, 1)), 0)
        if exact:
            other.reset(seed=5)
            other.restore(live.snapshot())
            np.testing.assert_array_equal(play(live, np.ones((60, 1)), 3), play(other, np.ones((60, 1)), 3))
        else:
            assert live.snapshot() == {}
    finally:
        gymnasium.registry.pop("test/Counter-v0")


class Varies(CounterThatSaves):
    """Saves a trail that grows."""

    def snapshot(self):
        return {**super().snapshot(), "trail": np.zeros(self.steps)}

    def reset(self, **kwargs):
        self.steps = 0
        return super().reset(**kwargs)

    def step(self, action):
        self.steps += 1
        return super().step(action)


class Picture(Counter):
    """Has methods of those names that mean something else."""

    def snapshot(self):
        return b"a picture"

    def restore(self, path=None):
        pass


class Forgets(CounterThatSaves):
    """Does not go back."""

    def restore(self, state):
        pass


class Objects(CounterThatSaves):
    """Saves what is no number."""

    def snapshot(self):
        return {"total": np.array(self.total), "name": np.array(["a"])}


class Ends(CounterThatSaves):
    """Ends the process."""

    def snapshot(self):
        raise SystemExit(0)


class Philox(CounterThatSaves):
    """Draws from another generator."""

    def reset(self, *, seed=None, options=None):
        self._np_random = np.random.Generator(np.random.Philox(seed))
        self.total = 0.0
        return np.array([0.0]), {}


class Late(CounterThatSaves):
    """Saves in another form, or not at all, from its tenth step on."""

    form, calls = "good", 0

    def snapshot(self):
        saved = super().snapshot()
        if Late.form == "raises":
            raise RuntimeError("the simulator is gone")
        return {**saved, "more": np.zeros(3)} if Late.form == "grows" else saved


@pytest.fixture
def registered():
    """Return a function that gives a class an id for one test."""

    def register(cls):
        gymnasium.register("test/Counter-v0", entry_point=cls, max_episode_steps=50)
        return "test/Counter-v0"

    yield register
    gymnasium.registry.pop("test/Counter-v0", None)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Varies, r"changes its form from step to step \(own/trail\)"),
        (Picture, "it returned a bytes, expected a dict"),
        (Forgets, "does not go on from there with the same numbers"),
        (Objects, "name is of type <U1, expected numbers"),
        (Ends, "SystemExit: 0"),
        (Philox, "random numbers come from Philox"),
    ],
)
def test_what_cannot_be_saved_is_said_at_the_start_and_all_else_is_saved(registered, cls, reason):
    with pytest.warns(UserWarning, match=f"{reason}.*resuming will begin new episodes"):
        streams = Streams.start(partial(GymEnv, registered(cls)), (0, 1))
    streams.step(np.ones((2, 1)))
    saved = streams.snapshot()
    assert saved["envs"] == {} and saved["returns"].shape == (2,)
    assert not streams.restore(saved) and streams.episodes.tolist() == [2, 2]
    streams.close()


def test_what_can_be_saved_is_not_disturbed_by_the_rehearsal(registered):
    streams = Streams.start(partial(GymEnv, registered(CounterThatSaves)), (0,))
    plain = GymEnv("test/Counter-v0")
    plain.reset(episode_seed(0, 0, 0, TRAINING_STREAM))
    for _ in range(5):
        batch, _ = streams.step(np.ones((1, 1)))
        assert batch.reward[0, 0] == np.float32(plain.step(np.ones(1)).reward)
    streams.close()


@pytest.mark.parametrize(
    ("form", "reason"), [("raises", "its snapshot raised RuntimeError: the simulator"), ("grows", "changed its form")]
)
def test_a_snapshot_that_fails_later_costs_its_episode_and_not_the_save(registered, monkeypatch, form, reason):
    streams = Streams.start(partial(GymEnv, registered(Late)), (0, 1))
    streams.step(np.ones((2, 1)))
    good = streams.snapshot()
    monkeypatch.setattr(Late, "form", form)
    with pytest.warns(UserWarning, match=f"{reason}.*resuming will begin a new episode"):
        bad = streams.snapshot()
    assert {k: x.shape for k, x in bad["envs"].items()} == {k: x.shape for k, x in good["envs"].items()}
    assert bad["faults"].tolist() == [UNSAVED, UNSAVED]
    assert not streams.restore(bad) and streams.episodes.tolist() == [2, 2] and not streams.faults.any()
    assert streams.restore(good) and streams.episodes.tolist() == [1, 1]
    streams.close()
