"""Environments. Importing this package registers the `pbrl/` ids with Gymnasium; nothing heavy is loaded."""

import gymnasium

# id: (entry point, most steps of an episode)
MAGE = {
    "pbrl/MageHalfCheetah-v0": ("pbrl.envs.tasks.mage:half_cheetah", 1000),
    "pbrl/MageHopper-v0": ("pbrl.envs.tasks.mage:hopper", 1000),
    "pbrl/MageWalker2d-v0": ("pbrl.envs.tasks.mage:walker2d", 1000),
    "pbrl/MageSwimmer-v0": ("pbrl.envs.tasks.mage:swimmer", 1000),
    "pbrl/MagePusher-v0": ("pbrl.envs.tasks.mage:pusher", 100),
    "pbrl/MagePendulum-v0": ("pbrl.envs.tasks.mage:pendulum", 200),
    "pbrl/MageCartPole-v0": ("pbrl.envs.tasks.cartpole:ContinuousCartPole", 500),
}
MBPO = {
    "pbrl/MbpoHalfCheetah-v0": ("pbrl.envs.tasks.mbpo:half_cheetah", 1000),
    "pbrl/MbpoHopper-v0": ("pbrl.envs.tasks.mbpo:hopper", 1000),
    "pbrl/MbpoWalker2d-v0": ("pbrl.envs.tasks.mbpo:walker2d", 1000),
    "pbrl/MbpoAnt-v0": ("pbrl.envs.tasks.mbpo:ant", 1000),
    "pbrl/MbpoHumanoid-v0": ("pbrl.envs.tasks.mbpo:humanoid", 1000),
}
POPLIN = {
    "pbrl/PoplinAnt-v0": ("pbrl.envs.tasks.poplin:ant", 1000),
    "pbrl/PoplinHalfCheetah-v0": ("pbrl.envs.tasks.poplin:half_cheetah", 1000),
    "pbrl/PoplinHopper-v0": ("pbrl.envs.tasks.poplin:hopper", 1000),
    "pbrl/PoplinSwimmer-v0": ("pbrl.envs.tasks.poplin:swimmer", 1000),
    "pbrl/PoplinWalker2d-v0": ("pbrl.envs.tasks.poplin:walker2d", 1000),
    "pbrl/PetsHalfCheetah-v0": ("pbrl.envs.tasks.poplin:pets_half_cheetah", 1000),
}
MAAC = {
    "pbrl/MaacHalfCheetah-v0": ("pbrl.envs.tasks.poplin:half_cheetah", 1001),
    "pbrl/MaacAnt-v0": ("pbrl.envs.tasks.poplin:ant", 1001),
    "pbrl/MaacHopper-v0": ("pbrl.envs.tasks.poplin:hopper", 1001),
    "pbrl/MaacWalker2d-v0": ("pbrl.envs.tasks.poplin:walker2d", 1001),
}
TASKS = {**MAGE, **MBPO, **POPLIN, **MAAC}
TOYS = {"Pendulum": 200, "CartPole": 500, "DoubleIntegrator": 26, "PointMass": 50, "ProbeOne": 1, "ProbeTwo": 2}
"""Name of a toy in `toy.TOYS`, most steps of an episode; the id is `pbrl/Toy<name>-v0`."""

BRAX = "brax/"
"""What the ids of Brax' environments begin with: `brax/NAME-BACKEND` (`pbrl.envs.brax`)."""

for _id, (_entry_point, _steps) in TASKS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_entry_point, max_episode_steps=_steps)
for _name, _steps in TOYS.items():
    _id = f"pbrl/Toy{_name}-v0"
    if _id not in gymnasium.registry:
        gymnasium.register(_id, "pbrl.envs.jax_env:Gym", max_episode_steps=_steps, kwargs={"env_id": _id})
