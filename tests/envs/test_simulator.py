"""MuJoCo starts anew within a step where its state is bad: such a step is broken, whatever finite numbers it gives."""

from functools import partial

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.spaces import Box

from pbrl.envs import simulator
from pbrl.envs.gym import GymEnv
from pbrl.envs.make_gym import make
from pbrl.errors import EnvError
from pbrl.train.evaluate import Evaluator
from pbrl.train.streams import Streams

MODEL = """
<mujoco>
  <option timestep="0.05"/>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body pos="0 0 .3"><freejoint/><geom type="box" size=".1 .1 .1"/></body>
    <body pos="2 0 1"><joint name="j" type="slide" axis="1 0 0"/><geom size=".05" mass=".01"/></body>
  </worldbody>
  <actuator><motor joint="j" gear="{gear}"/></actuator>
</mujoco>
"""


class Pushed(gymnasium.Env):
    """A ball on a rail, pushed with a gear that a test may make far too large."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,)), Box(-1.0, 1.0, (1,))

    def __init__(self, gear=1.0, hide=False, frames=4):
        self.model = mujoco.MjModel.from_xml_string(MODEL.format(gear=gear))
        self.frames, self.sim = frames, mujoco.MjData(self.model)
        if not hide:
            self.data = self.sim

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.sim)
        return self._obs(), {}

    def step(self, action):
        self.sim.ctrl[:] = action
        mujoco.mj_step(self.model, self.sim, nstep=self.frames)
        return self._obs(), float(self.sim.qvel[-1]), False, False, {}

    def _obs(self):
        return np.array([self.sim.qpos[-1], self.sim.qvel[-1]])


class Full(Pushed):
    """Has no room for a contact in its third step."""

    def step(self, action):
        result = super().step(action)
        self.sim.warning.number[mujoco.mjtWarning.mjWARN_CONTACTFULL] += self.sim.time > 0.55
        return result


class Rewound(Pushed):
    """Sets its own clock back in its third step."""

    def step(self, action):
        result = super().step(action)
        if self.sim.time > 0.55:
            mujoco.mj_resetData(self.model, self.sim)
        return result


@pytest.fixture
def env_id():
    """Return a function that registers an environment for one test, in which MuJoCo's warnings stay off the screen."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)

    def register(cls=Pushed, **kwargs):
        gymnasium.register("test/Pushed-v0", entry_point=cls, max_episode_steps=10, kwargs=kwargs)
        return "test/Pushed-v0"

    yield register
    mujoco.set_mju_user_warning(before)
    gymnasium.registry.pop("test/Pushed-v0", None)


WILD = 1e10  # gear: the acceleration passes MuJoCo's bound at once


@pytest.mark.parametrize("hide", [False, True])
def test_a_bad_state_is_a_broken_step_though_its_numbers_are_finite(env_id, hide):
    raw = Pushed(WILD, hide=hide)
    raw.reset(seed=0)
    obs, reward, *_ = raw.step(np.ones(1))
    assert np.isfinite(obs).all() and np.isfinite(reward)
    env = GymEnv(env_id(gear=WILD, hide=hide))
    for _ in range(2):  # a reset makes it whole
        env.reset(seed=0)
        env.step(np.zeros(1))
        with pytest.raises(EnvError, match=r"MuJoCo warned of a bad state .BADQACC.*smaller timestep"):
            env.step(np.ones(1))


def test_a_clock_that_goes_back_is_a_broken_step(env_id):
    env = GymEnv(env_id(Rewound))
    env.reset(seed=0)
    env.step(np.ones(1))
    env.step(np.ones(1))
    with pytest.raises(EnvError, match="clock went back"):
        env.step(np.ones(1))
    env.reset(seed=0)
    env.step(np.ones(1))


def test_a_full_buffer_is_told_from_a_bad_state(env_id):
    env = GymEnv(env_id(Full))
    env.reset(seed=0)
    env.step(np.zeros(1))
    env.step(np.zeros(1))
    with pytest.raises(EnvError, match=r"buffers are full .*more memory"):
        env.step(np.zeros(1))


def test_sound_steps_pass(env_id):
    env = GymEnv(env_id())
    for _ in range(3):
        env.reset(seed=0)
        for _ in range(10):
            env.step(np.ones(1))


@pytest.mark.parametrize("name", ["Hopper-v5", "Ant-v5", "pbrl/MageSwimmer-v0", "pbrl/PoplinAnt-v0"])
def test_the_simulator_of_a_stock_task_is_found_and_does_not_complain(name):
    env = GymEnv(name)
    env.reset(seed=0)
    assert [type(data) for data in simulator.find(env.gymnasium)] == [mujoco.MjData]
    rng = np.random.default_rng(0)
    for _ in range(200):
        step = env.step(rng.uniform(-1, 1, env.spec.action_size))
        if step.terminated or step.truncated:
            env.reset()


def test_an_environment_without_mujoco_has_no_simulator():
    assert simulator.find(make("Pendulum-v1")) == []


def test_training_stores_no_teleport_and_evaluation_counts_none(env_id):
    name = env_id(gear=WILD)
    streams = Streams.start(partial(GymEnv, name), (0,))
    for action, sound in ((0.0, True), (1.0, False), (0.0, True)):
        batch, last = streams.step(np.full((1, 1), action))
        assert np.isfinite(np.asarray(batch.reward)).all() == sound and bool(last[0, 0]) != sound
    streams.close()
    evaluator = Evaluator(lambda: GymEnv(name), (0,), 2)
    with pytest.warns(UserWarning, match=r"an episode is left out, since .*BADQACC"):
        scores = evaluator.run(lambda obs, extras: np.array([[[1.0], [0.0]]]), 0)
    assert scores["eval/episodes"].tolist() == [1] and scores["eval/length"].tolist() == [10]
    evaluator.close()


def test_the_guard_of_an_action_is_not_the_simulators():
    env = GymEnv("InvertedPendulum-v5")
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"action .* is not finite"):
        env.step(np.array([np.nan]))
    env.step(np.zeros(1))
