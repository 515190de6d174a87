"""`pbrl diagnose` and `--diagnose-every`: numbers that are known, and what is said of them."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from small_agents import ORACLE, SPEC, config, module, transitions

from pbrl.cli import main
from pbrl.diagnose import diagnosis, measure, present
from pbrl.equations import expansion
from pbrl.runs import checkpoint
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host
from pbrl.train.drivers import driver_module

SCHEDULE = Schedule(
    total_steps=60, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=20, model_batch_size=8,
    model_min_batches=5, eval_every=0, log_every=30, diagnose_every=30,
)  # fmt: skip


def make_run(folder, name="mage", env="Pendulum-v1", **changes):
    return Run(name, env, (0, 1), config(name), replace(SCHEDULE, **changes), folder, sinks=("jsonl", "csv"))


def state_of(name, oracle=None):
    agent = module(name)
    state = jax.jit(lambda key: agent.init(key, SPEC, config(name), oracle=oracle))(jax.random.key(0))
    shifted = lambda x: x + np.float32(0.01) if x.dtype == jnp.float32 else x  # noqa: E731
    return agent, replace(state, ac=jax.tree.map(lambda x: shifted(np.asarray(x)), state.ac))


@pytest.mark.parametrize("name", ["mage", "svg"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_the_policy_gradient_is_that_of_the_value_expansion(name, horizon, x64):
    """Against central differences of J, written here with the same noise, through the true dynamics."""
    agent, state = state_of(name, ORACLE)
    state = jax.tree.map(lambda x: np.asarray(x, float) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
    batch, key = jax.tree.map(lambda x: np.asarray(x, float), transitions(5)), jax.random.key(3)
    roll_key, last_key = jax.random.split(key)
    _, unravel = ravel_pytree(state.ac.actor)
    flat = np.concatenate([x.ravel() for x in jax.tree.leaves(state.ac.actor)])

    def objective(flat):
        acting = replace(state, ac=replace(state.ac, actor=unravel(flat)))

        def policy(obs, key):
            mean, std = agent.distribution(acting, obs)
            return jnp.tanh(mean if std is None else mean + std * jax.random.normal(key, mean.shape)), None

        path = expansion.rollout(ORACLE, policy, batch.obs, roll_key, 3)
        later = [*path.obs[1:], path.final_obs], [*path.action[1:], policy(path.final_obs, last_key)[0]]
        q = agent.value(state, later[0][horizon - 1], later[1][horizon - 1])
        rewards, discounts = path.reward[:horizon], path.discount[:horizon]
        return expansion.value_expansion(rewards, discounts, q, state.config.discount).mean()

    slopes = jax.jit(partial(measure.policy_gradients, agent, dynamics=ORACLE, horizons=(1, 3)))
    got = np.asarray(slopes(state=state, batch=batch, key=key)[(1, 3).index(horizon)])
    direction, run = np.random.default_rng(4).normal(size=flat.shape), jax.jit(objective)
    difference = (float(run(flat + 1e-5 * direction)) - float(run(flat - 1e-5 * direction))) / 2e-5
    np.testing.assert_allclose(got @ direction, difference, rtol=1e-6)


def test_a_model_that_is_the_truth_has_no_error_and_a_bent_one_has():
    agent, state = state_of("mage", ORACLE)
    batch = transitions(measure.GROUPS * 4)
    measured = jax.jit(partial(measure.measure, agent), static_argnums=(0, 1))
    found = measured(ORACLE, (1, 2), state, batch, jax.random.key(0))
    for h in (1, 2):
        np.testing.assert_allclose([found[f"cosine_h{h}"], found[f"error_h{h}"]], [1.0, 0.0], atol=1e-6)
        np.testing.assert_allclose(found[f"snr_h{h}"], found[f"true_snr_h{h}"])
    np.testing.assert_allclose([found["action_cosine"], found["action_error"]], [1.0, 0.0], atol=1e-6)
    assert found["action_agree"] == 1

    def halved(z, action, key):  # the same rewards and states, half the slopes in the action
        return ORACLE.step(z, 0.5 * action + jax.lax.stop_gradient(0.5 * action), key)

    bent = measured(ORACLE._replace(step=halved), (1, 2), state, batch, jax.random.key(0))
    np.testing.assert_allclose(bent["action_error"], 1.0, rtol=0.1)  # the model's are twice the truth's here
    assert bent["action_cosine"] > 0.99 and bent["error_h1"] > 0.5
    np.testing.assert_allclose(bent["imagined_h2"], found["imagined_h2"], rtol=1e-6)

    def mirrored(z, action, key):  # the slopes in the action turn where a state's first number is above 0
        sign = jnp.where(z[..., :1] > 0, -1.0, 1.0)
        return ORACLE.step(z, sign * action + jax.lax.stop_gradient((1.0 - sign) * action), key)

    found = measured(ORACLE._replace(step=mirrored), (1, 2), state, batch, jax.random.key(0))
    np.testing.assert_allclose(found["action_agree"], (batch.obs[:, 0] <= 0).mean(), atol=1e-6)


def test_td_errors_by_hand():
    """Two states of three end there; each pays 1 and is worth 40, so that δ is -39, and 0.6 where it goes on."""
    mage, state = state_of("mage", ORACLE)
    rows = replace(transitions(3), obs=jnp.array([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]]))
    ends = rows.obs[:, 0] > 0
    world = ORACLE._replace(step=lambda z, action, key: (z, jnp.ones(3), 1.0 - ends))
    agent = SimpleNamespace(act=mage.act, simulator=lambda state: world, value=lambda state, obs, a: jnp.full(3, 40.0))
    found = measure.td_errors(agent, state, rows, jax.random.key(0))
    np.testing.assert_allclose(found["td_mean"], (1 + 0.99 * 40 - 40 - 39 - 39) / 3, rtol=1e-5)
    np.testing.assert_allclose(found["td_clipped"], (0.6 - 1 - 1) / 3, rtol=1e-5)
    assert (found["q_terminal"], found["terminal_rows"]) == (40, 2) and list(found) == list(measure.TD_ERRORS)
    going_on = SimpleNamespace(**{**vars(agent), "simulator": lambda state: ORACLE})
    going_on = measure.td_errors(going_on, state, replace(rows, obs=jnp.zeros((3, 3))), jax.random.key(0))
    assert np.isnan(going_on["q_terminal"]) and going_on["terminal_rows"] == 0


def test_td_errors_in_words():
    values = {"td_mean": [-2.0, -4.0], "td_clipped": [0.0, 0.1], "q_terminal": [40.0, np.nan]}
    row = {f"diagnose/{name}": np.array(x) for name, x in values.items()}
    said = present._td_errors({**row, "diagnose/terminal_rows": np.array([3.0, 0.0])})
    assert said == (
        "TD error δ in replayed states: mean -3, of δ clipped to ±1 0.05; "
        "mean Q 40 where the next state is terminal (3 rows)"
    )
    assert present._td_errors({**row, "diagnose/terminal_rows": np.zeros(2)}).endswith("; no next state is terminal")


def test_signal_to_noise_of_numbers_by_hand():
    # mean (2, 0), deviations (±1, ±1): variance (4 · 2) / 3 in all
    estimates = jnp.array([[1.0, 1.0], [3.0, 1.0], [1.0, -1.0], [3.0, -1.0]])
    np.testing.assert_allclose(measure.signal_to_noise(estimates), 2.0 / np.sqrt(8.0 / 3.0), rtol=1e-6)


def test_what_rewards_allow():
    mage, state = state_of("mage")
    np.testing.assert_allclose(measure.reward_bounds(mage, state, np.array([-2.0, 1.0])), (-200.0, 100.0), rtol=1e-4)
    np.testing.assert_allclose(measure.reward_bounds(mage, state, np.array([1.0, 3.0])), (0.0, 300.0), rtol=1e-4)
    sac, soft = state_of("sac")
    low, high = measure.reward_bounds(sac, soft, np.array([-2.0, 1.0]))
    alpha = float(soft.ac.alpha)
    np.testing.assert_allclose([low, high], [100 * (-2 - 2 * alpha), 100 * (1 + 2 * alpha * np.log(2))], rtol=1e-4)


def row(**changes):
    sound = {"imagined_h1": -1.0, "real_h1": -1.1, "spread_h1": 0.5, "imagined_h4": -4.0, "real_h4": -4.4}
    sound |= {"spread_h4": 1.0, "q_low": -90.0, "q_high": 3.0, "q_floor": -100.0, "q_ceiling": 10.0, "norm_h1": 1.0}
    return {f"diagnose/{name}": np.array([value, changes.get(name, value)]) for name, value in sound.items()}


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({}, None, ""),
        ({"imagined_h4": 2.0}, "exploited", "imagined rewards of 4 steps are 2, real ones -4.4 (seed 1 of 2)"),
        ({"imagined_h4": -9.0}, None, ""),  # a model that is too gloomy is not exploited
        ({"imagined_h1": np.nan}, "exploited", "imagined rewards of 1 steps are nan"),
        ({"q_high": 22.0}, "critics", "a critic says -90 to 22 where rewards so far allow -100 to 10"),
        ({"q_low": -112.0}, "critics", "a critic says -112 to 3"),
        ({"q_high": 20.0, "q_low": -110.0}, None, ""),
        ({"norm_h1": np.inf}, "infinite", "not finite (norm_h1)"),
    ],
)
def test_worries(changes, name, said):
    found = present.worries(row(**changes))
    assert list(found) == ([name] if name else []) and said in found.get(name, "")


def test_real_returns_are_those_that_the_environment_pays(tmp_path):
    """An oracle imagines what happens, so that imagined and real rewards are the same."""
    run = replace(make_run(tmp_path), oracle="fidelity")
    host.train(run)
    rows = read_rows(tmp_path, "diagnose")
    assert [r["step"] for r in rows] == [20, 30, 60]
    for h in diagnosis.HORIZONS:
        np.testing.assert_allclose(rows[-1][f"diagnose/imagined_h{h}"], rows[-1][f"diagnose/real_h{h}"], rtol=1e-4)
        np.testing.assert_allclose(rows[-1][f"diagnose/cosine_h{h}"], 1.0, rtol=1e-5)


def test_diagnoses_leave_training_alone_and_repeat(tmp_path, capsys):
    with_, without = make_run(tmp_path / "with"), make_run(tmp_path / "without", diagnose_every=0)
    finals = []
    for run in (with_, without):
        host.train(run)
        info, _ = checkpoint.read_info(run.folder / "checkpoints")
        template = driver_module(run).template(run, info["capacity"])
        finals.append(jax.tree.leaves(checkpoint.restore(run.folder / "checkpoints", template)[0]))
    for a, b in zip(*finals, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (tmp_path / "with" / "diagnose.csv").exists() and not (tmp_path / "without" / "diagnose.csv").exists()

    main.run(["diagnose", str(with_.folder)])
    said = capsys.readouterr().out
    assert "mean over 2 seeds" in said and "action-gradient" in said and "critics:" in said
    assert "TD error δ in replayed states" in said
    last, again = read_rows(with_.folder, "diagnose")[-1], (with_.folder / "diagnose.json").read_text()
    assert f'"diagnose/cosine_h4": [\n  {last["diagnose/cosine_h4"][0]}' in again  # as during training, to the bit
    assert (with_.folder / "diagnose.png").stat().st_size > 10_000
    main.run(["diagnose", str(with_.folder), "--horizons", "3", "5", "500", "--states", "4"])  # others than in training
    said = capsys.readouterr().out
    assert "left out: H = 500" in said and "diagnose/cosine_h3" in (with_.folder / "diagnose.json").read_text()


def test_the_past_may_lack_what_the_newest_diagnosis_has_and_be_infinite(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.append(self))
    kinds = ("cosine", "error", "norm", "true_norm", "snr", "true_snr", "imagined", "real")
    critics = {f"diagnose/q_{name}": np.ones(2) for name in ("low", "high", "floor", "ceiling")}
    newest = {f"diagnose/{kind}_h{h}": np.ones(2) for kind in kinds for h in (1, 4)} | critics
    blown = {**newest, "diagnose/norm_h4": np.array([np.nan, 1.0])}
    old = {name: x for name, x in newest.items() if not name.startswith(("diagnose/cosine", "diagnose/error"))}
    present.draw(blown, (1, 4), [{"step": 1} | old, {"step": 2} | blown], "title", tmp_path / "x.png")
    axes = {axis.get_ylabel(): axis for axis in drawn[0].axes[5:] if axis.axison}
    assert "cosine of policy gradients" not in axes and "critics" in axes
    assert axes["norm of the policy gradient"].get_yscale() == "log"
    truth = {**newest, **{f"diagnose/error_h{h}": np.zeros(2) for h in (1, 4)}}
    present.draw(truth, (1, 4), [], "title", tmp_path / "x.png")
    assert [axis.get_yscale() for axis in drawn[1].axes] == ["linear", "linear", "log", "log", "linear"]


def test_without_dynamics_of_its_own_an_environment_has_returns_only(tmp_path, capsys):
    run = make_run(tmp_path, env="MountainCarContinuous-v0", diagnose_every=0)
    host.train(run)
    main.run(["diagnose", str(tmp_path), "--horizons", "2", "1", "--states", "4"])
    said = capsys.readouterr().out
    assert "has no differentiable dynamics of its own" in said and "cosine" not in said and "imagined" in said


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("td3", [], "td3 has no model to diagnose"),
        ("mage", ["--horizons", "0"], "--horizons: expected an integer from 1 to 10000, got 0"),
        (
            "mage",
            ["--horizons", "500", "300"],
            "--horizons: expected at most half an episode, 100 step(s), got 500 300",
        ),
        ("mage", ["--states", "0"], "--states: expected an integer from 1 to 100000, got 0"),
        ("mage", ["--step", "7"], "no checkpoint of step 7"),
        ("mage", ["--horizon", "1"], "there is no option --horizon; did you mean '--horizons'?"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, capsys, name, words, said):
    from pbrl.runs.folder import prepare

    prepare(make_run(tmp_path, name, model_every=0 if name == "td3" else 20, diagnose_every=0))
    assert main.guarded(lambda: main.run(["diagnose", str(tmp_path), *words])) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_a_model_is_not_diagnosed_while_it_trains(tmp_path):
    with pytest.raises(ValueError, match="td3 has no model to diagnose"):
        host.check(make_run(tmp_path, "td3", model_every=0))
