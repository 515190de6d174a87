"""Dyna-TD3: TD3 on imagined one-step transitions, the baseline that isolates what MAGE's action gradient adds.

For replayed states s the model imagines the outcome of the policy's own action, and critics minimise the TD error:

    δ_i = r(s, a, ŝ) + γ (1 - d(ŝ)) min_j Q̄_j(ŝ, π̄(ŝ) + ε) - Q_i(s, a),   a = π(s),  ŝ ~ p(·|s, a)

(D'Oro and Jaśkowski 2020, arXiv 2004.14309, §5.) It is MAGE with `gradient_weight` 0, which a test asserts.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import td3_with_model
from pbrl.agents.parts.deterministic import networks_of as networks
from pbrl.agents.parts.td3_with_model import State, act, distribution, observe, update_model, value
from pbrl.equations.actor_critic import check_rows, td_loss, td_target
from pbrl.models.ensemble_world import mage_simulator as simulator
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "update"]
# What it shares with MAGE; `parts/td3_with_model.py` says what each promises.
__all__ += ["State", "act", "distribution", "networks", "observe", "simulator", "update_model", "value"]


@flax.struct.dataclass
class Config(td3_with_model.Config):
    """Hyper-parameters: those of `td3_with_model.Config`, and no others."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="epochs", members=config.ensemble_size, plans=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.require(config, Config)
    return td3_with_model.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed states `batch.obs [B, S]`: critics on imagined transitions, actor, targets.

    Differentiated: the TD loss in Q_i's parameters, the actor loss in π's. Stopped: the whole target.
    """
    check_rows(state.spec, batch)
    step_key, smooth_key = jax.random.split(key)
    cfg, nets, dynamics = state.config, networks(state), simulator(state)

    action = nets.policy(state.ac.actor, batch.obs)  # a = π(s), without noise
    z, reward, discount = dynamics.step(dynamics.start(batch), action, step_key)
    next_value = nets.target_value(state.ac, dynamics.observe(z), smooth_key)
    y = td_target(reward, discount, next_value, cfg.discount)

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        q = nets.q(critic, batch.obs, action)
        td_error = y[None] - q
        return td_loss(td_error, cfg.td_loss), {"critic/q": q.mean(), "critic/td_error": jnp.abs(td_error).mean()}

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
