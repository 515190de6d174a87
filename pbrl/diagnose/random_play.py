"""What random actions meet in an environment, and how long it takes."""

import time
from typing import NamedTuple

import jax
import numpy as np

from pbrl.envs.gym import GymEnv
from pbrl.errors import EnvError
from pbrl.types import Transition, width

STEPS = 1_000  # of random actions
MOST_BROKEN = 10  # steps in a row, as in training


class Played(NamedTuple):
    """What random actions met."""

    rows: Transition  # [STEPS], with what an oracle starts from where there is one
    ends: list[tuple[int, bool]]  # of each whole episode: its length, and whether it terminated
    broken: list[EnvError]
    step_s: float
    reset_s: float


def play(env: GymEnv, steps: int = STEPS, *, extras: bool = False) -> Played:
    """Take uniformly random actions; a broken step begins a new episode. Raises `EnvError` for too many in a row."""
    rng, rows, ends, broken, in_a_row = np.random.default_rng(0), [], [], [], 0
    took, resets, reset_s, length = 0.0, 0, 0.0, 0

    def begin() -> np.ndarray:
        nonlocal resets, reset_s
        began = time.perf_counter()
        obs = env.reset(seed=resets)
        reset_s, resets = reset_s + time.perf_counter() - began, resets + 1
        return obs

    obs = begin()
    while len(rows) < steps:
        action = rng.uniform(-1.0, 1.0, env.spec.action_size)
        more, began = env.extras() if extras else {}, time.perf_counter()
        try:
            step = env.step(action)
        except EnvError as error:
            broken.append(error)
            in_a_row += 1
            if in_a_row >= MOST_BROKEN:
                raise
            obs, length = begin(), 0
            continue
        took, length, in_a_row = took + time.perf_counter() - began, length + 1, 0
        rows.append(Transition(obs, action, step.reward, 1.0 - step.terminated, step.next_obs, more))  # pyright: ignore[reportArgumentType]
        obs = step.next_obs
        if step.terminated or step.truncated:
            ends.append((length, step.terminated))
            obs, length = begin(), 0
    stacked = jax.tree.map(lambda *each: np.asarray(np.stack(each), width()), *rows)
    return Played(stacked, ends, broken, took / steps, reset_s / resets)


def returns(env: GymEnv, episodes: int = 10, seconds: float = 2.0) -> list[float]:
    """Return those of whole episodes of random actions, as many as end in that time. Raises `EnvError`.

    The clock starts after a first step, which may compile.
    """
    rng, found = np.random.default_rng(0), []

    def act() -> np.ndarray:
        return rng.uniform(-1.0, 1.0, env.spec.action_size)

    env.reset(seed=0)
    env.step(act())
    began = time.perf_counter()
    for episode in range(episodes):
        env.reset(seed=episode)
        total, over = 0.0, False
        while not over:
            if time.perf_counter() - began > seconds:
                return found
            step = env.step(act())
            total, over = total + step.reward, step.terminated or step.truncated
        found.append(total)
    return found
