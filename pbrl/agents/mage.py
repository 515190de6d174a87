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
from pbrl.agents.parts import td3_with_model
from pbrl.agents.parts.deterministic import networks_of as networks
from pbrl.agents.parts.td3_with_model import State, act, distribution, observe, update_model, value
from pbrl.equations.actor_critic import action_gradient_loss, check_rows, safe_norm, td_loss, td_target
from pbrl.models.ensemble_world import mage_simulator as simulator
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "update"]
# What it shares with Dyna-TD3; `parts/td3_with_model.py` says what each promises.
__all__ += ["State", "act", "distribution", "networks", "observe", "simulator", "update_model", "value"]


@flax.struct.dataclass
class Config(td3_with_model.Config):
    """Hyper-parameters; the defaults are those of the authors' released code, which made the paper's figures.

    Those of `td3_with_model.Config` besides.
    """

    lam: float = 0.2
    """λ of eq. 8, the weight of the TD error beside its action gradient (App. D: 0.2 in Fig. 2, 0.05 elsewhere)."""
    gradient_weight: float = 1.0
    """Weight of ‖∇ₐδ‖ in eq. 8; 0 leaves Dyna-TD3."""
    loss_scale: float = 5.0
    """Scale of the whole critic loss, 1/λ in the released code; it matters to clipping and to Adam's first steps."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="epochs", members=config.ensemble_size, plans=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.require(config, Config)
    configs.check(config, lam=(0, math.inf), gradient_weight=(0, math.inf), loss_scale=(0, math.inf))
    if config.activation == "relu":
        raise ValueError("config.activation: MAGE needs a second derivative, which 'relu' lacks; use 'swish' or 'tanh'")
    return td3_with_model.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One iteration of Algorithm 1's inner loop on replayed states `batch.obs [B, S]`: critics, actor, targets.

    Differentiated: the critic loss in Q_i's parameters, through Q_i(s, a) and ∇ₐQ_i(s, a), where ∇ₐδ_i itself runs
    through reward, model and target policy; the actor loss in π's. Stopped: the target y and ∇ₐy, which hold no
    parameter of Q_i, and so are computed once and shared by the critics.
    """
    check_rows(state.spec, batch)
    step_key, smooth_key = jax.random.split(key)
    cfg, nets, dynamics = state.config, networks(state), simulator(state)

    def target(action: Array) -> tuple[Array, Array]:
        """y(a) [B]: the part of δ that does not depend on the critic being trained."""
        z, reward, discount = dynamics.step(dynamics.start(batch), action, step_key)
        next_value = nets.target_value(state.ac, dynamics.observe(z), smooth_key)
        return td_target(reward, discount, next_value, cfg.discount), reward

    action = nets.policy(state.ac.actor, batch.obs)  # a = π(s), without noise
    y, pullback, reward = jax.vjp(target, action, has_aux=True)
    (y_gradient,) = pullback(jnp.ones_like(y))  # ∇ₐy; rows do not interact, so that of the sum is each row's own

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        """Losses of δ_i, weighted by λ, and ‖∇ₐδ_i‖ (eq. 8), the mean over both critics; the norm's is always Huber."""
        q, q_gradient = nets.q_and_action_gradient(critic, batch.obs, action)
        td_error, gradient_error = y[None] - q, y_gradient[None] - q_gradient
        metrics = {
            "critic/q": q.mean(),
            "critic/td_error": jnp.abs(td_error).mean(),
            "critic/gradient_error": safe_norm(gradient_error).mean(),
            "critic/action_gradient": safe_norm(q_gradient).mean(),
        }
        loss = cfg.gradient_weight * action_gradient_loss(gradient_error) + cfg.lam * td_loss(td_error, cfg.td_loss)
        return cfg.loss_scale * loss, metrics

    ac, critic_metrics = nets.descend_critics(state.ac, critic_loss)

    def actor_loss(actor: Params) -> tuple[Array, Metrics]:
        """-min_j Q_j(s, π(s)) on the critics as they are now (the code; TD3 itself takes Q_1)."""
        return -nets.value(ac.critic, batch.obs, nets.policy(actor, batch.obs)).mean(), {}

    ac, actor_metrics = jax.lax.cond(
        ac.updates % cfg.policy_delay == 0,  # the actor waits, and its target with it
        lambda ac: nets.descend_actor(ac, actor_loss),
        nets.pause_actor,
        ac,
    )
    ac = nets.move_critic_targets(ac)  # every time (the code; TD3 itself delays these, too)
    ac, bound_metrics = nets.move_bounds(ac, reward)
    metrics = {**critic_metrics, **actor_metrics, **bound_metrics, "actor/abs_action": jnp.abs(action).mean()}
    return replace(state, ac=ac), {**metrics, "model/reward": reward.mean()}
