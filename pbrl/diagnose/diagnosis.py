"""A diagnosis of a run's agents: states that the mode of each policy reaches, and what `measure` finds there.

The episodes are fresh ones, so that neither training nor evaluation has seen them. Training is not touched by it.
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.data.replay import Replay, sample
from pbrl.diagnose.gradcheck import beginnings
from pbrl.diagnose.measure import GROUPS, TD_ERRORS, measure, reward_bounds, td_errors
from pbrl.envs import oracles
from pbrl.errors import EnvError, RunError
from pbrl.parallel import devices
from pbrl.runs import seeding
from pbrl.runs.run import Run, agent_module
from pbrl.types import Array, EnvSpec, Key, Metrics, Transition

HORIZONS, STATES = (1, 2, 4, 8, 16), 64
EPISODES = 10  # at most, for one seed


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
        self.run, self.env, self.states = run, run.make_env(), states
        longest = self.env.spec.episode_length // 2
        self.horizons = tuple(h for h in sorted(set(horizons)) if h <= max(longest, 1))
        if not self.horizons:
            self.env.close()
            raise RunError(
                f"--horizons: expected at most half an episode, {max(longest, 1)} step(s), got "
                f"{' '.join(map(str, horizons))}"
            )
        try:
            self.oracle = oracles.oracle(run.env) if run.standard else None
        except EnvError:
            self.oracle = None
        self.agent = agent_module(run.agent)
        self._mode = jax.jit(partial(self.agent.act, explore=False))
        # Streams that share a device one after the other, whatever the run does: hundreds of states fill one already,
        # and a diagnosis must not take more memory than the training that it watches.
        own = devices.own_mesh(len(run.stream_seeds))
        self._measure = jax.jit(devices.spread(devices.over_seeds(self._of_one, "map"), own))
        self._replayed = jax.jit(devices.spread(jax.vmap(self._sample), own))  # `map` would copy a stream's replay

    @property
    def truth(self) -> bool:
        """Whether the environment's own dynamics are at hand."""
        return self.oracle is not None

    @property
    def steps(self) -> int:
        """About how many steps each policy plays, in whole episodes."""
        longest = self.env.spec.episode_length
        return min(-(-GROUPS * self.states // longest), EPISODES) * longest

    def of(
        self, agents: Any, replay: Replay, step: int, tell: Callable[[str], object] = lambda words: None
    ) -> dict[str, np.ndarray]:
        """Return `diagnose/...` `[N]` of all streams' agents and real transitions, stacked; `tell` hears how far it is.

        The same whenever it is asked, up to rounding between one device and several.

        By horizon H: `cosine_hH` and `error_hH` (relative) between the policy gradients through model and truth; their
        norms and signal-to-noise ratios `norm_hH`, `snr_hH`, `true_norm_hH`, `true_snr_hH`; the mean discounted rewards
        of H steps of the mode, `imagined_hH` and `real_hH`, and the spread of the latter over states. And
        `action_cosine`, `action_error` (medians over states) and `action_agree`, the share of states in which both
        point the same way (cosine above 0; with one coordinate, the same sign); the least and largest `q_low`,
        `q_high`, and what rewards seen so far allow, `q_floor`, `q_ceiling`. Of agents whose values hold no entropy,
        on replayed states, what `td_errors` says; NaN where nothing has been stored.
        """
        seeds = self.run.stream_seeds
        # The states that play go through the host: a slice of what is spread over devices lies on all of them, takes a
        # collective, and every step of that stream's policy would run on each of them.
        fetched, rewards, sizes = jax.device_get((agents, replay.rows.reward, replay.size))
        batches, seen = [], []
        for i, seed in enumerate(seeds):
            self.env.who = f"seed {seed}, diagnosis"
            tell(f"playing with the policy of seed {seed}, {i + 1} of {len(seeds)}")
            state = jax.device_put(jax.tree.map(itemgetter(i), fetched))
            batch, real = self._starts(state, seed, step)
            floor, ceiling = reward_bounds(self.agent, state, rewards[i][: sizes[i]])
            means = {f"real_h{h}": x.mean() for h, x in real.items()}
            spreads = {f"spread_h{h}": x.std() for h, x in real.items()}
            batches.append(batch)
            seen.append({**means, **spreads, "q_floor": floor, "q_ceiling": ceiling})
        draws = seeding.of_streams(seeds, step, seeding.DIAGNOSE)
        agents, replay, draws = devices.lay((agents, replay, draws), len(seeds))
        starts = devices.lay(jax.tree.map(lambda *xs: jnp.stack(xs), *batches), len(seeds))
        tell(f"compiling and taking gradients of up to {self.horizons[-1]} steps")
        found = jax.device_get(self._measure(agents, starts, self._replayed(replay, draws), draws))
        found |= {name: np.where(sizes > 0, found[name], np.nan) for name in TD_ERRORS if name in found}
        row = {**found, **{name: np.array([one[name] for one in seen]) for name in seen[0]}}
        return {f"diagnose/{name}": x for name, x in row.items()}

    def _sample(self, replay: Replay, key: Key) -> Transition:
        return sample(replay, jax.random.fold_in(key, 1), GROUPS * self.states)

    def _of_one(self, state: Any, batch: Transition, replayed: Transition, key: Key) -> Metrics:
        """Measure one stream's agent, from states that its mode reaches and from replayed ones."""
        found = measure(self.agent, self.oracle, self.horizons, state, batch, key)
        if self.agent.abilities(self.run.config).soft:  # δ would lack the entropy of the next action
            return found
        return found | td_errors(self.agent, state, replayed, jax.random.fold_in(key, 2))

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
