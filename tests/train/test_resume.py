"""Exact resume: a killed and resumed run ends where an uninterrupted one does, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from small import AGENTS, config, module

from pbrl import checkpoint
from pbrl.log import read_rows
from pbrl.train import host
from pbrl.train.run import Run, RunError
from pbrl.train.schedule import Schedule

STEPS = 60
SCHEDULE = Schedule(
    total_steps=STEPS, warmup_steps=20, batch_size=16, updates_per_step=2, model_every=10, model_batch_size=8,
    model_min_batches=5, eval_every=30, eval_episodes=1, log_every=10, checkpoint_every=25,
)  # fmt: skip
PENDULUM, HOPPER = "Pendulum-v1", "Hopper-v5"


@pytest.fixture(autouse=True, scope="module")
def programs():
    """Compile each run's programs once: an interrupted run and its twin differ in nothing that they depend on."""
    made, real = {}, host.Programs

    def shared(run, spec):
        identity = json.dumps(run.identity())
        if identity not in made:
            made[identity] = real(run, spec)
        return made[identity]

    host.Programs = shared
    yield
    host.Programs = real


def make_run(folder, name, env, **changes):
    schedule = replace(SCHEDULE, model_every=0) if name in ("td3", "sac") else SCHEDULE
    return Run(name, env, (3, 4), config(name), replace(schedule, **changes), folder)


def final(run):
    """Every array of the newest checkpoint, which holds agents, buffers, normalisers and environments."""
    training = host.Training(run)
    tree = {"learner": training.learner, "streams": training.streams.snapshot()}
    training.close()
    return training.step, [np.asarray(x) for x in jax.tree.leaves(tree)]


def assert_same(a, b):
    assert a[0] == b[0]
    for x, y in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(x, y)


def kill_after_checkpoint(run, number):
    """Train in a process of its own and send it a signal once the first checkpoint stands."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import test_resume as t; from pathlib import Path\n"
        "t.host.train(t.make_run(Path(sys.argv[2]), sys.argv[3], sys.argv[4]))"
    )
    here = os.path.dirname(__file__)
    process = subprocess.Popen(
        [sys.executable, "-c", code, here, str(run.folder), run.agent, run.env],
        env={**os.environ, "PYTHONPATH": os.path.dirname(here)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 240
    while not checkpoint.steps(run.folder / "checkpoints") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.decode()


@pytest.mark.parametrize(("name", "env"), [(name, env) for name in AGENTS for env in (PENDULUM, HOPPER)])
def test_stopping_and_resuming_changes_no_bit(tmp_path, name, env):
    straight = make_run(tmp_path / "straight", name, env)
    host.train(straight)
    broken = make_run(tmp_path / "broken", name, env)
    first = host.Training(broken)
    host.prepare(broken)
    while first.step < 37:
        first._advance()
    first.save()
    first.close()
    host.train(broken)
    assert_same(final(straight), final(broken))


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    straight, killed = (make_run(tmp_path / n, "mage", HOPPER) for n in ("straight", "killed"))
    host.train(straight)
    code, _ = kill_after_checkpoint(killed, signal.SIGKILL)
    assert code in (-signal.SIGKILL, 0)  # 0: it was through before the signal came
    host.train(killed)
    assert_same(final(straight), final(killed))
    rows = [row["step"] for row in read_rows(killed.folder, "train")]
    assert rows == sorted(set(rows)) and rows[-1] == STEPS  # no row twice, none missing at the end


def test_weights_alone_do_not_resume(tmp_path):
    """The third arm: were only weights restored, the end would differ, so the tests above can fail."""
    run = make_run(tmp_path / "a", "mage", PENDULUM)
    host.train(run)
    reference = final(run)
    again = make_run(tmp_path / "b", "mage", PENDULUM)
    training = host.Training(again)
    while training.step < 37:
        training._advance()
    fresh = training.programs.start(again.schedule.capacity)
    ac = replace(training.learner.agent.ac, actor_opt=fresh.agent.ac.actor_opt, critic_opt=fresh.agent.ac.critic_opt)
    training.learner = replace(training.learner, agent=replace(training.learner.agent, ac=ac))
    while training.step < STEPS:
        training._advance()
    actor = [np.asarray(x) for x in jax.tree.leaves(training.learner.agent.ac.actor)]
    count = len(jax.tree.leaves(jax.eval_shape(lambda: fresh)))
    assert count < len(reference[1])
    assert not any(any(np.array_equal(a, r) for r in reference[1] if r.shape == a.shape) for a in actor if a.ndim == 3)
    training.close()


def test_sigterm_saves_first(tmp_path):
    run = make_run(tmp_path / "run", "td3", PENDULUM, total_steps=STEPS)
    long = replace(run, schedule=replace(run.schedule, total_steps=10**6, buffer_size=100, checkpoint_every=10**6))
    stop_at = []

    def report(progress):
        if not stop_at and progress.step >= 30:
            stop_at.append(progress.step)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(host.Stopped) as stopped:
        host.train(long, report)
    assert stopped.value.exit_code == 143
    assert checkpoint.steps(run.folder / "checkpoints")[-1] >= stop_at[0]


def test_a_longer_schedule_extends_a_finished_run(tmp_path):
    short, straight = (make_run(tmp_path / n, "mage", PENDULUM) for n in ("short", "straight"))
    longer = replace(straight, schedule=replace(straight.schedule, total_steps=80))
    host.train(longer)
    host.train(short)
    extended = replace(longer, folder=short.folder)
    host.train(extended)
    assert_same(final(longer), final(extended))


def test_another_run_in_the_folder_is_refused(tmp_path):
    run = make_run(tmp_path, "mage", PENDULUM)
    host.prepare(run)
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
    with pytest.raises(host.Diverged, match=r"seeds \[3, 4\]: the last 4 updates or more were not finite"):
        host.train(run)
    step, leaves = final(run)
    assert step == 26  # 10 good updates, two a step from step 20 on, then two bad steps
    assert all(np.isfinite(x).all() for x in leaves if x.dtype.kind == "f" and x.ndim > 1)
