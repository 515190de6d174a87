"""Agents: one file a paper, which reads like its pseudo-code; `from pbrl import mage` imports one and nothing else.

The module is the agent, its functions are pure (`pbrl.types.Agent`), its state an immutable pytree. What several papers
share is in `parts/`, each formula in `equations/`. Devices, seeds, environments, buffers and files are unknown here.
"""
