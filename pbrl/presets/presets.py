"""Named sets of hyper-parameters, by agent and environment, as overrides by dotted path. Imports nothing heavy.

`paper` is what the published results used, `paper-text` what the same paper prints where that differs, `cpu` what
learns on two CPU cores while one watches. An environment without settings of its own takes the preset's `"default"`.
What a preset does not name keeps the default of the agent's `Config` (numbers of its paper's code) or of `Schedule`
(MAGE's released code for HalfCheetah).
"""

from pbrl.config import suggest
from pbrl.presets.published import CARTPOLE, PAPER, PAPER_TD3, PAPER_TEXT, PENDULUM, Overrides, same

# Chosen for two CPU cores; no paper's. Small networks and batches cost little per update (2 ms), and higher rates make
# up for the few updates that there is time for. Tried on seeds from 1000 up; seeds from 0 are for results.
_CPU: Overrides = {
    "config.actor_hidden": (64, 64),
    "config.critic_hidden": (128, 128),
    "config.actor_lr": 3e-4,
    "config.critic_lr": 1e-3,
    "schedule.total_steps": 20_000,  # a few minutes
    "schedule.batch_size": 128,
    "schedule.checkpoint_every": 5_000,
}
_CPU_SOFT: Overrides = {
    "config.actor_hidden": (64, 64),
    "config.critic_hidden": (128, 128),
    "config.actor_lr": 3e-4,
    "config.critic_lr": 1e-3,
    "config.temperature_lr": 3e-3,
    "schedule.model_every": 0,
    "schedule.updates_per_step": 1,
    "schedule.total_steps": 20_000,
    "schedule.batch_size": 256,
    "schedule.checkpoint_every": 5_000,
}
_CPU_SVG: Overrides = {
    "config.encoder_hidden": (64,),
    "config.recurrent_width": 64,
    "config.recurrent_layers": 1,
    "config.head_hidden": (64, 64),
    "config.actor_warmup": 1_000.0,
    "schedule.model_every": 1,
    "schedule.model_batch_size": 128,
    "schedule.model_min_batches": 2,
}
_CPU_HELD_OUT: Overrides = _CPU_SOFT | {
    "config.model_hidden": (128, 128),
    "config.ensemble_size": 5,
    "config.elites": 5,
    "config.head_hidden": (64, 64),
    "config.max_epochs": 40,
    "config.initial_temperature": 0.1,
    "config.normalize_obs": True,
    "schedule.warmup_steps": 500,
    "schedule.updates_per_step": 2,
    "schedule.batch_size": 128,
    "schedule.model_every": 250,
    "schedule.model_batch_size": 128,
}
_CPU_IMAGINED: Overrides = {
    "schedule.imagine_every": 250,
    "schedule.imagine_batch": 5_000,
    "schedule.imagine_buffer": 20_000,
}
_CPU_STEVE: Overrides = _CPU_HELD_OUT | {"config.target_members": 3}
_CPU_MAAC: Overrides = _CPU_STEVE | _CPU_IMAGINED | {"config.horizon": 3, "config.samples": 2}
_CPU_MBPO: Overrides = _CPU_HELD_OUT | _CPU_IMAGINED | {"config.elites": 3}
_CPU_SVG1: Overrides = _CPU_HELD_OUT | {"config.ensemble_size": 1, "config.elites": 1}
_CPU_MODEL: Overrides = {
    "config.model_hidden": (128, 128),
    "config.ensemble_size": 5,
    "config.head_hidden": (128, 128),
    "config.model_lr": 1e-3,
    "schedule.model_min_batches": 40,
}
_CPU_WATCHED: Overrides = {
    "schedule.eval_every": 500,
    "schedule.log_every": 500,
}
_CPU_SHORT: Overrides = {"schedule.total_steps": 5_000, **_CPU_WATCHED}
# Both tasks are learned within 3000 steps, so training starts early and is looked at often.
_CPU_CLASSIC: Overrides = {
    "schedule.total_steps": 5_000,
    "schedule.warmup_steps": 200,
    "schedule.batch_size": 256,
    **_CPU_WATCHED,
}


PRESETS: dict[str, dict[str, dict[str, Overrides]]] = {
    "paper": PAPER,
    "paper-text": PAPER_TEXT,
    "cpu": {
        "mage": {"default": _CPU | _CPU_MODEL, **same(PENDULUM + CARTPOLE, _CPU | _CPU_MODEL | _CPU_CLASSIC)},
        "dyna": {"default": _CPU | _CPU_MODEL, **same(PENDULUM + CARTPOLE, _CPU | _CPU_MODEL | _CPU_CLASSIC)},
        "td3": {"default": _CPU | PAPER_TD3, **same(PENDULUM + CARTPOLE, _CPU | PAPER_TD3 | _CPU_CLASSIC)},
        "svg": {"default": _CPU_SOFT | _CPU_SVG, **same(PENDULUM, _CPU_SOFT | _CPU_SVG | _CPU_CLASSIC)},
        "sac": {"default": _CPU_SOFT, **same(PENDULUM, _CPU_SOFT | _CPU_CLASSIC)},
        "maac": {"default": _CPU_MAAC, **same(PENDULUM, _CPU_MAAC | _CPU_SHORT)},
        "mbpo": {"default": _CPU_MBPO, **same(PENDULUM, _CPU_MBPO | _CPU_SHORT)},
        "steve": {"default": _CPU_STEVE, **same(PENDULUM, _CPU_STEVE | _CPU_SHORT)},
        "svg1": {"default": _CPU_SVG1, **same(PENDULUM, _CPU_SVG1 | _CPU_SHORT)},
    },
}

SUMMARIES = {
    "paper": "the sizes and rates of the published results, per task",
    "paper-text": "what the paper prints where its published results used something else (SVG's Tables 3 and 4)",
    "cpu": "small networks and higher rates: learns on 2 CPU cores in minutes",
}


def names() -> list[str]:
    """Return the names of all presets."""
    return list(PRESETS)


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
