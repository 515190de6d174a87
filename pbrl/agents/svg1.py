"""SVG(1): a value gradient through one model step, taken at real transitions (Heess et al. 2015, arXiv 1510.09142).

The noise that made a real transition (s, a, s') is inferred, for the policy η = (u - μ_π(s)) / σ_π(s) with a = tanh u,
for the model ξ = (s' - μ_f(s, a)) / σ_f(s, a); both are held, and the transition becomes a function of the policy:

    a_θ = tanh(μ_π + σ_π η),  ŝ'_θ = μ_f(s, a_θ) + σ_f(s, a_θ) ξ,  w = clip(π_θ(a|s) / β(a|s), 0, 5)
    maximise over π   E[w (r(s, a_θ, ŝ'_θ) - α log π_θ(a_θ|s) + γ d V(ŝ'_θ))]

At the policy that it is taken at, ŝ'_θ is s' itself: the model is asked for slopes, never for a prediction. β is the
policy that chose the action, V(s') = min_j Q_j(s', a') - α log π(a'|s') of SAC's critics, which learn from real
transitions. MAAC's paper compares with SVG(1); `docs/algorithms/maac.md` says how the original, without entropy and
with a state-value network, differs.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import optax

from pbrl import config as configs
from pbrl.agents.parts import sac_with_model
from pbrl.agents.parts.sac_with_model import (
    State,
    act,
    choose_elites,
    distribution,
    model_losses,
    observe,
    update_model,
)
from pbrl.agents.parts.soft import networks_of as networks
from pbrl.config import static
from pbrl.equations.actor_critic import check_rows, soft_td_target, td_target
from pbrl.models.ensemble_world import maac_simulator as simulator
from pbrl.models.ensemble_world import maac_world
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "remember", "update", "value"]
# What it shares with MAAC, MBPO and STEVE; `parts/sac_with_model.py` says what each promises.
__all__ += [
    "State", "act", "choose_elites", "distribution", "model_losses",
    "networks", "observe", "simulator", "update_model",
]  # fmt: skip


@flax.struct.dataclass
class Config(sac_with_model.Config):
    """Hyper-parameters; sizes and rates are those that MAAC's released code gives to all its agents.

    Those of `sac_with_model.Config` besides.
    """

    max_weight: float = 5.0
    """Upper bound of the importance weight of a replayed action."""
    elites: int = static(1)
    """Members that are differentiated through, the best by their held-out rows; the actor ascends their mean."""
    ensemble_size: int = static(1)
    """M, members of the ensemble."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="until stopped", members=config.ensemble_size, remembers=True, plans=True, soft=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.require(config, Config)
    configs.check(config, max_weight=(0, float("inf")))
    return sac_with_model.start(key, spec, config, oracle)


def remember(state: State, batch: Transition) -> dict[str, Array]:
    """Return what replay keeps of newly collected transitions `[*]` besides: `log_prob [*]` of their actions, log β.

    Until the first update actions count as uniform over [-1, 1], as the warm-up draws them.
    """
    of_policy = networks(state).log_prob(state.ac.actor, batch.obs, batch.action)
    uniform = -batch.action.shape[-1] * jnp.log(2.0)
    return {"log_prob": jnp.where(optax.tree_utils.tree_get(state.ac.actor_opt, "count") == 0, uniform, of_policy)}


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]` with `log_prob` in their extras: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; the actor's objective in π's, through a_θ, its density,
    model, reward and V's argument; the temperature loss in log α. Stopped: both noises, weights, the policy within V,
    targets, real terminations, α outside its own loss.
    """
    check_rows(state.spec, batch)
    next_key, step_key, value_key, entropy_key = jax.random.split(key, 4)
    cfg, nets = state.config, networks(state)
    next_q, next_log_prob = nets.soft_target(state.ac, batch.next_obs, next_key)
    y = soft_td_target(batch.reward, batch.discount, next_q, next_log_prob, state.ac.alpha, cfg.discount)

    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)
    weight = _weights(state, batch)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        action, log_prob = nets.repeat(actor, batch.obs, batch.action)
        next_obs, reward = _again(state, batch, action, step_key)  # [M, B, S], [M, B]
        next_action, next_log_prob = nets.sample(state.ac.actor, next_obs, value_key)  # V is a function of s' alone
        value = nets.value(ac.critic, next_obs, next_action) - ac.alpha * next_log_prob
        discount = jnp.broadcast_to(batch.discount, reward.shape)  # what really happened, for every member
        objective = td_target(reward, discount, value, cfg.discount).mean(0) - ac.alpha * log_prob
        return -(weight * objective).mean(), nets.sample(actor, batch.obs, entropy_key)[1]

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward, log_prob)
    metrics = {**critic_metrics, **actor_metrics, **temperature_metrics, **bound_metrics}
    metrics["actor/weight"] = weight.mean()
    return replace(state, ac=nets.move_targets(ac)), metrics


def _weights(state: State, batch: Transition) -> Array:
    """Return `clip(π(a|s) / β(a|s), 0, max)` `[B]` of the current policy."""
    log_prob = networks(state).log_prob(state.ac.actor, batch.obs, batch.action)
    return jnp.minimum(jnp.exp(log_prob - batch.extras["log_prob"]), state.config.max_weight)


def _again(state: State, batch: Transition, action: Array, key: Key) -> tuple[Array, Array]:
    """Return next observations `[M, B, S]` and rewards `[M, B]` of the real transitions, had they acted so.

    A simulator's noise cannot be inferred: where it has any, it is drawn anew.
    """
    if state.oracle:
        latent, reward, _ = state.oracle.step(state.oracle.start(batch), action, key)
        return state.oracle.observe(latent)[None], reward[None]
    assert state.world is not None
    return maac_world(state.spec, state.config).step_again(state.world, batch, action)


def value(state: State, obs: Array, action: Array) -> Array:
    """Return what the actor ascends of the online, soft critics `[*]`: by default `min_j Q_j(s, a)`.

    For `obs [*, S]` and `action [*, A]`.
    """
    return networks(state).value(state.ac.critic, obs, action)
