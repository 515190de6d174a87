"""Named sets of hyper-parameters, by agent and environment, as overrides by dotted path. Imports nothing heavy.

`paper` is what the published results used, `cpu` what learns on two CPU cores while one watches. An environment
without settings of its own takes the preset's `"default"`; what a preset does not name keeps the default of the
agent's `Config` or of `Schedule`, which are the settings of MAGE's released code for HalfCheetah.
"""

from typing import Any

from pbrl.config import suggest

Overrides = dict[str, Any]

PENDULUM = ("pbrl/MagePendulum-v0", "Pendulum-v1")
CARTPOLE = ("pbrl/MageCartPole-v0",)

# D'Oro and Jaśkowski 2020, App. D: reduced sizes for Pendulum and CartPole, for all agents alike.
_PAPER_CLASSIC: Overrides = {
    "config.actor_hidden": (128, 128),  # App. D: 2 × 128 (2 × 384 elsewhere in the code; App. D prints 284)
    "config.critic_hidden": (384, 384),  # App. D: 2 × 384 on every task
    "schedule.warmup_steps": 100,  # App. D: 100 on Pendulum and CartPole, 1000 elsewhere
    "schedule.batch_size": 512,  # App. D: 512 states per update on these two, 1024 elsewhere
}
_PAPER_CLASSIC_MODEL: Overrides = {
    "config.model_hidden": (128, 128),  # App. D: 2 × 128 (8 members, as everywhere)
    "config.head_hidden": (128,),  # App. D: reward network of 1 × 128
}
# App. D, "TD3": no model, one update per environment step; `--schedule.updates-per-step 10` makes its "TD3 ×10".
_PAPER_TD3: Overrides = {
    "schedule.model_every": 0,
    "schedule.updates_per_step": 1,
}

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
_CPU_MODEL: Overrides = {
    "config.model_hidden": (128, 128),
    "config.ensemble_size": 5,
    "config.head_hidden": (128, 128),
    "config.model_lr": 1e-3,
    "schedule.model_min_batches": 40,
}
# Both tasks are learned within 3000 steps, so training starts early and is looked at often.
_CPU_CLASSIC: Overrides = {
    "schedule.total_steps": 5_000,
    "schedule.warmup_steps": 200,
    "schedule.batch_size": 256,
    "schedule.eval_every": 500,
    "schedule.log_every": 500,
}


def _for(envs: tuple[str, ...], overrides: Overrides) -> dict[str, Overrides]:
    return dict.fromkeys(envs, overrides)


PRESETS: dict[str, dict[str, dict[str, Overrides]]] = {
    "paper": {
        "mage": {"default": {}, **_for(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_CLASSIC_MODEL)},
        "dyna": {"default": {}, **_for(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_CLASSIC_MODEL)},
        "td3": {"default": _PAPER_TD3, **_for(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_TD3)},
    },
    "cpu": {
        "mage": {"default": _CPU | _CPU_MODEL, **_for(PENDULUM + CARTPOLE, _CPU | _CPU_MODEL | _CPU_CLASSIC)},
        "dyna": {"default": _CPU | _CPU_MODEL, **_for(PENDULUM + CARTPOLE, _CPU | _CPU_MODEL | _CPU_CLASSIC)},
        "td3": {"default": _CPU | _PAPER_TD3, **_for(PENDULUM + CARTPOLE, _CPU | _PAPER_TD3 | _CPU_CLASSIC)},
    },
}

SUMMARIES = {
    "paper": "the sizes and rates of the published results, per task",
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
    return dict(agents[agent].get(env_id, agents[agent]["default"]))
