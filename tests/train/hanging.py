"""A program for `test_watchdog.py`: train on an environment that hangs. `hanging.py FOLDER WHERE HOW TIMEOUT EVERY`."""

import ctypes
import sys
import time
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from pbrl.agents import td3
from pbrl.cli import main
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host


def deadlock():
    """Wait in C for a lock that this thread holds, which no signal interrupts."""
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


HANGS = {
    "python": lambda: time.sleep(600),
    "busy": lambda: [None for _ in iter(int, 1)],
    "c": deadlock,
    "locked": lambda: ctypes.PyDLL(None).sleep(600),  # holds Python's lock
}


class Hangs(gymnasium.Env):
    """Hangs in its 30th step or fourth reset of training, in its evaluation, or as it is saved or closed."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,)), Box(-1.0, 1.0, (1,))
    where, how, made, looked_at = "", "", 0, 1

    def __init__(self):
        Hangs.made += 1
        self.which = Hangs.made - Hangs.looked_at  # 1: training's; 2: the evaluation's
        self.steps = self.resets = 0

    def hang(self, where, count, at):
        if Hangs.where == where and count == at:
            print("hangs", flush=True)
            HANGS[Hangs.how]()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.hang("reset", (self.which, self.resets), (1, 4))
        self.hang("evaluation", (self.which, self.resets), (2, 2))
        return np.zeros(2), {}

    def step(self, action):
        self.steps += 1
        self.hang("step", (self.which, self.steps), (1, 30))
        return np.full(2, 0.1), 1.0, False, False, {}

    def close(self):
        self.hang("close", self.which, 1)


if __name__ == "__main__":
    folder, Hangs.where, Hangs.how, timeout, every = sys.argv[1:]
    Hangs.looked_at = 1 + (every != "0")
    gymnasium.register("test/Hangs-v0", entry_point=Hangs, max_episode_steps=10)
    small = td3.Config(actor_hidden=(4,), critic_hidden=(4, 4))
    schedule = Schedule(
        total_steps=40, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=0, eval_every=int(every),
        eval_episodes=1, log_every=10, step_timeout=int(timeout),
    )  # fmt: skip
    run = Run("td3", "test/Hangs-v0", (7,), small, schedule, Path(folder), sinks=("jsonl",))
    sys.exit(main.guarded(partial(host.train, run)))
