"""STEVE on SAC: value expansions mixed by their certainty (Buckman et al. 2018, arXiv 1807.01675).

    T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ],   y = Σ_k w_k mean T_k
    w_k ∝ 1 / var T_k over members of the model and critics;   minimise over Q_i  (y - Q_i(s, a))²

The actor is SAC's. Only targets see the model, and only replayed transitions are trained on. MAAC's paper compares with
STEVE in this form; `docs/algorithms/maac.md` says how its original, on DDPG, differs.
"""

from dataclasses import replace
from functools import partial

import flax.struct
import jax

from pbrl import config as configs
from pbrl.agents.parts import critics, sac_with_model
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
from pbrl.equations.actor_critic import check_rows, mean_neighbour_minimum, neighbour_minima
from pbrl.equations.expansion import alone, start_from_next, steve_candidates, steve_mixture
from pbrl.models.ensemble_world import maac_simulator as simulator
from pbrl.models.ensemble_world import maac_world
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "update", "value"]
# What it shares with MAAC, MBPO and SVG(1); `parts/sac_with_model.py` says what each promises.
__all__ += [
    "State", "act", "choose_elites", "distribution", "model_losses",
    "networks", "observe", "simulator", "update_model",
]  # fmt: skip


@flax.struct.dataclass
class Config(sac_with_model.Config):
    """Hyper-parameters; the defaults are those that MAAC's released code gives to all its agents.

    Those of `sac_with_model.Config` besides.
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
    configs.require(config, Config)
    critics.keep_neighbours(config, "steve")
    configs.check(config, target_horizon=(0, 1_000), target_members=(1, config.elites))
    return sac_with_model.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]`: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; the actor loss in π's, through the reparameterised action
    and its density; the temperature loss in log α. Stopped: the whole target, α outside its own loss.
    """
    check_rows(state.spec, batch)
    target_key, actor_key = jax.random.split(key)
    cfg, alpha, nets = state.config, state.ac.alpha, networks(state)
    dynamics, world = simulator(state), maac_world(state.spec, cfg)

    def several(obs: Array, action: Array, key: Key) -> tuple[Array, Array, Array]:
        """One step by each of `target_members` elites, drawn anew."""
        assert state.world is not None
        choice_key, step_key = jax.random.split(key)
        members = jax.random.permutation(choice_key, state.world.elites)[: cfg.target_members]
        return world.step_each(state.world, members, obs, action, step_key)

    def soft_value(obs: Array, action: Array, log_prob: Array) -> Array:
        """Q̄ - α log π `[C, *]`: of neighbouring target critics the smaller."""
        q = neighbour_minima(nets.q(state.ac.target_critic, obs, action))
        return nets.bounded(state.ac, q) - alpha * log_prob[None]

    policy = partial(nets.sample, state.ac.actor)
    member_steps = alone(dynamics) if state.oracle else several
    first_key, roll_key = jax.random.split(target_key)
    begin_key = jax.random.fold_in(roll_key, cfg.target_horizon)
    latent = start_from_next(dynamics, batch, begin_key, by_step=state.oracle is not None)
    candidates = steve_candidates(
        dynamics, member_steps, policy, soft_value, latent, batch, (first_key, roll_key),
        horizon=cfg.target_horizon, alpha=alpha, gamma=cfg.discount,
    )  # fmt: skip
    y, weights = steve_mixture(candidates)
    target_metrics = {f"critic/weight_{k}": weights[k].mean() for k in range(cfg.target_horizon + 1)}

    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        action, log_prob = nets.sample(actor, batch.obs, actor_key)
        q = mean_neighbour_minimum(nets.q(ac.critic, batch.obs, action))
        return (ac.alpha * log_prob - q).mean(), log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward, log_prob)
    metrics = {**target_metrics, **critic_metrics, **actor_metrics, **temperature_metrics, **bound_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def value(state: State, obs: Array, action: Array) -> Array:
    """Return the mean of neighbouring critics' minima `[*]`, online and soft, for `obs [*, S]` and `action [*, A]`."""
    return mean_neighbour_minimum(networks(state).q(state.ac.critic, obs, action))
