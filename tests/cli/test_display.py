"""The live panel and the plain lines."""

import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pbrl.cli import display, progress, reference
from pbrl.cli.panel import BLOCKS, Compiling, Panel, sparkline
from pbrl.cli.reference import Reference
from pbrl.runs.log import RunLog


def at(step, evaluation, metrics=None):
    return SimpleNamespace(
        step=step,
        total_steps=100,
        episode_return=np.array([1.0, np.nan]),
        evaluation=evaluation,
        evaluated_step=min(step, 95),
        metrics=metrics or {},
    )


SCHEDULE = SimpleNamespace(total_steps=100, eval_every=50, warmup_steps=20, updates_per_step=1)
RUN = SimpleNamespace(
    title="mage", task="Pendulum-v1", seeds=(0, 1), trials=(), schedule=SCHEDULE, folder=Path("nowhere")
)


def test_lines_come_with_evaluations_and_not_between_them(capsys):
    first, second = ({"eval/return": np.array([x, x + 4.0])} for x in (10.0, 20.0))
    metrics = {"critic/loss": np.array([1.0, 3.0]), "model/loss": np.array([-2.0, -2.0])}
    with display.Lines(RUN) as report:
        report(at(50, first))
        report(at(51, first, metrics))
        report(at(100, second, {**metrics, "train/skipped_updates": np.array([2, 1])}))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["step 50/100", "return 12.0 ± 2.0"],
        ["step 100/100", "return 22.0 ± 2.0"],
    ]
    assert "critic 2  model -2  skipped updates 3" in lines[1]


def test_lines_tell_of_training_where_evaluations_are_far_apart(capsys):
    evaluation = {"eval/return": np.array([10.0, 14.0])}
    with display.Lines(RUN) as report:
        report(at(50, evaluation))
        report.printed -= 11  # seconds ago
        report(at(70, evaluation))
    assert capsys.readouterr().out.splitlines()[1].startswith("step 70/100  training episode 1.0")


def test_training_goes_on_where_nobody_reads_its_lines(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", gone)
        with pytest.raises(BrokenPipeError):
            print("anything", flush=True)
        with display.Lines(RUN) as report:
            report(at(50, {"eval/return": np.array([1.0, 2.0])}))
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # closing flushes


def test_a_panel_without_news_leaves_no_trace(capsys):
    with Panel(RUN):
        pass
    assert not capsys.readouterr().out.strip()


def test_the_panel_shows_every_seed(capsys):
    with Panel(RUN) as report:
        report(at(99, {"eval/return": np.array([10.0, 14.0])}, {"critic/loss": np.array([1.0, 3.0])}))
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


def shown(panel):
    """What a panel draws, as lines."""
    with panel.live.console.capture() as capture:
        panel.live.console.print(panel)
    return capture.get().splitlines()


def test_a_panel_keeps_its_width_and_shows_curves_and_what_to_compare_with(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    panel = Panel(RUN, Reference((-5.0, -7.0), 20.0))
    empty = shown(panel)
    assert any("random actions -6.0 ± 1.0 (2 episodes); Gymnasium calls 20 solved" in line for line in empty)
    for step, low in ((1, 0.0), (50, 1e6), (100, 2e6)):
        panel(at(step, {"eval/return": np.array([low, low])}, {"critic/loss": np.ones(2)}))
    full = shown(panel)
    assert {len(line) for line in [*empty, *full]} == {panel.width}
    assert any("▁▅█  0.0 to 2000000.0" in line for line in full)
    assert any("higher is better" in line for line in full)


def test_a_narrow_panel_keeps_room_for_values_and_takes_what_is_not_finite(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    panel = Panel(RUN)
    for mean in (1.0, np.inf, 3.0):
        progress = at(50, {"eval/return": np.array([mean, 5.0])})
        progress.episode_return = np.array([mean, mean])
        panel(progress)
    lines = shown(panel)
    assert {len(line) for line in lines} == {24} and panel.trained == [1.0, 3.0]
    assert any("4.0 ± 1.0" in line for line in lines)


def test_a_resumed_run_shows_its_whole_curve(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl",))
    for step in (0, 10, 20):
        log.write("eval", step, {"eval/return": [step, step]})
    panel = Panel(SimpleNamespace(**{**vars(RUN), "folder": tmp_path}))
    panel(at(20, {"eval/return": np.array([20.0, 20.0])}))
    assert panel.curve == {0: 0.0, 10: 10.0, 20: 20.0}


def test_a_sparkline_goes_from_the_least_to_the_largest():
    assert sparkline([0.0, 7.0, 3.5], 10) == "▁█▅"
    assert sparkline([2.0, 2.0], 10) == "▁▁"
    assert sparkline(list(range(80)), 8) == BLOCKS


def test_the_panel_hears_what_is_compiled():
    logger = logging.getLogger(Compiling.LOGGERS[0])
    before = logger.level, logger.propagate, list(logger.handlers)
    with Compiling() as heard:
        logger.debug("Compiling %s with global shapes", "jit(update)")
        heard.began -= 12.0
        assert heard.text() == "compiling updates, 12 s so far"
        logging.getLogger(Compiling.LOGGERS[1]).debug("Finished XLA compilation of jit(update) in 12 sec")
        assert not heard.text()
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_jax_logs_what_the_panel_hears():
    import jax

    with Compiling() as heard:
        names = []
        heard.emit = lambda record: names.append(record.getMessage())
        jax.jit(lambda x: x + 3.0)(np.ones(3))
    assert [bool(re.search(r"Compiling jit\(.*lambda.*\)|Finished XLA", name)) for name in names].count(True) >= 2


def test_time_left_counts_updates(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(display.time, "perf_counter", lambda: now[0])
    speed = display.Speed(RUN)
    for step, seconds, metrics in ((1, 0, {}), (15, 1, {}), (20, 5, {"critic/loss": 1}), (30, 15, {"critic/loss": 1})):
        now[0] = seconds
        speed.update(at(step, {}, metrics))
        if step == 15:
            assert speed.text() == "   14.0 steps/s  ETA from step 20 on, when updates begin"
    assert speed.text() == "    1.0 steps/s  ETA 0:01:10"  # 70 steps, a second each: the warm-up counts for nothing
    now[0] = 75  # after a minute of evaluation, which comes again
    speed.update(at(31, {}, {"critic/loss": 1}))
    assert speed.text().endswith("ETA 0:07:19")


def test_returns_are_judged_beside_random_ones():
    known = Reference((-5.0, -7.0))
    assert known.judge([-4.0, np.nan]) == "above every episode of random actions"
    assert known.judge([-6.0]) == "among episodes of random actions: no better yet"
    assert known.judge([-8.0]) == "below every episode of random actions"
    assert not known.judge([np.nan]) and not Reference().judge([1.0])


def test_random_play_is_measured_where_that_is_cheap_and_harmless(monkeypatch):
    from pbrl.cli import options

    run = options.parse(["sac", "--env", "Pendulum-v1", "--preset=cpu"])
    assert -1800 < np.mean(reference.of(run).random) < -800
    assert reference.of(replace(run, env="Hopper-v5")).threshold == 3800
    monkeypatch.setattr("pbrl.diagnose.random_play.returns", lambda env: pytest.fail("played"))
    assert reference.of(replace(run, schedule=replace(run.schedule, eval_on_training_env=True))) == Reference()
    assert reference.of(replace(run, env="brax/hopper")) == Reference()


def test_what_was_not_measured_is_taken_from_the_warm_up(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl",))
    for step, returns in ((10, [np.nan, 1.0]), (20, [2.0, 3.0]), (30, [9.0, 9.0])):
        log.write("train", step, {"train/return": returns})
    run = SimpleNamespace(folder=tmp_path, schedule=SCHEDULE)
    assert reference.recorded(run, Reference((), 5.0)) == Reference((1.0, 2.0, 3.0), 5.0)
    assert reference.recorded(run, Reference((7.0,))) == Reference((7.0,))


def test_progress_is_a_plain_line_now_and_then_and_nothing_on_standard_output(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with progress.shown("reading") as show:
        act = progress.counting(lambda x: x + 1, show, "playing", 7)
        for now[0] in (1.0, 11.0, 12.0):
            assert act(2) == 3
    printed = capsys.readouterr()
    assert not printed.out and printed.err == "playing: step 2 of at most 7 (11 s so far)\n"


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
