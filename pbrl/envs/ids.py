"""The ids of pbrl's environments, and how Gymnasium makes them. Plain data; imports nothing."""

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
"""The papers' tasks (`pbrl.envs.tasks`)."""

PROBES = ("ProbeConstant", "ProbeObservation", "ProbeDelay", "ProbeAction", "ProbeBoth", "ProbeCarry")
TOYS = {"Pendulum": 200, "CartPole": 500, "DoubleIntegrator": 26, "PointMass": 50, **dict.fromkeys(PROBES, 2)}
"""Name of a toy in `toy.TOYS`, most steps of an episode."""

TOY_IDS = {f"pbrl/Toy{name}-v0": name for name in TOYS}
"""Id of a toy, its name."""

TWINS = {"Pendulum-v1": "Pendulum", "pbrl/MagePendulum-v0": "Pendulum", "pbrl/MageCartPole-v0": "CartPole", **TOY_IDS}
"""Id, name of the toy with the same dynamics, observation, reward and termination (`tests/envs/test_toy.py`)."""

BRAX = "brax/"
"""What the ids of Brax' environments begin with: `brax/NAME-BACKEND` (`pbrl.envs.brax`)."""

JAX_AS_GYM = "pbrl.envs.as_gym:JaxAsGym"
"""The entry point by which Gymnasium makes an environment written in JAX; its one argument is `env_id`."""
