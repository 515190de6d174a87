import subprocess
import sys

import numpy as np
import pytest

from pbrl.report import plots, stats


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


def test_what_some_seeds_lack_is_taken_over_the_others():
    curves = np.array([[1.0, 1, np.nan, np.nan], [3, np.nan, np.nan, 5]])
    np.testing.assert_array_equal(stats.of_those_there(lambda x: x.mean(0), curves), [2, 1, np.nan, 5])


def test_a_line_is_dashed_where_seeds_are_missing_and_the_legend_counts_them(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: figures.append(self))
    returns = np.array([[0.0, 1, 2, 3], [2, 3, 4, np.nan], [4, 5, 6, np.nan]])
    plots.panels({"Task": {"td3": (np.arange(4), returns)}}, tmp_path / "x.png")
    (axis,) = figures[0].axes
    whole, dashed = axis.lines
    np.testing.assert_array_equal(whole.get_ydata(), [2, 3, 4, np.nan])
    np.testing.assert_array_equal(dashed.get_ydata(), [np.nan, np.nan, 4, 3])
    assert dashed.get_linestyle() != "-" and axis.get_legend().get_texts()[0].get_text() == "td3 (n = 1 to 3)"
