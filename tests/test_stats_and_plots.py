import json

import numpy as np
import pytest

from pbrl import plots, stats
from pbrl.log import RunLog


def test_iqm_by_hand():
    assert stats.iqm([8.0, 0.0, 2.0, 3.0, 100.0, 4.0, 5.0, -50.0]) == (2 + 3 + 4 + 5) / 4
    assert stats.iqm([1.0, 2.0, 9.0]) == 4.0
    assert stats.iqm([[1.0, 1, 1, 5], [0, 0, 4, 8]]).tolist() == [1.0, 2.0]


def test_iqm_equals_the_trimmed_mean_of_scipy():
    from scipy.stats import trim_mean

    scores = np.random.default_rng(0).normal(size=(5, 37))
    np.testing.assert_allclose(stats.iqm(scores), trim_mean(scores, 0.25, axis=-1))


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


def test_a_run_without_evaluation_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no evaluation yet"):
        plots.run_curves([make_run(tmp_path / "a", "mage", 2, evaluations=0)], tmp_path / "x.png")
