"""Hyper-parameters for two CPU cores, by agent and task: the preset `cpu`. No paper's.

Small networks and batches cost little per update (2 ms), and higher rates make up for the few updates that there is
time for. Tried on seeds from 1000 up; seeds from 0 are for results.
"""

from pbrl.presets.overrides import Overrides
from pbrl.presets.published import CARTPOLE, PAPER, PAPER_TD3, PENDULUM, same

_DETERMINISTIC: Overrides = {
    "config.actor_hidden": (64, 64),
    "config.critic_hidden": (128, 128),
    "config.actor_lr": 3e-4,
    "config.critic_lr": 1e-3,
    "config.bound_std": True,
    "schedule.total_steps": 20_000,  # a few minutes
    "schedule.batch_size": 128,
    "schedule.checkpoint_every": 5_000,
}
_REWARD_AND_MODEL: Overrides = {
    "config.model_hidden": (128, 128),
    "config.ensemble_size": 5,
    "config.head_hidden": (128, 128),
    "config.model_lr": 1e-3,
    "schedule.model_min_batches": 40,
}
_SOFT: Overrides = {
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
_RECURRENT: Overrides = _SOFT | {
    "config.encoder_hidden": (64,),
    "config.recurrent_width": 64,
    "config.recurrent_layers": 1,
    "config.head_hidden": (64, 64),
    "config.actor_warmup": 1_000.0,
    "schedule.model_every": 1,
    "schedule.model_batch_size": 128,
    "schedule.model_min_batches": 2,
}
_VALIDATED: Overrides = _SOFT | {  # a model that validation rows stop
    "config.model_hidden": (128, 128),
    "config.ensemble_size": 5,
    "config.elites": 5,
    "config.head_hidden": (64, 64),
    "config.max_epochs": 40,
    "config.initial_temperature": 0.1,
    "config.normalize_obs": True,
    "config.bound_std": True,
    "schedule.warmup_steps": 500,
    "schedule.updates_per_step": 4,
    "schedule.batch_size": 128,
    "schedule.model_every": 250,
    "schedule.model_batch_size": 128,
}
_IMAGINED: Overrides = {
    "schedule.imagine_every": 250,
    "schedule.imagine_batch": 5_000,
    "schedule.imagine_buffer": 20_000,
    "schedule.real_fraction": 0.5,
}
_MAGE: Overrides = _DETERMINISTIC | _REWARD_AND_MODEL
_TD3: Overrides = _DETERMINISTIC | PAPER_TD3
_STEVE: Overrides = _VALIDATED | {"config.target_members": 3}
_MAAC: Overrides = (
    _VALIDATED
    | _IMAGINED
    | {  # docs/algorithms/maac.md says what each of these is worth
        "config.horizon": 3,
        "config.samples": 1,
        "config.entropy": "path",
        "config.target_horizon": 0,
        "config.critics": 2,
    }
)
_MBPO: Overrides = _VALIDATED | _IMAGINED | {"config.elites": 3}
_DHMBPO: Overrides = _VALIDATED | {
    "config.critics": 3,
    "config.model_hidden": (128, 128, 128),
    "schedule.warmup_steps": 1_000,
    "schedule.updates_per_step": 2,
    "schedule.model_batch_size": 256,
    "schedule.model_max_batches": 500,
    "schedule.imagine_every": 20,
    "schedule.imagine_batch": 128,
    "schedule.imagine_length": (0, 1, 20, 20),
    "schedule.imagine_buffer": 25_600,
    "schedule.real_fraction": 0.5,
}
_SVG1: Overrides = _VALIDATED | {"config.ensemble_size": 1, "config.elites": 1}

_WATCHED: Overrides = {
    "schedule.eval_every": 500,
    "schedule.log_every": 500,
}
_SHORT: Overrides = {"schedule.total_steps": 5_000, **_WATCHED}
# Both tasks are learned within 3000 steps, so training starts early and is looked at often.
_CLASSIC: Overrides = {
    "schedule.total_steps": 5_000,
    "schedule.warmup_steps": 200,
    "schedule.batch_size": 256,
    **_WATCHED,
}
# A fall leaves a large TD error, which Huber's loss would count as one of size 1.
_CARTPOLE: Overrides = {**_CLASSIC, "config.td_loss": "squared"}


def _entropies(base: Overrides) -> dict[str, Overrides]:
    """Give SVG's tasks the target entropies of the published runs, of as many steps as those had.

    Tried on MBPO's Hopper and HalfCheetah: with the usual -A Hopper stood still for 50,000 steps. MAAC's tasks keep -A,
    as the SAC that its paper compares with.
    """
    names = ("initial_entropy", "final_entropy", "entropy_decay", "entropy_steps")
    return {
        env: base | {f"config.{name}": paper[f"config.{name}"] for name in names}
        for env, paper in PAPER["sac"].items()
        if env != "default" and "/Maac" not in env
    }


def _mbpo_entropies(base: Overrides) -> dict[str, Overrides]:
    """Give MBPO's tasks the target entropies of its published runs. Tried on Hopper: with -A it stood still."""
    return {
        env: base | {"config.target_entropy": paper["config.target_entropy"]}
        for env, paper in PAPER["mbpo"].items()
        if env != "default"
    }


CPU: dict[str, dict[str, Overrides]] = {
    "mage": {"default": _MAGE, **same(PENDULUM, _MAGE | _CLASSIC), **same(CARTPOLE, _MAGE | _CARTPOLE)},
    "dyna": {"default": _MAGE, **same(PENDULUM, _MAGE | _CLASSIC), **same(CARTPOLE, _MAGE | _CARTPOLE)},
    "td3": {"default": _TD3, **same(PENDULUM, _TD3 | _CLASSIC), **same(CARTPOLE, _TD3 | _CARTPOLE)},
    "svg": {"default": _RECURRENT, **_entropies(_RECURRENT), **same(PENDULUM, _RECURRENT | _CLASSIC)},
    "sac": {"default": _SOFT, **_entropies(_SOFT), **same(PENDULUM, _SOFT | _CLASSIC)},
    "maac": {"default": _MAAC, **same(PENDULUM, _MAAC | _SHORT)},
    "dhmbpo": {"default": _DHMBPO, **_mbpo_entropies(_DHMBPO), **same(PENDULUM, _DHMBPO | _SHORT)},
    "mbpo": {"default": _MBPO, **same(PENDULUM, _MBPO | _SHORT)},
    "steve": {"default": _STEVE, **same(PENDULUM, _STEVE | _SHORT)},
    "svg1": {"default": _SVG1, **same(PENDULUM, _SVG1 | _SHORT)},
}
