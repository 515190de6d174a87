"""XQC as settings of `sac`, each with its source: the presets `xqc`, as released, and `xqc-cpu`, small.

Sources are `conf/` of the authors' code (danielpalenicek/xqc, commit 9a6832b), which made the published results. How
`sac` computes it, and what it does otherwise: docs/algorithms/xqc.md. They name all that another preset of `sac` sets,
so that they also serve as changes of one, such as in a row of a suite.
"""

from pbrl.presets.overrides import Overrides
from pbrl.presets.published import PENDULUM, same

_METHOD: Overrides = {
    "config.critic": "categorical",  # agent/base_agent.yaml: critic_loss
    "config.critics": 2,  # n_critics
    "config.atoms": 101,  # agents/xqc/xqc_learner.py: n_outputs
    "config.value_bound": 5.0,  # min_v, max_v
    "config.actor_every": 3,  # policy_delay
    "config.activation": "relu",  # networks/mlp.py: XQCBlock
    "config.normalize_obs": False,  # batch norm on the input instead
    "config.discount": 0.995,  # utils.py: get_discount of tasks of 1,000 steps
    "config.tau": 0.005,
    "config.actor_lr": 3e-4,
    "config.critic_lr": 3e-4,
    "config.temperature_lr": 3e-4,  # xqc_learner.py gives the temperature the actor's rate; temp_lr is not read
    "config.final_lr": 3e-5,  # lr_end
    "config.lr_steps": 1e6,  # max_steps: the length of the published runs
    "config.initial_temperature": 0.01,  # init_temperature
    "config.initial_entropy": None,  # target_entropy auto: -A/2
    "config.final_entropy": None,
    "schedule.model_every": 0,
    "schedule.updates_per_step": 2,  # config.yaml
    "schedule.batch_size": 256,
}
RELEASED: Overrides = _METHOD | {
    "config.actor_hidden": (256, 256, 256, 256),  # agent/base_agent.yaml: hidden_dims_actor
    "config.critic_hidden": (512, 512, 512, 512),  # hidden_dims_critic
    "schedule.warmup_steps": 5_000,  # config.yaml: start_training
    "schedule.total_steps": 1_000_000,
    "schedule.eval_every": 50_000,
    "schedule.checkpoint_every": 50_000,
    "schedule.buffer_size": 1_000_000,
}
SMALL: Overrides = _METHOD | {  # the networks of the preset `cpu`, so that the two compare
    "config.actor_hidden": (64, 64),
    "config.critic_hidden": (128, 128),
    "schedule.total_steps": 20_000,
    "schedule.checkpoint_every": 5_000,
}
_CLASSIC: Overrides = {
    "config.discount": 0.975,  # get_discount of 200 steps
    "schedule.total_steps": 5_000,
    "schedule.warmup_steps": 200,
    "schedule.eval_every": 500,
    "schedule.log_every": 500,
}

XQC: dict[str, dict[str, Overrides]] = {
    "sac": {"default": RELEASED, **same(PENDULUM, RELEASED | {"config.discount": 0.975})}
}
XQC_CPU: dict[str, dict[str, Overrides]] = {"sac": {"default": SMALL, **same(PENDULUM, SMALL | _CLASSIC)}}
