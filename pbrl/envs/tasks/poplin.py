"""The tasks of POPLIN and PETS (SAC-SVG's Table 2), and MAAC's, on today's Gymnasium physics.

POPLIN (Wang and Ba 2020) uses those of mbbl (Wang et al. 2019, code `mbbl/env/gym_env/`): the reward is a function of
the observation *before* the step and the action, and nothing terminates. PETS (Chua et al. 2018) observes Δx/dt.
MAAC (Clavera et al. 2020, code `meta_mb/envs/mb_envs/`) has four of mbbl's, ant to walker2d without the swimmer, with
episodes of 1001 steps for 1000: nothing else that its environments do differs, so they are made here too.
So every reward is known: see `rewards.py`. `docs/environments.md` lists how each task differs from the original.
"""

from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
from gymnasium.spaces import Box

from pbrl.envs.tasks.wrappers import ForwardVelocity, StateReward

SWIMMER = Path(__file__).with_name("assets") / "fixed_swimmer.xml"


def ant(**kwargs: Any) -> gymnasium.Env:
    """Ant, 27 numbers: qpos without x and y, qvel."""
    env = AntEnv(include_cfrc_ext_in_observation=False, **kwargs)
    return StateReward(env, hidden=2, control=0.1, height=0.57)


def half_cheetah(**kwargs: Any) -> gymnasium.Env:
    """HalfCheetah, 17 numbers: qpos without x, qvel."""
    return StateReward(HalfCheetahEnv(**kwargs), hidden=1, control=0.1)


def hopper(**kwargs: Any) -> gymnasium.Env:
    """Hopper, 11 numbers: qpos without x, qvel."""
    return StateReward(HopperEnv(**kwargs), hidden=1, control=0.1, height=1.3)


def swimmer(**kwargs: Any) -> gymnasium.Env:
    """Fixed Swimmer, 9 numbers: qpos without x and y, qvel, and the nose's velocity over the last step."""
    return FixedSwimmer(SwimmerEnv(xml_file=str(SWIMMER), **kwargs), hidden=2, control=1e-4)


def walker2d(**kwargs: Any) -> gymnasium.Env:
    """Walker2d, 17 numbers: qpos without x, qvel; with the feet of the original, 0.9 and 1.9."""
    env = Walker2dEnv(xml_file="walker2d.xml", **kwargs)
    return StateReward(env, hidden=1, control=0.1, height=1.3)


def pets_half_cheetah(**kwargs: Any) -> gymnasium.Env:
    """HalfCheetah of PETS as SAC-SVG has it, 19 numbers: Δx/dt, z, sine and cosine of the pitch, six joints, qvel."""
    still = StillStart(HalfCheetahEnv(reset_noise_scale=0.0, **kwargs), scale=1e-3)
    return PitchAsVector(ForwardVelocity(still, control=0.1, alive=0.0))


class FixedSwimmer(StateReward):
    """Observe the nose's Δx/dt over the last step (0 after a reset) as the last number, and pay for it, a step late.

    The number is kept in the simulator's user data: a reset clears it and snapshots hold it. The nose's positions are
    those of MuJoCo's last evaluation within the step, as mbbl reads them; no kinematics run in between.
    """

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict]:
        before = self._nose()
        _, reward, terminated, truncated, info = super().step(action)
        self.simulator.userdata[0] = (self._nose() - before) / self.env.unwrapped.dt  # pyright: ignore[reportAttributeAccessIssue]
        return self._observe(), reward, terminated, truncated, info

    def _nose(self) -> float:
        return float(self.simulator.site_xpos[0, 0])

    def _observe(self) -> np.ndarray:
        return np.append(super()._observe(), self._speed())

    def _speed(self) -> float:
        return self.simulator.userdata[0]


class StillStart(gymnasium.Wrapper):
    """Begin with every coordinate of qpos and qvel normal about the initial state, with standard deviation `scale`."""

    def __init__(self, env: gymnasium.Env, scale: float):
        super().__init__(env)
        self.scale = scale

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict]:
        self.env.reset(**kwargs)
        base: Any = self.env.unwrapped
        noise = (base.np_random.normal(0.0, self.scale, start.shape) for start in (base.init_qpos, base.init_qvel))
        base.set_state(base.init_qpos + next(noise), base.init_qvel + next(noise))
        return base._get_obs(), base._get_reset_info()


class PitchAsVector(gymnasium.ObservationWrapper):
    """Replace the pitch, index 2, by its sine and cosine."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        size = env.observation_space.shape[0] + 1  # pyright: ignore[reportOptionalSubscript]
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float64)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        pitch = observation[2]
        return np.concatenate([observation[:2], [np.sin(pitch), np.cos(pitch)], observation[3:]])
