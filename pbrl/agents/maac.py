"""MAAC: Model-Augmented Actor-Critic (Clavera, Fu and Abbeel 2020, arXiv 2005.08068).

The actor ascends, by the pathwise derivative through policy, model, reward and critic, the return of H imagined steps
and the value where they end, averaged over N trajectories from every start state (§4.1, §4.3):

    J(θ) = E[ Σ_{t<H} γ^t D_t r(ŝ_t, a_t, ŝ_{t+1}) + γ^H D_H Q(ŝ_H, a_H) - α log π(a_0|s_0) ]
    a_t ~ π_θ(ŝ_t),   ŝ_{t+1} ~ f̂_m(ŝ_t, a_t) with a member m drawn for every row and step

or, by `entropy`, with -α Σ_{t≤H} γ^t log π(a_t|ŝ_t) as its last term.

Critics follow the targets of STEVE, which mix value expansions of 0 … K steps by their certainty:

    T_k = r + γ d [ Σ_{i<k} γ^i D_i (r̂_i - α log π_i) + γ^k D_k (Q̄(ŝ_k, a_k) - α log π_k) ],   y = Σ_k w_k mean T_k

Batches mix replayed and imagined transitions (`train.model_data`). `docs/algorithms/maac.md` lists what the released
code does otherwise.
"""

from dataclasses import replace
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import critics, sac_with_model
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
from pbrl.agents.parts.soft import SoftActorCritic
from pbrl.agents.parts.soft import networks_of as networks
from pbrl.config import static
from pbrl.equations.actor_critic import check_rows, mean_neighbour_minimum, neighbour_minima, tanh_normal_sample
from pbrl.equations.expansion import (
    Trajectory,
    alone,
    rollout,
    soft_value_expansion,
    start_from_next,
    steve_candidates,
    steve_mixture,
    value_expansion,
)
from pbrl.models.ensemble_world import maac_simulator as simulator
from pbrl.models.ensemble_world import maac_world
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "update", "value"]
# What it shares with MBPO, STEVE and SVG(1); `parts/sac_with_model.py` says what each promises.
__all__ += [
    "State", "act", "choose_elites", "distribution", "imagine",
    "model_losses", "networks", "observe", "simulator", "update_model",
]  # fmt: skip


@flax.struct.dataclass
class Config(sac_with_model.Config):
    """Hyper-parameters: the paper's method with the released code's numbers; `--preset paper` is the code's method.

    Those of `sac_with_model.Config` besides.
    """

    horizon: int = static(4)
    """H, model steps in the actor's objective (the code's `T` is H - 1)."""
    samples: int = static(5)
    """N, trajectories from every start state."""
    branch: str = static("start")
    """Where the N part: "start", whole trajectories (the paper), or "end", N last actions on one (the last code)."""
    entropy: str = static("first")
    """Whose entropy the actor is paid: "first", its first actions' (the code), or "path", all H + 1 actions', as the
    soft critics count it. With "first" the temperature rises until that one entropy holds against H + 1 actions'
    wish to be certain, and the critics pay for it."""
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
    configs.require(config, Config)
    critics.keep_neighbours(config, "maac")
    configs.check(config, horizon=(0, 1_000), samples=(1, 1_000_000), target_horizon=(0, 1_000))
    configs.check(config, target_members=(1, config.elites))
    configs.check_choice(config, branch=("start", "end"), entropy=("first", "path"))
    return sac_with_model.start(key, spec, config, oracle)


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on transitions `[B]`, real and imagined: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; -J in π's, through actions, the first density, model,
    reward and critics along whole trajectories; the temperature's loss in log α. Stopped: targets, α outside its own
    loss, discounts.
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
        """-J, and the log-density of the first action, which alone moves the temperature."""
        imagined = {"start": trajectories, "end": last_actions}[cfg.branch]
        path, q, last_log_prob = imagined(nets, dynamics, cfg, ac.critic, actor, batch, actor_key)
        first_log_prob = path.info[0] if cfg.horizon else last_log_prob
        if cfg.entropy == "path":
            last = last_log_prob.reshape(-1, *q.shape).mean(0)  # of all actions that share an end
            log_probs = jnp.concatenate([path.info, last[None]])
            objective = soft_value_expansion(path.reward, path.discount, log_probs, q, alpha, cfg.discount)
        else:
            value = value_expansion(path.reward, path.discount, q, cfg.discount)
            objective = value.mean() - alpha * first_log_prob
        return -objective.mean(), first_log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, cfg.target_entropy)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward, log_prob.reshape(-1, len(batch.reward)).mean(0))
    metrics = {**target_metrics, **critic_metrics, **actor_metrics, **temperature_metrics, **bound_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def trajectories(
    nets: SoftActorCritic, dynamics: Dynamics, cfg: Config, critic: Params, actor: Params, batch: Transition, key: Key
) -> tuple[Trajectory, Array, Array]:
    """Return N whole trajectories from every state (§4.1), with Q and log π `[N B]` of the actions at their ends.

    Differentiable in `actor` through actions, model, rewards and critics. `info` is log π of the actions before.
    """
    roll_key, last_key = jax.random.split(key)
    many = _repeat(batch, cfg.samples)
    path = rollout(dynamics, partial(nets.sample, actor), dynamics.start(many), roll_key, cfg.horizon)
    action, last_log_prob = nets.sample(actor, path.final_obs, last_key)
    q = nets.q(critic, path.final_obs, action)
    return path, mean_neighbour_minimum(q), last_log_prob


def last_actions(
    nets: SoftActorCritic, dynamics: Dynamics, cfg: Config, critic: Params, actor: Params, batch: Transition, key: Key
) -> tuple[Trajectory, Array, Array]:
    """Return one trajectory from every state, Q `[B]` and log π `[N B]` of N last actions: the released code.

    Critics are averaged over actions first, and the smaller counts then. Else as `trajectories`.
    """
    roll_key, last_key = jax.random.split(key)
    path = rollout(dynamics, partial(nets.sample, actor), dynamics.start(batch), roll_key, cfg.horizon)
    (mean, log_std), obs = _repeat((nets.distribution(actor, path.final_obs), path.final_obs), cfg.samples)
    action, last_log_prob = tanh_normal_sample(mean, log_std, last_key)
    q = nets.q(critic, obs, action)
    return path, mean_neighbour_minimum(q.reshape(q.shape[0], cfg.samples, -1).mean(1)), last_log_prob


def _repeat(tree, times: int):
    """Repeat everything `times` times along the leading axis."""
    return jax.tree.map(lambda x: jnp.tile(x, (times, *[1] * (x.ndim - 1))), tree)


def value(state: State, obs: Array, action: Array) -> Array:
    """Return the mean of neighbouring critics' minima `[*]`, online and soft, for `obs [*, S]` and `action [*, A]`."""
    return mean_neighbour_minimum(networks(state).q(state.ac.critic, obs, action))
