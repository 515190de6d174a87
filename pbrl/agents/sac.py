"""SAC: model-free soft actor-critic with a learned temperature (Haarnoja et al. 2018, arXiv 1801.01290, 1812.05905).

    y = r + γ d (min_j Q̄_j(s', a') - α log π(a'|s')),  a' ~ π(s');   minimise over Q_i  (y - Q_i(s, a))²
    minimise over π   E[α log π(a|s) - min_j Q_j(s, a)],  a ~ π(s);   over α   E[α (-log π(a|s) - ℋ̄)]

Networks, rates and the schedule of ℋ̄ are those that SVG's code gives its SAC, so that the two compare: SVG(0) is this
agent. `docs/algorithms/svg.md` lists what the original SAC does otherwise.

With `critic="categorical"` it is XQC (Palenicek et al. 2025, arXiv 2509.25174), whose critics are distributions:
`docs/algorithms/xqc.md`.
"""

from dataclasses import replace

import flax.struct
import jax

from pbrl import config as configs
from pbrl.agents.parts import categorical, soft, svg_sac
from pbrl.agents.parts.categorical import CategoricalActorCritic
from pbrl.agents.parts.soft import SoftActorCritic, SoftState
from pbrl.config import static
from pbrl.equations.actor_critic import check_rows, clipped_minimum, soft_td_target
from pbrl.nn import normalizer, return_scale
from pbrl.nn.normalizer import STD_BOUNDS, Normalizer
from pbrl.nn.return_scale import ReturnScale
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition

CRITICS = ("squared", "categorical")


@flax.struct.dataclass
class Config(svg_sac.Config):
    """Hyper-parameters: those of `svg_sac.Config`, as SVG's code has them, whose baseline this is, and XQC's."""

    critic: str = static("squared")
    """What critics are: "squared", a value each, by the squared TD error; "categorical", XQC's distributions."""
    atoms: int = static(101)
    """K, values that a distribution has (categorical)."""
    value_bound: float = static(5.0)
    """Of the atoms, in deviations of the return so far (categorical)."""
    actor_every: int = static(1)
    """Steps of the critics to one of actor and temperature (categorical)."""
    final_lr: float | None = None
    """Where all learning rates end (categorical); by default they stay."""
    lr_steps: float | None = None
    """Environment steps until the critics' is there (categorical)."""


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: SoftState
    stats: Normalizer
    config: Config
    spec: EnvSpec = flax.struct.field(pytree_node=False)
    returns: ReturnScale | None = None
    """What rewards are divided by, where critics are categorical."""


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    del config
    return Abilities(soft=True, entropy_schedule=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment. Raises `ValueError` where a hyper-parameter cannot work."""
    configs.require(config, Config)
    if oracle is not None:
        raise ValueError("sac learns from real transitions and has no use for an oracle; drop it, or use 'svg'")
    soft.validate(config)
    svg_sac.validate_schedule(config)
    configs.check_choice(config, critic=CRITICS)
    categorical.validate(config)
    stats = normalizer.init(spec.obs_size, bounds=STD_BOUNDS)
    if config.critic == "categorical":
        config = configs.cast(svg_sac.resolve(config, spec, categorical.ENTROPY_PER_ACTION))
        returns = return_scale.init(spec.obs_size)
        ac = CategoricalActorCritic(spec, config, stats, returns).init(key)
        return State(ac=ac, stats=stats, config=config, spec=spec, returns=returns)
    config = configs.cast(svg_sac.resolve(config, spec))
    return State(ac=SoftActorCritic(spec, config, stats).init(key), stats=stats, config=config, spec=spec)


def act(state: State, obs: Array, key: Key, *, explore: bool | Array) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: a draw from π(s) where it explores, else its mode."""
    return svg_sac.act(networks(state), state, obs, key, explore)


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics, whose count is the clock of schedules."""
    check_rows(state.spec, batch)
    state = replace(state, stats=normalizer.update(state.stats, batch.obs))
    if state.returns is None:
        return state
    return replace(state, returns=return_scale.update(state.returns, batch, state.config.discount))


def update_model(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """Return the state as it is: SAC models nothing."""
    del batch, key
    return state, {}


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]`: critics, actor, temperature, targets.

    Differentiated: the squared TD error in Q_i's parameters; the actor loss in π's, through the reparameterised action
    and its density; the temperature loss in log α. Stopped: the target, α outside its own loss.
    """
    check_rows(state.spec, batch)
    if state.config.critic == "categorical":
        return _update_distributions(state, batch, key)
    next_key, actor_key = jax.random.split(key)
    cfg, nets = state.config, networks(state)
    next_q, next_log_prob = nets.soft_target(state.ac, batch.next_obs, next_key)
    y = soft_td_target(batch.reward, batch.discount, next_q, next_log_prob, state.ac.alpha, cfg.discount)

    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)

    def actor_loss(actor: Params) -> tuple[Array, Array]:
        action, log_prob = nets.sample(actor, batch.obs, actor_key)
        return (ac.alpha * log_prob - nets.value(ac.critic, batch.obs, action)).mean(), log_prob

    ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
    target = soft.target_entropy(cfg, state.stats.count)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, target)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward, log_prob)
    metrics = {**critic_metrics, **actor_metrics, **temperature_metrics, **bound_metrics}
    return replace(state, ac=nets.move_targets(ac)), metrics


def _update_distributions(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update of XQC on replayed transitions `[B]`: critics, every `actor_every`-th time actor and temperature.

    Differentiated: the cross-entropy in Z_i's parameters, through the batch's moments too; the actor loss in π's, as
    SAC's. Stopped: the target's distribution, α outside its own loss, the critics' running moments.
    """
    next_key, actor_key = jax.random.split(key)
    cfg = categorical.at(state.config, state.stats.count)
    nets = replace(_distributions(state), config=cfg)
    batch = replace(batch, reward=batch.reward / nets.returns.scale)
    y = nets.soft_target(state.ac, batch, next_key)
    ac, critic_metrics = nets.regress_critics(state.ac, batch, y)
    wanted = soft.target_entropy(cfg, state.stats.count)

    def actor_loss(params: Params) -> tuple[Array, tuple[Array, Params]]:
        action, log_prob, moments = nets.sample_by_batch(params, ac.actor.moments, batch.obs, actor_key)
        loss = (ac.alpha * log_prob - clipped_minimum(nets.scaled_q(ac.critic, batch.obs, action))).mean()
        return loss, (log_prob, moments)

    def move(ac: SoftState) -> tuple[SoftState, Metrics]:
        ac, log_prob, actor_metrics = nets.descend_actor(ac, actor_loss)
        ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, wanted)
        return ac, {**actor_metrics, **temperature_metrics}

    def wait(ac: SoftState) -> tuple[SoftState, Metrics]:
        ac, log_prob, actor_metrics = nets.pause_actor(ac, actor_loss)
        return ac, {**actor_metrics, **nets.still_temperature(ac, log_prob, wanted)}

    ac, actor_metrics = jax.lax.cond(categorical.acts_now(ac, cfg), move, wait, ac)
    return replace(state, ac=nets.move_targets(ac)), {**critic_metrics, **actor_metrics}


def networks(state: State) -> SoftActorCritic:
    """Return the networks of actor and critics, without parameters."""
    if state.config.critic == "categorical":
        return _distributions(state)
    return SoftActorCritic(state.spec, state.config, state.stats)


def _distributions(state: State) -> CategoricalActorCritic:
    assert state.returns is not None  # `init` makes it for this critic
    return CategoricalActorCritic(state.spec, state.config, state.stats, state.returns)
