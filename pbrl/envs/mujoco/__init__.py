"""Differentiable twins of MuJoCo's tasks: `twin` puts `resets`, `physics` and what `tasks` and `wrappers` pay together.

All that relies on MJX's internals is in here. C MuJoCo steps inside Gymnasium's own environments; Brax and MuJoCo
Playground have adapters of their own, one folder up.
"""
