"""The papers' tasks on today's Gymnasium physics, a file for each paper, and their known rewards and terminations.

They are Gymnasium environments that no loop sees bare: `pbrl.envs.gym` makes them by id. Their twins in JAX are in
`pbrl.envs.mujoco` and `pbrl.envs.toy`.
"""
