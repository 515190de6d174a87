"""MAAC's tasks against their definitions, worked out beside the environments' own code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import MAAC
from pbrl.envs.tasks.rewards import KNOWN

# id: where obs has the root's speed, what part of qpos is hidden, height [m] to keep, time of a step [s]
ORIGINAL = {
    "pbrl/MaacHalfCheetah-v0": (8, 1, None, 0.05),
    "pbrl/MaacAnt-v0": (13, 2, 0.57, 0.05),
    "pbrl/MaacHopper-v0": (5, 1, 1.3, 0.008),
    "pbrl/MaacWalker2d-v0": (8, 1, 1.3, 0.008),
}


def pay(state, action, speed, height):
    """The original's `step` on the rows of an observation, in float64."""
    upright = 0.0 if height is None else 1.0 - 3.0 * (state[0] - height) ** 2
    return state[speed] - 0.1 * np.square(action).sum() + upright


@pytest.mark.parametrize("env_id", MAAC)
def test_a_whole_episode_is_the_originals(env_id):
    """1001 steps, no end but the time limit; reward of the simulator's state before the step, velocities unclipped."""
    speed, hidden, height, duration = ORIGINAL[env_id]
    env, rng = GymEnv(env_id), np.random.default_rng(0)
    env.reset(seed=0)
    base = env._env.unwrapped
    assert base.model.opt.timestep * base.frame_skip == pytest.approx(duration)
    before = np.concatenate([base.data.qpos[hidden:], base.data.qvel])
    errors, late, lowest, fastest = [], [], 9.0, 0.0
    for t in range(1001):
        action = rng.uniform(-1, 1, env.spec.action_size).astype(np.float32)
        step = env.step(action)
        after = np.concatenate([base.data.qpos[hidden:], base.data.qvel])
        np.testing.assert_array_equal(step.next_obs, np.float32(after))
        errors.append(abs(step.reward - pay(before, action, speed, height)))
        late.append(abs(step.reward - pay(after, action, speed, height)))
        assert (step.terminated, step.truncated) == (False, t == 1000)
        lowest, fastest, before = min(lowest, after[0]), max(fastest, np.abs(after).max()), after
    assert max(errors) < 1e-6 and max(late) > 0.1  # of s, and not of s', which the original gives its agent in places
    if env_id in ("pbrl/MaacHopper-v0", "pbrl/MaacWalker2d-v0"):
        assert lowest < 0.7 and fastest > 10.0  # it has fallen, which ends Gymnasium's episodes, and was not clipped


@pytest.mark.parametrize("env_id", MAAC)
def test_an_episode_is_poplins_and_one_step_more(env_id):
    ours, theirs = GymEnv(env_id), GymEnv(env_id.replace("Maac", "Poplin"))
    actions = np.random.default_rng(1).uniform(-1, 1, (1001, ours.spec.action_size))
    np.testing.assert_array_equal(ours.reset(seed=5), theirs.reset(seed=5))
    for t, action in enumerate(actions[:1000]):
        a, b = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(a.next_obs, b.next_obs)
        assert a.reward == b.reward and not a.truncated and b.truncated == (t == 999)
    assert ours.step(actions[1000]).truncated


@pytest.mark.parametrize("env_id", MAAC)
def test_slopes_of_the_reward_by_hand(env_id, x64):
    """1 in the speed, -6 (z - height) in the height, -0.2 a in the action, nothing else and nothing in s'."""
    speed, _, height, _ = ORIGINAL[env_id]
    spec, rng = GymEnv(env_id).spec, np.random.default_rng(2)
    obs, after = rng.normal(size=(2, 4, spec.obs_size))
    action = rng.uniform(-1, 1, (4, spec.action_size))
    reward_fn = KNOWN[env_id][0]
    assert spec.reward_fn is reward_fn
    slopes = jax.grad(lambda *x: reward_fn(*x).sum(), (0, 1, 2))(*map(jnp.asarray, (obs, action, after)))
    expected = np.zeros_like(obs)
    expected[:, speed] = 1.0
    if height is not None:
        expected[:, 0] = -6.0 * (obs[:, 0] - height)
    for got, number in zip(slopes, (expected, -0.2 * action, 0.0 * after), strict=True):
        np.testing.assert_allclose(got, number, rtol=1e-12)
