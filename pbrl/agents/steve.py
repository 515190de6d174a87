"""STEVE on SAC: value expansions mixed by their certainty (Buckman et al. 2018, arXiv 1807.01675).

    T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ],   y = Σ_k w_k mean T_k
    w_k ∝ 1 / var T_k over members of the model and critics;   minimise over Q_i  (y - Q_i(s, a))²

The actor is SAC's. Only targets see the model, and only replayed transitions are trained on. MAAC's paper compares with
STEVE in this form; `docs/algorithms/maac.md` says how its original, on DDPG, differs.
"""

from dataclasses import replace

import flax.struct
import jax

from pbrl import config as configs
from pbrl.agents.parts import ensemble_agent
from pbrl.agents.parts.ensemble_agent import State as State
from pbrl.agents.parts.ensemble_agent import act as act
from pbrl.agents.parts.ensemble_agent import choose_elites as choose_elites
from pbrl.agents.parts.ensemble_agent import distribution as distribution
from pbrl.agents.parts.ensemble_agent import model_losses as model_losses
from pbrl.agents.parts.ensemble_agent import networks
from pbrl.agents.parts.ensemble_agent import observe as observe
from pbrl.agents.parts.ensemble_agent import simulator as simulator
from pbrl.agents.parts.ensemble_agent import update_model as update_model
from pbrl.agents.parts.steve_targets import steve_targets
from pbrl.config import static
from pbrl.equations import losses, values
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


@flax.struct.dataclass
class Config(ensemble_agent.Config):
    """Hyper-parameters; the defaults are those that MAAC's released code gives to all its agents.

    Those of `heldout_agent.Config` besides.
    """

    target_horizon: int = static(3)
    """K, model steps of the longest candidate of the critics' target; 0 is TD."""
    target_members: int = static(4)
    """Members that estimate a candidate, drawn anew for each k."""
    critics: int = static(4)
    """C; from 3 up their estimates differ, which the certainty of STEVE's candidate 0 needs."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="until stopped", members=config.ensemble_size, plans=True, soft=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.check(config, target_horizon=(0, 1_000), target_members=(1, config.elites))
    return ensemble_agent.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]`: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; the actor loss in π's, through the reparameterised action
    and its density; the temperature loss in log α. Stopped: the whole target, α outside its own loss.
    """
    target_key, actor_key = jax.random.split(key)
    cfg, nets = state.config, networks(state)
    y, target_metrics = steve_targets(state, nets, simulator(state), batch, target_key)

    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        action, log_prob = nets.sample(actor, batch.obs, actor_key)
        q = values.mean_neighbour_minimum(nets.q(ac.critic, batch.obs, action))
        return losses.soft_policy_loss(q - ac.alpha * log_prob), log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)
    metrics = {**target_metrics, **critic_metrics, **actor_metrics, **temperature_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def value(state: State, obs: Array, action: Array) -> Array:
    """Return the mean of neighbouring critics' minima `[*]`, online and soft, for `obs [*, S]` and `action [*, A]`."""
    return values.mean_neighbour_minimum(networks(state).q(state.ac.critic, obs, action))
