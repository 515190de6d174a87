"""Named sets of hyper-parameters, by agent and environment, as overrides by dotted path. Imports nothing heavy.

`paper` is what the published results used, `paper-text` what the same paper prints where that differs, `cpu` what
learns on two CPU cores while one watches. An environment without settings of its own takes the preset's `"default"`.
What a preset does not name keeps the default of the agent's `Config` (its paper's released code) or of `Schedule`
(MAGE's released code for HalfCheetah).
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

# Amos et al. 2021, released code (`config/train.yaml`, `config/env/*.yaml`), which made the published results.
_PAPER_SAC: Overrides = {
    "schedule.model_every": 0,
    "schedule.updates_per_step": 1,
    "schedule.total_steps": 1_000_000,
    "schedule.eval_every": 25_000,
    "schedule.checkpoint_every": 25_000,
    "schedule.buffer_size": 1_000_000,  # min(total steps, 1e6): `Schedule` takes the smaller
}
_PAPER_SVG: Overrides = _PAPER_SAC | {
    "schedule.model_every": 1,
    "schedule.model_batch_size": 512,  # windows; Table 3 prints 1024
    "schedule.model_min_batches": 4,
}
# Table 3, where the released code has other values.
_TEXT_SAC: Overrides = {
    "config.temperature_lr": 5e-4,
    "config.actor_hidden": (512, 512),
    "config.critic_hidden": (512, 512),
    "schedule.batch_size": 512,
}
_TEXT_SVG: Overrides = _TEXT_SAC | {"schedule.model_batch_size": 1024}

# id: released (ℋ_init, ℋ_final, β), H 2 throughout; Table 4's (ℋ_init, ℋ_final, β, H); steps; steps between evaluations
_SVG_TASKS: dict[str, tuple[tuple[float, ...], tuple[float, ...], int, int]] = {
    "pbrl/MbpoAnt-v0": ((0, -2, 4), (2, -4, 1, 2), 2_000_000, 25_000),
    "pbrl/MbpoHalfCheetah-v0": ((-2, -3, 1), (-2, -2, 1, 2), 2_000_000, 25_000),
    "pbrl/MbpoHopper-v0": ((0, -2, 1 / 32), (0, -1, 0.5, 2), 1_000_000, 25_000),
    "pbrl/MbpoHumanoid-v0": ((-2, -2, 1), (-1, -1, 1, 2), 5_000_000, 25_000),
    "pbrl/MbpoWalker2d-v0": ((-2, -8, 1 / 16), (-2, -3, 64, 2), 2_000_000, 25_000),
    "pbrl/PoplinAnt-v0": ((1, -3, 0.5), (1, -4, 1 / 16, 3), 200_000, 10_000),
    "pbrl/PoplinHalfCheetah-v0": ((-1, -4, 1), (0, -4, 1, 4), 200_000, 10_000),
    "pbrl/PoplinHopper-v0": ((1, 0, 32), (1, 1, 1, 3), 200_000, 10_000),
    "pbrl/PoplinSwimmer-v0": ((-2, -32, 1 / 8), (-2, -16, 16, 3), 50_000, 10_000),
    "pbrl/PoplinWalker2d-v0": ((-2, -16, 1 / 64), (1, 1, 1, 5), 200_000, 10_000),
    "pbrl/PetsHalfCheetah-v0": ((0, 0, 0), (-2, -4, 1 / 16, 5), 50_000, 10_000),
}
# MAAC's tasks are POPLIN's, one step longer.
for _name in ("Ant", "HalfCheetah", "Hopper", "Walker2d"):
    _SVG_TASKS[f"pbrl/Maac{_name}-v0"] = _SVG_TASKS[f"pbrl/Poplin{_name}-v0"]


def _svg_tasks(base: Overrides, *, printed: bool, model: bool) -> dict[str, Overrides]:
    """Return settings by environment, of the released code or as the paper prints them."""
    tasks: dict[str, Overrides] = {"default": base}
    for env, (released, table, steps, eval_every) in _SVG_TASKS.items():
        initial, final, decay, *horizon = table if printed else released
        tasks[env] = base | {
            "config.initial_entropy": float(initial),
            "config.final_entropy": float(final),
            "config.entropy_decay": float(decay),
            "config.entropy_steps": float(steps),  # T is the length of the run
            "schedule.total_steps": steps,
            "schedule.eval_every": eval_every,
        }
        if horizon and model:
            tasks[env]["config.horizon"] = int(horizon[0])
    return tasks


# Clavera et al. 2020, released code (`run_scripts/maac_run_sweep.py`), which made the published results: fact sheet §6.
_PAPER_MAAC: Overrides = {
    "config.branch": "end",  # one model trajectory, five actions at its end; the paper has several trajectories
    "config.critics": 2,  # with which STEVE's target is next to TD: docs/algorithms/maac.md
    "schedule.total_steps": 200_000,
    "schedule.warmup_steps": 5_000,
    "schedule.batch_size": 256,
    "schedule.updates_per_step": 8,
    "schedule.model_every": 1_000,  # after every episode
    "schedule.model_batch_size": 256,
    "schedule.imagine_every": 250,
    "schedule.imagine_chained": False,  # the paper: "by unrolling"
    "schedule.eval_every": 5_000,
}
# What the paper's text says instead: whole trajectories, chained rollouts, and a STEVE that weighs.
_TEXT_MAAC: Overrides = {
    "config.branch": "start",
    "config.critics": 4,  # as many as STEVE's own code has; the paper does not say
    "schedule.imagine_chained": True,
}
# Per task: H, activation of the actor, of the critics, longest imagined trajectory (from step 20,000 to 100,000).
_MAAC_TASKS: dict[str, tuple[int, str, str, int]] = {
    "HalfCheetah": (4, "relu", "relu", 1),
    "Ant": (4, "tanh", "relu", 25),
    "Hopper": (4, "tanh", "tanh", 15),
    "Walker2d": (2, "tanh", "tanh", 1),
}


def _maac_tasks(base: Overrides) -> dict[str, Overrides]:
    tasks: dict[str, Overrides] = {"default": base}
    for name, (horizon, actor, critics, longest) in _MAAC_TASKS.items():
        tasks[f"pbrl/Maac{name}-v0"] = base | {
            "config.horizon": horizon,
            "config.actor_activation": actor,
            "config.activation": critics,
            "schedule.imagine_length": (20_000, 100_000, 1, longest),
        }
    return tasks


# STEVE on SAC as a switch of MAAC's code; its script is not released. Real transitions alone.
_PAPER_STEVE: Overrides = {k: v for k, v in _PAPER_MAAC.items() if k.startswith("schedule.") and "imagine" not in k}

# Janner et al. 2019, released code (`examples/config/*/0.py`): target entropy, updates a step, steps between rollouts,
# longest trajectory and the steps (1,000 an epoch) over which it grows from 1.
_PAPER_MBPO: Overrides = {
    "schedule.warmup_steps": 5_000,
    "schedule.batch_size": 256,
    "schedule.updates_per_step": 20,
    "schedule.model_every": 250,
    "schedule.model_batch_size": 256,
    "schedule.imagine_every": 250,
    "schedule.imagine_buffer": 400_000,  # the rollouts of an epoch
}
_MBPO_TASKS: dict[str, tuple[float, int, int, int, int, int]] = {
    "Ant": (-4.0, 20, 250, 25, 20_000, 100_000),
    "HalfCheetah": (-3.0, 40, 250, 1, 20_000, 150_000),
    "Hopper": (-1.0, 20, 250, 15, 20_000, 150_000),
    "Humanoid": (-2.0, 20, 1_000, 25, 20_000, 300_000),
    "Walker2d": (-3.0, 20, 250, 1, 20_000, 150_000),
}


def _mbpo_tasks() -> dict[str, Overrides]:
    tasks: dict[str, Overrides] = {"default": _PAPER_MBPO}
    for name, (entropy, updates, every, longest, begin, end) in _MBPO_TASKS.items():
        tasks[f"pbrl/Mbpo{name}-v0"] = _PAPER_MBPO | {
            "config.target_entropy": entropy,
            "schedule.updates_per_step": updates,
            "schedule.model_every": every,
            "schedule.imagine_every": every,
            "schedule.imagine_length": (begin, end, 1, longest),
            "schedule.imagine_buffer": 1_000 // every * 100_000 * longest * (5 if name == "Humanoid" else 1),
        }
    tasks["pbrl/MbpoHumanoid-v0"] |= {"config.model_hidden": (400, 400, 400, 400)}
    return tasks


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
_CPU_STEVE: Overrides = _CPU_SOFT | {
    "config.model_hidden": (128, 128),
    "config.ensemble_size": 5,
    "config.elites": 5,
    "config.target_members": 3,
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
_CPU_MAAC: Overrides = _CPU_STEVE | _CPU_IMAGINED | {"config.horizon": 3, "config.samples": 2}
_CPU_MBPO: Overrides = (
    {k: v for k, v in _CPU_STEVE.items() if k != "config.target_members"} | _CPU_IMAGINED | {"config.elites": 3}
)
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


def _for(envs: tuple[str, ...], overrides: Overrides) -> dict[str, Overrides]:
    return dict.fromkeys(envs, overrides)


PRESETS: dict[str, dict[str, dict[str, Overrides]]] = {
    "paper": {
        "mage": {"default": {}, **_for(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_CLASSIC_MODEL)},
        "dyna": {"default": {}, **_for(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_CLASSIC_MODEL)},
        "td3": {"default": _PAPER_TD3, **_for(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_TD3)},
        "svg": _svg_tasks(_PAPER_SVG, printed=False, model=True),
        "sac": _svg_tasks(_PAPER_SAC, printed=False, model=False),
        "maac": _maac_tasks(_PAPER_MAAC),
        "mbpo": _mbpo_tasks(),
        "steve": {"default": _PAPER_STEVE},
    },
    "paper-text": {
        "svg": _svg_tasks(_PAPER_SVG | _TEXT_SVG, printed=True, model=True),
        "sac": _svg_tasks(_PAPER_SAC | _TEXT_SAC, printed=True, model=False),
        "maac": _maac_tasks(_PAPER_MAAC | _TEXT_MAAC),
    },
    "cpu": {
        "mage": {"default": _CPU | _CPU_MODEL, **_for(PENDULUM + CARTPOLE, _CPU | _CPU_MODEL | _CPU_CLASSIC)},
        "dyna": {"default": _CPU | _CPU_MODEL, **_for(PENDULUM + CARTPOLE, _CPU | _CPU_MODEL | _CPU_CLASSIC)},
        "td3": {"default": _CPU | _PAPER_TD3, **_for(PENDULUM + CARTPOLE, _CPU | _PAPER_TD3 | _CPU_CLASSIC)},
        "svg": {"default": _CPU_SOFT | _CPU_SVG, **_for(PENDULUM, _CPU_SOFT | _CPU_SVG | _CPU_CLASSIC)},
        "sac": {"default": _CPU_SOFT, **_for(PENDULUM, _CPU_SOFT | _CPU_CLASSIC)},
        "maac": {"default": _CPU_MAAC, **_for(PENDULUM, _CPU_MAAC | _CPU_SHORT)},
        "mbpo": {"default": _CPU_MBPO, **_for(PENDULUM, _CPU_MBPO | _CPU_SHORT)},
        "steve": {"default": _CPU_STEVE, **_for(PENDULUM, _CPU_STEVE | _CPU_SHORT)},
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
    return dict(agents[agent].get(env_id, agents[agent]["default"]))
