"""The live environments of a run, one for each seed, and where each stands in its episode."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from pbrl.envs.gym import GymEnv
from pbrl.envs.snapshot import form
from pbrl.errors import EnvError, with_origin
from pbrl.runs.seeding import TRAINING_STREAM, episode_seed
from pbrl.types import Transition, width

MAX_FAULTS = 10  # broken steps in a row before the run gives up
MOST_TOLD = 20  # of broken steps, so that a log stays readable
UNSAVED = -1  # in place of the faults: a snapshot lacks the environment's own state


@dataclass
class Streams:
    """N environments and the state of their current episodes."""

    envs: list[GymEnv]
    seeds: tuple[int, ...]
    obs: np.ndarray  # float[N, S], what the next actions answer to
    episodes: np.ndarray  # i64[N], episodes begun
    returns: np.ndarray  # f64[N], of the current episode so far
    finished: np.ndarray  # f64[N], of the last whole episode; NaN before there was one; see `take_back`
    faults: np.ndarray  # i64[N], broken steps in a row
    extras: bool  # whether transitions carry what the environment's oracle starts from
    told: int = 0  # warnings of broken steps in this process
    parked: bool = False  # whether environments are left alone, so that every step is a broken one
    simulators: list[dict[str, np.ndarray]] = field(default_factory=lambda: [{}])  # the newest extras
    blank: dict[str, np.ndarray] = field(default_factory=dict)  # what a snapshot of one environment looks like
    before: np.ndarray = field(default_factory=lambda: np.zeros(0))  # f64[N], `returns` without the newest reward

    ARRAYS = ("obs", "episodes", "returns", "finished", "faults")

    @classmethod
    def start(cls, make_env: Callable[..., GymEnv], seeds: tuple[int, ...], *, extras: bool = False) -> "Streams":
        """Make one environment for each seed by `make_env(who=…)`, and reset it.

        With `extras` transitions carry their simulator's state.

        Warns where the environment's own way to be saved does not work (`GymEnv.rehearse`). Raises `EnvError`.
        """
        n, envs = len(seeds), []
        try:
            for seed in seeds:
                envs.append(make_env(who=f"seed {seed}"))
            envs[0].rehearse()
            for env in envs:
                env.exact = envs[0].exact
            obs = np.zeros((n, envs[0].spec.obs_size), width())
            counts = np.zeros(n, np.int64)
            streams = cls(envs, seeds, obs, counts, np.zeros(n), np.full(n, np.nan), counts.copy(), extras)
            for i in range(n):
                streams._begin_episode(i)
            streams.simulators = [env.extras() for env in envs] if extras else [{}]
            streams.blank = {name: np.zeros_like(x) for name, x in envs[0].snapshot().items()}
        except BaseException:
            for env in envs:
                env.close()
            raise
        return streams

    def _begin_episode(self, i: int) -> None:
        """Reset environment i; a reset that breaks counts as a broken step, and its episode as one."""
        self.envs[i].who = f"seed {self.seeds[i]}"
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
        """Note that environment i broke once more, and raise the error where that is too often.

        From then on all are parked: what the others were in the middle of is not known.
        """
        self.faults[i] += 1
        if self.faults[i] >= MAX_FAULTS:
            self.parked = True
            raise type(error)(f"seed {self.seeds[i]}: {error}") from error
        self.told += 1
        if self.told <= MOST_TOLD:
            last = "; more of them are counted by train/refused_rows alone" if self.told == MOST_TOLD else ""
            said = f"seed {self.seeds[i]}: an episode of training is cut, since {error}{last}"
            warnings.warn(with_origin(said, error), stacklevel=1)

    def step(self, actions: np.ndarray) -> tuple[Transition, np.ndarray]:
        """Advance every environment by one action `[N, A]`; return transitions `[N, 1]` and `last [N, 1]`.

        A transition holds its episode's true final observation; a time limit leaves its discount at 1. Where an
        environment breaks, its episode is cut and the row holds NaN, which the replay buffer refuses; an environment
        that breaks `MAX_FAULTS` times in a row raises its `EnvError`. Then all are parked: further steps are broken,
        and call no environment.
        """
        n, self.before = len(self.envs), self.returns.copy()
        obs, next_obs = self.obs.copy(), self.obs.copy()
        simulators = self._extras()
        reward, discount, last = np.full(n, np.nan, width()), np.ones(n, width()), np.ones(n, bool)
        for i, env in enumerate(() if self.parked else self.envs):
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

    def take_back(self, refused: np.ndarray, batch: Transition, last: np.ndarray) -> None:
        """Leave the newest rewards of the streams `refused [N]` out of their returns: replay does not believe them.

        `batch` and `last` are what `step` has returned. Of a broken step, whose row is NaN, nothing was counted.
        """
        for i in np.flatnonzero(refused & ~np.isnan(batch.reward[:, 0])):
            (self.finished if last[i, 0] else self.returns)[i] = self.before[i]

    def _extras(self) -> list[dict[str, np.ndarray]]:
        if self.extras and not self.parked:
            self.simulators = [env.extras() for env in self.envs]
        return self.simulators

    def example(self) -> dict[str, np.ndarray]:
        """Return extras as the transitions of one stream carry them, without leading axes."""
        return self.envs[0].extras() if self.extras else {}

    def begin_again(self) -> None:
        """Begin a new episode in every environment, whatever it was in the middle of."""
        for i in range(len(self.envs)):
            self._begin_episode(i)

    def snapshot(self) -> dict[str, Any]:
        """Return everything as arrays `[N, ...]`, the simulators' own states included.

        Where an environment cannot be saved now, a warning says so, and its episode is not resumed.
        """
        faults, states = self.faults.copy(), []
        for i, env in enumerate(self.envs):
            state = self._saved(env)
            if state is None:
                faults[i] = UNSAVED
            states.append(self.blank if state is None else state)
        envs = jax.tree.map(lambda *each: np.stack(each), *states)
        return {**{k: getattr(self, k).copy() for k in self.ARRAYS}, "faults": faults, "envs": envs}

    def _saved(self, env: GymEnv) -> dict[str, np.ndarray] | None:
        """Return the state of one environment, `None` where it cannot be had."""
        if self.parked:
            return None
        try:
            state = env.snapshot()
            if form(state) == form(self.blank):
                return state
            problem = "what it saves has changed its form"
        except EnvError as error:
            problem = str(error)
        # Of one text, so that Python shows it once.
        warnings.warn(
            f"{env.env_id} cannot be saved exactly ({problem}); all else is, resuming will begin a new episode",
            stacklevel=1,
        )
        return None

    def restore(self, snapshot: dict[str, Any]) -> bool:
        """Go back to a snapshot; return whether that was exact.

        Environments whose state was not or cannot be captured begin a new episode instead, and all do where the
        snapshot is of a run that a broken environment ended: it was taken in the middle of a step.
        """
        for name in self.ARRAYS:
            setattr(self, name, np.array(snapshot[name]))
        broken = bool((self.faults >= MAX_FAULTS).any())
        unsaved = self.faults < 0
        self.faults[unsaved | broken] = 0
        exact = True
        for i, env in enumerate(self.envs):
            state = {name: np.asarray(value[i]) for name, value in snapshot["envs"].items()}
            if broken or unsaved[i] or not self._put_back(env, state):
                exact = False
                self._begin_episode(i)
        return exact

    @staticmethod
    def _put_back(env: GymEnv, state: dict[str, np.ndarray]) -> bool:
        """Return whether one environment has gone back to a state."""
        if not env.exact:
            return False
        try:
            env.restore(state)
        except EnvError as error:
            warnings.warn(str(error), stacklevel=1)
            return False
        return True

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()
