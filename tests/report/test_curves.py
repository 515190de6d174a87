"""Runs put into curves: what differs is told apart and named, and nothing is pooled, cut or lost without a word."""

import json

import numpy as np
import pytest

from pbrl.cli import main
from pbrl.errors import RunError
from pbrl.report import curves, plots, series
from pbrl.report.series import Quantity
from pbrl.runs import record
from pbrl.runs.log import RunLog

TASK = "Pendulum-v1"


def make_run(folder, agent="td3", seeds=(0, 1), returns=None, steps=(0, 100, 200), **identity):
    """A run folder whose evaluations are `returns [T, N]`; else seed i has 10 more at each evaluation, from i on."""
    folder.mkdir(parents=True)
    schedule = {"model_every": 25 if agent == "mage" else 0, **identity.pop("schedule", {})}
    about = {"agent": agent, "env": TASK, "seeds": list(seeds), "config": {}, "seed_mode": "map", **identity}
    about["schedule"] = schedule
    (folder / "config.json").write_text(json.dumps(about))
    log = RunLog(folder, sinks=("jsonl",))
    for i, step in enumerate(steps):
        log.write("eval", step, {"eval/return": np.array(seeds) + 10.0 * i if returns is None else returns[i]})
    return folder


def gathered(*folders):
    """The one task's curves, and all words in one."""
    groups, words = curves.gather(folders)
    return groups[TASK], " | ".join(words)


def test_seeds_of_equal_settings_add_up(tmp_path):
    found, said = gathered(make_run(tmp_path / "a"), make_run(tmp_path / "b", seeds=(2, 3, 4)))
    assert found["td3"][1][:, -1].tolist() == [20, 21, 22, 23, 24] and not said


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        (
            {"config": {"actor_lr": 1e-5}},
            {"config": {"actor_lr": 1e-3}},
            ["td3 (actor_lr 1e-05)", "td3 (actor_lr 0.001)"],
        ),
        ({}, {"config": {"actor_hidden": [8, 8]}}, ["td3 (actor_hidden 384×384)", "td3 (actor_hidden 8×8)"]),
        ({}, {"schedule": {"batch_size": 8}}, ["td3 (batch_size 1024)", "td3 (batch_size 8)"]),
        ({}, {"schedule": {"eval_episodes": 1}}, ["td3 (eval_episodes 10)", "td3 (eval_episodes 1)"]),
        ({}, {"driver": "device"}, ["td3", "td3, device"]),
        ({}, {"float64": True}, ["td3", "td3, float64"]),
        ({}, {"agent": "sac"}, ["td3", "sac"]),
        (
            {"agent": "mage", "oracle": True},
            {"agent": "mage", "oracle": "speed"},
            ["mage, oracle", "mage, oracle, speed"],
        ),
    ],
)
def test_runs_that_differ_get_a_curve_each_that_names_what_differs(tmp_path, one, other, labels):
    found, _ = gathered(make_run(tmp_path / "a", **one), make_run(tmp_path / "b", **other))
    assert list(found) == labels and all(len(returns) == 2 for _, returns in found.values())


def test_many_differences_are_told_in_words(tmp_path):
    changed = {"actor_lr": 1e-5, "critic_lr": 1e-5, "tau": 0.1, "discount": 0.5, "exploration_noise": 0.7}
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", config=changed)
    found, said = gathered(a, b)
    assert list(found) == [f"td3 ({a})", f"td3 ({b})"] and f"td3 ({b}) on {TASK}: actor_lr 1e-05, critic_lr" in said


def test_what_moves_no_return_is_pooled_with_a_word(tmp_path):
    found, said = gathered(make_run(tmp_path / "a"), make_run(tmp_path / "b", seeds=(2,), schedule={"log_every": 7}))
    assert len(found["td3"][1]) == 3 and "runs with schedule.log_every of 1000 and 7 are drawn as one kind" in said


def test_a_folder_given_twice_counts_once(tmp_path):
    folder = make_run(tmp_path / "a")
    (tmp_path / "link").symlink_to(folder)
    found, said = gathered(folder, tmp_path / "b" / ".." / "a", tmp_path / "link")
    assert len(found["td3"][1]) == 2 and said.count("was given twice; it counts once") == 2


def test_a_seed_in_two_folders_counts_once_from_the_one_that_went_further(tmp_path):
    short, long = make_run(tmp_path / "a", seeds=(0, 1), steps=(0, 100)), make_run(tmp_path / "b", seeds=(1, 2))
    found, said = gathered(short, long)
    assert sorted(found["td3"][1][:, 0]) == [0, 1, 2]
    assert f"seed 1 of {short} count once, from {long}" in said


def test_a_short_run_does_not_cut_the_others(tmp_path):
    found, said = gathered(make_run(tmp_path / "a", seeds=(0,), steps=(0, 50)), make_run(tmp_path / "b", seeds=(1,)))
    steps, returns = found["td3"]
    assert steps.tolist() == [0, 50, 100, 200]
    np.testing.assert_array_equal(np.sort(returns, 0), [[0, 6, 11, 21], [1, 10, np.nan, np.nan]])
    assert "ends at step 50, others at step 200; from there on the line is dashed" in said


def test_a_broken_evaluation_is_named_and_makes_no_mean_nan(tmp_path, monkeypatch):
    rows = [[0.0, 2.0], [np.nan, 3.0], [4.0, 4.0]]
    found, said = gathered(make_run(tmp_path / "a", returns=rows))
    np.testing.assert_array_equal(found["td3"][1], np.array(rows).T)
    assert "seed 0 of" in said and "has no return at step 100" in said


def test_of_several_evaluations_of_a_step_the_last_counts(tmp_path):
    steps, returns = curves.evaluation_curve(make_run(tmp_path / "a", steps=(0, 0, 100)))
    assert steps.tolist() == [0, 100] and returns[0].tolist() == [10, 20]


@pytest.mark.parametrize(
    "row",
    [
        {"eval/return": [1.0]},
        {"eval/return": "high"},
        {"eval/return": {}},
        {"eval/return": [[1.0, 2.0]]},
        {},
        {"eval/return": [1.0, 2.0], "step": "soon"},
    ],
)
def test_a_row_that_is_no_evaluation_is_named_and_left_out(tmp_path, row):
    folder = make_run(tmp_path / "a")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"kind": "eval", "step": 300, "time": 0.0, **row}) + "\n")
    with pytest.warns(UserWarning, match=r"1 line is damaged \(4\), and left out here"):
        steps, returns = curves.evaluation_curve(folder)
    assert steps.tolist() == [0, 100, 200] and returns[0].tolist() == [0, 10, 20]


def test_seeds_of_several_runs_share_a_grid():
    steps, returns = curves.merge([
        (np.array([0, 10, 20]), np.array([[0.0, 10.0, 20.0]])),
        (np.array([0, 5, 15]), np.array([[0.0, 1.0, 3.0], [5.0, 5.0, 5.0]])),
    ])  # fmt: skip
    assert steps.tolist() == [0, 5, 10, 15, 20]
    np.testing.assert_allclose(returns, [[0, 5, 10, 15, 20], [0, 1, 2, 3, np.nan], [5, 5, 5, 5, np.nan]])


def test_of_a_sweep_the_leading_trials_get_a_curve_each(tmp_path):
    trials = [{"config.tau": 0.01 * i, "config.discount": 0.9} for i in range(7)]
    rows = [np.arange(14) + 10.0 * i for i in range(3)]
    folder = make_run(tmp_path / "a", "sac", returns=rows, trials=trials)
    found, said = gathered(folder)
    assert list(found) == [f"sac, trial {i}: tau {0.01 * i:.3g}, discount 0.9" for i in (6, 5, 4, 3, 2)] and not said
    steps, returns = found["sac, trial 6: tau 0.06, discount 0.9"]
    assert steps.tolist() == [0, 100, 200] and returns.tolist() == [[12, 22, 32], [13, 23, 33]]


def test_a_run_without_evaluation_says_so(tmp_path):
    with pytest.raises(RunError, match="holds no evaluation yet"):
        curves.gather([make_run(tmp_path / "a", steps=())])


def test_evaluations_that_are_all_broken_are_no_picture(tmp_path, capsys):
    folder = make_run(tmp_path / "a", returns=[[np.nan, np.nan]] * 3)
    assert main.guarded(lambda: main.run(["plot", str(folder), "--out", str(tmp_path / "x.png")])) == 2
    assert f"pbrl: {folder} has no return to draw" in capsys.readouterr().err and not (tmp_path / "x.png").exists()


def test_a_trial_without_any_return_gets_no_curve(tmp_path):
    trials, rows = [{"config.tau": 0.1}, {"config.tau": 0.2}], [[np.nan, np.nan, 1.0, 2.0]] * 3
    found, _ = gathered(make_run(tmp_path / "a", "sac", returns=rows, trials=trials))
    assert list(found) == ["sac, trial 1: tau 0.2"]


def test_settings_out_of_their_bounds_are_refused(tmp_path):
    with pytest.raises(RunError, match=r"config.tau: expected a value in \[0, 1\], got 7.0"):
        curves.gather([make_run(tmp_path / "a", config={"tau": 7})])


def test_run_folders_become_a_picture_and_words(tmp_path):
    folders = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "sac", seeds=(0,)), tmp_path / "a"]
    with pytest.warns(UserWarning, match="was given twice"):
        path = plots.run_curves(folders, tmp_path / "curve.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_command_prints_the_words(tmp_path, capsys):
    folder = make_run(
        tmp_path / "a",
    )
    main.run(["plot", str(folder), str(folder), "--out", str(tmp_path / "x.png")])
    printed = capsys.readouterr()
    assert f"pbrl: warning: {folder} was given twice; it counts once" in printed.err
    assert printed.out == f"{tmp_path / 'x.png'}\n"


def logged(folder, seeds=(0,), rate=1.0, **identity):
    """A run with rows of training as well: `critic/loss` is 4, 3, 2, 1, an hour passes every 100 / `rate` steps."""
    make_run(folder, seeds=seeds, steps=(), schedule={"warmup_steps": 100, "updates_per_step": 2}, **identity)
    log = RunLog(folder, sinks=("jsonl",))
    for i, step in enumerate((50, 99, 200, 300)):
        seconds = 36.0 * step / rate
        log.write("train", step, {"critic/loss": np.full(len(seeds), 4.0 - i), "train/seconds": seconds})
        log.write("eval", step, {"eval/return": np.array(seeds) + step, "eval/seconds": seconds})
    return folder


def test_any_number_of_the_log_is_drawn_over_steps_hours_or_updates(tmp_path):
    folder = logged(tmp_path / "a", seeds=(0, 1))
    read = lambda **asked: series.read(curves.record.run_of(folder), folder, Quantity(**asked))  # noqa: E731
    x, values = read(metric="critic/loss")
    assert x.tolist() == [50, 99, 200, 300] and values.tolist() == [[4, 3, 2, 1]] * 2
    assert read(x="hours")[0].tolist() == [0.5, 0.99, 2.0, 3.0]
    x, values = read(x="updates")  # those of steps 100 to 200 are 101 times 2
    assert x.tolist() == [0, 202, 402] and values[0].tolist() == [99, 200, 300]
    assert read(metric="critic/loss", smooth=3)[1][0].tolist() == [4, 3.5, 3, 2]
    with pytest.raises(RunError, match="has logged no 'critic/los'; did you mean 'critic/loss'"):
        read(metric="critic/los")


def test_an_average_leaves_out_what_is_not_there():
    values = np.array([[1.0, np.nan, 3.0, 5.0]])
    np.testing.assert_array_equal(series.smoothed(values, 2), [[1, np.nan, 3, 4]])
    np.testing.assert_array_equal(series.smoothed(values, 1), values)


def test_curves_by_agent_or_by_labels_pool_what_differs_and_say_so(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", config={"tau": 0.1})
    groups, words = curves.gather([a, b], by="agent")
    assert len(groups[TASK]["td3"][1]) == 4  # equal seeds of other settings are other runs
    assert words == [f"td3 on {TASK}: runs with config.tau of 0.005 and 0.1 are drawn as one kind"]
    assert list(curves.gather([a, b], labels=["slow", "fast"])[0][TASK]) == ["slow", "fast"]
    assert list(curves.gather([a, b, a], labels=["one", "one", "two"])[0][TASK]) == ["one"]
    with pytest.raises(RunError, match="labels: expected one for each of 2 folders, got 1"):
        curves.gather([a, b], labels=["one"])


def test_runs_of_other_speed_end_at_other_hours(tmp_path):
    folders = logged(tmp_path / "a"), logged(tmp_path / "b", seeds=(1,), rate=2.0)
    _, words = curves.gather(folders, Quantity(x="hours"))
    assert any(f"{folders[1]} ends at 1.50 h, others at 3.00 h; from there on" in word for word in words)


def test_the_command_draws_what_is_asked_for_and_no_picture_over_another(tmp_path, capsys):
    folder, out = logged(tmp_path / "a"), tmp_path / "x.png"
    argv = ["plot", str(folder), "--out", str(out), "--metric=critic/loss", "--x=hours", "--smooth=2", "--log"]
    main.run(argv)
    first = out.read_bytes()
    assert main.guarded(lambda: main.run(argv[:4])) == 2 and out.read_bytes() == first
    assert f"{out} is there already; write elsewhere with --out, or over it with --force" in capsys.readouterr().err
    main.run([*argv[:4], "--force"])
    assert out.read_bytes() != first


def test_a_name_that_is_no_metric_and_an_empty_logarithmic_axis_are_one_sentence(tmp_path):
    folder = make_run(tmp_path / "a", returns=[[-3.0, -1.0], [-2.0, 4.0], [1.0, 2.0]])
    with pytest.raises(RunError, match="has logged no 'kind'"):
        series.read(record.run_of(folder), folder, Quantity("kind"))
    said = []
    plots.run_curves([folder], tmp_path / "x.png", said.append, log=True)
    assert said == [f"td3 on {TASK}: 3 of 6 values are not above 0, and left out"]
    below = make_run(tmp_path / "b", returns=[[-3.0, -1.0]] * 3)
    with pytest.raises(RunError, match=r"td3 on .* has no value above 0, as such an axis needs; leave it out"):
        plots.run_curves([below], tmp_path / "y.png", log=True)
    for label in ("", " ", "_mine"):
        with pytest.raises(RunError, match="labels: expected names that do not begin with _"):
            curves.gather([folder], labels=[label])
    plots.run_curves([folder], tmp_path / "z.png", labels=["$x_{$"])  # no formula


def test_a_window_wider_than_the_curve_takes_no_more_memory():
    values = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(series.smoothed(values, 10**12), series.smoothed(values, 3))
