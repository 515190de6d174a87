"""Parts of agents that several papers share, each with a contract in its first lines. No part is an agent.

`deterministic` and `soft` are actor and critics of TD3's and of SAC's kin: networks, optimisers, the steps they take.
`td3_with_model`, `sac_with_model` and `svg_sac` are the halves that agents of one family have in common.
"""
