"""The driver on the device: what it stores, when it does what, and that neither cuts nor company change its numbers."""

import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial

import counting_agent
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import AGENTS, config, has_model, module

import pbrl
from pbrl.cli import main, options, repeat
from pbrl.data import replay
from pbrl.envs import registry
from pbrl.envs.jax_env import JaxEnv
from pbrl.envs.toy import TOYS
from pbrl.errors import Diverged, EnvError, RunError, Stopped
from pbrl.runs import checkpoint, seeding
from pbrl.runs.folder import load, prepare
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device, host
from pbrl.train.evaluate import statistics
from pbrl.train.session import Session
from pbrl.types import EnvSpec

PENDULUM, INTEGRATOR = "pbrl/ToyPendulum-v0", "pbrl/ToyDoubleIntegrator-v0"
SCHEDULE = Schedule(
    total_steps=60, warmup_steps=20, batch_size=8, updates_per_step=2, model_every=10, model_batch_size=8,
    model_min_batches=5, eval_every=30, eval_episodes=2, log_every=10, checkpoint_every=25,
)  # fmt: skip
IDLE = replace(SCHEDULE, updates_per_step=0, model_every=1_000, eval_every=0)


@pytest.fixture
def counter(monkeypatch):
    """Make the counting agent known to runs."""
    monkeypatch.setitem(sys.modules, "pbrl.agents.counting", counting_agent)
    monkeypatch.setitem(pbrl.AGENTS, "counting", "counts")


def schedule_of(name, **changes):
    schedule = SCHEDULE if name == "counting" or has_model(name) else replace(SCHEDULE, model_every=0)
    return replace(schedule, **changes)


def rows_of(learner):
    """The stored transitions in order, with their episodes' numbers."""
    count = int(learner.replay.inserted)
    rows = replay.take(learner.replay, jnp.arange(min(count, learner.replay.capacity)))
    return rows, np.asarray(learner.replay.episode)[: len(rows.reward)]


# An environment of dictionaries and noise: the place moves by a tenth of the action, and beyond 0.1 the episode ends.


def drift_reset(key):
    return {"x": jax.random.uniform(key, (), minval=-0.1, maxval=0.1), "t": 0}


def drift_step(state, action, key):
    x = state["x"] + 0.1 * action[..., 0] + 0.01 * jax.random.normal(key)
    return {"x": x, "t": state["t"] + 1}, -(x**2), jnp.abs(x) <= 0.1


def drift_observe(state):
    return jnp.stack([state["x"], 1.0 * state["t"]], -1)


DRIFT = JaxEnv(EnvSpec(2, 1, 4), drift_reset, drift_step, drift_observe)


def test_the_true_end_of_an_episode_is_stored_and_a_time_limit_bootstraps():
    run = jax.jit(device.run, static_argnums=(0, 1, 3))
    state, metrics = run(counting_agent, DRIFT, counting_agent.Config(), replace(IDLE, eval_every=60), seeding.root(0))
    rows, episode = rows_of(state.learner)
    assert len(rows.reward) == 60
    before, after = rows.obs[:, 1], rows.next_obs[:, 1]
    np.testing.assert_array_equal(after, before + 1)  # never the first observation of the next episode
    terminated = np.abs(rows.next_obs[:, 0]) > 0.1
    np.testing.assert_array_equal(rows.discount, 1.0 - terminated)
    np.testing.assert_allclose(rows.reward, -jnp.square(rows.next_obs[:, 0]), rtol=1e-6)
    last = terminated | (np.asarray(after) == 4)
    assert 0 < (last & ~terminated).sum() < last.sum()  # both kinds of end came about
    np.testing.assert_array_equal(np.diff(episode), last[:-1])
    np.testing.assert_array_equal(before[1:] == 0, last[:-1])
    starts = np.asarray(rows.obs[:, 0])[np.asarray(before) == 0]
    assert len(set(starts)) == len(starts)  # a key of its own for every reset
    whole = [rows.reward[episode == e].sum() for e in range(int(episode[-1]) + int(last[-1]))]
    np.testing.assert_allclose(state.finished, whole[-1], rtol=1e-5)
    assert 1 <= metrics["eval/length"][-1] <= 4 and metrics["eval/return"][-1] < 0
    np.testing.assert_array_equal(metrics["step"], [10, 20, 30, 40, 50, 60])


def make_run(folder, name, env=PENDULUM, seeds=(3, 4), settings=None, **changes):
    schedule = schedule_of(name, **changes)
    settings = settings or (counting_agent.Config() if name == "counting" else config(name))
    return Run(name, env, seeds, settings, schedule, folder, sinks=("jsonl",), driver="device")


def test_both_drivers_do_the_same_at_every_step_and_store_the_same(counter, tmp_path):
    """On a deterministic task with a fixed start; the random actions of the warm-up are those of the same keys."""
    imagining = {"imagine_every": 15, "imagine_batch": 4, "imagine_buffer": 30, "imagine_length": (30, 60, 1, 3)}
    ours = make_run(tmp_path / "device", "counting", INTEGRATOR, **imagining)
    theirs = replace(ours, folder=tmp_path / "host", driver="host")
    device.train(ours)
    host.train(theirs)
    first, second = Session(ours, device.Driver(ours)), Session(theirs, host.Driver(theirs))
    a, b = first.driver, second.driver
    for name in ("updates", "fits"):
        counts = getattr(a.learner.agent, name)
        np.testing.assert_array_equal(counts, getattr(b.learner.agent, name))
        assert counts.sum() > 0
    for x, y in zip(jax.tree.leaves(a.learner), jax.tree.leaves(b.learner), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)
    np.testing.assert_array_equal(a.learner.replay.episode[:, ::26], [[0, 1, 2]] * 2)
    np.testing.assert_allclose(a.episode_returns(), b.episode_returns(), rtol=1e-5)
    for kind in ("train", "eval"):
        for x, y in zip(read_rows(ours.folder, kind), read_rows(theirs.folder, kind), strict=True):
            assert x["step"] == y["step"] and y.keys() == x.keys()
            for name in y.keys() - {"kind", "time", f"{kind}/seconds"}:
                np.testing.assert_allclose(x[name], y[name], rtol=1e-5, atol=1e-5)
    first.close(), second.close()


def test_neither_cuts_nor_company_change_the_numbers_and_nothing_is_traced_twice(tmp_path):
    """Epochs of any lengths, `train` with its folder, `run` alone, under vmap, and in a population of rates."""
    programs = device.Programs(make_run(tmp_path / "whole", "sac"))
    given = programs.start(60)
    straight = programs.epoch(given, programs.plan, 0, 60)
    assert given.learner.replay.rows.obs.is_deleted()  # its memory is the result's
    cut, done = programs.start(60), 0
    for count in (1, 19, 2, 30, 8):
        cut = programs.epoch(cut, programs.plan, done, count)
        done += count
    assert programs.traces == 1
    for x, y in zip(jax.tree.leaves(straight), jax.tree.leaves(cut), strict=True):
        np.testing.assert_array_equal(x, y)

    def one(key, rate):
        settings = replace(config("sac"), actor_lr=rate)
        return device.run(module("sac"), TOYS["Pendulum"], settings, schedule_of("sac"), key)

    roots = jnp.stack([seeding.root(seed) for seed in (3, 4, 3)])
    rates = jnp.array([config("sac").actor_lr] * 2 + [1e-2])
    state, metrics = jax.jit(jax.vmap(one))(roots, rates)
    for x, y in zip(jax.tree.leaves(state.learner), jax.tree.leaves(straight.learner), strict=True):
        np.testing.assert_allclose(x[:2], y, rtol=1e-3, atol=2e-4)
    assert metrics["critic/loss"].shape == (3, 6) and np.isnan(metrics["critic/loss"][:, 0]).all()
    assert np.isfinite(metrics["critic/loss"][:, 1:]).all() and (metrics["eval/length"][:, 2:] == 200).all()
    same, other = (state.learner.replay.rows.action[i] for i in (0, 2))
    np.testing.assert_array_equal(same[:20], other[:20])  # the same luck
    assert not np.allclose(same[20:], other[20:])


@pytest.mark.parametrize("name", [name for name in AGENTS if name not in ("mage", "maac", "sac", "td3")])
def test_every_agent_trains(name):
    """All phases within 24 steps; `test_resume` has MAGE and MAAC, other tests here have SAC and TD3."""
    schedule = schedule_of(name, total_steps=24, eval_every=0, log_every=24)
    if name == "mbpo":
        schedule = replace(schedule, imagine_every=10, imagine_batch=8, imagine_buffer=40)
    run = jax.jit(partial(device.run, module(name), TOYS["PointMass"], config(name), schedule))
    state, metrics = run(seeding.root(1))
    assert all(np.isfinite(x).all() for name, x in metrics.items() if name != "train/return"), metrics
    assert metrics["critic/grad_norm"] > 0 and state.learner.replay.size == 24
    assert state.learner.imagined is None or state.learner.imagined.size > 0


def test_an_oracle_that_begins_in_the_simulators_state_finds_it_in_replay():
    env = replace(DRIFT, start=lambda batch: batch.extras, extras=lambda state: state)
    run = partial(device.run, module("mage"), env, config("mage"))
    schedule = IDLE
    state, _ = jax.jit(partial(run, schedule, oracle=env.oracle))(seeding.root(0))
    rows, _ = rows_of(state.learner)
    np.testing.assert_array_equal(rows.extras["x"], rows.obs[:, 0])
    np.testing.assert_array_equal(rows.extras["t"], rows.obs[:, 1])
    state = jax.eval_shape(partial(run, schedule), seeding.root(0))[0]
    assert state.learner.replay.rows.extras == {}  # a state may be large, and without an oracle nothing reads it
    chained = {"imagine_every": 10, "imagine_batch": 8, "imagine_length": (0, 1, 3, 3), "imagine_buffer": 60}
    run = partial(device.run, module("maac"), env, config("maac"), replace(schedule, **chained), oracle=env.oracle)
    buffer = jax.jit(run)(seeding.root(0))[0].learner.imagined
    rows = jax.tree.map(lambda x: x[: int(buffer.inserted)], buffer.rows)
    assert rows.extras["t"].max() > 4  # imagined past the time limit
    np.testing.assert_array_equal(rows.extras["x"], rows.obs[:, 0])


def broken_step(state, action, key):
    state, reward, discount = drift_step(state, action, key)
    return state, jnp.where(state["t"] == 3, jnp.nan, reward), discount | True


def test_a_broken_step_costs_its_episode_and_ten_in_a_row_the_run(counter, tmp_path, monkeypatch):
    broken = replace(DRIFT, step=broken_step)
    state, metrics = device.run(counting_agent, broken, counting_agent.Config(), IDLE, seeding.root(0))
    rows, episode = rows_of(state.learner)
    assert metrics["train/refused_rows"][-1] == 20 and np.isnan(state.finished)  # every third step; none was whole
    np.testing.assert_array_equal(rows.next_obs[:, 1], [1, 2] * 20)
    np.testing.assert_array_equal(episode, np.repeat(np.arange(20), 2))
    always = replace(DRIFT, observe=lambda state: drift_observe(state) * jnp.where(state["t"] > 0, jnp.nan, 1.0))
    monkeypatch.setitem(registry.OWN, "always-broken", always)
    run = replace(make_run(tmp_path, "counting", "always-broken"), schedule=IDLE)
    with pytest.raises(EnvError, match=r"seeds \[3, 4\]: the last 10 steps or more gave"):
        device.train(run)


def right_breaks(state, action, key):
    """Break episodes that begin right of 0, in their second step."""
    after, _, _ = drift_step(state, action, key)
    right = state["right"] if "right" in state else state["x"] > 0
    reward = jnp.where(right & (state["t"] == 1), jnp.nan, state["x0"])
    return {**after, "x": 0.0 * after["x"], "right": right, "x0": state["x0"]}, reward, True


def right_reset(key):
    first = drift_reset(key)
    return {**first, "right": first["x"] > 0, "x0": first["x"]}


def test_a_broken_episode_is_left_out_of_its_evaluation_on_the_device(counter, tmp_path, monkeypatch):
    env = replace(DRIFT, reset=right_reset, step=right_breaks)
    monkeypatch.setitem(registry.OWN, "right-breaks", env)
    schedule = replace(IDLE, total_steps=20, eval_every=20, eval_episodes=8)
    run = replace(make_run(tmp_path, "counting", "right-breaks"), schedule=schedule)
    with pytest.warns(
        UserWarning,
        match=r"evaluation at step 20: seeds .* of \d+ episodes left out, .*is not sound \(NaN, infinite or beyond",
    ):
        device.train(run)
    for row in read_rows(tmp_path, "eval"):
        keys = [jax.random.split(seeding.at(seeding.root(s), row["step"], seeding.EVALUATE), 8) for s in run.seeds]
        firsts = np.array([[right_reset(jax.random.fold_in(k, 0))["x"] for k in ks] for ks in keys])
        returns = np.where(firsts > 0, np.nan, 4 * firsts)  # episodes of four steps
        for name, x in statistics(returns, 4.0 + 0 * returns).items():
            np.testing.assert_allclose(row[name], x, rtol=1e-5, err_msg=name)
        assert 0 < min(row["eval/episodes"]) < 8


def test_a_run_that_goes_bad_stops_and_its_streams_tell_when(counter, tmp_path):
    run = make_run(tmp_path, "counting", settings=counting_agent.Config(bad_from=27.0), max_skipped_updates=6)
    with pytest.raises(Diverged, match=r"seeds \[3, 4\] have diverged by step 29; lower the learning rates"):
        device.train(run)
    assert checkpoint.steps(tmp_path / "checkpoints")[-1] >= 29
    session = Session(run, driver := device.Driver(run))
    np.testing.assert_array_equal(driver.state.lost, 29)  # the third step of two bad updates, wherever an epoch ends
    assert not driver.learner.agent.updates[:, 27:].any()
    session.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": lambda state, action, key: ({"x": state["x"]}, 0.0, 1.0)}, "reset returns a state of"),
        ({"observe": lambda state: state["x"]}, r"the observation has shape \(\), expected \(2,\)"),
        ({"step": lambda state, action, key: (state, action, 1.0)}, r"the reward has shape \(1,\), expected \(\)"),
    ],
)
def test_functions_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(EnvError, match=message):
        registry.register("misfit", replace(DRIFT, **changes))


def test_an_environment_of_ones_own_has_an_id_for_both_drivers(counter, tmp_path):
    registry.register("Drift-v0", DRIFT)
    registry.register("Drift-v0", DRIFT)  # as a notebook's cell would, run again
    ours = options.parse(["sac", "--env", "Drift-v0", "--preset", "cpu"])
    assert ours.driver == "device"
    run = replace(make_run(tmp_path, "counting", "Drift-v0"), driver="host")
    host.train(run)
    snapshot = host.Driver(run).streams.snapshot()["envs"]
    assert {"own/state['t']", "own/state['x']"} <= snapshot.keys()
    with pytest.raises(EnvError, match="is an environment of Gymnasium's already"):
        registry.register("Pendulum-v1", DRIFT)
    with pytest.raises(RunError, match="cannot begin in a replayed transition's state"):
        replace(run, agent="mage", config=config("mage"), oracle="fidelity").validate()


def test_the_driver_is_part_of_what_a_run_is(tmp_path):
    words = ["sac", "--env", PENDULUM, "--preset", "cpu"]
    auto, hosted = options.parse(words), options.parse([*words, "--driver=host"])
    assert (auto.driver, hosted.driver, options.parse(["sac", "--env", "Pendulum-v1"]).driver) == (
        "device",
        "host",
        "host",
    )
    assert "driver" not in hosted.identity()  # so that folders of earlier runs keep their names
    assert auto.folder != hosted.folder and "device" in auto.folder.name and auto.title == "sac, device"
    assert "--driver=host" in repeat.command_line(hosted) and "--driver" not in repeat.command_line(auto)
    old = replace(hosted, folder=tmp_path)
    prepare(old)
    assert load(tmp_path) == old and "driver" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(RunError, match=r"differs in driver \(host there, device here\)"):
        device.check(replace(auto, folder=tmp_path))
    with pytest.raises(RunError, match=r"train it with pbrl.train.device.train"):
        host.train(replace(auto, folder=tmp_path / "new"))
    with pytest.raises(EnvError, match="Humanoid-v5 has no differentiable twin"):
        device.check(replace(auto, env="Humanoid-v5", folder=tmp_path / "new"))
    with pytest.raises(RunError, match="driver: expected 'host' or 'device', got 'gpu'"):
        replace(auto, driver="gpu").validate()
    assert registry.find("Pendulum-v1") is TOYS["Pendulum"]


def test_what_is_not_due_is_skipped_under_vmap_not_masked(counter, tmp_path):
    """Fit, imagination and updates stay conditionals, because no predicate has an axis of seeds."""
    run = make_run(tmp_path, "counting", imagine_every=10, imagine_batch=8, imagine_buffer=40)
    for mode, resets in (("vmap", 0), ("map", 1)):
        programs = device.Programs(replace(run, seed_mode=mode))
        state = jax.eval_shape(lambda: programs.start(60))  # noqa: B023
        text = str(jax.make_jaxpr(programs.epoch)(state, programs.plan, 0, 10))
        assert text.count(" cond[") == 3 + resets, mode


def test_the_command_line_trains_on_the_device_resumes_and_evaluates(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "unused"))
    words = ("td3", "--env", PENDULUM, "--schedule.warmup-steps=20", "--schedule.batch-size=8", "--sinks=jsonl")
    sizes = ("--schedule.updates-per-step=1", "--schedule.model-every=0", "--config.actor-hidden=8")
    sizes += ("--config.critic-hidden=8,8", "--schedule.eval-episodes=2", "--schedule.eval-every=20")

    def call(*argv):
        assert main.guarded(partial(main.run, argv)) == 0
        return capsys.readouterr().out

    out = call("train", *words, *sizes, "--steps=40")
    (folder,) = (tmp_path / "runs").iterdir()
    assert "td3, device on pbrl/ToyPendulum-v0" in out and "driver: device" in out and folder.name in out
    assert "resuming from step 40" in call("train", *words, *sizes, "--steps=60")
    assert [row["step"] for row in read_rows(folder, "eval")] == [0, 20, 40, 60]
    assert load(folder).driver == "device" and (folder / "curve.png").exists()
    assert "td3, device on pbrl/ToyPendulum-v0, step 60" in call("eval", str(folder), "--episodes=1")
    call("plot", str(folder), "--out", "one.png")
    assert call("video", str(folder), "--out", "toy.mp4").startswith("toy.mp4: step 60, seed 0, return -")
    assert (tmp_path / "toy.mp4").stat().st_size > 500


def test_a_signal_is_heard_between_epochs_and_the_run_resumes(counter, tmp_path):
    straight, cut = (make_run(tmp_path / name, "counting") for name in ("straight", "cut"))
    device.train(straight)
    with pytest.raises(Stopped, match="saved; the same command resumes"):
        device.train(cut, lambda progress: os.kill(os.getpid(), signal.SIGTERM) if progress.step == 30 else None)
    assert 30 <= checkpoint.steps(cut.folder / "checkpoints")[-1] < 60
    device.train(cut)
    a, b = (Session(run, device.Driver(run)) for run in (straight, cut))
    for x, y in zip(*(jax.tree.leaves(session.driver.contents()) for session in (a, b)), strict=True):
        np.testing.assert_array_equal(x, y)
    a.close()
    b.close()


def test_no_key_is_used_twice():
    schedule = replace(SCHEDULE, imagine_every=10, imagine_batch=4, imagine_buffer=30)
    with jax.debug_key_reuse(True):
        jax.jit(device.run, static_argnums=(0, 1, 3))(
            counting_agent, DRIFT, counting_agent.Config(), schedule, seeding.root(0)
        )
