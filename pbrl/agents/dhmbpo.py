"""DHMBPO: double horizon model-based policy optimization (Kubo, Parmas and Ishii 2025, TMLR, arXiv 2512.15439).

Two rollouts of two lengths. A long one, not differentiated, makes the states to learn from (the distribution rollout,
`train.model_data`). From these a short one of H steps is differentiated (the training rollout); it serves both sides:

    a_t ~ π(s_t),   s_{t+1} ~ f_m(s_t, a_t) with a member m drawn for every row and step,   D_t = Π_{k<t} d_k
    y = r_0 + Σ_{0<t<H} γ^t D_t (r_t - α log π_t) + γ^H D_H (Q̄ - α log π_H),   Q̄ = clip(min of a few Q̄_j(s_H, a_H))
    minimise over Q_i  (y - Q_i(s_0, a_0))²;
    maximise over π    Σ_{t<H} γ^t D_t (r_t - α log π_t) + γ^H D_H (mean_i Q_i(s_H, a_H) - α log π_H)

It is MBPO's data with the gradient of SAC-SVG(H), through an ensemble. `docs/algorithms/dhmbpo.md` maps equations to
functions and tests, and lists every deviation from the released code.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import sac_with_model
from pbrl.agents.parts.critics import ValueBounds, drawn
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
from pbrl.agents.parts.style import DHMBPO_STYLE, Style
from pbrl.config import static
from pbrl.equations.actor_critic import check_rows, clipped_minimum, over_critics, squared_td_loss
from pbrl.equations.expansion import mve_targets, rollout
from pbrl.models.ensemble_world import maac_simulator as simulator
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

__all__ = ["Config", "abilities", "init", "update", "value"]
# What it shares with MAAC, MBPO, STEVE and SVG(1); `parts/sac_with_model.py` says what each promises.
__all__ += [
    "State", "act", "choose_elites", "distribution", "imagine",
    "model_losses", "networks", "observe", "simulator", "update_model",
]  # fmt: skip


@flax.struct.dataclass
class Config(sac_with_model.Config):
    """Hyper-parameters; the defaults are those of the released code, whose model is simplified.

    Those of `sac_with_model.Config` besides.
    """

    style: ClassVar[Style] = DHMBPO_STYLE
    """How its networks begin and end."""

    horizon: int = static(5)
    """H, model steps of the training rollout."""
    scale_values: bool = static(True)
    """Let a critic's output of ±1 stand for the bounds of values; it begins in their middle."""
    bound_values: bool = static(True)
    """Clip the critics' part of a target to what rewards allow: moving quantiles of (r - α log π) / (1 - γ)."""
    critics: int = static(5)
    """C."""
    target_subset: int = static(2)
    """How many critics, drawn anew at every update, have the minimum that is the target; 0 takes all."""
    actor_critics: str = static("mean")
    """What the actor ascends of the critics: "mean" or "min"."""
    critic_norm: str = static("layer")
    """Of the features of a critic's hidden layers: "layer" centres and scales them row by row."""
    discount: float = 0.995
    """γ of the return."""
    initial_temperature: float = 0.1
    """α at the start."""
    actor_hidden: tuple[int, ...] = static((256, 256, 256))
    """Widths of the actor's hidden layers."""
    critic_hidden: tuple[int, ...] = static((256, 256, 256))
    """Widths of a critic's."""
    activation: str = static("swish")
    """Of the critics."""
    actor_activation: str = static("swish")
    """Of the actor."""
    model_hidden: tuple[int, ...] = static((256, 256, 256))
    """Widths of each member."""
    model_noise: str = static("constant")
    """What a member's deviations hang on: "constant" (DHMBPO), or "state" and action (PETS)."""
    head_hidden: tuple[int, ...] = static((256, 256))
    """Networks of a learned reward or termination."""
    learn_reward: bool = static(True)
    """Learn the reward even where the environment's is known."""
    stopping: str = static("patience")
    """"patience": all, once none has improved by 1 % in 5 epochs; "average": MAAC's."""
    normalize_obs: bool = static(True)
    """Divide what actor and critics see by its running deviation; the model always does."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="until stopped", members=config.ensemble_size, imagines=True, plans=True, soft=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the learned model's place.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.require(config, Config)
    configs.check(config, horizon=(1, 1_000))
    if config.scale_values and not config.bound_values:
        raise ValueError("config.scale_values: expected bound_values with it, whose bounds are the scale; set both")
    return sac_with_model.start(key, spec, config, oracle)


class Path(NamedTuple):
    """What the actor moves of a training rollout, time first."""

    reward: Array  # [H, B]
    log_prob: Array  # [H + 1, B]
    final_obs: Array  # [B, S]
    final_action: Array  # [B, A]


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One joint update from states `batch.obs [B, S]`, imagined or replayed: critics, targets, actor, temperature.

    Differentiated: the critics' squared error in Q_i's parameters, at the first state alone; the actor's objective in
    π's, through actions, densities, model, reward and critics along the one rollout that also made the target; the
    temperature's loss in log α. Stopped: the target, the bounds of values, discounts, α outside its own loss.
    """
    check_rows(state.spec, batch)
    roll_key, last_key, chosen_key = jax.random.split(key, 3)
    cfg, alpha, nets, dynamics = state.config, state.ac.alpha, networks(state), simulator(state)

    def training_rollout(actor: Params) -> tuple[Path, tuple[Array, Array]]:
        """The path, and what is not differentiated of it: discounts `[H, B]` and first actions `[B, A]`."""
        path = rollout(dynamics, partial(nets.sample, actor), dynamics.start(batch), roll_key, cfg.horizon)
        action, log_prob = nets.sample(actor, path.final_obs, last_key)
        log_probs = jnp.concatenate([path.info, log_prob[None]])
        return Path(path.reward, log_probs, path.final_obs, action), (path.discount, path.action[0])

    path, pullback, (discount, action) = jax.vjp(training_rollout, state.ac.actor, has_aux=True)

    def expansion(path: Path, terminal_q: Array) -> Array:
        """The value `[B]` of the first action along a path that ends with such a value."""
        return mve_targets(path.reward, discount, path.log_prob[1:], terminal_q, alpha, cfg.discount)[0]

    ac, bound_metrics = nets.move_bounds(state.ac, path.reward, path.log_prob[:-1])
    scale = _scale(cfg, ac.bounds)

    chosen = drawn(cfg, ac.target_critic, chosen_key) if cfg.target_subset else ac.target_critic
    target_q = clipped_minimum(scale(nets.q(chosen, path.final_obs, path.final_action)))
    y = expansion(path, nets.bounded(ac, target_q))

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        q = scale(nets.q(critic, batch.obs, action))
        td_error = y[None] - q
        return squared_td_loss(td_error), {"critic/q": q.mean(), "critic/td_error": jnp.abs(td_error).mean()}

    ac, critic_metrics = nets.descend_critics(ac, critic_loss)
    ac = nets.move_targets(ac)

    def actor_loss(path: Path) -> Array:
        q = over_critics(scale(nets.q(ac.critic, path.final_obs, path.final_action)), cfg.actor_critics)
        return -(expansion(path, q) - alpha * path.log_prob[0]).mean()

    loss, slopes = jax.value_and_grad(actor_loss)(path)
    ac, actor_metrics = nets.step_actor(ac, pullback(slopes)[0], loss, path.log_prob[0])
    ac, temperature_metrics = nets.adapt_temperature(ac, path.log_prob[0], cfg.target_entropy)
    metrics = {**critic_metrics, **bound_metrics, **actor_metrics, **temperature_metrics}
    return replace(state, ac=ac), {**metrics, "model/reward": path.reward.mean()}


def value(state: State, obs: Array, action: Array) -> Array:
    """Return what the actor ascends of the online, soft critics `[*]`: by default all Q_i's mean.

    For `obs [*, S]` and `action [*, A]`.
    """
    scale = _scale(state.config, state.ac.bounds)
    return over_critics(scale(networks(state).q(state.ac.critic, obs, action)), state.config.actor_critics)


def _scale(config: Config, bounds: ValueBounds | None) -> Callable[[Array], Array]:
    """Return what makes values `[*]` of the critics' outputs."""
    return bounds.scale if config.scale_values and bounds else lambda raw: raw
