"""What MAAC, MBPO, STEVE and SVG(1) share: SAC's actor and critics beside an ensemble that held-out rows judge.

The contract: hyper-parameters, state, and all of an agent's functions but `abilities`, `init`, `update` and `value`;
`pbrl.types` says what each must do. An agent's own `init` checks its own fields and calls `start`. (`networks` and
`simulator`, which `update` reads, stand with what they return.)
"""

from dataclasses import replace
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import soft
from pbrl.agents.parts.soft import SoftActorCritic, SoftState, networks_of
from pbrl.agents.parts.style import MAAC_STYLE, Style
from pbrl.config import Frozen, static
from pbrl.equations.actor_critic import check_rows, either
from pbrl.models import ensemble_world
from pbrl.models.ensemble_world import WorldState, maac_simulator, maac_world
from pbrl.nn.networks import ACTIVATIONS
from pbrl.nn.normalizer import Statistics
from pbrl.types import Array, Dynamics, EnvSpec, Key, Metrics, Transition


@flax.struct.dataclass
class Config(Frozen):
    """Hyper-parameters that these agents share, as MAAC's released code gives them to all of its own."""

    style: ClassVar[Style] = MAAC_STYLE

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
    discount: float = 0.99
    """γ of the return."""
    tau: float = 0.005
    """Step of the target critics at every update."""
    actor_lr: float = 3e-4
    """Learning rate of the actor's optimiser."""
    critic_lr: float = 3e-4
    """Learning rate of the critics'."""
    temperature_lr: float = 3e-4
    """Learning rate of log α's; 0 holds α."""
    initial_temperature: float = 1.0
    """α at the start."""
    target_entropy: float | None = None
    """ℋ̄ of the whole action in nats; by default -1 for each action coordinate."""
    model_lr: float = 1e-3
    """Learning rate of the model's optimiser."""
    model_weight_decay: float = 0.0
    """Weight of half the squared parameters in the model's loss."""
    persistence: float = 0.9
    """Of the running average of a member's loss on its held-out rows, whose rise stops the member."""
    stopping: str = static("average")
    """"average": as above (MAAC); "patience": all, once none has improved by 1 % in 5 epochs (MBPO)."""
    max_epochs: int = static(200)
    """Epochs of a fit that nothing stops."""
    elites: int = static(8)
    """Members that imagine, the best by their held-out rows."""
    ensemble_size: int = static(8)
    """M, members of the ensemble."""
    model_hidden: tuple[int, ...] = static((200, 200, 200, 200))
    """Widths of each member."""
    model_activation: str = static("swish")
    """Of the members."""
    model_noise: str = static("state")
    """What a member's deviations hang on: "state" and action (PETS), or "constant" (DHMBPO)."""
    head_hidden: tuple[int, ...] = static((200, 200))
    """Networks of a learned reward or termination."""
    learn_reward: bool = static(False)
    """Learn the reward even where the environment's is known."""
    actor_hidden: tuple[int, ...] = static((256, 256))
    """Widths of the actor's hidden layers."""
    critic_hidden: tuple[int, ...] = static((256, 256))
    """Widths of a critic's."""
    activation: str = static("relu")
    """Of the critics."""
    actor_activation: str = static("relu")
    """Of the actor."""
    normalize_obs: bool = static(False)
    """Divide what actor and critics see by its running deviation; the model always does."""
    bound_std: bool = static(False)
    """Clip the deviations that the model divides by to 0.1 and 10, to 1e-3 those of what it predicts; the code takes 1
    below 1e-6. Actor and critics have those bounds always."""
    precision: str = static("highest")
    """Matmul precision of actor and critics."""


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: SoftState
    world: WorldState | None
    stats: Statistics
    config: Any  # the agent's own
    spec: EnvSpec = flax.struct.field(pytree_node=False)
    oracle: Dynamics | None = flax.struct.field(pytree_node=False)


def start(key: Key, spec: EnvSpec, config: Config, oracle: Dynamics | None) -> State:
    """Make a fresh state; raises `ValueError` for a hyper-parameter of networks or model that cannot work."""
    soft.validate(config)
    ensemble_world.validate(config)
    validate(config)
    target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
    config = configs.cast(replace(config, target_entropy=target))
    ac_key, world_key = jax.random.split(key)
    stats = Statistics.init(spec.obs_size, spec.action_size, bounded=config.bound_std)
    return State(
        ac=SoftActorCritic(spec, config, stats.obs).init(ac_key),
        world=None if oracle else maac_world(spec, config).init(world_key),
        stats=stats,
        config=config,
        spec=spec,
        oracle=oracle,
    )


def act(state: State, obs: Array, key: Key, *, explore: bool | Array) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: a draw from π(s) where it explores, else its mode."""
    nets = networks_of(state)
    return either(explore, lambda: nets.sample(state.ac.actor, obs, key)[0], lambda: nets.mode(state.ac.actor, obs))


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics."""
    check_rows(state.spec, batch)
    return replace(state, stats=state.stats.update(batch))


def update_model(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """Take one gradient step on the model with `batch [E, B]`, or `[B]` shared by all members; an oracle needs none.

    The model adopts the current statistics and keeps them until its next fit.
    """
    check_rows(state.spec, batch)
    del key  # the loss is deterministic
    if state.world is None:
        return state, {}
    world, metrics = maac_world(state.spec, state.config).fit_step(state.world, state.stats, batch)
    return replace(state, world=world), metrics


def model_losses(state: State, batch: Transition) -> Array:
    """Return every member's loss on its own rows `batch [E, B]`, as `[E]`: what stops its training."""
    assert state.world is not None
    return maac_world(state.spec, state.config).losses(state.world, state.stats, batch)


def choose_elites(state: State, member_losses: Array) -> State:
    """Let the members with the smallest losses `[E]` imagine from now on."""
    assert state.world is not None
    return replace(state, world=maac_world(state.spec, state.config).with_elites(state.world, member_losses))


def imagine(state: State, batch: Transition, key: Key) -> tuple[Transition, Transition]:
    """Return what the model says of the policy's own actions where `batch [B]` began, and where the next would begin.

    One step, not differentiated; of the second `obs` and `extras` matter.
    """
    act_key, step_key = jax.random.split(key)
    dynamics = maac_simulator(state)
    latent = dynamics.start(batch)
    action = act(state, batch.obs, act_key, explore=True)
    latent, reward, discount = dynamics.step(latent, action, step_key)
    going_on = (discount > 0.5).astype(reward.dtype)
    obs = dynamics.observe(latent)
    imagined = replace(batch, action=action, reward=reward, discount=going_on, next_obs=obs)
    return imagined, replace(batch, obs=obs, extras={**batch.extras, **dynamics.extras(latent)})


def distribution(state: State, obs: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation `[*, A]` of π(s) before its tanh, for `obs [*, S]`."""
    mean, log_std = networks_of(state).distribution(state.ac.actor, obs)
    return mean, jnp.exp(log_std)


def validate(config: Config) -> None:
    """Raise `ValueError` for a hyper-parameter of this file that cannot work, naming field, range and value."""
    configs.check(config, target_entropy=(-1e9, 1e9), persistence=(0, 1), max_epochs=(1, 1_000_000))
    configs.check_choice(config, model_activation=ACTIVATIONS, stopping=("average", "patience"))
    configs.check_choice(config, model_noise=ensemble_world.NOISES)
    if not 1 <= config.elites <= config.ensemble_size:
        raise ValueError(
            f"config.elites: expected 1 to ensemble_size ({config.ensemble_size}) members, got {config.elites}"
        )
