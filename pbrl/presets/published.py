"""Hyper-parameters of the published results, by agent and task, each with its source: presets `paper`, `paper-text`."""

from pbrl.presets.overrides import Overrides

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
PAPER_TD3: Overrides = {
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
_TEXT_SVG: Overrides = _TEXT_SAC | {
    "schedule.model_batch_size": 1024,
    "config.balance_terminations": False,  # no weights are printed; the paper calls them unimportant
}

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
# What the text says instead: whole trajectories, chained rollouts, candidates of STEVE of up to H steps (§4.3).
_TEXT_MAAC: Overrides = {
    "config.branch": "start",
    "schedule.imagine_chained": True,
}
# Per task: H, activation of the actor, of the critics, longest imagined trajectory (from step 20,000 to 100,000).
_MAAC_TASKS: dict[str, tuple[int, str, str, int]] = {
    "HalfCheetah": (4, "relu", "relu", 1),
    "Ant": (4, "tanh", "relu", 25),
    "Hopper": (4, "tanh", "tanh", 15),
    "Walker2d": (2, "tanh", "tanh", 1),
}


def _maac_tasks(base: Overrides, *, printed: bool) -> dict[str, Overrides]:
    """Return settings by environment, of the released code or as the paper prints them."""
    tasks: dict[str, Overrides] = {"default": base | ({"config.target_horizon": 4} if printed else {})}
    for name, (horizon, actor, critics, longest) in _MAAC_TASKS.items():
        tasks[f"pbrl/Maac{name}-v0"] = base | {
            "config.horizon": horizon,
            "config.actor_activation": actor,
            "config.activation": critics,
            "schedule.imagine_length": (20_000, 100_000, 1, longest),
        }
        if printed:
            tasks[f"pbrl/Maac{name}-v0"]["config.target_horizon"] = horizon
    return tasks


# STEVE on SAC is a switch of MAAC's code, its script not released; SVG(1)'s is on-policy. Real transitions alone.
_PAPER_REAL: Overrides = {k: v for k, v in _PAPER_MAAC.items() if k.startswith("schedule.") and "imagine" not in k}

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


# Kubo et al. 2025, released code (`config/agent/{dhmbpo,svg,sac,sac_new}.yaml`), one set for all tasks.
_PAPER_DHMBPO: Overrides = {
    "schedule.total_steps": 500_000,
    "schedule.warmup_steps": 5_000,
    "schedule.batch_size": 256,
    "schedule.updates_per_step": 1,
    "schedule.model_every": 1_000,
    "schedule.model_batch_size": 2_048,
    "schedule.imagine_every": 20,  # `rollout_freq`
    "schedule.imagine_batch": 256,
    "schedule.imagine_length": (0, 1, 20, 20),  # `distribution_rollout_horizon`
    "schedule.imagine_buffer": 51_200,  # the states of ten such rollouts
    "schedule.real_fraction": 0.0,
    "schedule.eval_every": 10_000,
}


def same(envs: tuple[str, ...], overrides: Overrides) -> dict[str, Overrides]:
    """Give several environments the same settings."""
    return dict.fromkeys(envs, overrides)


PAPER: dict[str, dict[str, Overrides]] = {
    "mage": {"default": {}, **same(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_CLASSIC_MODEL)},
    "dyna": {"default": {}, **same(PENDULUM + CARTPOLE, _PAPER_CLASSIC | _PAPER_CLASSIC_MODEL)},
    "td3": {"default": PAPER_TD3, **same(PENDULUM + CARTPOLE, _PAPER_CLASSIC | PAPER_TD3)},
    "svg": _svg_tasks(_PAPER_SVG, printed=False, model=True),
    "sac": _svg_tasks(_PAPER_SAC, printed=False, model=False),
    "maac": _maac_tasks(_PAPER_MAAC, printed=False),
    "dhmbpo": {"default": _PAPER_DHMBPO},
    "mbpo": _mbpo_tasks(),
    "steve": {"default": _PAPER_REAL},
    "svg1": {"default": _PAPER_REAL},
}

PAPER_TEXT: dict[str, dict[str, Overrides]] = {
    "svg": _svg_tasks(_PAPER_SVG | _TEXT_SVG, printed=True, model=True),
    "sac": _svg_tasks(_PAPER_SAC | _TEXT_SAC, printed=True, model=False),
    "maac": _maac_tasks(_PAPER_MAAC | _TEXT_MAAC, printed=True),
}
