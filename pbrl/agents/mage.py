"""MAGE: Model-based Action-Gradient-Estimator policy optimization (D'Oro and Jaśkowski 2020, arXiv 2004.14309).

A critic whose *gradient* in the action is right makes a good actor, so the critic is trained on the gradient of
its temporal-difference error, `∇ₐδ`, which a differentiable model of the environment makes available:

    δ_i = r(s, a, ŝ) + γ (1 - d(ŝ)) min_j Q̄_j(ŝ, π̄(ŝ) + ε) - Q_i(s, a),   a = π(s),  ŝ ~ p(·|s, a)
    minimise over Q_i:   ‖∇ₐ δ_i‖ + λ |δ_i|                                       (paper, eq. 8)

Built on TD3. `docs/algorithms/mage.md` maps equations to functions and tests, and lists every deviation.
"""

import math
from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import deterministic
from pbrl.agents.parts.deterministic import ActorCritic, ActorCriticState
from pbrl.config import static
from pbrl.equations import losses, policies, values
from pbrl.models import ensemble_world
from pbrl.models.ensemble import Statistics
from pbrl.models.ensemble_world import World, WorldState
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


@flax.struct.dataclass
class Config:
    """Hyper-parameters; the defaults are those of the authors' released code, which made the paper's figures."""

    discount: float = 0.99
    """γ of the return."""
    lam: float = 0.2
    """λ of eq. 8, the weight of the TD error beside its action gradient (App. D: 0.2 in Fig. 2, 0.05 elsewhere)."""
    gradient_weight: float = 1.0
    """Weight of ‖∇ₐδ‖ in eq. 8; 0 leaves Dyna-TD3."""
    loss_scale: float = 5.0
    """Scale of the whole critic loss, 1/λ in the released code; it matters to clipping and to Adam's first steps."""
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
    """Of actor and critics; it needs a second derivative."""
    critics: int = static(2)
    """2: MAGE-TD3; 1, with `policy_delay` 1: MAGE-DDPG."""
    policy_delay: int = static(2)
    """Critic updates per actor update."""
    learn_reward: bool = static(False)
    """Learn the reward even where the environment's is known (paper, Fig. 4 and 6)."""
    precision: str = static("highest")
    """Matmul precision of actor and critics; the double backward pass wants full float32."""


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: ActorCriticState
    ensemble_world: WorldState | None
    stats: Statistics
    config: Config
    spec: EnvSpec = flax.struct.field(pytree_node=False)
    oracle: Dynamics | None = flax.struct.field(pytree_node=False)


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="epochs", members=config.ensemble_size, plans=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    deterministic.validate(config)
    ensemble_world.validate(config)
    configs.check(config, lam=(0, math.inf), gradient_weight=(0, math.inf), loss_scale=(0, math.inf))
    if config.activation == "relu":
        raise ValueError("config.activation: MAGE needs a second derivative, which 'relu' lacks; use 'swish' or 'tanh'")
    config = configs.cast(config)
    ac_key, world_key = jax.random.split(key)
    return State(
        ac=ActorCritic(spec, config).init(ac_key),
        world=None if oracle else World(spec, config).init(world_key),
        stats=Statistics.init(spec.obs_size, spec.action_size),
        config=config,
        spec=spec,
        oracle=oracle,
    )


def act(state: State, obs: Array, key: Key, *, explore: bool) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: π(s), with Gaussian noise where it explores."""
    action = networks(state).policy(state.ac.actor, obs)
    return policies.add_noise(action, key, state.config.exploration_noise) if explore else action


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics of observations, actions and rewards."""
    return replace(state, stats=state.stats.update(batch))


def update_model(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """Take one gradient step on the model with `batch [E, B]`, or `[B]` shared by all members; an oracle needs none.

    The model adopts the current statistics and keeps them until its next fit.
    """
    del key  # the loss is deterministic
    if state.world is None:
        return state, {}
    model, metrics = World(state.spec, state.config).fit_step(state.world, state.stats, batch)
    return replace(state, world=model), metrics


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One iteration of Algorithm 1's inner loop on replayed states `batch.obs [B, S]`: critics, actor, targets.

    Differentiated: the critic loss in Q_i's parameters, through Q_i(s, a) and ∇ₐQ_i(s, a), where ∇ₐδ_i itself runs
    through reward, model and target policy; the actor loss in π's. Stopped: the target y and ∇ₐy, which hold no
    parameter of Q_i, and so are computed once and shared by the critics.
    """
    step_key, smooth_key = jax.random.split(key)
    cfg, nets, dynamics = state.config, networks(state), simulator(state)

    def target(action: Array) -> tuple[Array, Array]:
        """y(a) [B]: the part of δ that does not depend on the critic being trained."""
        z, reward, discount = dynamics.step(dynamics.start(batch), action, step_key)
        next_value = nets.target_value(state.ac, dynamics.observe(z), smooth_key)
        return values.td_target(reward, discount, next_value, cfg.discount), reward

    action = nets.policy(state.ac.actor, batch.obs)  # a = π(s), without noise
    y, pullback, reward = jax.vjp(target, action, has_aux=True)
    (y_gradient,) = pullback(jnp.ones_like(y))  # ∇ₐy; rows do not interact, so that of the sum is each row's own

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        """λ-weighted Huber losses of δ_i and ‖∇ₐδ_i‖ (eq. 8), the mean over both critics."""
        q, q_gradient = nets.q_and_action_gradient(critic, batch.obs, action)
        td_error, gradient_error = y - q, y_gradient - q_gradient
        gradient_loss, td_loss = losses.action_gradient_loss(gradient_error), losses.td_loss(td_error)
        metrics = {
            "critic/q": q.mean(),
            "critic/td_error": jnp.abs(td_error).mean(),
            "critic/gradient_error": losses.safe_norm(gradient_error).mean(),
            "critic/action_gradient": losses.safe_norm(q_gradient).mean(),
        }
        return cfg.loss_scale * (cfg.gradient_weight * gradient_loss + cfg.lam * td_loss), metrics

    ac, critic_metrics = nets.descend_critics(state.ac, critic_loss)
    ac, actor_metrics = nets.improve_actor(ac, batch.obs)  # every `policy_delay`-th time, then targets
    return replace(state, ac=ac), {**critic_metrics, **actor_metrics, "model/reward": reward.mean()}


def simulator(state: State) -> Dynamics:
    """Return what imagines: the oracle where there is one, else the learned model."""
    if state.oracle:
        return state.oracle
    assert state.world is not None
    return World(state.spec, state.config).dynamics(state.world)


def distribution(state: State, obs: Array) -> tuple[Array, None]:
    """Return π(s) `[*, A]` before its tanh, for `obs [*, S]`; a deterministic policy has no standard deviation."""
    return policies.unsquash(networks(state).policy(state.ac.actor, obs)), None


def value(state: State, obs: Array, action: Array) -> Array:
    """Return `min_j Q_j(s, a)` `[*]` of the online critics for `obs [*, S]` and `action [*, A]`."""
    return values.clipped_minimum(networks(state).q(state.ac.critic, obs, action))


def networks(state: State) -> ActorCritic:
    """Return the networks of actor and critics, without parameters."""
    return ActorCritic(state.spec, state.config, state.stats.obs)
