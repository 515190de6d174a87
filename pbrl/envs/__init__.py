"""What an environment is, in JAX (`jax_env`) and of Gymnasium (`gym`), by its id (`ids`, `registry`) and as an oracle.

`tasks/` holds the papers' tasks, `mujoco/` their differentiable twins. No learning: loops are in `pbrl.train`, learned
dynamics in `pbrl.models`. Importing this package registers the `pbrl/` ids with Gymnasium and loads nothing heavy.
"""

import gymnasium

from pbrl.envs.ids import JAX_AS_GYM, TASKS, TOY_IDS, TOYS

for _id, (_entry_point, _steps) in TASKS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=_entry_point, max_episode_steps=_steps)
for _id, _toy in TOY_IDS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, JAX_AS_GYM, max_episode_steps=TOYS[_toy], kwargs={"env_id": _id})
