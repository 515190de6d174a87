"""Learned models of an environment: ensembles, recurrent dynamics, reward and termination, and the worlds made of them.

A world gives what every rollout differentiates through (`pbrl.types.Dynamics`) and takes single gradient steps.
How long it is fitted is decided in `train/fitting.py`; simulators that stand in for it are in `envs/`.
"""
