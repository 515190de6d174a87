"""Presets by name. Imports nothing heavy.

`paper` is what the published results used, `paper-text` what the same paper prints where that differs, `cpu` what
learns on two CPU cores while one watches. An environment without settings of its own takes the preset's `"default"`.
`xqc` makes XQC of `sac`, as its authors released it, and `xqc-cpu` a small one; no other agent has them.
What a preset does not name keeps the default of the agent's `Config` (numbers of its paper's code) or of `Schedule`
(MAGE's released code for HalfCheetah).
"""

from pbrl.config import suggest
from pbrl.presets.cpu import CPU
from pbrl.presets.overrides import Overrides
from pbrl.presets.published import PAPER, PAPER_TEXT
from pbrl.presets.xqc import XQC, XQC_CPU

PRESETS: dict[str, dict[str, dict[str, Overrides]]] = {
    "paper": PAPER,
    "paper-text": PAPER_TEXT,
    "cpu": CPU,
    "xqc": XQC,
    "xqc-cpu": XQC_CPU,
}
"""Preset, agent, environment id or `"default"`, overrides."""

SUMMARIES = {
    "paper": "the sizes and rates of the published results, per task",
    "paper-text": "what the paper prints where its published results used something else (SVG's Tables 3 and 4)",
    "cpu": "small networks and higher rates: learns on 2 CPU cores in minutes",
    "xqc": "sac alone: XQC's batch-normalised critics of distributions, at the released sizes and rates",
    "xqc-cpu": "sac alone: the same with the networks of the preset cpu",
}


def preset(name: str, agent: str, env_id: str) -> Overrides:
    """Return a preset's overrides for an agent on an environment: `config.*` and `schedule.*` paths to values.

    Raises `ValueError` with the nearest known name for a preset or an agent that does not exist.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}{suggest(name, PRESETS, 'preset')}")
    agents = PRESETS[name]
    if agent not in agents:
        raise ValueError(f"preset {name!r} has nothing for the agent {agent!r}{suggest(agent, agents, 'agent')}")
    return dict(agents[agent].get(env_id.rpartition(":")[2], agents[agent]["default"]))
