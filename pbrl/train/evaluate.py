"""Evaluation: separate environments and seeds, the policy's mode, whole episodes only."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pbrl.envs.gym import GymEnv
from pbrl.errors import ActionError, EnvError
from pbrl.runs.seeding import episode_seed
from pbrl.types import width


class Evaluator:
    """One set of environments, reused by every evaluation of a run: `episodes` for each of N seeds, in lockstep.

    With `extras`, what acts is told what the environments' oracles start from besides observations.
    """

    def __init__(self, make_env: Callable[[], GymEnv], seeds: Sequence[int], episodes: int, *, extras: bool = False):
        self.seeds, self.episodes, self.extras = tuple(seeds), episodes, extras
        self.envs = [[make_env() for _ in range(episodes)] for _ in self.seeds]

    def run(self, act: Callable[[np.ndarray, dict], Any], step: int) -> dict[str, np.ndarray]:
        """Play whole episodes with `act: (obs [N, E, S], extras) -> actions [N, E, A]`; `step` seeds first states.

        Returns `{"eval/return": [N], "eval/length": [N]}`, means over each seed's whole episodes. One whose environment
        breaks is warned about and left out; a seed left without any has NaN.
        """
        n, e = len(self.seeds), self.episodes
        obs = np.zeros((n, e, self.envs[0][0].spec.obs_size), width())
        returns, lengths, running = np.zeros((n, e)), np.zeros((n, e)), np.ones((n, e), bool)

        def lose(i: Any, j: Any, error: EnvError) -> None:
            warnings.warn(f"evaluation at step {step}: an episode is left out, since {error}", stacklevel=3)
            returns[i, j] = lengths[i, j] = np.nan
            running[i, j] = False

        for i, j in np.ndindex(n, e):
            try:
                obs[i, j] = self.envs[i][j].reset(episode_seed(self.seeds[i], step, j))
            except EnvError as error:
                lose(i, j, error)
        while running.any():
            actions = np.asarray(act(obs, self._extras()))
            for i, j in zip(*np.nonzero(running), strict=True):
                try:
                    obs[i, j], reward, terminated, truncated = self.envs[i][j].step(actions[i, j])
                except ActionError:
                    raise
                except EnvError as error:
                    lose(i, j, error)
                    continue
                returns[i, j] += reward
                lengths[i, j] += 1
                running[i, j] = not (terminated or truncated)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing
            return {"eval/return": np.nanmean(returns, 1), "eval/length": np.nanmean(lengths, 1)}

    def _extras(self) -> dict[str, np.ndarray]:
        if not self.extras:
            return {}
        each = [[env.extras() for env in row] for row in self.envs]
        return {name: np.array([[extras[name] for extras in row] for row in each]) for name in each[0][0]}

    def close(self) -> None:
        """Close every environment."""
        for env in (env for row in self.envs for env in row):
            env.close()
