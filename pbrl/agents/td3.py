"""TD3: twin delayed deep deterministic policy gradient (Fujimoto et al. 2018, arXiv 1802.09477), model-free.

    y = r + γ d min_j Q̄_j(s', clip(π̄(s') + clip(ε))),   minimise over Q_i the Huber loss of y - Q_i(s, a)

The networks, optimiser, loss and normalisation are those that MAGE's code gives its TD3, so that the two compare;
`docs/algorithms/mage.md` lists what the original TD3 does otherwise. `updates_per_step` 10 makes the paper's "TD3 ×10".
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import deterministic
from pbrl.agents.parts.deterministic import ActorCritic, ActorCriticState
from pbrl.config import Frozen, static
from pbrl.equations.actor_critic import add_noise, check_rows, either, td_loss, td_target
from pbrl.nn import normalizer
from pbrl.nn.normalizer import STD_BOUNDS, Normalizer
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


@flax.struct.dataclass
class Config(Frozen):
    """Hyper-parameters; the defaults are those of MAGE's released code, whose baseline this is."""

    discount: float = 0.99
    """γ of the return."""
    tau: float = 0.005
    """Step of the target networks at every update."""
    actor_lr: float = 1e-4
    """Learning rate of the actor's optimiser."""
    critic_lr: float = 1e-4
    """Learning rate of the critics'."""
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
    activation: str = static("swish")
    """Of actor and critics."""
    critics: int = static(2)
    """2: TD3; 1, with `policy_delay` 1: DDPG with a smoothed target."""
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
    bound_std: bool = static(False)
    """Clip the deviation that observations are divided by to 0.1 and 10; the code takes 1 below 1e-6."""
    precision: str = static("highest")
    """Matmul precision of actor and critics."""


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: ActorCriticState
    stats: Normalizer
    config: Config
    spec: EnvSpec = flax.struct.field(pytree_node=False)


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    del config
    return Abilities()


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment. Raises `ValueError` where a hyper-parameter cannot work."""
    configs.require(config, Config)
    if oracle is not None:
        raise ValueError("td3 learns from real transitions and has no use for an oracle; drop it, or use 'dyna'")
    deterministic.validate(config)
    config = configs.cast(config)
    ac_key, _ = jax.random.split(key)  # a seed's first networks are those of MAGE and Dyna-TD3
    return State(
        ac=ActorCritic(spec, config).init(ac_key),
        stats=normalizer.init(spec.obs_size, bounds=STD_BOUNDS if config.bound_std else None),
        config=config,
        spec=spec,
    )


def act(state: State, obs: Array, key: Key, *, explore: bool | Array) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: π(s), with Gaussian noise where it explores."""
    action = networks(state).policy(state.ac.actor, obs)
    noisy = lambda: add_noise(action, key, state.config.exploration_noise)  # noqa: E731
    return either(explore, noisy, lambda: action)


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics of the observation."""
    check_rows(state.spec, batch)
    return replace(state, stats=normalizer.update(state.stats, batch.obs))


def update_model(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """Return the state as it is: TD3 models nothing."""
    del batch, key
    return state, {}


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]`: critics, every `policy_delay`-th time the actor, targets.

    Differentiated: the TD loss in Q_i's parameters, the actor loss in π's. Stopped: the whole target.
    """
    check_rows(state.spec, batch)
    cfg, nets = state.config, networks(state)
    next_value = nets.target_value(state.ac, batch.next_obs, key)
    y = td_target(batch.reward, batch.discount, next_value, cfg.discount)

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        q = nets.q(critic, batch.obs, batch.action)
        td_error = y[None] - q
        return td_loss(td_error, cfg.td_loss), {"critic/q": q.mean(), "critic/td_error": jnp.abs(td_error).mean()}

    ac, critic_metrics = nets.descend_critics(state.ac, critic_loss)

    def actor_loss(actor: Params) -> tuple[Array, Metrics]:
        """-min_j Q_j(s, π(s)) on the critics as they are now (the code; TD3 itself takes Q_1)."""
        action = nets.policy(actor, batch.obs)
        return -nets.value(ac.critic, batch.obs, action).mean(), size(action)

    def size(action: Array) -> Metrics:
        return {"actor/abs_action": jnp.abs(action).mean()}

    def pause(ac: ActorCriticState) -> tuple[ActorCriticState, Metrics]:
        ac, metrics = nets.pause_actor(ac)
        return ac, {**metrics, **size(nets.policy(ac.actor, batch.obs))}

    ac, actor_metrics = jax.lax.cond(
        ac.updates % cfg.policy_delay == 0,  # the actor waits, and its target with it
        lambda ac: nets.descend_actor(ac, actor_loss),
        pause,
        ac,
    )
    ac = nets.move_critic_targets(ac)  # every time (the code; TD3 itself delays these, too)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward)
    return replace(state, ac=ac), {**critic_metrics, **actor_metrics, **bound_metrics}


def networks(state: State) -> ActorCritic:
    """Return the networks of actor and critics, without parameters."""
    return ActorCritic(state.spec, state.config, state.stats)
