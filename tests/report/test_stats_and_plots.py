import json
import subprocess
import sys

import numpy as np
import pytest

from pbrl.report import plots, stats
from pbrl.runs.log import RunLog


def test_iqm_by_hand():
    assert stats.iqm([8.0, 0.0, 2.0, 3.0, 100.0, 4.0, 5.0, -50.0]) == (2 + 3 + 4 + 5) / 4
    assert stats.iqm([1.0, 2.0, 9.0]) == 4.0
    assert stats.iqm([[1.0, 1, 1, 5], [0, 0, 4, 8]]).tolist() == [1.0, 2.0]


def test_iqm_equals_the_trimmed_mean_of_scipy():
    from scipy.stats import trim_mean

    scores = np.random.default_rng(0).normal(size=(5, 37))
    np.testing.assert_allclose(stats.iqm(scores), trim_mean(scores, 0.25, axis=-1))


def test_iqm_takes_any_axis():
    scores = np.array([[1.0, 0], [1, 0], [1, 4], [5, 8]])
    assert stats.iqm(scores, axis=0).tolist() == [1.0, 2.0]
    assert stats.iqm(scores, axis=None) == (1 + 1 + 1 + 4) / 4


def test_a_seed_that_diverged_is_not_trimmed_away():
    assert np.isnan(stats.iqm([1.0, 2.0, 3.0, np.nan]))
    assert stats.iqm([[1.0, 2, 3, 4], [1, 2, 3, np.nan]])[0] == 2.5
    assert np.isnan(stats.aggregate(np.array([1.0, 2.0, 3.0, np.nan])).iqm)


def test_the_interval_of_two_seeds_by_hand():
    """Resamples of (0, 1) have the means 0, 1/2, 1 with chances 1/4, 1/2, 1/4."""
    assert stats.bootstrap_interval(np.array([0.0, 1.0]), confidence=0.95) == (0.0, 1.0)
    assert stats.bootstrap_interval(np.array([0.0, 1.0]), confidence=0.4) == (0.5, 0.5)


def test_groups_are_ordered_by_their_mean_with_a_lost_one_last():
    assert stats.order(np.array([[1.0, 3], [np.nan, 9], [4, 4], [0, 4]])) == [2, 0, 3, 1]


def test_no_scores_are_refused():
    with pytest.raises(ValueError, match="expected at least one score"):
        stats.aggregate(np.array([]))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(200):
        low, high = stats.bootstrap_interval(rng.normal(3.0, 1.0, 30), resamples=400, seed=i)
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 200 <= 0.98


def test_resampling_is_within_each_task():
    """Tasks of very different scale: were seeds mixed across tasks, the mean of resamples would swing between them."""
    scores = np.array([[0.0, 1000.0], [0.0, 1000.0], [0.0, 1000.0]])
    assert stats.bootstrap_interval(scores) == (500.0, 500.0)


def test_probability_of_improvement_by_hand():
    assert stats.probability_of_improvement([1, 2, 3], [0, 2]) == (1 + 0 + 1 + 0.5 + 1 + 1) / 6


def test_aggregate():
    group = stats.aggregate(np.array([1.0, 2.0, 3.0, 10.0]))
    assert (group.n, group.mean, group.iqm) == (4, 4.0, 2.5)
    assert group.low < 4.0 < group.high and group.iqm_low < 2.5 < group.iqm_high


def test_one_seed_has_no_spread():
    group = stats.aggregate(np.array([7.0]))
    assert group.low == group.mean == group.high == 7.0


def test_runs_of_one_group_share_a_grid():
    steps, returns = plots.merge([
        (np.array([0, 10, 20]), np.array([[0.0, 10.0, 20.0]])),
        (np.array([0, 5, 15]), np.array([[0.0, 1.0, 3.0], [5.0, 5.0, 5.0]])),
    ])  # fmt: skip
    assert steps.tolist() == [0, 5, 10, 15]
    np.testing.assert_allclose(returns, [[0, 5, 10, 15], [0, 1, 2, 3], [5, 5, 5, 5]])


def test_runs_without_a_common_step_are_refused():
    with pytest.raises(ValueError, match="starts at step 5 and one that ends at 1"):
        plots.merge([(np.array([0, 1]), np.zeros((1, 2))), (np.array([5, 6]), np.zeros((1, 2)))])


def test_a_panel_draws_the_statistic_its_band_and_references(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: figures.append(self))
    returns = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 100.0]])
    curves = {"mage": (np.array([0, 1000]), returns), "td3": (np.array([0, 1000]), returns[:1])}
    plots.panels({"Task": curves}, tmp_path / "x.png", statistic=stats.iqm, references={"Task": {"published": 5.0}})
    (axis,) = figures[0].axes
    mage, td3, reference = axis.lines
    assert mage.get_ydata().tolist() == [0.0, 2.5] and td3.get_ydata().tolist() == [0.0, 1.0]
    assert list(reference.get_ydata()) == [5.0, 5.0]
    assert len(axis.collections) == 1  # one seed has no band
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["mage (n = 4)", "td3 (n = 1)"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("environment steps", "evaluation return")


def test_a_label_has_one_colour_in_all_panels(tmp_path):
    curve = np.arange(3), np.zeros((1, 3))
    both = {"first": {"learned": curve, "true": curve}, "second": {"true": curve}}
    drawn = plots.panels(both, tmp_path / "x.svg").read_text().count(f"stroke: {plots.COLOURS[1]}")
    alone = plots.panels({"first": both["first"]}, tmp_path / "y.svg").read_text().count(f"stroke: {plots.COLOURS[1]}")
    assert drawn == 2 * alone > 0


def test_one_legend_names_each_label_once_and_limits_hold(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    curve, kept = (np.arange(3), np.zeros((2, 3))), []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: kept.append(self))
    both = {"first": {"learned": curve, "true": curve}, "second": {"true": curve}}
    plots.panels(both, tmp_path / "x.png", "title", limits={"second": (-1.0, 2.0)}, one_legend=True)
    figure = kept[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learned", "true"]
    assert all(axis.get_legend() is None for axis in figure.axes)
    assert [axis.get_title() for axis in figure.axes] == ["first (n = 2)", "second (n = 2)"]
    assert figure.axes[1].get_ylim() == (-1.0, 2.0) != figure.axes[0].get_ylim()


def test_labels_of_a_panel_differ_in_colour():
    many = {str(i): [] for i in range(len(plots.COLOURS) + 3)}
    first = dict(list(many.items())[: len(plots.COLOURS)])
    colours = plots._colours({"first": first, "second": {**many, "0": []}})
    assert len({colours[label] for label in first}) == len(plots.COLOURS)
    later = plots._colours({"a": first, "b": {"0": [], "new": [], "newer": []}})
    assert len({later[label] for label in ("0", "new", "newer")}) == 3


def test_drawing_leaves_the_backend_of_a_notebook_alone(tmp_path):
    code = (
        "import sys, pathlib, numpy as np\nfrom pbrl.report import plots\nassert 'matplotlib' not in sys.modules\n"
        "plots.panels({'T': {'a': (np.arange(2), np.zeros((2, 2)))}}, pathlib.Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.png")], check=True)
    assert (tmp_path / "x.png").exists()


def make_run(folder, agent, seeds, evaluations=3):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"agent": agent, "env": "Pendulum-v1"}))
    log = RunLog(folder, sinks=("jsonl",))
    for i in range(evaluations):
        log.write("eval", 100 * i, {"eval/return": np.arange(seeds) + 10.0 * i})
    return folder


def test_run_folders_become_a_picture(tmp_path):
    folders = [
        make_run(tmp_path / "a", "mage", 2),
        make_run(tmp_path / "b", "mage", 3),
        make_run(tmp_path / "c", "td3", 1),
    ]
    path = plots.run_curves(folders, tmp_path / "curve.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_of_a_sweep_the_leading_trials_get_a_curve_each(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(plots, "panels", lambda groups, path: drawn.update(groups))
    folder = make_run(tmp_path / "a", "sac", 14)
    trials = [{"config.tau": 0.01 * i, "config.discount": 0.9} for i in range(7)]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "trials": trials}))
    plots.run_curves([folder], tmp_path / "curve.png")
    curves = drawn["Pendulum-v1"]
    assert list(curves) == [f"sac, trial {i}: tau {0.01 * i:.3g}, discount 0.9" for i in (6, 5, 4, 3, 2)]
    steps, returns = curves["sac, trial 6: tau 0.06, discount 0.9"]
    assert steps.tolist() == [0, 100, 200] and returns.tolist() == [[12, 22, 32], [13, 23, 33]]


def test_a_run_without_evaluation_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no evaluation yet"):
        plots.run_curves([make_run(tmp_path / "a", "mage", 2, evaluations=0)], tmp_path / "x.png")
