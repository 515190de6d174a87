"""How far an agent's model can be trusted where its policy goes: gradients, predictions and values beside the truth.

Measured from states of fresh episodes that the policy's mode plays. Gradients are those of the value expansion

    J_H(θ) = E[Σ_{t<H} γ^t D_t r_t + γ^H D_H Q(s_H, a_H)],   a_t = π_θ(s_t, ε_t),

through the model and through the environment's own dynamics, with the same networks, states and noise ε: they differ
by the model alone. It is what MAAC and SVG ascend but for entropy; MAGE's is the action-gradient of r + γ Q(s', π(s')).
"""

from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from pbrl.diagnose.gradcheck import beginnings
from pbrl.envs import oracles
from pbrl.envs.gym import GymEnv
from pbrl.equations import actor_critic, expansion
from pbrl.errors import EnvError, RunError
from pbrl.parallel import devices
from pbrl.runs import seeding
from pbrl.runs.run import Run, agent_module
from pbrl.train.learn import Learner
from pbrl.types import Agent, Array, Dynamics, EnvSpec, Key, Metrics, Transition

HORIZONS, STATES = (1, 2, 4, 8, 16), 64
GROUPS = 8
"""Estimates of a gradient, each from `STATES` states, whose spread is its noise."""
EPISODES = 10  # at most, for one seed
TINY = 1e-30


def check(run: Run) -> None:
    """Raise `RunError` for an agent that has no model."""
    module = agent_module(run.agent)
    if not module.abilities(run.config).plans:
        raise RunError(f"{run.agent} has no model to diagnose; mage, maac and svg, for example, have one")

    def model(key: Key) -> Array:
        module.simulator(module.init(key, EnvSpec(1, 1, 1), run.config, oracle=run.dynamics()))
        return jnp.zeros(())

    try:
        jax.eval_shape(model, jax.random.key(0))
    except ValueError as error:
        raise RunError(str(error)) from None


class Diagnosis:
    """What is measured of a run's agents at one step of training; the programs are compiled at the first.

    `truth` says whether the environment has differentiable dynamics of its own (`pbrl.envs.oracles`) to compare with.
    """

    def __init__(self, run: Run, horizons: tuple[int, ...] = HORIZONS, states: int = STATES):
        """Take `horizons` of at most half an episode; raise `RunError` where none is."""
        self.run, self.env, self.states = run, GymEnv(run.env), states
        longest = self.env.spec.episode_length // 2
        self.horizons = tuple(h for h in sorted(set(horizons)) if h <= max(longest, 1))
        if not self.horizons:
            self.env.close()
            raise RunError(
                f"--horizons: expected at most half an episode, {max(longest, 1)} step(s), got "
                f"{' '.join(map(str, horizons))}"
            )
        try:
            self.oracle = oracles.oracle(run.env)
        except EnvError:
            self.oracle = None
        self.agent = agent_module(run.agent)
        self._mode = jax.jit(partial(self.agent.act, explore=False))
        # Streams that share a device one after the other, whatever the run does: hundreds of states fill one already,
        # and a diagnosis must not take more memory than the training that it watches.
        every = devices.over_seeds(partial(measure, self.agent, self.oracle, self.horizons), "map")
        self._measure = jax.jit(devices.spread(every, devices.own_mesh(len(run.stream_seeds))))

    @property
    def truth(self) -> bool:
        """Whether the environment's own dynamics are at hand."""
        return self.oracle is not None

    def of(self, learner: Learner, step: int) -> dict[str, np.ndarray]:
        """Return `diagnose/...` `[N]` of all streams' learners, stacked.

        The same whenever it is asked, up to rounding between one device and several.

        By horizon H: `cosine_hH` and `error_hH` (relative) between the policy gradients through model and truth; their
        norms and signal-to-noise ratios `norm_hH`, `snr_hH`, `true_norm_hH`, `true_snr_hH`; the mean discounted rewards
        of H steps of the mode, `imagined_hH` and `real_hH`, and the spread of the latter over states. And
        `action_cosine`, `action_error` (medians over states) and `action_agree`, the share of states in which both
        point the same way (cosine above 0; with one coordinate, the same sign); the least and largest `q_low`,
        `q_high`, and what rewards seen so far allow, `q_floor`, `q_ceiling`.
        """
        seeds, replay = self.run.stream_seeds, learner.replay
        # The states that play go through the host: a slice of what is spread over devices lies on all of them, takes a
        # collective, and every step of that stream's policy would run on each of them.
        agents, rewards, sizes = jax.device_get((learner.agent, replay.rows.reward, replay.size))
        batches, seen = [], []
        for i, seed in enumerate(seeds):
            state = jax.device_put(jax.tree.map(itemgetter(i), agents))
            batch, real = self._starts(state, seed, step)
            floor, ceiling = reward_bounds(self.agent, state, rewards[i][: sizes[i]])
            means = {f"real_h{h}": x.mean() for h, x in real.items()}
            spreads = {f"spread_h{h}": x.std() for h, x in real.items()}
            batches.append(batch)
            seen.append({**means, **spreads, "q_floor": floor, "q_ceiling": ceiling})
        draws = seeding.of_streams(seeds, step, seeding.DIAGNOSE)
        streams = learner.agent, jax.tree.map(lambda *xs: jnp.stack(xs), *batches), draws
        found = jax.device_get(self._measure(*devices.lay(streams, len(seeds))))
        row = {**found, **{name: np.array([one[name] for one in seen]) for name in seen[0]}}
        return {f"diagnose/{name}": x for name, x in row.items()}

    def _starts(self, state: Any, seed: int, step: int) -> tuple[Transition, dict[int, np.ndarray]]:
        """Play the mode; return `GROUPS · STATES` states and the discounted rewards that followed, by horizon."""
        wanted, longest, gamma = GROUPS * self.states, self.horizons[-1], float(state.config.discount)
        rows, returns, unused = [], {h: [] for h in self.horizons}, jax.random.key(0)
        for episode in range(EPISODES):
            first_state = seeding.episode_seed(seed, step, episode, seeding.DIAGNOSIS_STREAM)
            obs, rewards, over = self.env.reset(first_state), [], False
            first, terminated = len(rows), False
            while not over:
                rows.append((obs, self.env.extras() if self.oracle else {}))
                obs, reward, terminated, truncated = self.env.step(np.asarray(self._mode(state, obs, unused)))
                rewards.append(reward)
                over = terminated or truncated
            padded = np.concatenate([rewards, np.zeros(longest)])
            usable = len(rewards) if terminated else max(len(rewards) - longest + 1, 0)
            del rows[first + usable :]  # what would have followed a time limit, nobody saw
            for h in self.horizons:
                powers = gamma ** np.arange(h)
                returns[h] += [padded[t : t + h] @ powers for t in range(usable)]
            if len(rows) >= wanted:
                break
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(rows), wanted, replace=len(rows) < wanted)
        batch = beginnings([rows[i] for i in chosen], self.env.spec.action_size)
        return batch, {h: np.array(x)[chosen] for h, x in returns.items()}

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def measure(
    agent: Any, oracle: Dynamics | None, horizons: tuple[int, ...], state: Any, batch: Transition, key: Key
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
    agent: Any, state: Any, dynamics: Dynamics, horizons: tuple[int, ...], batch: Transition, key: Key
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


def action_gradients(agent: Any, state: Any, dynamics: Dynamics, batch: Transition, key: Key) -> Array:
    """Return ∇ₐ [r(s, a) + γ d Q(s', π(s'))] `[B, A]` at the mode a = π(s), by which MAGE trains its critic."""

    def target(action: Array) -> Array:
        z, reward, discount = dynamics.step(dynamics.start(batch), action, key)
        obs = dynamics.observe(z)
        q = agent.value(state, obs, agent.act(state, obs, key, explore=False))
        return actor_critic.td_target(reward, discount, q, state.config.discount).sum()

    return jax.grad(target)(agent.act(state, batch.obs, key, explore=False))


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
