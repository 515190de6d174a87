"""Networks, and what they need to train: gradient steps, and the running moments that scale their inputs.

Parameters and moments are plain pytrees; optimisers are optax'. What networks stand for (a policy, a critic, a model)
is decided in `agents/parts/` and `models/`. `layers` reads a policy off as plain arrays.
"""
