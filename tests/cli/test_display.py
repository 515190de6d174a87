"""The live panel and the plain lines."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from pbrl.cli import display


def progress(step, evaluation, metrics=None):
    return SimpleNamespace(
        step=step,
        total_steps=100,
        episode_return=np.array([1.0, np.nan]),
        evaluation=evaluation,
        evaluated_step=min(step, 95),
        metrics=metrics or {},
    )


RUN = SimpleNamespace(
    title="mage", task="Pendulum-v1", seeds=(0, 1), trials=(), schedule=SimpleNamespace(total_steps=100, eval_every=50)
)


def test_lines_come_with_evaluations_and_not_between_them(capsys):
    first, second = ({"eval/return": np.array([x, x + 4.0])} for x in (10.0, 20.0))
    metrics = {"critic/loss": np.array([1.0, 3.0]), "model/loss": np.array([-2.0, -2.0])}
    with display.Lines(RUN) as report:
        report(progress(50, first))
        report(progress(51, first, metrics))
        report(progress(100, second, {**metrics, "train/skipped_updates": np.array([2, 1])}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["step 50/100", "return 12.0 ± 2.0"],
        ["step 100/100", "return 22.0 ± 2.0"],
    ]
    assert "critic 2  model -2  skipped updates 3" in lines[1]


def test_lines_tell_of_training_where_evaluations_are_far_apart(capsys):
    evaluation = {"eval/return": np.array([10.0, 14.0])}
    with display.Lines(RUN) as report:
        report(progress(50, evaluation))
        report.printed -= 11  # seconds ago
        report(progress(70, evaluation))
    assert capsys.readouterr().out.splitlines()[1].startswith("step 70/100  training episode 1.0")


def test_training_goes_on_where_nobody_reads_its_lines(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", gone)
        with pytest.raises(BrokenPipeError):
            print("anything", flush=True)
        with display.Lines(RUN) as report:
            report(progress(50, {"eval/return": np.array([1.0, 2.0])}))
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # closing flushes


def test_a_panel_without_news_leaves_no_trace(capsys):
    with display.Panel(RUN):
        pass
    assert not capsys.readouterr().out.strip()


def test_the_panel_shows_every_seed(capsys):
    with display.Panel(RUN) as report:
        report(progress(99, {"eval/return": np.array([10.0, 14.0])}, {"critic/loss": np.array([1.0, 3.0])}))
    out = capsys.readouterr().out
    for text in (
        "mage · Pendulum-v1 · 2 seeds",
        "99/100",
        "evaluated at step 95",
        "12.0 ± 2.0",
        "10.0 14.0",
        "critic 2",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([10, 10], "10 episodes for each seed"),
        ([8, 10], "8 to 10 whole episodes of 10 for each seed, broken ones left out"),
        ([8, 8], "8 whole episodes of 10 for each seed, broken ones left out"),
        ([0, 3], "0 to 3 whole episodes of 10 for each seed, broken ones left out; none in 1 of 2 seeds"),
        ([1, 1], "1 whole episode of 10 for each seed, broken ones left out"),
        ([10, None], "10 episodes for each seed"),  # a trial that has diverged
    ],
)
def test_a_report_says_how_many_episodes_were_played(counts, said):
    assert display.played({"eval/episodes": counts}, 10) == said
    assert display.played({"eval/episodes": [1, 1]}, 1) == "1 episode for each seed"
    assert display.played({}, 10) == "whole episodes of each seed"


def test_seeds_without_a_whole_episode_are_left_out_of_statistics_and_said():
    assert display.statistics_line([1.0, np.nan]).startswith("mean 1.0 (one seed: no interval; 1 of 2 seeds left out")
    assert "over 2 seeds; 1 of 3 seeds left out, which have" in display.statistics_line([1.0, np.nan, 3.0])
    assert display.statistics_line([np.nan] * 2) == "no seed has a whole episode"
