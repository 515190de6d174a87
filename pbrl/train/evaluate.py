"""Evaluation: separate environments and seeds, the policy's mode, whole episodes only."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pbrl.envs.gym import GymEnv
from pbrl.errors import ActionError, EnvError, with_origin
from pbrl.runs.seeding import episode_seed
from pbrl.types import width


def statistics(returns: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return what an evaluation logs of each seed's episodes `[N, E]`, as `[N]`; NaN marks those that broke.

    `eval/return`, `eval/length`: means; `eval/return_std`, `_min`, `_max`: of the returns; NaN where no episode is
    whole. `eval/episodes`: how many are, which is what all others are over.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing
        return {
            "eval/return": np.nanmean(returns, 1),
            "eval/length": np.nanmean(lengths, 1),
            "eval/return_std": np.nanstd(returns, 1),
            "eval/return_min": np.nanmin(returns, 1),
            "eval/return_max": np.nanmax(returns, 1),
            "eval/episodes": (~np.isnan(returns)).sum(1),
        }


class Evaluator:
    """Plays `episodes` for each of N seeds in environments that every evaluation of a run uses, in lockstep.

    They are made when they are first needed: one for each episode, or, with `alone`, one for each seed, which then
    plays its episodes one after the other. `borrow` lends live environments, one for each seed, in their place. With
    `extras`, what acts is told what the environments' oracles start from besides observations.
    """

    def __init__(
        self,
        make_env: Callable[[], GymEnv],
        seeds: Sequence[int],
        episodes: int,
        *,
        extras: bool = False,
        alone: bool = False,
        borrow: Sequence[GymEnv] = (),
    ):
        self.make_env, self.seeds, self.episodes, self.extras = make_env, tuple(seeds), episodes, extras
        self.at_once = 1 if alone or borrow else episodes
        self.borrowed = bool(borrow)
        self.envs = [[env] for env in borrow]

    def run(self, act: Callable[[np.ndarray, dict], Any], step: int) -> dict[str, np.ndarray]:
        """Return `statistics` of what `play` plays, each `[N]`."""
        return statistics(*self.play(act, step))

    def play(self, act: Callable[[np.ndarray, dict], Any], step: int) -> tuple[np.ndarray, np.ndarray]:
        """Play whole episodes with `act: (obs [N, E, S], extras) -> actions [N, E, A]`; `step` seeds first states.

        Returns returns and lengths `[N, E]`, NaN for an episode that broke. An episode whose environment breaks is
        warned about and left out. Where episodes are played one after the other, `act` sees E = 1. Raises `EnvError`
        for environments that cannot be made, `ActionError` for an action that is not finite.
        """
        if not self.envs:
            self.make()
        rounds = [self._play(act, step, first) for first in range(0, self.episodes, self.at_once)]
        returns, lengths = (np.concatenate(parts, 1) for parts in zip(*rounds, strict=True))
        return returns, lengths

    def make(self) -> "Evaluator":
        """Make all environments, or, with a warning, one for each seed. Raises `EnvError` that says how to do without.

        Where there are fewer than wanted each plays its episodes one after the other.
        """
        n, made = len(self.seeds), []
        try:
            for _ in range(n * self.at_once):
                made.append(self.make_env())
        except EnvError as error:
            for env in made[n:] if len(made) >= n else made:
                env.close()
            if len(made) < n:
                raise EnvError(
                    f"{error}; evaluation needs one of its own for each seed. Where there can be no more, train with "
                    "--schedule.eval-on-training-env=True or --schedule.eval-every=0"
                ) from error
            warnings.warn(f"evaluation plays one episode of each seed after the other, since {error}", stacklevel=3)
            self.at_once = 1
        self.envs = [made[i * self.at_once : (i + 1) * self.at_once] for i in range(n)]
        return self

    def _play(self, act: Callable, step: int, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Play one episode in every environment, from number `first` on; return returns and lengths `[N, E]`."""
        n, e = len(self.seeds), self.at_once
        obs = np.zeros((n, e, self.envs[0][0].spec.obs_size), width())
        returns, lengths, running = np.zeros((n, e)), np.zeros((n, e)), np.ones((n, e), bool)

        def lose(i: Any, j: Any, error: EnvError) -> None:
            said = f"evaluation at step {step}: an episode is left out, since {error}"
            warnings.warn(with_origin(said, error), stacklevel=4)
            returns[i, j] = lengths[i, j] = np.nan
            running[i, j] = False

        for i, j in np.ndindex(n, e):
            env, episode = self.envs[i][j], first + j
            env.who = f"seed {self.seeds[i]}, evaluation's episode {episode}"
            try:
                obs[i, j] = env.reset(episode_seed(self.seeds[i], step, episode))
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
        return returns, lengths

    def _extras(self) -> dict[str, np.ndarray]:
        if not self.extras:
            return {}
        each = [[env.extras() for env in row] for row in self.envs]
        return {name: np.array([[extras[name] for extras in row] for row in each]) for name in each[0][0]}

    def close(self) -> None:
        """Close every environment that it has made."""
        for env in (env for row in self.envs for env in row):
            if not self.borrowed:
                env.close()
