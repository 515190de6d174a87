"""Runs that imagine with the environment's own dynamics."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from small_agents import config, module
from test_resume import PENDULUM, SCHEDULE, STEPS, assert_same, final

from pbrl.cli import options, repeat
from pbrl.envs import oracles
from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import TWINS
from pbrl.envs.mujoco import twin
from pbrl.errors import EnvError, RunError
from pbrl.planning import cem
from pbrl.report import plots, series
from pbrl.runs import folder
from pbrl.runs.folder import load
from pbrl.runs.run import Run
from pbrl.train import fitting, host
from pbrl.trained import restore


def make_run(path, name="svg", env=PENDULUM):
    return Run(name, env, (3, 4), config(name), SCHEDULE, path, oracle="fidelity")


@pytest.mark.parametrize("name", [pytest.param("mage", marks=pytest.mark.slow), "maac"])
def test_a_run_with_an_oracle_fits_nothing_and_resumes(tmp_path, name, monkeypatch):
    monkeypatch.setattr(fitting, "fit", None)
    straight, cut = (make_run(tmp_path / n, name) for n in ("straight", "cut"))
    host.train(straight)
    assert load(straight.folder) == straight
    agent = restore.agents(straight)[0]
    assert agent.world is None and agent.oracle is not None
    host.train(replace(cut, schedule=replace(cut.schedule, total_steps=STEPS // 2)))
    host.train(cut)
    assert_same(final(straight), final(cut))


@pytest.mark.parametrize("env_id", [e for e in TWINS if "Probe" not in e])
def test_a_twin_follows_its_environment(env_id, key):
    """Five steps by the oracle from what was seen lead where the environment went, with its rewards."""
    env, dynamics = GymEnv(env_id), oracles.oracle(env_id)
    from small_agents import transitions

    obs = env.reset(seed=0)
    z = dynamics.start(transitions(1).replace(obs=obs[None]))
    for k in jax.random.split(key, 5):
        action = np.asarray(jax.random.uniform(k, (env.spec.action_size,), minval=-1.0, maxval=1.0))
        z, reward, discount = dynamics.step(z, action[None], k)
        seen = env.step(action)
        np.testing.assert_allclose(dynamics.observe(z)[0], seen.next_obs, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(reward[0], seen.reward, rtol=1e-4, atol=1e-5)
        assert bool(discount[0]) == (not seen.terminated)
    env.close()


def test_environments_without_a_twin_and_agents_without_a_model_are_refused(tmp_path):
    with pytest.raises(
        EnvError,
        match=r"Humanoid-v5 has no differentiable twin.*What has one: Gymnasium.*Pendulum-v1.*without --oracle",
    ):
        oracles.oracle("Humanoid-v5")
    car = "MountainCarContinuous-v0"
    with pytest.raises(RunError, match=f"{car} has no differentiable twin"):
        make_run(tmp_path, env=car).validate()
    with pytest.raises(EnvError, match=r"there is no environment 'Hoper-v5'; did you mean 'Hopper-v5'[^.]*\?$"):
        oracles.oracle("Hoper-v5")
    sac = replace(make_run(tmp_path, "sac"), schedule=replace(SCHEDULE, model_every=0))
    with pytest.raises(RunError, match="no use for an oracle"):
        sac.validate()


@pytest.mark.parametrize(
    ("env_id", "preset", "said"),
    [
        ("InvertedPendulum-v5", "fidelity", "pays the same at every step"),
        ("Ant-v5", "fidelity", "Ant's contacts"),
        ("pbrl/MbpoAnt-v0", "speed", "errs by 0.4 after 10"),
        ("Hopper-v5", "speed", ""),
        ("brax/inverted_pendulum-spring", "fidelity", "pays the same at every step"),
        ("brax/ant-spring", "fidelity", ""),
    ],
)
def test_weak_gradients_are_warned_of(env_id, preset, said):
    assert (said in oracles.weak(env_id, preset)) if said else oracles.weak(env_id, preset) == ""


@pytest.mark.parametrize("env_id", oracles.FLAT)
def test_tasks_called_flat_pay_the_same(env_id):
    env = GymEnv(env_id)
    env.reset(seed=0)
    paid = {env.step(np.full(env.spec.action_size, a)).reward for a in (0.3, -0.8, 0.5)}
    env.close()
    assert paid == {1.0}


def test_who_has_no_twin_is_not_warned_of_it(recwarn):
    with pytest.raises(EnvError, match="Ant-v4 has no differentiable twin"):
        oracles.oracle("Ant-v4")
    assert not [w for w in recwarn if "contacts" in str(w.message)]


def test_a_warning_reaches_who_asks_for_the_oracle():
    with pytest.warns(UserWarning, match="pbrl/ToyCartPole-v0: it pays the same at every step"):
        oracles.oracle("pbrl/ToyCartPole-v0")


def test_without_a_model_to_fit_no_fits_need_be_scheduled(tmp_path):
    run = replace(make_run(tmp_path), schedule=replace(SCHEDULE, model_every=0))
    run.validate()
    with pytest.raises(RunError, match=r"schedule\.model_every: got 0"):
        replace(run, oracle="").validate()


def test_the_flag_stands_alone_and_has_a_folder_of_its_own():
    words = ["svg", "--env", PENDULUM, "--preset", "cpu"]
    plain, oracle, said = (options.parse([*words, *more]) for more in ([], ["--oracle"], ["--oracle", "fidelity"]))
    assert not plain.oracle and oracle.oracle == "fidelity" and oracle == said
    assert plain.folder != oracle.folder and "oracle" in oracle.folder.name
    assert "--oracle" in repeat.command_line(oracle) and "--oracle" not in repeat.command_line(plain)


def test_a_run_from_before_there_were_presets_is_that_of_the_first(tmp_path):
    run = make_run(tmp_path)
    folder.prepare(run)
    path = tmp_path / "config.json"
    assert '"oracle": true' in path.read_text()  # and so its default folder is the same
    assert load(tmp_path) == run
    folder.refuse_another(run)
    with pytest.raises(RunError, match=r"oracle \(fidelity there, speed here\)"):
        folder.refuse_another(replace(run, oracle="speed"))


def test_presets_are_those_of_mujocos_tasks(tmp_path):
    hopper, pendulum = (replace(make_run(tmp_path, env=env), oracle="speed") for env in ("Hopper-v5", PENDULUM))
    assert hopper.validate().title == "svg, oracle, speed"
    fast, exact = hopper.dynamics(), make_run(tmp_path, env="Hopper-v5").dynamics()
    assert fast == twin.twin("Hopper-v5", "speed") and fast.step is not exact.step
    with pytest.raises(RunError, match="Pendulum-v1 has one oracle: expected 'fidelity', got 'speed'"):
        pendulum.validate()
    with pytest.raises(RunError, match="there is no oracle 'fidel'; did you mean 'fidelity'"):
        replace(pendulum, oracle="fidel").validate()


def test_curves_and_reports_tell_an_oracle_from_a_learned_model(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(plots, "panels", lambda groups, path, **_: drawn.update(groups))
    runs = [replace(make_run(tmp_path / str(i), "mage"), oracle=["", "fidelity"][i]) for i in (0, 1)]
    for run in runs:
        run.folder.mkdir()
        (run.folder / "config.json").write_text(json.dumps(run.to_json()))
    monkeypatch.setattr(series, "read", lambda run, folder, what: (np.array([0, 1]), np.zeros((2, 2))))
    plots.run_curves([run.folder for run in runs], tmp_path / "x.png")
    assert set(drawn[PENDULUM]) == {"mage", "mage, oracle"}
    assert [run.title for run in runs] == ["mage", "mage, oracle"]


def test_an_oracle_run_plans_with_it_whatever_its_model_would_need():
    """SVG without a model's steps learns none, but has one to plan with."""
    cem.check(module("svg"), config("svg", horizon=0), cem.Config(), oracle=True)
    with pytest.raises(ValueError, match="svg learns no model"):
        cem.check(module("svg"), config("svg", horizon=0), cem.Config())
