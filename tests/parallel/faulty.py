"""An environment that fails on the second host: `FAULT` says how. Made by its name, `faulty:Faulty-v0`."""

import os
import time

import gymnasium
import jax
import numpy as np
from gymnasium.spaces import Box

AT = 30  # steps of training that pass


class Faulty(gymnasium.Env):
    """Works for some steps."""

    observation_space, action_space = Box(-np.inf, np.inf, (2,)), Box(-1.0, 1.0, (1,))
    made = 0

    def __init__(self):
        Faulty.made += 1
        looked_at = 4 if "evaluation" in os.environ.get("FAULT", "") else 2  # twice, with another to evaluate in
        self.training, self.steps = Faulty.made <= looked_at + 2, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2), {}

    def step(self, action):
        self.steps += 1
        fault, _, where = os.environ.get("FAULT", "").partition(" ")
        there = self.training == (not where) and self.steps > (10 if where else AT)  # in its second evaluation
        fault = fault if there and jax.process_index() == 1 else ""
        if fault == "hang":
            print("hangs", flush=True)
            time.sleep(600)
        return np.full(2, 0.1), None if fault == "None" else 1.0, False, False, {}


gymnasium.register("Faulty-v0", entry_point=Faulty, max_episode_steps=10)
