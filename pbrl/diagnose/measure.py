"""How far an agent's model can be trusted in some states: gradients, predictions and values beside the truth.

Gradients are those of the value expansion

    J_H(θ) = E[Σ_{t<H} γ^t D_t r_t + γ^H D_H Q(s_H, a_H)],   a_t = π_θ(s_t, ε_t),

through the model and through the environment's own dynamics, with the same networks, states and noise ε: they differ
by the model alone. It is what MAAC and SVG ascend but for entropy; MAGE's is the action-gradient of r + γ Q(s', π(s')).
Pure functions of one agent's state; `pbrl.diagnose.diagnosis` finds the states of a run.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from pbrl.equations import actor_critic, expansion
from pbrl.types import Agent, Array, Dynamics, Key, Metrics, ModelBasedAgent, Transition

GROUPS = 8
"""Estimates of a gradient, each from its own part of the states, whose spread is its noise."""
TD_ERRORS = ("td_mean", "td_clipped", "q_terminal", "terminal_rows")
"""What `td_errors` returns."""
TINY = 1e-30


def measure(
    agent: ModelBasedAgent, oracle: Dynamics | None, horizons: tuple[int, ...], state: Any, batch: Transition, key: Key
) -> Metrics:
    """Return what `Diagnosis.of` says of gradients, imagination and critics, from states `batch [GROUPS · B]`.

    Differentiated: J_H in the actor's parameters, through policy, dynamics, rewards and critics, and the one-step
    target in the action; critics and model are constants.
    """
    policy_key, action_key, mode_key = jax.random.split(key, 3)
    model, groups = agent.simulator(state), jax.random.split(policy_key, GROUPS)
    cut = jax.tree.map(lambda x: x.reshape(GROUPS, -1, *x.shape[1:]), batch)
    found: Metrics = {}

    def gradients(dynamics: Dynamics) -> Array:
        """Of all groups and horizons, `[G, n, P]`, one group after the other."""
        return jax.lax.map(lambda args: policy_gradients(agent, state, dynamics, horizons, *args), (cut, groups))

    learned = gradients(model)
    true = gradients(oracle) if oracle else None
    for i, h in enumerate(horizons):
        found |= {f"norm_h{h}": _norm(learned[:, i].mean(0)), f"snr_h{h}": signal_to_noise(learned[:, i])}
        if true is not None:
            mine, theirs = learned[:, i].mean(0), true[:, i].mean(0)
            found |= {f"true_norm_h{h}": _norm(theirs), f"true_snr_h{h}": signal_to_noise(true[:, i])}
            found |= {
                f"cosine_h{h}": _cosine(mine, theirs),
                f"error_h{h}": _norm(mine - theirs) / (_norm(theirs) + TINY),
            }
    if oracle:
        mine, theirs = (action_gradients(agent, state, dynamics, batch, action_key) for dynamics in (model, oracle))
        cosines = jax.vmap(_cosine)(mine, theirs)
        found |= {"action_cosine": jnp.median(cosines), "action_agree": (cosines > 0).mean()}
        errors = actor_critic.safe_norm(mine - theirs) / (actor_critic.safe_norm(theirs) + TINY)
        found["action_error"] = jnp.median(errors)

    def mode(obs: Array, key: Key) -> tuple[Array, None]:
        return agent.act(state, obs, key, explore=False), None

    path = expansion.rollout(model, mode, model.start(batch), mode_key, horizons[-1])
    for h in horizons:
        rewards = expansion.value_expansion(
            path.reward[:h], path.discount[:h], jnp.zeros_like(path.reward[0]), state.config.discount
        )
        found[f"imagined_h{h}"] = rewards.mean()
    q = agent.value(state, batch.obs, path.action[0])
    return {**found, "q_low": q.min(), "q_high": q.max()}


def policy_gradients(
    agent: ModelBasedAgent, state: Any, dynamics: Dynamics, horizons: tuple[int, ...], batch: Transition, key: Key
) -> Array:
    """Return ∇θ J_H `[n, P]` for each horizon, from states `batch [B]`, one noise for all."""
    roll_key, last_key = jax.random.split(key)

    def expansions(actor: Any) -> Array:
        acting = replace(state, ac=replace(state.ac, actor=actor))

        def policy(obs: Array, key: Key) -> tuple[Array, None]:
            mean, std = agent.distribution(acting, obs)
            return jnp.tanh(mean if std is None else mean + std * jax.random.normal(key, mean.shape)), None

        cheap = dynamics._replace(step=jax.checkpoint(dynamics.step))  # simulators remember much
        path = expansion.rollout(cheap, policy, dynamics.start(batch), roll_key, horizons[-1])
        obs = jnp.concatenate([path.obs[1:], path.final_obs[None]])
        action = jnp.concatenate([path.action[1:], policy(path.final_obs, last_key)[0][None]])
        gamma = state.config.discount
        ends = [agent.value(state, obs[h - 1], action[h - 1]) for h in horizons]
        each = zip(horizons, ends, strict=True)
        expanded = (expansion.value_expansion(path.reward[:h], path.discount[:h], q, gamma) for h, q in each)
        return jnp.stack([value.mean() for value in expanded])

    _, pullback = jax.vjp(expansions, state.ac.actor)
    # Side by side, so that the steps which the backward pass computes again are so once for all horizons.
    return jax.vmap(lambda one: ravel_pytree(pullback(one)[0])[0])(jnp.eye(len(horizons)))


def action_gradients(agent: ModelBasedAgent, state: Any, dynamics: Dynamics, batch: Transition, key: Key) -> Array:
    """Return ∇ₐ [r(s, a) + γ d Q(s', π(s'))] `[B, A]` at the mode a = π(s), by which MAGE trains its critic."""

    def total(action: Array) -> Array:
        return _target(agent, state, dynamics, batch, action, key)[0].sum()

    return jax.grad(total)(agent.act(state, batch.obs, key, explore=False))


def td_errors(agent: ModelBasedAgent, state: Any, rows: Transition, key: Key) -> Metrics:
    """Return what TD errors δ average to in replayed states `rows [B]`, and Q where the next state is terminal.

    δ = r + γ d Q(s', π(s')) - Q(s, π(s)) is of one step through the agent's model, with the least of its online critics
    and π without noise; nothing is differentiated. Huber's loss rests where the mean of δ clipped to ±1, `td_clipped`,
    is 0, whatever the mean `td_mean` is. `q_terminal` is the mean Q(s, π(s)) of the `terminal_rows` where the model's
    discount is below a half; of none it is NaN.
    """
    action = agent.act(state, rows.obs, key, explore=False)
    y, discount = _target(agent, state, agent.simulator(state), rows, action, key)
    q, ends = agent.value(state, rows.obs, action), discount < 0.5
    error, count = y - q, ends.sum().astype(q.dtype)
    return {
        "td_mean": error.mean(),
        "td_clipped": jnp.clip(error, -1.0, 1.0).mean(),
        "q_terminal": jnp.where(ends, q, 0.0).sum() / count,
        "terminal_rows": count,
    }


def _target(
    agent: ModelBasedAgent, state: Any, dynamics: Dynamics, batch: Transition, action: Array, key: Key
) -> tuple[Array, Array]:
    """Return r(s, a) + γ d Q(s', π(s')) and d, both `[B]`; π is the mode."""
    z, reward, discount = dynamics.step(dynamics.start(batch), action, key)
    obs = dynamics.observe(z)
    q = agent.value(state, obs, agent.act(state, obs, key, explore=False))
    return actor_critic.td_target(reward, discount, q, state.config.discount), discount


def signal_to_noise(estimates: Array) -> Array:
    """Return the norm of the mean of `estimates [G, P]` by the standard deviation of one of them."""
    noise = jnp.sqrt(jnp.square(estimates - estimates.mean(0)).sum() / (len(estimates) - 1))
    return _norm(estimates.mean(0)) / (noise + TINY)


def reward_bounds(agent: Agent, state: Any, rewards: np.ndarray) -> tuple[float, float]:
    """Return the least and largest value that rewards as those seen allow, for ever or until the episode ends.

    A soft agent's values hold its entropy as well: here from -1 nat to log 2, the most there is, for each action
    coordinate.
    """
    alpha = float(state.ac.alpha) if agent.abilities(state.config).soft else 0.0
    low, high = (float(rewards.min()), float(rewards.max())) if len(rewards) else (0.0, 0.0)
    size, left = state.spec.action_size, 1.0 - float(state.config.discount) or 1.0 / state.spec.episode_length
    return min(low - alpha * size, 0.0) / left, max(high + alpha * size * float(np.log(2)), 0.0) / left


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.square(x).sum())


def _cosine(a: Array, b: Array) -> Array:
    return (a * b).sum() / (_norm(a) * _norm(b) + TINY)
