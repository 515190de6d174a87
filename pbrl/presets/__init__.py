"""Named sets of hyper-parameters, by agent and environment.

Here: the papers' values, those for two CPU cores, the lookup by name, and how overrides change a config.
Not here: an agent's defaults (its `Config` in `pbrl.agents`), or the words of a command line (`pbrl.cli`).
"""
