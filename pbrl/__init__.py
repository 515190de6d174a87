"""pbrl: value-gradient reinforcement learning in JAX. `from pbrl import mage` imports one agent and nothing else."""

import importlib
from types import ModuleType

__version__ = "0.1.0"

AGENTS = ("mage", "dyna", "td3")


def __getattr__(name: str) -> ModuleType:
    """Import an agent's module when it is first asked for: JAX takes seconds."""
    if name in AGENTS:
        return importlib.import_module(f"pbrl.agents.{name}")
    raise AttributeError(f"module 'pbrl' has no attribute {name!r}")
