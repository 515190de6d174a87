"""MBPO's tasks on today's Gymnasium physics (Janner et al. 2019, code `mbpo/env/`; SAC-SVG's Figures 2 and 4).

Gymnasium's `-v5` classes with the rewards of MuJoCo-v2. Those read Δx/dt, which no entry of the observation holds, so
an agent learns the reward; the terminations in `rewards.py` are known. `docs/environments.md` lists the differences.
"""

from typing import Any

import gymnasium
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v5 import HumanoidEnv
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv

from pbrl.envs.tasks.wrappers import BonusOnEveryStep


def half_cheetah(**kwargs: Any) -> gymnasium.Env:
    """HalfCheetah, 17 numbers: qpos without x, qvel."""
    return HalfCheetahEnv(**kwargs)


def hopper(**kwargs: Any) -> gymnasium.Env:
    """Hopper, 11 numbers: qpos without x, qvel clipped to ±10."""
    return BonusOnEveryStep(HopperEnv(**kwargs), 1.0)


def walker2d(**kwargs: Any) -> gymnasium.Env:
    """Walker2d, 17 numbers: qpos without x, qvel clipped to ±10; with the feet of the original, 0.9 and 1.9."""
    return BonusOnEveryStep(Walker2dEnv(xml_file="walker2d.xml", **kwargs), 1.0)


def ant(**kwargs: Any) -> gymnasium.Env:
    """AntTruncatedObs, 27 numbers: qpos without x and y, qvel; the contact forces are paid for but not observed."""
    return BonusOnEveryStep(AntEnv(include_cfrc_ext_in_observation=False, **kwargs), 1.0)


def humanoid(**kwargs: Any) -> gymnasium.Env:
    """HumanoidTruncatedObs, 45 numbers: qpos without x and y, qvel; nothing of inertias, forces and contacts."""
    env = HumanoidEnv(
        include_cinert_in_observation=False,
        include_cvel_in_observation=False,
        include_qfrc_actuator_in_observation=False,
        include_cfrc_ext_in_observation=False,
        **kwargs,
    )
    return BonusOnEveryStep(env, 5.0)
