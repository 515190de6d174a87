"""`pbrl doctor`: each fault of an environment is found by the check that is for it, and a run's cost is measured."""

import re
from functools import partial

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box
from small_agents import config

from pbrl.cli import main
from pbrl.diagnose import doctor, random_play
from pbrl.envs.factory import name_of
from pbrl.envs.gym import GymEnv
from pbrl.envs.tasks.rewards import KNOWN
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import cost


class Cart(gymnasium.Env):
    """A cart on a line that pays for staying in the middle; `fault` says what is wrong with it."""

    action_space = Box(-1, 1, (1,))

    def __init__(self, fault=""):
        self.fault, bound = fault, 0.1 if fault == "bounds" else np.inf
        self.observation_space = Box(-bound, bound, (2,), np.float64 if fault == "dtype" else np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, spread = 0, 0.0 if self.fault == "alike" else 1.0
        self.state = spread * self.np_random.uniform(0.2, 1, 2).astype(np.float32)
        return self.state.copy(), {}

    def step(self, action):
        self.t += 1
        x, v = self.state
        v = 0.9 * v + 0.1 * float(action[0])
        if self.fault == "noise":
            v += np.random.normal()  # not its own generator
        self.state = np.array([x + 0.1 * v, 0.0 if self.fault == "still" else v], np.float32)
        if self.fault == "nan" and self.t == 5:
            self.state[0] = np.nan
        if {"crash": 2, "dead": 1}.get(self.fault) == self.t:
            raise KeyError("lost")
        reward = {"constant": 1.0, "large": 1e5 * x}.get(self.fault, -(float(self.state[0]) ** 2))
        return self.state.copy(), reward, self.t == 20 and self.fault == "timer", self.t == 25, {}

    def snapshot(self):
        return {} if self.fault == "forgets" else {"state": self.state, "t": np.array(self.t)}

    def restore(self, saved):
        if saved:
            self.state, self.t = saved["state"].astype(np.float32), int(saved["t"])


def square(obs, action, next_obs):
    return -jax.numpy.square(next_obs[..., 0])


def norm(obs, action, next_obs):
    return -jax.numpy.linalg.norm(next_obs[..., :1] - next_obs[..., :1], axis=-1) + square(obs, action, next_obs)


def left(next_obs):
    return next_obs[..., 1] < 0.3


def examined(fault):
    return {
        check.name: check for check in doctor.examine(partial(GymEnv, partial(Cart, fault)), "Cart", standard=False)
    }


def test_a_sound_environment_passes_every_check():
    found = examined("")
    assert [check.level for check in found.values()] == ["ok"] * len(found)
    names = ["spaces", "numbers", "time limit", "seeding", "snapshot", "reward", "termination", "oracle", "speed"]
    assert list(found) == names
    assert "1,000 random steps, 0 broken" in str(found["numbers"])


@pytest.mark.parametrize(
    ("fault", "name", "level", "said"),
    [
        ("bounds", "spaces", "note", "lies outside of Box"),
        ("dtype", "spaces", "note", "a reset returns float32: say so in the space"),
        ("nan", "numbers", "FAIL", "the observation is nan at index 0"),
        ("crash", "numbers", "FAIL", 'raise KeyError("lost")'),
        ("dead", "steps", "FAIL", 'raise KeyError("lost")'),
        ("constant", "numbers", "note", "all rewards are alike: nothing here can teach"),
        ("still", "numbers", "note", "observation 1 never changes"),
        ("large", "numbers", "note", "rewards in thousands"),
        ("timer", "time limit", "note", "all terminate after 20 steps, as a time limit would"),
        (
            "noise",
            "seeding",
            "note",
            "they differ, so that runs cannot be repeated; draw random numbers from self.np_r",
        ),
        ("alike", "seeding", "note", "two seeds begin alike"),
        ("forgets", "snapshot", "note", "it goes on with other numbers; save all of its state"),
    ],
)
def test_each_fault_is_found(fault, name, level, said):
    check = examined(fault)[name]
    assert check.level == level and said in str(check)


@pytest.mark.parametrize(
    ("reward", "end", "name", "said"),
    [
        (square, None, "reward", "ok .*live transitions: largest relative error .*gradient finite"),
        (lambda o, a, n: -square(o, a, n), None, "reward", "FAIL .*make it what `step` pays"),
        (norm, None, "reward", "FAIL .*gradient is not finite"),
        (lambda o, a, n: 0.0 * n, None, "reward", "FAIL .*keep leading axes"),
        (lambda o, a, n: n["x"], None, "reward", r"FAIL (.|\n)*the known reward raised (.|\n)*test_doctor.py"),
        (square, left, "termination", "FAIL .*differ; make it what `step` returns"),
    ],
)
def test_what_is_known_is_held_against_the_live_environment(reward, end, name, said, monkeypatch):
    monkeypatch.setitem(KNOWN, name_of(Cart), (reward, end))
    env = GymEnv(Cart)
    played = random_play.play(env, 100)
    check = doctor.known_reward(env, played) if name == "reward" else doctor.known_termination(env, played)
    assert re.match(said, str(check))


def test_a_few_gradients_of_an_oracle_are_compared():
    check = doctor.oracle("pbrl/ToyPointMass-v0", True)
    assert check.level == "ok" and "--oracle can take the model's place" in check.found
    assert "no differentiable dynamics" in doctor.oracle("MountainCarContinuous-v0", True).found


def run_of(agent, folder, **changes):
    schedule = Schedule(
        total_steps=1_000, warmup_steps=101, batch_size=8, updates_per_step=2, model_every=100, model_min_batches=4,
        model_batch_size=32, eval_every=500, eval_episodes=2, **changes,
    )  # fmt: skip
    return Run(agent, Cart, (0, 1), config(agent), schedule, folder)


class Instant:
    """Compiled phases that take no time."""

    def __init__(self, run, spec, extras):
        self.start, self.collect, self.act = (lambda *args: 0 for _ in range(3))
        self.fit, self.update, self.imagine = lambda *args: (0, {}), lambda *args: (0, {}), lambda *args: 0


def test_a_runs_parts_are_counted_as_its_schedule_says(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "Programs", Instant)
    monkeypatch.setattr(cost.Clock, "of", lambda clock, phase, state: (phase(state), 1.0))  # a second each
    run = run_of("dyna", tmp_path)
    env = run.make_env()
    found = cost.measure(run, env.spec, random_play.play(env, 10).rows, 1e-3)
    fits = sum(max(4, -(-rows // 32)) for rows in range(100, 1_001, 100))
    assert found.parts["updates"] == 900 and found.parts["environments"] == pytest.approx(1_000 * (1 + 1 + 2e-3))
    assert found.parts["fits of the model"] == pytest.approx(fits / cost.BATCHES, rel=0.3)
    assert found.parts["evaluations"] == pytest.approx(3 * env.spec.episode_length * (1 + 4e-3))


def test_a_runs_cost_is_measured_with_fits_that_stop_and_imagined_data(tmp_path):
    run = run_of("mbpo", tmp_path, imagine_every=50, imagine_batch=8_000, imagine_buffer=16_000)
    env = run.make_env()
    found = cost.measure(run, env.spec, random_play.play(env, 60).rows, 1e-3)
    assert found.parts.keys() == {"environments", "updates", "fits of the model", "imagination", "evaluations"}
    assert found.total == sum(found.parts.values()) and found.compile_s > 0


def test_the_command_ends_with_how_to_train_or_with_code_1(capsys):
    small = ("--agent=td3", "--config.actor-hidden=8", "--config.critic-hidden=8,8", "--schedule.batch-size=8")
    small += ("--schedule.updates-per-step=1", "--steps=2000", "--wrap", "time-limit=30")
    gymnasium.register("test/Cart-v0", Cart, max_episode_steps=25)
    try:
        assert main.guarded(lambda: main.run(["doctor", "test/Cart-v0", *small])) == 0
        out = capsys.readouterr().out
        assert "\nok   memory: td3 needs at least" in out and "\nok   time: about" in out
        assert "to train: pbrl train td3 --env test/Cart-v0 --wrap time-limit=30" in out.splitlines()[-1]
        assert main.guarded(lambda: main.run(["doctor", "test/Cart-v0", *small, "--env-kwargs", "fault=nan"])) == 1
        said = capsys.readouterr()
        assert "FAIL numbers" in said.out and "numbers failed; mend what the lines say" in said.err
        assert main.guarded(lambda: main.run(["doctor", "no_such_module:X-v0", *small])) == 1
    finally:
        gymnasium.registry.pop("test/Cart-v0", None)
