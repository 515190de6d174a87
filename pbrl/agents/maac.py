"""MAAC: Model-Augmented Actor-Critic (Clavera, Fu and Abbeel 2020, arXiv 2005.08068).

The actor ascends, by the pathwise derivative through policy, model, reward and critic, the return of H imagined steps
and the value where they end, averaged over N trajectories from every start state (§4.1, §4.3):

    J(θ) = E[ Σ_{t<H} γ^t D_t r(ŝ_t, a_t, ŝ_{t+1}) + γ^H D_H Q(ŝ_H, a_H) - α log π(a_0|s_0) ]
    a_t ~ π_θ(ŝ_t),   ŝ_{t+1} ~ f̂_m(ŝ_t, a_t) with a member m drawn for every row and step

Critics follow the targets of STEVE, which mix value expansions of 0 … K steps by their certainty:

    T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ],   y = Σ_k w_k mean T_k

Batches mix replayed and imagined transitions (`train.model_data`). `docs/algorithms/maac.md` lists what the released
code does otherwise.
"""

from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import ensemble_agent
from pbrl.agents.parts.ensemble_agent import State as State
from pbrl.agents.parts.ensemble_agent import act as act
from pbrl.agents.parts.ensemble_agent import choose_elites as choose_elites
from pbrl.agents.parts.ensemble_agent import distribution as distribution
from pbrl.agents.parts.ensemble_agent import imagine as imagine
from pbrl.agents.parts.ensemble_agent import model_losses as model_losses
from pbrl.agents.parts.ensemble_agent import networks
from pbrl.agents.parts.ensemble_agent import observe as observe
from pbrl.agents.parts.ensemble_agent import simulator as simulator
from pbrl.agents.parts.ensemble_agent import update_model as update_model
from pbrl.agents.parts.steve_targets import steve_targets
from pbrl.config import static
from pbrl.equations import losses, policies, values
from pbrl.equations.rollout import rollout
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


@flax.struct.dataclass
class Config(ensemble_agent.Config):
    """Hyper-parameters: the paper's method with the released code's numbers; `--preset paper` is the code's method.

    Those of `heldout_agent.Config` besides.
    """

    horizon: int = static(4)
    """H, model steps in the actor's objective (the code's `T` is H - 1)."""
    samples: int = static(5)
    """N, trajectories from every start state."""
    branch: str = static("start")
    """Where the N part: "start", whole trajectories (the paper), or "end", N last actions on one (the last code)."""
    target_horizon: int = static(2)
    """K, model steps of the longest candidate of the critics' target; 0 is TD."""
    target_members: int = static(4)
    """Members that estimate a candidate, drawn anew for each k."""
    critics: int = static(4)
    """C; from 3 up their estimates differ, which the certainty of STEVE's candidate 0 needs (the code has 2)."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="until stopped", members=config.ensemble_size, imagines=True, plans=True, soft=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.check(config, horizon=(0, 1_000), samples=(1, 1_000_000), target_horizon=(0, 1_000))
    configs.check(config, target_members=(1, config.elites))
    configs.check_choice(config, branch=("start", "end"))
    return ensemble_agent.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on transitions `[B]`, real and imagined: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; -J in π's, through actions, the first density, model,
    reward and critics along whole trajectories; the temperature's loss in log α. Stopped: targets, α outside its own
    loss, discounts.
    """
    target_key, actor_key = jax.random.split(key)
    cfg, nets, dynamics = state.config, networks(state), simulator(state)
    y, target_metrics = steve_targets(state, nets, dynamics, batch, target_key)

    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        start = batch if cfg.branch == "end" else _repeat(batch, cfg.samples)
        roll_key, last_key = jax.random.split(actor_key)
        path = rollout(
            dynamics, lambda obs, k: nets.sample(actor, obs, k), dynamics.start(start), roll_key, cfg.horizon
        )
        many = cfg.samples if cfg.branch == "end" else 1
        (mean, log_std), last_obs = _repeat((nets.distribution(actor, path.final_obs), path.final_obs), many)
        action, last_log_prob = policies.tanh_normal_sample(mean, log_std, last_key)
        q = nets.q(ac.critic, last_obs, action)
        if cfg.branch == "end":  # the code averages over actions first and takes the smaller critic then
            q = q.reshape(q.shape[0], cfg.samples, -1).mean(1)
        value = values.value_expansion(path.reward, path.discount, values.mean_neighbour_minimum(q), cfg.discount)
        log_prob = path.info[0] if cfg.horizon else last_log_prob  # of the first action: the code has no other entropy
        return losses.soft_policy_loss(value.mean() - ac.alpha * log_prob), log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)
    metrics = {**target_metrics, **critic_metrics, **actor_metrics, **temperature_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def _repeat(tree, times: int):
    """Repeat everything `times` times along the leading axis."""
    return jax.tree.map(lambda x: jnp.tile(x, (times, *[1] * (x.ndim - 1))), tree)


def value(state: State, obs: Array, action: Array) -> Array:
    """Return the mean of neighbouring critics' minima `[*]`, online and soft, for `obs [*, S]` and `action [*, A]`."""
    return values.mean_neighbour_minimum(networks(state).q(state.ac.critic, obs, action))
