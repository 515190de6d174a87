"""Trials side by side: each is the ordinary run that it would be alone, and one that goes bad harms no other."""

import json
import os
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest
from small_agents import config

from pbrl.errors import Diverged, RunError, Stopped
from pbrl.runs import checkpoint
from pbrl.runs.folder import default_folder, load, prepare
from pbrl.runs.log import read_rows
from pbrl.runs.placement import default_driver
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.train.drivers import driver_module
from pbrl.train.guard import NEVER, Guard
from pbrl.train.session import Session
from pbrl.trained import play, restore

STEPS = 40
SCHEDULE = Schedule(
    total_steps=STEPS, warmup_steps=10, batch_size=8, updates_per_step=2, model_every=0, eval_every=20,
    eval_episodes=1, log_every=10, checkpoint_every=15, max_skipped_updates=6,
)  # fmt: skip
MODEL = {"model_every": 10, "model_batch_size": 8, "model_min_batches": 3}
SLOW, FAST = ({"config.tau": tau, "config.actor_lr": lr} for tau, lr in ((0.005, 1e-4), (0.5, 1e-2)))
SOBER, WILD = ({"config.tau": tau, "config.initial_temperature": t} for tau, t in ((0.1, 0.2), (0.1, 1e30)))


@pytest.fixture(autouse=True, scope="module")
def programs():
    """Compile each run's programs once: runs of one identity differ in nothing that they depend on."""
    made, real = {}, host.Programs

    def shared(run, *rest):
        identity = json.dumps(run.identity())
        if identity not in made:
            made[identity] = real(run, *rest)
        return made[identity]

    host.Programs = shared
    yield
    host.Programs = real


def make_run(folder, *trials, name="sac", seeds=(3, 4), mode="map", **changes):
    schedule = replace(SCHEDULE, **(MODEL if name == "dyna" else {}), **changes)
    return Run(name, "Pendulum-v1", seeds, config(name), schedule, folder, mode, ("jsonl",), trials)


def final(run, streams=slice(None)):
    """Return every array of the newest checkpoint for some of the streams, environments included."""
    session = Session(run, driver_module(run).Driver(run))
    contents = session.driver.contents()
    session.close()
    return [np.asarray(x)[streams] for x in jax.tree.leaves(contents)]


def assert_same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_leaves_differ_by_trial_and_luck_by_seed_alone(tmp_path):
    run = make_run(tmp_path, SLOW, FAST)
    assert run.stream_seeds == (3, 4, 3, 4)
    host.train(run)
    session = Session(run, host.Driver(run))
    driver = session.driver
    settings = driver.learner.agent.config
    np.testing.assert_array_equal(settings.tau, np.float32([0.005, 0.005, 0.5, 0.5]))
    np.testing.assert_array_equal(settings.actor_lr, np.float32([1e-4, 1e-4, 1e-2, 1e-2]))
    np.testing.assert_array_equal(settings.critic_lr, np.full(4, np.float32(run.config.critic_lr)))
    buffer = driver.learner.replay.rows.action
    np.testing.assert_array_equal(buffer[:2, :10], buffer[2:, :10])  # the same random actions in both trials
    assert not np.array_equal(buffer[0, :10], buffer[1, :10])
    actor, fresh = (learner.agent.ac.actor for learner in (driver.learner, driver.programs.start(STEPS)))
    moved = [
        np.abs(x - y).mean(tuple(range(1, x.ndim))) for x, y in zip(*map(jax.tree.leaves, (actor, fresh)), strict=True)
    ]
    assert all((m[2:] > 10 * m[:2]).all() for m in moved)  # a hundred times the rate
    assert_same([x[:2] for x in jax.tree.leaves(fresh)], [x[2:] for x in jax.tree.leaves(fresh)])
    session.close()


@pytest.mark.parametrize(("name", "mode"), [("sac", "map"), ("sac", "vmap"), ("dyna", "map")])
def test_a_sweep_of_one_trial_is_the_ordinary_run_to_the_bit(tmp_path, name, mode):
    trial = {**FAST, **({"config.initial_temperature": 0.3} if name == "sac" else {"config.model_lr": 3e-3})}
    sweep = make_run(tmp_path / "sweep", trial, name=name, mode=mode)
    alone = replace(sweep.trial(0), folder=tmp_path / "alone")
    host.train(sweep)
    host.train(alone)
    assert_same(final(sweep), final(alone))
    ours, theirs = (read_rows(run.folder, "eval")[-1]["eval/return"] for run in (sweep, alone))
    assert ours == theirs
    ours, theirs = (play.policies(run, restore.agents(run)[0]) for run in (sweep, alone))
    scores = [play.played(run, act, STEPS, 1).scores["eval/return"] for run, act in ((sweep, ours), (alone, theirs))]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("env", ["Pendulum-v1", "pbrl/ToyPendulum-v0"])
def test_a_trial_that_goes_bad_is_given_up_and_leaves_the_others_as_they_are(tmp_path, env):
    """By either driver."""
    trials = SOBER, WILD, {**SOBER, "config.tau": 0.2}
    mixed = replace(make_run(tmp_path / "mixed", *trials), env=env, driver=default_driver(env))
    good = replace(mixed, folder=tmp_path / "good", trials=trials[::2])
    driver_module(mixed).train(mixed)
    driver_module(good).train(good)
    assert_same(final(mixed, np.array([0, 1, 4, 5])), final(good))
    last, other = (read_rows(run.folder, "eval")[-1] for run in (mixed, good))
    assert last["train/diverged_at"] == [NEVER, NEVER, 12, 12, NEVER, NEVER]  # from step 10 on, two updates a step
    np.testing.assert_array_equal(last["eval/return"], np.insert(other["eval/return"], 2, [np.nan, np.nan]))


def test_a_sweep_resumes_exactly_with_what_it_has_given_up(tmp_path):
    straight, cut = (make_run(tmp_path / name, SOBER, WILD, {**SOBER, "config.tau": 0.2}) for name in ("a", "b"))
    host.train(straight)

    def report(progress):
        if progress.step == 20:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        host.train(cut, report)
    assert checkpoint.steps(cut.folder / "checkpoints")[-1] < STEPS
    host.train(load(cut.folder))
    assert_same(final(straight), final(cut))
    for kind in ("train", "eval"):
        ours, theirs = (read_rows(run.folder, kind) for run in (cut, straight))
        for a, b in zip(ours, theirs, strict=True):
            for name in a.keys() - {"time", f"{kind}/seconds"}:
                np.testing.assert_array_equal(a[name], b[name])


def test_nothing_is_left_where_every_trial_goes_bad(tmp_path):
    with pytest.raises(Diverged, match="every trial has diverged by step 12"):
        host.train(make_run(tmp_path, WILD, {**WILD, "config.tau": 0.2}))
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] == 12


def test_a_policy_without_finite_actions_is_given_up_for_good(tmp_path):
    guard = Guard(make_run(tmp_path, SLOW, FAST))
    actions = np.full((4, 5, 1), 0.5, np.float32)
    actions[2, 3] = np.nan
    seen = guard.actions(actions, 7)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen[:, 0, 0], [0.5, 0.5, 0.0, 0.5])
    np.testing.assert_array_equal(guard.actions(np.ones((4, 1)), 8)[:, 0], [1, 1, 0, 1])
    np.testing.assert_array_equal(guard.mask({"eval/return": np.ones(4)})["eval/return"], [1, 1, np.nan, 1])
    twin = Guard(guard.run)
    twin.restore(json.loads(json.dumps(guard.since.tolist())))
    np.testing.assert_array_equal(twin.since, [NEVER, NEVER, 7, NEVER])
    ordinary = Guard(replace(guard.run, trials=()))
    with pytest.warns(UserWarning, match=r"seeds \[4\] are given up at step 7: its policy's actions are not finite"):
        np.testing.assert_array_equal(ordinary.actions(actions[1:3], 7)[:, 0, 0], [0.5, 0.0])


def test_trials_are_part_of_what_a_run_is(tmp_path):
    run = make_run(tmp_path, SLOW, FAST)
    prepare(run)
    assert load(tmp_path).identity() == run.identity()
    with pytest.raises(RunError, match=r"differs in trials \(other draws"):
        prepare(replace(run, trials=(SLOW, {**FAST, "config.tau": 0.4})))
    with pytest.raises(RunError, match="a run that is no sweep"):
        prepare(replace(run, trials=()))
    assert "trials" not in replace(run, trials=()).identity()  # so that folders of earlier runs keep their names
    assert "-2trials-2seeds-" in default_folder(run).name


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ((SLOW, SOBER), "trial 1: expected values of the same numeric leaves"),
        (({"config.critics": 3.0},), "trial 0: expected values of the same numeric leaves"),
        ((SLOW, {**SLOW, "config.tau": 5.0}), r"trial 1: config.tau: expected a value in \[0, 1\], got 5.0"),
    ],
)
def test_trials_that_cannot_be_are_refused(tmp_path, trials, message):
    with pytest.raises(RunError, match=message):
        make_run(tmp_path, *trials).validate()
