"""SAC-SVG(H): soft actor-critic with a model-based stochastic value gradient (Amos et al. 2021, arXiv 2008.12775).

SAC, whose actor is improved through H steps of a learned deterministic model instead of through the critic alone:

    maximise over π Σ_{t<H} γ^t (D_t r(x_t, u_t) - α log π(u_t|x_t)) + γ^H (D_H min_j Q_j(x_H, u_H) - α log π(u_H|x_H))
    u_t ~ π(x_t),  x_{t+1} = f(x_t, u_t),  D_t = Π_{k<t} (1 - d(x_k, u_k))                (paper, eq. 7 and 9)

The critic learns from real data alone (or, `critic="mve"`, from model-based value expansion). `docs/algorithms/svg.md`
maps equations to functions and tests, and lists every deviation.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.agents.parts import soft, svg_sac
from pbrl.agents.parts.soft import SoftActorCritic, SoftState
from pbrl.agents.parts.soft import networks_of as networks
from pbrl.config import static
from pbrl.equations.actor_critic import check_rows, soft_td_target, squared_td_loss
from pbrl.equations.expansion import mve_targets, rollout, soft_value_expansion, start_from_next, words
from pbrl.models import sequence_world
from pbrl.models.sequence_world import SequenceWorld, SequenceWorldState
from pbrl.nn.normalizer import Statistics
from pbrl.types import Abilities, Array, Dynamics, EnvSpec, Key, Metrics, Params, Transition


@flax.struct.dataclass
class Config(svg_sac.Config):
    """Hyper-parameters; the defaults are those of the authors' released code, which made the published results.

    Those of `svg_sac.Config` besides. (The paper's Table 3 prints 5e-4 for the temperature's rate.)
    """

    horizon: int = static(2)
    """H, model steps of the actor's value expansion (the code's `horizon` counts actions, H + 1)."""
    actor: str = static("svg")
    """"svg": through the model; "sac": through the critic alone (Fig. 4)."""
    critic: str = static("td")
    """"td": soft TD on real transitions; "mve": H-step value expansion with the TD-k trick (Fig. 4)."""
    dynamics: str = static("recurrent")
    """"recurrent": deterministic GRU; "ensemble": probabilistic networks as in MAGE."""
    actor_warmup: float = 10_000.0
    """Environment steps during which the actor's loss is SAC's, until the model can be trusted."""
    model_lr: float = 1e-3
    """Learning rate of the dynamics' optimiser."""
    model_max_norm: float = 1.0
    """Clip of the global norm of the dynamics' gradient."""
    head_lr: float = 1e-3
    """Learning rate of reward and termination."""
    balance_terminations: bool = static(True)
    """Weight a batch's terminations as heavily as its other rows (the paper calls this unimportant)."""
    termination_gradient: bool = static(True)
    """Differentiate the predicted probability of a termination, as the code does. An oracle's has no slope anyway."""
    encoder_hidden: tuple[int, ...] = static((512, 512))
    """Widths of the network in front of the GRU."""
    recurrent_width: int = static(512)
    """Width of the GRU and its input."""
    recurrent_layers: int = static(2)
    """Cells of the GRU, one on another."""
    model_hidden: tuple[int, ...] = static((512, 512, 512, 512))
    """Of each member of an ensemble."""
    ensemble_size: int = static(5)
    """Its members."""
    head_hidden: tuple[int, ...] = static((512, 512))
    """Networks of reward and termination."""

    @property
    def sequence_length(self) -> int:
        """Consecutive transitions that `update_model` wants in a sample; 0 where nothing needs a model."""
        if not self.horizon or (self.actor == "sac" and self.critic == "td"):
            return 0
        return self.horizon if self.dynamics == "recurrent" else 1


@flax.struct.dataclass
class State:
    """Everything that training changes, plus what `update` must know; immutable."""

    ac: SoftState
    world: SequenceWorldState | None
    stats: Statistics
    config: Config
    spec: EnvSpec = flax.struct.field(pytree_node=False)
    oracle: Dynamics | None = flax.struct.field(pytree_node=False)


def abilities(config: Config) -> Abilities:
    """Say what the agent does with this configuration."""
    return Abilities(fits="windows", window=config.sequence_length, plans=True, soft=True, entropy_schedule=True)


def init(key: Key, spec: EnvSpec, config: Config = Config(), *, oracle: Dynamics | None = None) -> State:
    """Make a fresh state for an environment; an `oracle` takes the place of dynamics, reward and termination.

    Raises `ValueError` where a hyper-parameter cannot work.
    """
    configs.require(config, Config)
    soft.validate(config)
    svg_sac.validate_schedule(config)
    sequence_world.validate(config)
    configs.check(config, horizon=(0, 1_000), actor_warmup=(0, float("inf")))
    configs.check_choice(config, actor=("svg", "sac"), critic=("td", "mve"))
    config = configs.cast(svg_sac.resolve(config, spec))
    ac_key, world_key = jax.random.split(key)
    stats = Statistics.init(spec.obs_size, spec.action_size, bounded=True)
    return State(
        ac=SoftActorCritic(spec, config, stats.obs).init(ac_key),
        world=None if oracle else SequenceWorld(spec, config, stats).init(world_key),
        stats=stats,
        config=config,
        spec=spec,
        oracle=oracle,
    )


def act(state: State, obs: Array, key: Key, *, explore: bool | Array) -> Array:
    """Map `obs [*, S]` to actions `[*, A]` in [-1, 1]: a draw from π(s) where it explores, else its mode."""
    return svg_sac.act(networks(state), state, obs, key, explore)


def observe(state: State, batch: Transition) -> State:
    """Fold newly collected transitions `[B]` into the running statistics, whose count is the clock of schedules."""
    check_rows(state.spec, batch)
    return replace(state, stats=state.stats.update(batch))


def update_model(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """Take one gradient step on the dynamics with windows `[H, B]` that lie within an episode; an oracle needs none."""
    check_rows(state.spec, batch)
    del key  # the loss is deterministic
    if state.world is None:
        return state, {}
    world, metrics = _world(state).fit_dynamics(state.world, batch)
    return replace(state, world=world), metrics


def update(state: State, batch: Transition, key: Key) -> tuple[State, Metrics]:
    """One update on replayed transitions `[B]`: critics, actor, temperature, reward and termination, targets.

    Differentiated: the critics' loss in their parameters; the actor's in π's, through actions, densities, dynamics with
    their hidden state, reward, termination and critic along the whole rollout; the temperature's in log α. Stopped: the
    targets, α outside its own loss; nothing moves but what each loss is differentiated in.
    """
    check_rows(state.spec, batch)
    critic_key, actor_key = jax.random.split(key)
    cfg, nets = state.config, networks(state)

    targets = (mve_critic if cfg.critic == "mve" and cfg.horizon else td_critic)(state, batch, critic_key)

    def critic_loss(critic: Params) -> tuple[Array, Metrics]:
        """Squared errors of every Q_i at the K states that have a target, weighted."""
        q = nets.q(critic, targets.obs, targets.action)  # [C, K, B]
        td_error = targets.y[None] - q
        loss = squared_td_loss(td_error.reshape(q.shape[0], -1), targets.weight.reshape(-1))
        return loss, {"critic/q": q.mean(), "critic/td_error": jnp.abs(td_error).mean()}

    ac, critic_metrics = nets.descend_critics(state.ac, critic_loss)

    raw, key_of = words(actor_key)  # what goes into either branch of a condition, as into a scan

    def sac_loss(actor: Params) -> tuple[Array, Array]:
        """α log π(u|x) - min_j Q_j(x, u): through the critic alone."""
        action, log_prob = nets.sample(actor, batch.obs, key_of(raw))
        return (ac.alpha * log_prob - nets.value(ac.critic, batch.obs, action)).mean(), log_prob

    def svg_loss(actor: Params) -> tuple[Array, Array]:
        """Minus eq. 7 over its H + 1 terms; with the log-density of the first action, which adapts the temperature."""
        dynamics, (roll_key, last_key) = simulator(state), jax.random.split(key_of(raw))
        path = rollout(dynamics, partial(nets.sample, actor), dynamics.start(batch), roll_key, cfg.horizon)
        action, log_prob = nets.sample(actor, path.final_obs, last_key)
        log_probs = jnp.concatenate([path.info, log_prob[None]])
        q = nets.value(ac.critic, path.final_obs, action)
        value = soft_value_expansion(path.reward, path.discount, log_probs, q, ac.alpha, cfg.discount)
        return -(value / (cfg.horizon + 1)).mean(), log_probs[0]

    if cfg.actor == "sac" or cfg.horizon == 0:
        ac, log_prob, actor_metrics = nets.descend_actor(ac, sac_loss)
    else:  # the model is not trusted before it has seen `actor_warmup` steps
        ac, log_prob, actor_metrics = jax.lax.cond(
            state.stats.obs.count < cfg.actor_warmup,
            lambda ac: nets.descend_actor(ac, sac_loss),
            lambda ac: nets.descend_actor(ac, svg_loss),
            ac,
        )
    target_entropy = soft.target_entropy(cfg, state.stats.obs.count)
    ac, temperature_metrics = nets.adapt_temperature(ac, log_prob, target_entropy)
    ac, bound_metrics = nets.move_bounds(ac, batch.reward, log_prob)

    world, head_metrics = state.world, {}
    if world is not None and cfg.sequence_length:
        world, head_metrics = _world(state).fit_heads(world, batch)
    metrics = {**critic_metrics, **actor_metrics, **temperature_metrics, **bound_metrics, **head_metrics}
    return replace(state, ac=nets.move_targets(ac), world=world), metrics


class Targets(NamedTuple):
    """Where the critics learn what: at K states of a trajectory."""

    obs: Array  # [K, B, S]
    action: Array  # [K, B, A]
    y: Array  # [K, B]
    weight: Array  # [K, B]


def td_critic(state: State, batch: Transition, key: Key) -> Targets:
    """Return soft TD targets of the real transitions alone, K = 1."""
    nets, cfg = networks(state), state.config
    next_q, next_log_prob = nets.soft_target(state.ac, batch.next_obs, key)
    y = soft_td_target(batch.reward, batch.discount, next_q, next_log_prob, state.ac.alpha, cfg.discount)
    return Targets(batch.obs[None], batch.action[None], y[None], jnp.ones_like(y)[None])


def mve_critic(state: State, batch: Transition, key: Key) -> Targets:
    """Return targets of H-step value expansion at every state of real transition and rollout, K = H + 1 (Fig. 4).

    States behind a termination have no weight.
    """
    nets, cfg, dynamics = networks(state), state.config, simulator(state)
    roll_key, last_key = jax.random.split(key)
    begin_key, roll_key = jax.random.split(roll_key)
    latent = start_from_next(dynamics, batch, begin_key, by_step=state.oracle is not None)
    path = rollout(dynamics, partial(nets.sample, state.ac.actor), latent, roll_key, cfg.horizon)
    last_q, last_log_prob = nets.soft_target(state.ac, path.final_obs, last_key)

    real = batch.obs, batch.action, batch.reward, batch.discount
    imagined = path.obs, path.action, path.reward, path.discount
    obs, action, reward, discount = (
        jnp.concatenate([first[None], rest]) for first, rest in zip(real, imagined, strict=True)
    )
    log_probs = jnp.concatenate([path.info, last_log_prob[None]])
    y = mve_targets(reward, discount, log_probs, last_q, state.ac.alpha, cfg.discount)
    alive = jnp.cumprod(jnp.concatenate([jnp.ones_like(discount[:1]), discount[:-1]]), axis=0)
    return Targets(obs, action, y, alive)


def simulator(state: State) -> Dynamics:
    """Return what imagines: the oracle where there is one, else the learned model.

    Raises `ValueError` for a configuration that trains no model.
    """
    if state.oracle:
        return state.oracle
    if not state.config.sequence_length:
        raise ValueError(
            "svg learns no model with config.horizon 0, nor with actor 'sac' and critic 'td'; "
            "train it with a longer horizon, or give an oracle"
        )
    assert state.world is not None
    return _world(state).simulator(state.world)


def distribution(state: State, obs: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation `[*, A]` of π(s) before its tanh, for `obs [*, S]`."""
    mean, log_std = networks(state).distribution(state.ac.actor, obs)
    return mean, jnp.exp(log_std)


def value(state: State, obs: Array, action: Array) -> Array:
    """Return what the actor ascends of the online, soft critics `[*]`: by default `min_j Q_j(s, a)`.

    For `obs [*, S]` and `action [*, A]`.
    """
    return networks(state).value(state.ac.critic, obs, action)


def _world(state: State) -> SequenceWorld:
    return SequenceWorld(state.spec, state.config, state.stats)
