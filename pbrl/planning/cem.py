"""Acting by planning: the cross-entropy method over action sequences, started from the policy, ended by the critic.

What MAAC does at test time (Clavera et al. 2020, arXiv 2005.08068, Table 1), for any agent with a model. An
agent's policy gives the first mean and variance of every action u_0 … u_H before its tanh; each round draws candidates,
and fits mean and variance to the best of them (the elites), by

    J(u) = E[Σ_{t<H} γ^t D_t r(s_t, a_t) + γ^H D_H min_j Q_j(s_H, a_H)],  a_t = tanh(u_t),  D_t = Π_{k<t} d_k

and tanh of the last mean's u_0 is executed. There is no entropy in it, but in what a soft critic has learned. All
functions are pure and of one state: the caller jits, and maps over environments and seeds. Nothing is differentiated.

Different from the released code (`policies/mpc_controller.py`, `samplers/base.py`), where all but the last are slips:
- Q's weight is γ^H; there it is γ^{H+1}, one step more than the critic is away.
- The first variance is the square of the policy's standard deviation; there that of its *logarithm*.
- What is executed is a = tanh(u_0); there u_0 itself, which the environment clips.
- Variances are not bounded; there by the mean's distance to ±1, the limits of a and not of u: at u = ±1 it is 0.
- Rewards and Q count until the model terminates (D_t); its tasks never do.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pbrl.equations import actor_critic, expansion
from pbrl.planning.config import Config
from pbrl.types import Array, Dynamics, EnvSpec, Key, ModelBasedAgent, Transition


class Problem(NamedTuple):
    """What is planned with."""

    dynamics: Dynamics
    policy: Callable[[Array], tuple[Array, Array | None]]
    """`obs [*, S] -> (mean, standard deviation) [*, A]` before the tanh; without the latter where deterministic."""
    value: Callable[[Array, Array], Array]
    """`(obs [*, S], action [*, A]) -> q [*]`, of the action at the horizon and the policy from there on."""
    discount: Array | float
    """γ."""


class Plan(NamedTuple):
    """A diagonal Gaussian over sequences of H + 1 actions before their tanh."""

    mean: Array
    """Means, [H + 1, A]."""
    variance: Array
    """Squared deviations, [H + 1, A]."""


def act(
    agent: ModelBasedAgent,
    state: Any,
    obs: Array,
    key: Key,
    config: Config = Config(),
    extras: Mapping[str, Array] = MappingProxyType({}),
) -> Array:
    """Return the action `[A]` in [-1, 1] that `agent` takes at `obs [S]` when it plans with its own model and critics.

    `extras` are what an oracle starts from besides the observation, without leading axis. Raises `ValueError` for an
    agent without a model.
    """
    if not agent.abilities(state.config).plans:
        name = agent.__name__.rpartition(".")[2]  # pyright: ignore[reportAttributeAccessIssue], a module
        raise ValueError(
            f"{name} has no model to plan with; leave planning (--mpc) out, or use an agent that has one, such as mage"
        )
    problem = Problem(
        dynamics=agent.simulator(state),
        policy=partial(agent.distribution, state),
        value=partial(agent.value, state),
        discount=state.config.discount,
    )
    start = Transition(obs, jnp.zeros(state.spec.action_size), jnp.zeros(()), jnp.ones(()), obs, dict(extras))
    return jnp.tanh(plan(problem, start, key, config).mean[0])


def check(agent: Any, agent_config: Any, config: Config, *, oracle: bool = False) -> None:
    """Raise `ValueError` where this agent cannot plan, or not with this configuration, before any state is read.

    An agent that trained with an `oracle` plans with it, whatever its configuration.
    """
    config.validate()
    if oracle:
        return

    def abstract(key: Key) -> Array:
        return act(agent, agent.init(key, EnvSpec(1, 1, 1), agent_config), jnp.zeros(1), key, config)

    jax.eval_shape(abstract, jax.random.key(0))


def plan(problem: Problem, start: Transition, key: Key, config: Config) -> Plan:
    """Search for the best actions from one state; of `start`, without leading axis, `obs [S]` and `extras` matter."""
    begin_key, search_key = jax.random.split(key)

    keys, key_of = expansion.words(jax.random.split(search_key, config.iterations))

    def improve(plan: Plan, raw: Array) -> tuple[Plan, None]:
        draw_key, roll_key = jax.random.split(key_of(raw))
        noise = jax.random.normal(draw_key, (config.candidates, *plan.mean.shape), plan.mean.dtype)
        candidates = plan.mean[None] + jnp.sqrt(plan.variance)[None] * noise
        scores = evaluate(problem, start, jnp.tanh(candidates), roll_key, config.particles)
        return refit(plan, candidates, scores, config), None

    first = begin(problem, start, begin_key, config)
    return jax.lax.scan(improve, first, keys)[0]


def begin(problem: Problem, start: Transition, key: Key, config: Config) -> Plan:
    """Return the policy's own distribution along one imagined trajectory of its mode."""

    def gaussian(obs: Array) -> Plan:
        mean, std = problem.policy(obs)
        std = deviation_before_tanh(mean, config.initial_deviation) if std is None else std
        return Plan(mean, jnp.square(std))

    def mode(obs: Array, key: Key) -> tuple[Array, Plan]:
        gaussians = gaussian(obs)
        return actor_critic.tanh_normal_mode(gaussians.mean), gaussians

    z = problem.dynamics.start(_rows(start, 1))
    path = expansion.rollout(problem.dynamics, mode, z, key, config.horizon)
    return jax.tree.map(lambda x, last: jnp.concatenate([x, last[None]])[:, 0], path.info, gaussian(path.final_obs))


def deviation_before_tanh(mean: Array, deviation: float) -> Array:
    """Return the standard deviation of u that moves the action by `deviation`, towards the middle, from tanh(mean).

    `u - σ` leads to an action nearer to 0, or past it, by `deviation` in [0, 1). A policy that has saturated is
    explored as widely as any other; a constant deviation of u would hardly move its action. Elementwise.
    """
    return jnp.abs(mean) - actor_critic.unsquash(jnp.abs(jnp.tanh(mean)) - deviation)


def evaluate(problem: Problem, start: Transition, actions: Array, key: Key, particles: int) -> Array:
    """Return J `[N]` of the action sequences `actions [N, H + 1, A]` in [-1, 1], each the mean over its rollouts.

    The smallest critic is taken for each rollout before the mean.
    """
    rows = jnp.moveaxis(jnp.repeat(actions, particles, 0), 1, 0)  # [H + 1, N · P, A]
    z = problem.dynamics.start(_rows(start, rows.shape[1]))
    path = expansion.follow(problem.dynamics, rows[:-1], z, key)
    q = problem.value(path.final_obs, rows[-1])
    value = expansion.value_expansion(path.reward, path.discount, q, problem.discount)
    return value.reshape(-1, particles).mean(1)


def refit(plan: Plan, candidates: Array, scores: Array, config: Config) -> Plan:
    """Move the plan to mean and variance of the best of `candidates [N, H + 1, A]` by `scores [N]`.

    What was before keeps the weight `smoothing`. The variance is that of the elites about their own mean, divided by
    their number. A candidate whose imagined return is not finite ranks last, since a NaN would rank first.
    """
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    elites = candidates[jax.lax.top_k(scores, config.elites)[1]]
    best = Plan(elites.mean(0), elites.var(0))
    return jax.tree.map(lambda old, new: config.smoothing * old + (1.0 - config.smoothing) * new, plan, best)


def _rows(start: Transition, count: int) -> Transition:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *jnp.shape(x))), start)
