"""MBPO's, POPLIN's and PETS's tasks against their definitions, worked out beside the environments' own code."""

import gymnasium
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import MBPO
from pbrl.envs.tasks import rewards
from pbrl.envs.tasks.poplin import SWIMMER


def simulator(env):
    base = env._env.unwrapped
    return base.model, base.data


def mass_center(model, data):
    return (model.body_mass[:, None] * data.xipos).sum(0)[0] / model.body_mass.sum()


# id: (x, dt [s], weight of Δx/dt, cost of control, cost of contact forces f, bonus), as MuJoCo-v2 pays
ORIGINAL = {
    "pbrl/MbpoHalfCheetah-v0": (lambda m, d: d.qpos[0], 0.05, 1.0, 0.1, lambda f: 0.0, 0.0),
    "pbrl/MbpoHopper-v0": (lambda m, d: d.qpos[0], 0.008, 1.0, 1e-3, lambda f: 0.0, 1.0),
    "pbrl/MbpoWalker2d-v0": (lambda m, d: d.qpos[0], 0.008, 1.0, 1e-3, lambda f: 0.0, 1.0),
    "pbrl/MbpoAnt-v0": (
        lambda m, d: d.xpos[1, 0],
        0.05,
        1.0,
        0.5,
        lambda f: 5e-4 * (np.clip(f, -1, 1) ** 2).sum(),
        1.0,
    ),
    "pbrl/MbpoHumanoid-v0": (mass_center, 0.015, 1.25, 0.1, lambda f: min(5e-7 * (f**2).sum(), 10.0), 5.0),
}


@pytest.mark.parametrize("env_id", MBPO)
def test_mbpo_rewards_are_those_of_the_originals(env_id):
    """Through ends of episodes, where the bonus is paid as well."""
    x, dt, forward, control, contact, bonus = ORIGINAL[env_id]
    env, rng = GymEnv(env_id), np.random.default_rng(0)
    model, data = simulator(env)
    env.reset(seed=0)
    errors, costs, ends = [], [], 0
    for t in range(1000):
        before = x(model, data)
        step = env.step(rng.uniform(-1, 1, env.spec.action_size))
        costs.append(contact(data.cfrc_ext))
        expected = forward * (x(model, data) - before) / dt - control * (data.ctrl**2).sum() - costs[-1] + bonus
        errors.append(abs(step.reward - expected))
        if step.terminated or step.truncated:
            ends += step.terminated
            env.reset(seed=t + 1)
    assert max(errors) < 1e-6  # Gymnasium squares the float32 action
    assert (ends > 0) == (env_id != "pbrl/MbpoHalfCheetah-v0")
    assert (max(costs) > 0) == (env_id in ("pbrl/MbpoAnt-v0", "pbrl/MbpoHumanoid-v0"))


@pytest.mark.parametrize("env_id", ["pbrl/MbpoHopper-v0", "pbrl/MbpoHumanoid-v0"])
def test_the_alive_bonus_is_the_same_on_every_step(env_id):
    env = gymnasium.make(env_id)
    env.reset(seed=0)
    terminated, bonuses = False, set()
    while not terminated:
        *_, terminated, _, info = env.step(env.action_space.high)
        bonuses.add(info["reward_survive"])
    assert bonuses == {5.0 if "Humanoid" in env_id else 1.0}


def changed(size, **entries):
    """A healthy state, all 0 but for the entries `i3=...`."""
    state = np.zeros(size, np.float32)
    for name, value in entries.items():
        state[int(name[1:])] = value
    return state


@pytest.mark.parametrize(
    ("terminated", "state", "expected"),
    [
        (rewards.mbpo_hopper_fell, changed(11, i0=1.25), False),
        (rewards.mbpo_hopper_fell, changed(11, i0=0.69), True),
        (rewards.mbpo_hopper_fell, changed(11, i0=1.25, i1=-0.21), True),
        (rewards.mbpo_hopper_fell, changed(11, i0=1.25, i4=-101), True),  # MBPO's parenthesis lets this one live
        (rewards.mbpo_hopper_fell, changed(11, i0=101), False),  # the height is not among those tested
        (rewards.mbpo_hopper_fell, changed(11, i0=1.25, i7=np.nan), True),
        (rewards.mbpo_walker_fell, changed(17, i0=1.25), False),
        (rewards.mbpo_walker_fell, changed(17, i0=0.79), True),
        (rewards.mbpo_walker_fell, changed(17, i0=2.01), True),
        (rewards.mbpo_walker_fell, changed(17, i0=1.25, i1=1.01), True),
        (rewards.mbpo_walker_fell, changed(17, i0=np.nan), True),
        (rewards.ant_fell, changed(27, i0=0.2), False),
        (rewards.ant_fell, changed(27, i0=0.19), True),
        (rewards.ant_fell, changed(27, i0=1.01), True),
        (rewards.ant_fell, changed(27, i0=0.5, i20=np.inf), True),
        (rewards.humanoid_fell, changed(45, i0=1.4), False),
        (rewards.humanoid_fell, changed(45, i0=0.99), True),
        (rewards.humanoid_fell, changed(45, i0=2.01), True),
        (rewards.humanoid_fell, changed(45, i0=np.nan), True),
    ],
)
def test_terminations_by_hand(terminated, state, expected):
    assert terminated(jnp.asarray(state)) == expected


@pytest.mark.parametrize(
    ("reward", "state", "actions", "expected"),
    [
        (rewards.poplin_half_cheetah, changed(17, i0=9, i8=2), 6, 2 - 0.1 * 1.5),
        (rewards.poplin_hopper, changed(11, i0=1.5, i5=2), 3, 2 - 3 * 0.04 - 0.1 * 0.75 + 1),
        (rewards.poplin_walker2d, changed(17, i0=1.0, i8=-2), 6, -2 - 3 * 0.09 - 0.1 * 1.5 + 1),
        (rewards.poplin_ant, changed(27, i0=0.67, i13=2), 8, 2 - 3 * 0.01 - 0.1 * 2.0 + 1),
        (rewards.poplin_swimmer, changed(9, i0=9, i3=9, i8=2), 2, 2 - 1e-4 * 0.5),
    ],
)
def test_poplin_rewards_by_hand(reward, state, actions, expected):
    """Of s and a alone: any s' gives the same."""
    action = 0.5 * jnp.ones(actions) * jnp.where(jnp.arange(actions) % 2, 1, -1)
    for next_obs in (jnp.zeros(state.size), 7.0 * jnp.ones(state.size)):
        np.testing.assert_allclose(reward(jnp.asarray(state), action, next_obs), expected, rtol=1e-6)


@pytest.mark.parametrize("env_id", ["pbrl/PoplinHopper-v0", "pbrl/PoplinWalker2d-v0"])
def test_poplin_walkers_go_on_after_a_fall_and_see_whole_velocities(env_id):
    env, rng = GymEnv(env_id), np.random.default_rng(0)
    env.reset(seed=0)
    data = simulator(env)[1]
    seen = []
    for _ in range(1000):
        step = env.step(rng.uniform(-1, 1, env.spec.action_size))
        np.testing.assert_array_equal(step.next_obs, np.float32([*data.qpos[1:], *data.qvel]))
        seen.append(step.next_obs)
    assert not step.terminated and step.truncated
    assert np.min(seen, 0)[0] < 0.7 and np.abs(seen).max() > 10


def test_the_swimmer_has_the_mass_and_motion_of_gymnasiums():
    """It is the same body with its origin at the nose: equal actions move both alike."""
    ours, theirs = GymEnv("pbrl/PoplinSwimmer-v0"), GymEnv("Swimmer-v5")
    (model, a), (original, b) = simulator(ours), simulator(theirs)
    for name in ("body_mass", "body_inertia", "dof_armature", "jnt_range", "actuator_gear", "actuator_ctrlrange"):
        np.testing.assert_allclose(getattr(model, name), getattr(original, name), rtol=1e-12, err_msg=name)
    ours.reset(seed=0)
    theirs.reset(seed=0)
    np.testing.assert_array_equal(a.qpos, b.qpos)
    rng = np.random.default_rng(0)
    for _ in range(200):
        action = rng.uniform(-1, 1, 2)
        ours.step(action)
        theirs.step(action)
    np.testing.assert_allclose(a.qpos, b.qpos, atol=1e-8)
    np.testing.assert_allclose(a.qvel, b.qvel, atol=1e-8)


def test_the_swimmer_is_paid_for_its_noses_last_displacement():
    env, rng = GymEnv("pbrl/PoplinSwimmer-v0"), np.random.default_rng(0)
    obs = env.reset(seed=0)
    data = simulator(env)[1]
    mujoco.mj_kinematics(*simulator(env))
    heading = data.qpos[2]
    nose = data.qpos[0] - 1.5 + 1.5 * np.cos(heading)  # the root joints act 1.5 m behind it
    np.testing.assert_allclose(data.site("nose").xpos[0], nose, atol=1e-12)
    assert obs[8] == 0.0
    for _ in range(20):
        before, action = data.site("nose").xpos[0], rng.uniform(-1, 1, 2)
        step = env.step(action)
        np.testing.assert_allclose(step.reward, obs[8] - 1e-4 * (action**2).sum(), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(step.next_obs[8], (data.site("nose").xpos[0] - before) / 0.04, rtol=1e-6)
        np.testing.assert_array_equal(step.next_obs[:8], np.float32([*data.qpos[2:], *data.qvel]))
        obs = step.next_obs
    assert env.reset()[8] == 0.0
    assert SWIMMER.is_file()


def test_the_cheetah_of_pets_observes_velocity_and_pitch_as_a_vector():
    env = GymEnv("pbrl/PetsHalfCheetah-v0")
    assert env.reset(seed=0)[0] == 0.0
    data = simulator(env)[1]
    x, action = data.qpos[0], 0.5 * np.ones(6)
    step = env.step(action)
    _, z, pitch, *joints = data.qpos
    expected = [(data.qpos[0] - x) / 0.05, z, np.sin(pitch), np.cos(pitch), *joints, *data.qvel]
    np.testing.assert_allclose(step.next_obs, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(step.reward, expected[0] - 0.1 * 1.5, rtol=1e-6)


def test_first_states_have_the_originals_noise():
    """PETS: normal, 0.001; mbbl: uniform ±0.1 with normal velocities, ±0.1, or ±0.005, about the initial state."""
    spread = {}
    for env_id in (
        "PetsHalfCheetah",
        "PoplinHalfCheetah",
        "PoplinAnt",
        "PoplinHopper",
        "PoplinSwimmer",
        "PoplinWalker2d",
    ):
        env = GymEnv(f"pbrl/{env_id}-v0")
        start = env._env.unwrapped.init_qpos
        drawn = []
        for seed in range(300):
            env.reset(seed=seed)
            data = simulator(env)[1]
            drawn.append([*(data.qpos - start), *data.qvel])
        drawn = np.array(drawn)
        split = start.size
        spread[env_id] = [f(part) for part in (drawn[:, :split], drawn[:, split:]) for f in (np.std, np.ptp)]
    uniform = 1 / np.sqrt(12)
    expected = {  # standard deviation and, of uniform noise, range: of qpos, of qvel
        "PetsHalfCheetah": (1e-3, None, 1e-3, None),
        "PoplinHalfCheetah": (0.2 * uniform, 0.2, 0.1, None),
        "PoplinAnt": (0.2 * uniform, 0.2, 0.1, None),
        "PoplinHopper": (0.01 * uniform, 0.01, 0.01 * uniform, 0.01),
        "PoplinSwimmer": (0.2 * uniform, 0.2, 0.2 * uniform, 0.2),
        "PoplinWalker2d": (0.01 * uniform, 0.01, 0.01 * uniform, 0.01),
    }
    for env_id, numbers in expected.items():
        for got, number in zip(spread[env_id], numbers, strict=True):
            assert number is None or got == pytest.approx(number, rel=0.05), env_id
