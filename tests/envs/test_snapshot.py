"""A restored environment goes on to the bit, through ends of episodes and resets."""

import gymnasium
import numpy as np
import pytest

from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import MAAC, POPLIN, TASKS

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
