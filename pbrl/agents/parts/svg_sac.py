"""What SAC and SAC-SVG(H) share: hyper-parameters as SVG's released code gives them to both, and acting.

The contract: a config that inherits these fields passes `soft.validate` and `validate_schedule`, and its state has
`ac`, `stats` and `spec`; the order of an update is the agent's own.
"""

from dataclasses import replace
from typing import Any, ClassVar

import flax.struct

from pbrl import config as configs
from pbrl.agents.parts.soft import SoftActorCritic
from pbrl.agents.parts.style import SVG_STYLE, Style
from pbrl.config import Frozen, static
from pbrl.equations.actor_critic import either
from pbrl.types import Array, EnvSpec, Key


@flax.struct.dataclass
class Config(Frozen):
    """Hyper-parameters that both agents have."""

    style: ClassVar[Style] = SVG_STYLE
    actor_activation = None  # the critics' own

    discount: float = 0.99
    """γ of the return."""
    tau: float = 0.005
    """Step of the target critics at every update."""
    actor_lr: float = 1e-4
    """Learning rate of the actor's optimiser."""
    critic_lr: float = 1e-4
    """Learning rate of the critics'."""
    temperature_lr: float = 1e-4
    """Learning rate of log α's."""
    initial_temperature: float = 0.1
    """α at the start."""
    initial_entropy: float | None = None
    """ℋ_init, target entropy of the whole action at the start, in nats; by default -1 for each action coordinate."""
    final_entropy: float | None = None
    """ℋ_final, target entropy at the end of the schedule; by default the initial one."""
    entropy_decay: float = 1.0
    """β, exponent of the schedule between the two (SVG eq. 14)."""
    entropy_steps: float = 1e6
    """T, environment steps until the final target entropy is reached."""
    actor_hidden: tuple[int, ...] = static((512, 512, 512, 512))
    """Widths of the actor's hidden layers."""
    critic_hidden: tuple[int, ...] = static((512, 512, 512, 512))
    """Widths of a critic's."""
    activation: str = static("relu")
    """Of actor and critics."""
    critics: int = static(2)
    """How many, of which the smallest counts."""
    critic_norm: str = static("none")
    """Of the features of a critic's hidden layers: "layer" centres and scales them row by row (ours)."""
    target_subset: int = static(0)
    """How many critics, drawn anew at every update, have the minimum that is the target; 0 takes all (ours)."""
    actor_critics: str = static("min")
    """What the actor ascends of the critics: "min", or "mean" (ours)."""
    bound_values: bool = static(False)
    """Clip the critics' part of a target to what rewards allow: moving quantiles of r / (1 - γ) (ours)."""
    normalize_obs: bool = static(True)
    """Divide observations by their running deviation, within 0.1 and 10."""
    precision: str = static("highest")
    """Matmul precision of actor and critics."""


def act(nets: SoftActorCritic, state: Any, obs: Array, key: Key, explore: bool | Array) -> Array:
    """Return actions `[*, A]` in [-1, 1] for `obs [*, S]`: a draw from π(s) where it explores, else its mode."""
    actor = state.ac.actor
    return either(explore, lambda: nets.sample(actor, obs, key)[0], lambda: nets.mode(actor, obs))


def resolve(config: Any, spec: EnvSpec, per_action: float = -1.0) -> Any:
    """Put the usual -A (one nat less for each action coordinate) where the config leaves a target entropy open."""
    usual = per_action * spec.action_size
    initial = usual if config.initial_entropy is None else config.initial_entropy
    final = initial if config.final_entropy is None else config.final_entropy
    return replace(config, initial_entropy=initial, final_entropy=final)


def validate_schedule(config: Any) -> None:
    """Raise `ValueError` for a schedule of the target entropy that cannot be."""
    finite, inf = (-1e9, 1e9), float("inf")
    configs.check(config, initial_entropy=finite, final_entropy=finite, entropy_decay=(0, inf), entropy_steps=(1, inf))
