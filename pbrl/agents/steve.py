"""STEVE on SAC: value expansions mixed by their certainty (Buckman et al. 2018, arXiv 1807.01675).

    T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ],   y = Σ_k w_k mean T_k
    w_k ∝ 1 / var T_k over members of the model and critics;   minimise over Q_i  (y - Q_i(s, a))²

The actor is SAC's. Only targets see the model, and only replayed transitions are trained on. MAAC's paper compares with
STEVE in this form; `docs/algorithms/maac.md` says how its original, on DDPG, differs.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl import losses, soft_actor_critic, values
from pbrl.config import static
from pbrl.expansion import steve_targets
from pbrl.models import heldout_world
from pbrl.models.ensemble import Statistics
from pbrl.models.heldout_world import HeldOutState, HeldOutWorld
from pbrl.soft_actor_critic import SoftActorCritic, SoftState, Style
from pbrl.types import Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


@flax.struct.dataclass
class Config:
    """Hyper-parameters; the defaults are those that MAAC's released code gives to all its agents."""

    target_horizon: int = static(3)
    """K, model steps of the longest candidate of the critics' target; 0 is TD."""
    target_members: int = static(4)
    """Members that estimate a candidate, drawn anew for each k."""
    critics: int = static(4)
    """C; from 3 up their estimates differ, which the certainty of STEVE's candidate 0 needs."""
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
    head_hidden: tuple[int, ...] = static((200, 200))
    """Networks of a learned reward or termination."""
    learn_reward: bool = static(False)
    """Learn the reward even where the environment's is known."""
    actor_hidden: tuple[int, ...] = static((256, 256))
    """Widths of the actor\'s hidden layers."""
    critic_hidden: tuple[int, ...] = static((256, 256))
    """Widths of a critic\'s."""
    activation: str = static("relu")
    """Of the critics."""
    actor_activation: str = static("relu")
    """Of the actor."""
    normalize_obs: bool = static(False)
    """Divide what actor and critics see by its running deviation; the model always does."""
    precision: str = static("highest")
    """Matmul precision of actor and critics."""


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: SoftState
    world: HeldOutState | None
    stats: Statistics
    config: Config
    spec: EnvSpec = flax.struct.field(pytree_node=False)
    oracle: Dynamics | None = flax.struct.field(pytree_node=False)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    soft_actor_critic.validate(config)
    heldout_world.validate(config)
    configs.check(config, target_horizon=(0, 1_000), target_members=(1, config.elites))
    target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
    config = configs.cast(replace(config, target_entropy=target))
    ac_key, world_key = jax.random.split(key)
    stats = Statistics.init(spec.obs_size, spec.action_size)
    return State(
        ac=_actor_critic(spec, config, stats).init(ac_key),
        world=None if oracle else HeldOutWorld(spec, config).init(world_key),
        stats=stats,
        config=config,
        spec=spec,
        oracle=oracle,
    )


def act(state: State, obs: Array, key: Key, *, explore: bool) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: a draw from π(s) where it explores, else its mode."""
    nets = _networks(state)
    return nets.sample(state.ac.actor, obs, key)[0] if explore else nets.mode(state.ac.actor, obs)


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics."""
    return replace(state, stats=state.stats.update(batch))


def update_model(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """Take one gradient step on the model with `batch [E, B]`, or `[B]` shared by all members; an oracle needs none.

    The model adopts the current statistics and keeps them until its next fit.
    """
    del key  # the loss is deterministic
    if state.world is None:
        return state, {}
    world, metrics = HeldOutWorld(state.spec, state.config).fit_step(state.world, state.stats, batch)
    return replace(state, world=world), metrics


def model_losses(state: State, batch: Transition) -> Array:
    """Return every member's loss on its own rows `batch [E, B]`, as `[E]`: what stops its training."""
    assert state.world is not None
    return HeldOutWorld(state.spec, state.config).losses(state.world, state.stats, batch)


def choose_elites(state: State, member_losses: Array) -> State:
    """Let the members with the smallest losses `[E]` imagine from now on."""
    assert state.world is not None
    return replace(state, world=HeldOutWorld(state.spec, state.config).with_elites(state.world, member_losses))


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]`: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; the actor loss in π's, through the reparameterised action
    and its density; the temperature loss in log α. Stopped: the whole target, α outside its own loss.
    """
    target_key, actor_key = jax.random.split(key)
    cfg, nets = state.config, _networks(state)
    y, target_metrics = steve_targets(state, nets, simulator(state), batch, target_key)

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        q = nets.q(critic, batch.obs, batch.action)
        return losses.squared_td_loss(y - q), {"critic/q": q.mean(), "critic/td_error": jnp.abs(y - q).mean()}

    ac, critic_metrics = nets.descend_critics(state.ac, critic_loss)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        action, log_prob = nets.sample(actor, batch.obs, actor_key)
        q = values.neighbour_minima(nets.q(ac.critic, batch.obs, action)).mean(0)
        return losses.soft_policy_loss(q - ac.alpha * log_prob), log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)  # pyright: ignore
    metrics = {**target_metrics, **critic_metrics, **actor_metrics, **temperature_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def simulator(state: State) -> Dynamics:
    """Return what the agent imagines with: the learned world, or the oracle."""
    if state.oracle:
        return state.oracle
    assert state.world is not None
    return HeldOutWorld(state.spec, state.config).dynamics(state.world)


def distribution(state: State, obs: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation `[*, A]` of π(s) before its tanh, for `obs [*, S]`."""
    mean, log_std = _networks(state).distribution(state.ac.actor, obs)
    return mean, jnp.exp(log_std)


def value(state: State, obs: Array, action: Array) -> Array:
    """Return the mean of neighbouring critics' minima `[*]`, online and soft, for `obs [*, S]` and `action [*, A]`."""
    return values.neighbour_minima(_networks(state).q(state.ac.critic, obs, action)).mean(0)


def _actor_critic(spec: EnvSpec, config: Config, stats: Statistics) -> SoftActorCritic:
    style = Style("glorot", (-20.0, 2.0), clip_log_std=True, actor_activation=config.actor_activation)
    return SoftActorCritic(spec, config, stats.obs, style)


def _networks(state: State) -> SoftActorCritic:
    return _actor_critic(state.spec, state.config, state.stats)
