"""Exact resume: a killed and resumed run ends where an uninterrupted one does, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from small_agents import AGENTS, config, has_model, module

from pbrl.errors import Diverged, RunError, Stopped
from pbrl.runs import checkpoint
from pbrl.runs.folder import load, prepare
from pbrl.runs.log import read_rows
from pbrl.runs.placement import default_driver
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device, host, journal, resume, session
from pbrl.train.drivers import driver_module
from pbrl.train.session import Session
from pbrl.train.stopping import Stop
from pbrl.trained import restore

STEPS = 60
SCHEDULE = Schedule(
    total_steps=STEPS, warmup_steps=20, batch_size=16, updates_per_step=2, model_every=10, model_batch_size=8,
    model_min_batches=5, eval_every=30, eval_episodes=1, log_every=10, checkpoint_every=25,
)  # fmt: skip
PENDULUM, HOPPER, TOY = "Pendulum-v1", "Hopper-v5", "pbrl/ToyPendulum-v0"


@pytest.fixture(autouse=True, scope="module")
def programs():
    """Compile each run's programs once: an interrupted run and its twin differ in nothing that they depend on."""
    made, real = {}, {driver: driver.Programs for driver in (host, device)}

    def shared(programs):
        def make(run, *spec):
            identity = json.dumps(run.identity())
            if identity not in made:
                made[identity] = programs(run, *spec)
            return made[identity]

        return make

    for driver, programs in real.items():
        driver.Programs = shared(programs)
    yield
    for driver, programs in real.items():
        driver.Programs = programs


def make_run(folder, name, env, **changes):
    schedule = SCHEDULE if has_model(name) else replace(SCHEDULE, model_every=0)
    if name == "maac":  # both buffers wrap around and are resumed
        schedule = replace(schedule, imagine_every=10, imagine_batch=30, imagine_buffer=100)
    run = Run(name, env, (3, 4), config(name), replace(schedule, **changes), folder)
    return replace(run, driver=default_driver(env))


def final(run):
    """Every array of the newest checkpoint, which holds agents, buffers, normalisers and environments."""
    session = Session(run, driver_module(run).Driver(run))
    session.close()
    return session.driver.step, [np.asarray(x) for x in jax.tree.leaves(session.driver.contents())]


def assert_same(a, b):
    assert a[0] == b[0]
    for x, y in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(x, y)


CASES = [(name, env) for env in (PENDULUM, HOPPER) for name in AGENTS]
CASES += [(name, TOY) for name in ("mage", "maac")]  # on the device
KIN = ("dyna", "mbpo", "steve", "svg1")
"""Their states are made of the same parts as MAGE's and MAAC's."""


def stand_in_the_middle(runs):
    """Train the first run past its checkpoint, from within it the next one, and so on; then wait for the end."""
    run, *rest = runs

    def report(progress):
        if progress.step > 25:
            stand_in_the_middle(rest) if rest else time.sleep(300)

    driver_module(run).train(run, report)


def killed_after_checkpoints(folder, name):
    """Train an agent everywhere in a process of its own, which dies by SIGKILL in the midst of all runs.

    Return its exit code and the runs by their environments.
    """
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_resume as t; from pathlib import Path\n"
        "t.stand_in_the_middle(t.runs_of(Path(sys.argv[2]), sys.argv[3]).values())"
    )
    here, runs = os.path.dirname(__file__), runs_of(folder, name)
    process = subprocess.Popen(
        [sys.executable, "-c", code, here, str(folder), name],
        env={**os.environ, "PYTHONPATH": os.path.dirname(here)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not all(checkpoint.steps(run.folder / "checkpoints") for run in runs.values()):
        if process.poll() is not None or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    return process.wait(timeout=60), runs


def runs_of(folder, name):
    envs = [env for agent, env in CASES if agent == name]
    return {env: make_run(folder / str(i), name, env) for i, env in enumerate(envs)}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Give the runs of an agent that a signal killed, and the exit code of their process; one for each agent."""
    return cache(lambda name: killed_after_checkpoints(tmp_path_factory.mktemp(name), name))


@pytest.mark.parametrize(
    ("name", "env"), [pytest.param(*case, marks=pytest.mark.slow if case[0] in KIN else ()) for case in CASES]
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, killed, name, env):
    """N steps straight equal k steps, SIGKILL, a new process, N - k steps; so do the rows that were logged."""
    straight = make_run(tmp_path, name, env)
    train = driver_module(straight).train
    train(straight)
    code, runs = killed(name)
    assert code == -signal.SIGKILL
    assert checkpoint.steps(runs[env].folder / "checkpoints")[-1] < STEPS
    train(runs[env])
    assert_same(final(straight), final(runs[env]))
    rows = [row["step"] for row in read_rows(runs[env].folder, "train")]
    assert rows == sorted(set(rows)) and rows[-1] == STEPS  # no row twice, none missing at the end


@pytest.mark.parametrize("env", [HOPPER, TOY])
def test_xqc_resumes_to_the_same_bits_and_knows_the_return_of_a_live_episode(tmp_path, env):
    """Running moments and the scale of rewards are part of a checkpoint; with either driver, G runs over an episode."""
    straight, cut = (
        replace(make_run(tmp_path / where, "sac", env), config=config("xqc")) for where in ("straight", "cut")
    )
    train = driver_module(straight).train
    train(straight)
    train(replace(cut, schedule=replace(cut.schedule, total_steps=STEPS // 2)))
    train(cut)
    assert_same(final(straight), final(cut))
    learner = restore.learners(load(tmp_path / "cut"))[0]
    for seed in range(2):
        rows = jax.tree.map(
            lambda x, seed=seed: np.asarray(x)[seed, :STEPS], (learner.replay.rows, learner.replay.episode)
        )
        reward, episode, discount = rows[0].reward, rows[1], float(learner.agent.config.discount[seed])
        g = [0.0]
        for i, r in enumerate(reward):
            g.append(r + discount * g[-1] * (i > 0 and episode[i] == episode[i - 1]))
        np.testing.assert_allclose(learner.agent.returns.scale[seed], np.std(g[1:]), rtol=1e-4)


@pytest.mark.parametrize(("name", "env"), [(name, HOPPER if name == "svg" else PENDULUM) for name in AGENTS])
def test_weights_alone_do_not_resume(tmp_path, name, env):
    """The third arm: a resume that restores networks and nothing else ends elsewhere, so the test above can fail."""
    straight, again = (make_run(tmp_path / n, name, env) for n in ("straight", "again"))
    host.train(straight)
    _, reference = final(straight)
    first, second = (host.Driver(again) for _ in range(2))
    first.begin()
    second.begin()
    while first.step < 37:
        first.advance(37)
    trained, fresh = first.learner.agent.ac, second.learner.agent
    ac = replace(fresh.ac, actor=trained.actor, critic=trained.critic)
    second.learner, second.step = replace(second.learner, agent=replace(fresh, ac=ac)), 37
    while second.step < STEPS:
        second.advance(60)
    actor = [np.asarray(x) for x in jax.tree.leaves(second.learner.agent.ac.actor) if x.ndim == 3]
    assert not any(np.array_equal(a, r) for a in actor for r in reference if r.shape == a.shape)
    first.close()
    second.close()


@pytest.mark.parametrize("minutes", [0, 1])
def test_slow_steps_are_saved_by_the_clock(tmp_path, monkeypatch, minutes):
    """Steps of half a minute each: a checkpoint at every third, or none before the end."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    for file in (resume, session, journal):
        monkeypatch.setattr(file, "time", clock)
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, step, tree, info: saved.append((folder.name, step)))
    cadences = {"log_every": 1, "checkpoint_every": 10**6, "checkpoint_minutes": minutes}
    run = make_run(tmp_path, "td3", PENDULUM, total_steps=25, **cadences)
    host.train(run, lambda progress: setattr(clock, "now", 30.0 * progress.step))
    whole = [step for name, step in saved if name == "checkpoints"]  # the best policies have a folder of their own
    assert whole == [*([4, 7, 10, 13, 16, 19, 22] if minutes else []), 25]


@pytest.fixture
def handler():
    """Set a signal's handler for one test, whatever started the tests, such as `nohup`, has made of it."""
    before = {}

    def change(number, action):
        before[number] = signal.signal(number, action)

    yield change
    for number, action in before.items():
        signal.signal(number, action)


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_saves_first(tmp_path, handler, number, code):
    handler(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    run = make_run(tmp_path / "run", "td3", PENDULUM, total_steps=STEPS)
    long = replace(run, schedule=replace(run.schedule, total_steps=10**6, buffer_size=100, checkpoint_every=10**6))
    stop_at = []

    def report(progress):
        if not stop_at and progress.step >= 30:
            stop_at.append(progress.step)
            os.kill(os.getpid(), number)
            if number == signal.SIGHUP:  # a closed terminal sends two
                os.kill(os.getpid(), number)

    with pytest.raises(Stopped) as stopped:
        host.train(long, report)
    assert stopped.value.exit_code == code
    assert checkpoint.steps(run.folder / "checkpoints")[-1] >= stop_at[0]


def test_a_hang_up_that_nohup_ignores_stays_ignored(handler):
    handler(signal.SIGHUP, signal.SIG_IGN)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal is None


def test_a_longer_schedule_extends_a_finished_run(tmp_path):
    short, straight = (make_run(tmp_path / n, "mage", PENDULUM) for n in ("short", "straight"))
    longer = replace(straight, schedule=replace(straight.schedule, total_steps=80))
    host.train(longer)
    assert host.train(short).evaluated_step == STEPS
    extended = replace(longer, folder=short.folder)
    host.train(extended)
    assert_same(final(longer), final(extended))


def test_another_run_in_the_folder_is_refused(tmp_path):
    run = make_run(tmp_path, "mage", PENDULUM)
    prepare(run)
    with pytest.raises(RunError, match=r"differs in config.tau \(0.005 there, 0.1 here\)"):
        host.train(replace(run, config=config("mage", tau=0.1)))


def test_a_run_that_goes_bad_stops_with_its_seed_and_a_checkpoint(tmp_path, monkeypatch):
    run = make_run(tmp_path, "td3", PENDULUM, max_skipped_updates=4)  # programs of its own: no other run has 4
    good = module("td3").update

    def update(state, batch, key):
        state, metrics = good(state, batch, key)
        bad = (state.ac.updates > 10) & (state.ac.critic["MLP_0"]["Dense_0"]["kernel"].sum() < 1e9)
        return state, {**metrics, "critic/loss": jax.numpy.where(bad, jax.numpy.nan, metrics["critic/loss"])}

    monkeypatch.setattr(module("td3"), "update", update)
    with pytest.raises(Diverged, match=r"seeds \[3, 4\] have diverged by step 26; lower the learning rates"):
        host.train(run)
    step, leaves = final(run)
    assert step == 26  # 10 good updates, two a step from step 20 on, then two bad steps
    assert all(np.isfinite(x).all() for x in leaves if x.dtype.kind == "f" and x.ndim > 1)
