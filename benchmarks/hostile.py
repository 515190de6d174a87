"""Hostile and damaged inputs as tables: what `reliability.py` tries. Nothing here decides what should come of them."""

import json
import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

GOOD_OBS, GOOD_REWARD = np.array([0.1, 0.2, 0.3], np.float32), 0.5

# What a step may return instead of (obs, reward, terminated, truncated, info): which of the five, and the value

OBSERVATIONS: dict[str, Any] = {
    "None": None, "text": "abc", "bytes": b"abc", "a dict": {"x": 1.0}, "a set": {1.0, 2.0, 3.0}, "a scalar": 1.0,
    "two numbers": [1.0, 2.0], "four numbers": np.zeros(4), "a row too many": np.zeros((1, 3)), "no numbers": [],
    "ragged": [[1.0], [2.0, 3.0], 4.0], "objects": np.array([None, 1.0, 2.0], object), "NaN": [math.nan, 0.0, 0.0],
    "infinity": [math.inf, 0.0, 0.0], "beyond float32": [1e39, 0.0, 0.0], "complex": np.array([1j, 0, 0]),
    "dates": np.array(["2020-01-01"] * 3, "datetime64[D]"), "words": ["a", "b", "c"], "an object": object(),
    "a function": print, "a huge integer": [10**400, 0, 0], "a generator": (x for x in (1.0, 2.0, 3.0)),
    "masked": np.ma.masked_all(3),
}  # fmt: skip
REWARDS: dict[str, Any] = {
    "None": None, "text": "1.5", "bytes": b"1", "two numbers": np.array([1.0, 2.0]), "a dict": {},
    "NaN": math.nan, "infinity": -math.inf, "beyond float32": 1e39, "complex": 1j, "an object": object(),
    "a huge integer": 10**400, "no numbers": np.array([]), "a date": np.datetime64("2020-01-01"), "a function": print,
    "text in an array": np.array(["x"]), "NaN in an array": np.array([math.nan], np.float32),
}  # fmt: skip
FLAGS: dict[str, Any] = {
    "None": None, "text": "no", "NaN": math.nan, "two flags": np.array([True, False]), "a dict": {}, "a list": [],
    "an object": object(), "a fraction": 0.5,
}  # fmt: skip
SHAPES: dict[str, Any] = {
    "None": None, "four values": (GOOD_OBS, 0.5, False, {}), "six values": (GOOD_OBS, 0.5, False, False, {}, 1),
    "a number": 3.0, "text": "abcde", "an empty tuple": (), "a dict": {"obs": GOOD_OBS},
}  # fmt: skip
RAISED = {
    "ValueError": ValueError("x"), "SystemExit": SystemExit(0), "SystemExit(3)": SystemExit(3),
    "MemoryError": MemoryError(), "AssertionError": AssertionError(),
    "StopIteration": StopIteration(), "GeneratorExit": GeneratorExit(),
    "RecursionError": RecursionError("deep"), "OSError": OSError(28, "No space left"),
}  # fmt: skip
HARMLESS: dict[tuple[str, str], Any] = {
    ("reward", "one-element array"): np.array([0.5], np.float32), ("reward", "no axis"): np.array(0.5),
    ("reward", "an integer"): 1,
    ("reward", "a list of one"): [0.5], ("reward", "a bool"): True,
    ("terminated", "one-element array"): np.array([False]),
    ("terminated", "numpy's"): np.bool_(False), ("observation", "a list"): [0.1, 0.2, 0.3],
    ("observation", "float16"): np.array([0.1, 0.2, 0.3], np.float16),
}  # fmt: skip
PLACES = {"observation": 0, "reward": 1, "terminated": 2, "truncated": 3}


class Returns(gymnasium.Env):
    """Returns at its third step, or from its reset, what it was told to."""

    observation_space, action_space = Box(-np.inf, np.inf, (3,), np.float32), Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, at: str = "step", place: str = "", value: Any = None):
        self.at, self.place, self.value, self.t = at, place, value, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        """Begin."""
        super().reset(seed=seed)
        self.t = 0
        return self._bent([GOOD_OBS.copy(), {}]) if self.at == "reset" else (GOOD_OBS.copy(), {})

    def step(self, action: np.ndarray) -> Any:
        """Go on."""
        self.t += 1
        returned = [GOOD_OBS.copy(), GOOD_REWARD, False, False, {}]
        return self._bent(returned) if self.at == "step" and self.t == 3 else tuple(returned)

    def _bent(self, returned: list) -> Any:
        if self.place == "raised":
            raise self.value
        if self.place == "whole":
            return self.value
        returned[PLACES[self.place]] = self.value
        return tuple(returned)


def returns() -> list[tuple[str, str, Any]]:
    """Return (where, which value, value) of all wrong returns."""
    step = {"observation": OBSERVATIONS, "reward": REWARDS, "terminated": FLAGS, "truncated": FLAGS}
    rows = [("step", place, name, value) for place, values in step.items() for name, value in values.items()]
    rows += [("reset", "observation", name, value) for name, value in OBSERVATIONS.items()]
    rows += [(at, "whole", name, value) for at in ("step", "reset") for name, value in SHAPES.items()]
    rows += [(at, "raised", name, value) for at in ("step", "reset") for name, value in RAISED.items()]
    return [(f"{at}: {place}", name, value) for at, place, name, value in rows]


# What stands in config.json instead: a path and a value, or the whole text

TEXTS = {
    "empty": b"", "not JSON": b"{", "a list": b"[]", "null": b"null", "a number": b"3", "text": b'"abc"', "NaN": b"NaN",
    "binary": bytes(range(256)), "UTF-16": '{"agent": "sac"}'.encode("utf-16"), "twice": b"{}{}",
    "an empty object": b"{}",
    "deep": b"[" * 100_000 + b"]" * 100_000, "long number": b'{"agent": ' + b"9" * 10_000 + b"}",
}  # fmt: skip
WRONG: list[Any] = [None, [], {}, "abc", -1, 1.5, True, math.nan, 10**30, [[]], [None], {"a": 1}]
PATHS = ("agent", "env", "seeds", "seed_mode", "config", "schedule", "oracle", "driver", "float64", "trials")
DEEP = (
    "config.actor_hidden", "config.actor_lr", "config.critics", "config.discount", "schedule.batch_size",
    "schedule.total_steps", "schedule.eval_every", "schedule.imagine_length",
)  # fmt: skip
FINE = {
    ("oracle", "null"), ("oracle", "[]"), ("oracle", "{}"), ("driver", "null"), ("trials", "[]"), ("trials", "null"),
    ("config", "{}"), ("schedule", "{}"), ("float64", "null"), ("schedule.eval_every", "0"), ("oracle", "true"),
    ("env", '"abc"'), ("float64", "true"), ("trials", "{}"), ("config.actor_hidden", "[]"),
}  # fmt: skip
"""What may be read as "none" or as the defaults without harm."""


def configs(good: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    """Return (path, value, text) of all wrong files."""
    rows = [("text", name, text) for name, text in TEXTS.items()]
    for path in (*PATHS, *DEEP):
        part, _, name = path.partition(".")
        for value in WRONG:
            bent = json.loads(json.dumps(good))
            if name:
                bent[part][name] = value
            else:
                bent[part] = value
            rows.append((path, json.dumps(value), json.dumps(bent).encode()))
        if not name and path in good:
            rows.append((path, "missing", json.dumps({k: v for k, v in good.items() if k != path}).encode()))
    rows.append(("config", "another field", json.dumps({**good, "config": {**good["config"], "actr_lr": 1}}).encode()))
    return rows


YAMLS = (
    "", "[]", "3", "abc", "config", "a: [", "\t- a", "config: 3", "config.actor_lr: fast", "config.actor_lr: -1",
    "config.actor_lr: .nan", "config.actor_lr: [1]", "config.actr_lr: 1", "config.actor_hidden: 8",
    "config.actor_hidden: [a]", "config.actor_hidden: [0]", "config.actor_hidden: [-3]",
    "config.critics: 0", "config.critics: 1.5", "config.critics: true", "config.precision: low", "config.discount: 2",
    "config.tau: null", "config.activation: 3", "schedule: []", "schedule.batch_size: 0", "schedule.batch_size: many",
    "schedule.warmup_steps: -1", "schedule.total_steps: 0", "schedule.total_steps: 1.5", "schedule.imagine_length: [1]",
    "schedule.real_fraction: 2", "model.lr: 1", "config.actor_lr.deep: 1", "!!python/object/apply:os.system ['true']",
    "config: !!python/name:os.system", "&a [*a]", "? [a]: 1", "1: 2", "config: {1: 2}", "\x00",
    "config.actor_lr: 1e999", "schedule.model_every: 5",
    "schedule.imagine_every: 5", "schedule.eval_every: -5", "null: null",
)  # fmt: skip
SAC = ("train", "sac", "--env", "Pendulum-v1", "--preset", "cpu")
WORDS: tuple[tuple[str, ...], ...] = (
    ("trian",), ("train",), ("train", "sacc"), ("train", "sac"), ("train", "sac", "--env"), ("train", "--env", "X"),
    ("train", "sac", "--env", "NoSuch-v0"), ("train", "sac", "--env", "CartPole-v1"), ("train", "sac", "--env", ""),
    ("train", "sac", "--env", "no.such:Env-v0"), ("train", "sac", "--env", "../x"), (*SAC, "--steps", "-1"),
    (*SAC, "--steps", "many"), (*SAC, "--steps", "0"), (*SAC, "--steps", "1e999"), (*SAC, "--steps", "100000000000"),
    (*SAC, "--seeds", "0"), (*SAC, "--seeds", "-1"), (*SAC, "--seeds", "x"), (*SAC, "--first-seed", "-1"),
    (*SAC, "--preset", "none"), (*SAC, "--driver", "gpu"), (*SAC, "--oracle", "no"), (*SAC, "--seed-mode", "x"),
    (*SAC, "--sinks", "csv"), (*SAC, "--sinks", "mail"), (*SAC, "--config.actor-lr", "x"),
    (*SAC, "--config.actor-lr=-1"), (*SAC, "--config.actor-hidden="), (*SAC, "--config.actor-hidden=a"),
    (*SAC, "--config.critics=0"), (*SAC, "--schedule.batch-size=0"), (*SAC, "--from", "nowhere.yaml"),
    (*SAC, "--nonsense"), (*SAC, "extra"),
    (*SAC, "--out", "/proc/x"), (*SAC, "--out", "/dev/null/x"), ("eval",),
    ("eval", "nowhere"), ("eval", "/dev/null"), ("eval", "/"), ("plot",), ("plot", "nowhere"), ("plot", "/"),
    ("video", "nowhere"), ("diagnose", "nowhere"), ("gradcheck",), ("gradcheck", "NoSuch-v0"),
    ("gradcheck", "Humanoid-v5"), ("gradcheck", "Pendulum-v1", "--states", "0"), ("sweep", "sac"),
    ("sweep", *SAC[1:], "--space", "config.tau=x"),
    ("list", "everything"), ("--nonsense",), ("",),
)  # fmt: skip
