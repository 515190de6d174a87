"""What MAGE and Dyna-TD3 share: TD3's actor and critics beside an ensemble that all transitions train.

The contract: hyper-parameters, state, and all of an agent's functions but `abilities`, `init` and `update`.
`pbrl.types` says what each must do. An agent's own `init` checks its own fields and calls `start`. (`networks` and
`simulator`, which `update` reads, stand with what they return.)
"""

from dataclasses import replace
from typing import Any

import flax.struct
import jax

from pbrl import config as configs
from pbrl.agents.parts import deterministic
from pbrl.agents.parts.deterministic import ActorCritic, ActorCriticState, networks_of
from pbrl.config import Frozen, static
from pbrl.equations.actor_critic import add_noise, check_rows, either, unsquash
from pbrl.models import ensemble_world
from pbrl.models.ensemble_world import WorldState, mage_world
from pbrl.nn.normalizer import Statistics
from pbrl.types import Array, Dynamics, EnvSpec, Key, Metrics, Transition


@flax.struct.dataclass
class Config(Frozen):
    """Hyper-parameters that these agents share, as MAGE's released code has them, which made the paper's figures."""

    discount: float = 0.99
    """γ of the return."""
    tau: float = 0.005
    """Step of the target networks at every update."""
    actor_lr: float = 1e-4
    """Learning rate of the actor's optimiser."""
    critic_lr: float = 1e-4
    """Learning rate of the critics'."""
    model_lr: float = 1e-4
    """Learning rate of the model's, learned reward and termination included."""
    model_weight_decay: float = 1e-4
    """Decoupled, multiplied by the learning rate."""
    grad_clip: float = 5.0
    """Clip of every gradient coordinate, in all networks."""
    exploration_noise: float = 0.1
    """Standard deviation of the noise on actions in the environment."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target policy's action."""
    target_noise_clip: float = 0.5
    """Bound of that noise."""
    actor_hidden: tuple[int, ...] = static((384, 384))
    """Widths of the actor's hidden layers."""
    critic_hidden: tuple[int, ...] = static((384, 384))
    """Widths of a critic's."""
    model_hidden: tuple[int, ...] = static((512, 512, 512, 512))
    """Widths of each member of the ensemble."""
    ensemble_size: int = static(8)
    """Members of the ensemble."""
    head_hidden: tuple[int, ...] = static((256, 256, 256))
    """Networks of a learned reward or termination."""
    activation: str = static("swish")
    """Of actor and critics; MAGE's needs a second derivative."""
    critics: int = static(2)
    """2: on TD3; 1, with `policy_delay` 1: on DDPG."""
    critic_norm: str = static("none")
    """Of the features of a critic's hidden layers: "layer" centres and scales them row by row (ours)."""
    target_subset: int = static(0)
    """How many critics, drawn anew at every update, have the minimum that is the target; 0 takes all (ours)."""
    actor_critics: str = static("min")
    """What the actor ascends of the critics: "min", or "mean" (ours)."""
    bound_values: bool = static(False)
    """Clip the critics' part of a target to what rewards allow: moving quantiles of r / (1 - γ) (ours)."""
    policy_delay: int = static(2)
    """Critic updates per actor update."""
    td_loss: str = static("huber")
    """Of the TD error: "huber", the authors', or "squared", which also counts rare large errors in full."""
    learn_reward: bool = static(False)
    """Learn the reward even where the environment's is known (MAGE's paper, Fig. 4 and 6)."""
    bound_std: bool = static(False)
    """Clip the deviations that networks divide by to 0.1 and 10, to 1e-3 those of what the model predicts; the code
    takes 1 below 1e-6."""
    precision: str = static("highest")
    """Matmul precision of actor and critics; MAGE's double backward pass wants full float32."""


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: ActorCriticState
    world: WorldState | None
    stats: Statistics
    config: Any  # the agent's own
    spec: EnvSpec = flax.struct.field(pytree_node=False)
    oracle: Dynamics | None = flax.struct.field(pytree_node=False)


def start(key: Key, spec: EnvSpec, config: Config, oracle: Dynamics | None) -> State:
    """Make a fresh state; raises `ValueError` for a hyper-parameter of networks or model that cannot work."""
    deterministic.validate(config)
    ensemble_world.validate(config)
    config = configs.cast(config)
    ac_key, world_key = jax.random.split(key)
    return State(
        ac=ActorCritic(spec, config).init(ac_key),
        world=None if oracle else mage_world(spec, config).init(world_key),
        stats=Statistics.init(spec.obs_size, spec.action_size, bounded=config.bound_std),
        config=config,
        spec=spec,
        oracle=oracle,
    )


def act(state: State, obs: Array, key: Key, *, explore: bool | Array) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: π(s), with Gaussian noise where it explores."""
    action = networks_of(state).policy(state.ac.actor, obs)
    noisy = lambda: add_noise(action, key, state.config.exploration_noise)  # noqa: E731
    return either(explore, noisy, lambda: action)


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics of observations, actions and rewards."""
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
    world, metrics = mage_world(state.spec, state.config).fit_step(state.world, state.stats, batch)
    return replace(state, world=world), metrics


def distribution(state: State, obs: Array) -> tuple[Array, None]:
    """Return π(s) `[*, A]` before its tanh, for `obs [*, S]`; a deterministic policy has no standard deviation."""
    return unsquash(networks_of(state).policy(state.ac.actor, obs)), None


def value(state: State, obs: Array, action: Array) -> Array:
    """Return what the actor ascends of the online critics `[*]`: by default `min_j Q_j(s, a)`.

    For `obs [*, S]` and `action [*, A]`.
    """
    return networks_of(state).value(state.ac.critic, obs, action)
