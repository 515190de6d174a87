"""MBPO: SAC on short imagined trajectories (Janner, Fu, Zhang and Levine 2019, arXiv 1906.08253).

    y = r + γ d (min_j Q̄_j(s', a') - α log π(a'|s')),  a' ~ π(s');   minimise over Q_i  (y - Q_i(s, a))²
    minimise over π   E[α log π(a|s) - min_j Q_j(s, a)],  a ~ π(s);   over α   E[α (-log π(a|s) - ℋ̄)]

It is SAC to the letter; what is its own is where the transitions come from. The best members of an ensemble unroll the
policy for a few steps from replayed states (`train.model_data`), and 95 % of a batch are such transitions. MAAC's paper
compares with it; `docs/algorithms/maac.md` says what is simplified.
"""

from dataclasses import replace

import flax.struct
import jax

from pbrl import config as configs
from pbrl.agents.parts import sac_with_model
from pbrl.agents.parts.sac_with_model import (
    State,
    act,
    choose_elites,
    distribution,
    imagine,
    model_losses,
    observe,
    update_model,
)
from pbrl.agents.parts.soft import networks_of as networks
from pbrl.config import static
from pbrl.equations.actor_critic import check_rows, soft_td_target
from pbrl.models.ensemble_world import maac_simulator as simulator
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "update", "value"]
# What it shares with MAAC, STEVE and SVG(1); `parts/sac_with_model.py` says what each promises.
__all__ += [
    "State", "act", "choose_elites", "distribution", "imagine",
    "model_losses", "networks", "observe", "simulator", "update_model",
]  # fmt: skip


@flax.struct.dataclass
class Config(sac_with_model.Config):
    """Hyper-parameters; the defaults are those of the authors' released code.

    Those of `sac_with_model.Config` besides.
    """

    model_weight_decay: float = 5e-5
    """Weight of half the squared parameters in the model's loss (by layer 2.5e-5 to 1e-4 in the code)."""
    stopping: str = static("patience")
    """"patience": all, once none has improved by 1 % in 5 epochs; "average": MAAC's."""
    max_epochs: int = static(1_000)
    """Epochs of a fit that nothing stops."""
    elites: int = static(5)
    """Members that imagine, the best by their held-out rows."""
    ensemble_size: int = static(7)
    """Members of the ensemble."""
    learn_reward: bool = static(True)
    """Learn the reward even where the environment's is known."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="until stopped", members=config.ensemble_size, imagines=True, plans=True, soft=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.require(config, Config)
    return sac_with_model.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on transitions `[B]`, real and imagined: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; the actor loss in π's, through the reparameterised action
    and its density; the temperature loss in log α. Stopped: the target, α outside its own loss. The model serves
    `imagine` alone.
    """
    check_rows(state.spec, batch)
    next_key, actor_key = jax.random.split(key)
    cfg, nets = state.config, networks(state)
    next_q, next_log_prob = nets.soft_target(state.ac, batch.next_obs, next_key)
    y = soft_td_target(batch.reward, batch.discount, next_q, next_log_prob, state.ac.alpha, cfg.discount)

    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        action, log_prob = nets.sample(actor, batch.obs, actor_key)
        return (ac.alpha * log_prob - nets.value(ac.critic, batch.obs, action)).mean(), log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward, log_prob)
    metrics = {**critic_metrics, **actor_metrics, **temperature_metrics, **bound_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def value(state: State, obs: Array, action: Array) -> Array:
    """Return what the actor ascends of the online, soft critics `[*]`: by default `min_j Q_j(s, a)`.

    For `obs [*, S]` and `action [*, A]`.
    """
    return networks(state).value(state.ac.critic, obs, action)
