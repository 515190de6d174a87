"""Environments. Importing this package registers the `pbrl/` ids with Gymnasium; nothing heavy is loaded."""

import gymnasium

# id: (entry point, most steps of an episode)
TASKS = {
    "pbrl/MageHalfCheetah-v0": ("pbrl.envs.tasks:half_cheetah", 1000),
    "pbrl/MageHopper-v0": ("pbrl.envs.tasks:hopper", 1000),
    "pbrl/MageWalker2d-v0": ("pbrl.envs.tasks:walker2d", 1000),
    "pbrl/MageSwimmer-v0": ("pbrl.envs.tasks:swimmer", 1000),
    "pbrl/MagePusher-v0": ("pbrl.envs.tasks:pusher", 100),
    "pbrl/MagePendulum-v0": ("pbrl.envs.tasks:pendulum", 200),
    "pbrl/MageCartPole-v0": ("pbrl.envs.cartpole:ContinuousCartPole", 500),
}

for _id, (_entry_point, _steps) in TASKS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_entry_point, max_episode_steps=_steps)
