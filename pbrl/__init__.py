"""pbrl: value-gradient reinforcement learning in JAX. `from pbrl import mage` imports one agent and nothing else.

Rooms, low to high, each of which knows what stands before it: `types`, `config`, `errors` · `equations`, `nn`, `data` ·
`models` · `agents` · `envs` · `planning` · `parallel` · `runs` · `report` · `diagnose` · `train` · `trained` ·
`sweep`, `presets` · `cli`. `docs/architecture.md` has the picture, and answers "where is …?".
"""

import importlib
from typing import Any

__version__ = "0.2.0"

AGENTS = {
    "mage": "MAGE-TD3: critics trained on the action gradient of their TD error (D'Oro and Jaśkowski 2020)",
    "maac": "MAAC: soft actor-critic improved through H steps of a probabilistic ensemble (Clavera et al. 2020)",
    "svg": "SAC-SVG(H): soft actor-critic improved through H steps of a recurrent model (Amos et al. 2021)",
    "dhmbpo": "DHMBPO: MBPO's data with the gradient of SVG(H), through an ensemble (Kubo et al. 2025)",
    "dyna": "Dyna-TD3: TD3 on one-step imagined transitions, MAGE's own baseline",
    "mbpo": "MBPO: SAC on short imagined trajectories (Janner et al. 2019)",
    "steve": "STEVE on SAC: value expansions mixed by their certainty (Buckman et al. 2018)",
    "svg1": "SVG(1): a value gradient through one model step at real transitions (Heess et al. 2015)",
    "sac": "SAC: model-free soft actor-critic with a learned temperature (Haarnoja et al. 2018)",
    "td3": "TD3: model-free twin delayed deterministic policy gradient (Fujimoto et al. 2018)",
}
"""Name, and what it is in a line."""


def __getattr__(name: str) -> Any:
    """Import an agent's module, `replay`, or `load` when it is first asked for: JAX takes seconds."""
    if name in AGENTS:
        return importlib.import_module(f"pbrl.agents.{name}")
    if name == "replay":
        return importlib.import_module("pbrl.data.replay")
    if name == "load":
        return importlib.import_module("pbrl.trained.policy").load
    raise AttributeError(f"module 'pbrl' has no attribute {name!r}")
