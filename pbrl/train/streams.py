"""The live environments of a run, one for each seed, and where each stands in its episode."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError
from pbrl.runs.seeding import TRAINING_STREAM, episode_seed
from pbrl.types import Transition, width

MAX_FAULTS = 10  # broken steps in a row before the run gives up


@dataclass
class Streams:
    """N environments and the state of their current episodes."""

    envs: list[GymEnv]
    seeds: tuple[int, ...]
    obs: np.ndarray  # float[N, S], what the next actions answer to
    episodes: np.ndarray  # i64[N], episodes begun
    returns: np.ndarray  # f64[N], of the current episode so far
    finished: np.ndarray  # f64[N], of the last whole episode; NaN before there was one
    faults: np.ndarray  # i64[N], broken steps in a row
    extras: bool  # whether transitions carry what the environment's oracle starts from

    ARRAYS = ("obs", "episodes", "returns", "finished", "faults")

    @classmethod
    def start(cls, env_id: str, seeds: tuple[int, ...], *, extras: bool = False) -> "Streams":
        """Make and reset one environment for each seed; with `extras` transitions carry their simulator's state."""
        n, envs = len(seeds), [GymEnv(env_id) for _ in seeds]
        obs = np.zeros((n, envs[0].spec.obs_size), width())
        counts = np.zeros(n, np.int64)
        streams = cls(envs, seeds, obs, counts, np.zeros(n), np.full(n, np.nan), counts.copy(), extras)
        for i in range(n):
            streams._begin_episode(i)
        return streams

    def _begin_episode(self, i: int) -> None:
        """Reset environment i; a reset that breaks counts as a broken step, and its episode as one."""
        while True:
            seed = episode_seed(self.seeds[i], 0, int(self.episodes[i]), TRAINING_STREAM)
            self.episodes[i] += 1
            self.returns[i] = 0.0
            try:
                self.obs[i] = self.envs[i].reset(seed)
                return
            except EnvError as error:
                self._count_fault(i, error)

    def _count_fault(self, i: int, error: EnvError) -> None:
        """Note that environment i broke once more, and raise the error where that is too often."""
        self.faults[i] += 1
        if self.faults[i] >= MAX_FAULTS:
            raise error

    def step(self, actions: np.ndarray) -> tuple[Transition, np.ndarray]:
        """Advance every environment by one action `[N, A]`; return transitions `[N, 1]` and `last [N, 1]`.

        A transition holds its episode's true final observation; a time limit leaves its discount at 1. Where an
        environment breaks, its episode is cut and the row holds NaN, which the replay buffer refuses; an environment
        that breaks `MAX_FAULTS` times in a row raises its `EnvError`.
        """
        n = len(self.envs)
        obs, next_obs = self.obs.copy(), self.obs.copy()
        simulators = [env.extras() for env in self.envs] if self.extras else [{}]
        reward, discount, last = np.full(n, np.nan, width()), np.ones(n, width()), np.ones(n, bool)
        for i, env in enumerate(self.envs):
            try:
                next_obs[i], reward[i], terminated, truncated = env.step(actions[i])
            except EnvError as error:
                self._count_fault(i, error)
                self._begin_episode(i)
                continue
            self.faults[i] = 0
            self.obs[i] = next_obs[i]
            self.returns[i] += reward[i]
            discount[i], last[i] = 1.0 - terminated, terminated or truncated
            if last[i]:
                self.finished[i] = self.returns[i]
                self._begin_episode(i)
        rows: dict[str, Any] = {"obs": obs, "action": actions, "reward": reward, "discount": discount}
        rows |= {"next_obs": next_obs, "extras": {k: np.stack([s[k] for s in simulators]) for k in simulators[0]}}
        return Transition(**jax.tree.map(lambda x: x[:, None], rows)), last[:, None]

    def example(self) -> dict[str, np.ndarray]:
        """Return extras as the transitions of one stream carry them, without leading axes."""
        return self.envs[0].extras() if self.extras else {}

    def snapshot(self) -> dict[str, Any]:
        """Return everything as arrays `[N, ...]`, the simulators' own states included."""
        envs = jax.tree.map(lambda *each: np.stack(each), *(env.snapshot() for env in self.envs))
        return {**{k: getattr(self, k).copy() for k in self.ARRAYS}, "envs": envs}

    def restore(self, snapshot: dict[str, Any]) -> bool:
        """Go back to a snapshot; return whether that was exact.

        Environments whose state cannot be captured begin a new episode instead, and all do where the snapshot is of a
        run that a broken environment ended: it was taken in the middle of a step.
        """
        for name in self.ARRAYS:
            setattr(self, name, np.array(snapshot[name]))
        broken = bool((self.faults >= MAX_FAULTS).any())
        self.faults *= not broken
        for i, env in enumerate(self.envs):
            if env.exact and not broken:
                env.restore({name: np.asarray(value[i]) for name, value in snapshot["envs"].items()})
            else:
                self._begin_episode(i)
        return all(env.exact for env in self.envs) and not broken

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()
