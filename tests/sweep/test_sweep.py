"""`pbrl sweep`: spaces and draws, refusals, the ranking, and a whole small sweep."""

import csv
import json
import math
import shlex
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pbrl.cli import main, options, repeat, sweep, train
from pbrl.envs.gym import GymEnv
from pbrl.sweep import ranking
from pbrl.sweep import space as search

SAC = ("sac", "--env", "Pendulum-v1")
TAU = ("--space", "config.tau=0.001,0.01,0.1")
SMALL = (
    *("--steps=40", "--schedule.warmup-steps=20", "--schedule.batch-size=8", "--schedule.eval-every=20"),
    *("--schedule.eval-episodes=1", "--schedule.log-every=20", "--config.actor-hidden=8", "--config.critic-hidden=8,8"),
)


def call(*argv):
    """Carry out a command line in this process; return its exit code."""
    try:
        return main.guarded(partial(main.run, argv))
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("spec", ["0.001,0.005,0.02", [0.001, "5e-3", 0.02], "uniform:0.1,0.3", "log:1e-5,1e-2"])
def test_draws_stay_in_their_space_and_repeat(spec):
    space = search.parse("config.tau", spec)
    count = 3 if space.size() == 3 else 200
    trials = search.draw([space], count, seed=7)
    values = [trial["config.tau"] for trial in trials]
    low, high = (end["config.tau"] for end in (space.extremes()[0], space.extremes()[-1]))
    assert len(set(values)) == count and low <= min(values) and max(values) <= high
    assert search.draw([space], count, seed=7) == trials
    assert search.draw([space], count - 1, seed=7) == trials[:-1]  # more draws begin with the same ones
    if count == 3:
        assert set(values) == {0.001, 0.005, 0.02}
    else:
        assert search.draw([space], count, seed=8) != trials
        assert all(value == float(f"{value:.4g}") for value in values)  # short enough to be typed
        middle = math.sqrt(low * high) if str(spec).startswith("log") else (low + high) / 2
        assert 70 < sum(value < middle for value in values) < 130


@pytest.mark.parametrize(("name", "lowest", "exponents"), [("svg-entropy", -5, 7), ("svg-entropy-code", -4, 13)])
def test_the_final_entropy_is_drawn_given_the_initial_one(name, lowest, exponents):
    space = search.NAMED[name]
    trials = search.draw([space], 150, seed=0)
    for trial in trials:
        initial, final, decay = (trial[path] for path in space.paths)
        assert initial in (1, 0, -1, -2) and (final in (-8, -16, -32) or lowest <= final <= initial)
        assert decay == 1.0 if final == initial else math.log2(decay) in range(7 - exponents, 7)
    assert {trial["config.initial_entropy"] for trial in trials} == {1, 0, -1, -2}
    size = sum((2 - lowest - i + 2) * exponents + 1 for i in range(4))  # ends below ℋ_init times β, and ℋ_init itself
    assert space.size() == size
    assert len(search.draw([space], int(size), seed=0)) == size
    with pytest.raises(ValueError, match=f"at most {size:.0f}"):
        search.draw([space], int(size) + 1, seed=0)


def test_ranges_without_room_are_refused():
    with pytest.raises(ValueError, match="too narrow"):
        search.draw([search.parse("config.tau", "uniform:0.1,0.1001")], 5, seed=0)


BAD = [
    (("sweep",), "which agent? For example: pbrl sweep mage"),
    (("sweep", *SAC), "what shall vary? For example: --space config.actor_lr=log:1e-5,1e-3"),
    (
        ("sweep", *SAC, "--space", "config.critics=1,2"),
        "pbrl train sac --env Pendulum-v1 --seeds=3 --first-seed=0 --preset=cpu --config.critics=1",
    ),
    (("sweep", "svg", "--env", "X", "--space", "config.horizon=1,2"), "sweep it by separate runs"),
    (("sweep", *SAC, "--space", "config.activation=relu,swish"), "--config.activation=relu"),
    (
        ("sweep", *SAC, "--space", "schedule.batch-size=8,16"),
        "pbrl train sac --env Pendulum-v1 --seeds=3 --first-seed=0 --preset=cpu --schedule.batch-size=8",
    ),
    (("sweep", *SAC, "--space", "config.actr_lr=1,2"), "there is no such field; did you mean 'actor_lr'"),
    (("sweep", *SAC, "--space", "actor_lr=1,2"), "expected a path such as config.actor_lr"),
    (("sweep", *SAC, "--space", "config.tau=0.1,5"), "config.tau: expected a value in [0, 1], got 5.0"),
    (("sweep", *SAC, "--space", "config.tau=uniform:0.1,5"), "config.tau: expected a value in [0, 1], got 5.0"),
    (("sweep", *SAC, "--space", "config.tau=small"), "expected numbers such as 0.001,0.005"),
    (("sweep", *SAC, "--space", "config.tau=0.1,nan"), "expected numbers such as 0.001,0.005"),
    (("sweep", *SAC, "--space", "config.tau=lg:1e-3,1e-2"), "there is no kind of space 'lg'; did you mean 'log'"),
    (("sweep", *SAC, "--space", "config.tau=log:1e-2,1e-3"), "the lower one first"),
    (("sweep", *SAC, "--space", "config.tau=log:0,1e-3"), "a logarithm needs bounds above 0"),
    (("sweep", *SAC, *TAU, "--space", "config.tau=0.3"), "config.tau is in two spaces"),
    (("sweep", *SAC, *TAU, "--trials=4"), "--trials: expected at most 3"),
    (("sweep", *SAC, *TAU, "--trials=0"), "--trials: expected an integer from 1 to"),
    (("sweep", *SAC, *TAU, "--draw-seed=-1"), "--draw-seed: expected an integer from 0 to"),
    (("sweep", *SAC, *TAU, "--schedule.eval-every=0"), "a sweep ranks its trials by evaluations"),
    (("sweep", *SAC, "--space", "svg-entrpy"), "did you mean 'svg-entropy'"),
    (("sweep", *SAC, "--space", "nowhere.yaml"), "--space nowhere.yaml: cannot be read"),
    (("sweep", "mage", "--env", "Pendulum-v1", "--space", "svg-entropy"), "mage has no target entropy"),
    (("sweep", *SAC, *TAU, "--spaces", "x"), "did you mean '--space'"),
    (("train", *SAC, *TAU), "there is no option --space"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_a_bad_sweep_exits_with_2_before_any_environment_is_made(argv, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(GymEnv, "__init__", lambda *_, **__: pytest.fail("an environment was made"))
    assert call(*argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    text = " ".join(" ".join(lines).replace("│", " ").split())
    assert message in text
    assert "Traceback" not in text
    if "For full helptext" not in text:  # tyro's own messages repeat the option's help
        assert text.startswith("pbrl: ") and len(lines) <= 2
    assert not list(tmp_path.iterdir())


def test_a_file_of_spaces_and_the_number_of_trials(tmp_path):
    file = tmp_path / "spaces.yaml"
    file.write_text("config.tau: [1e-3, 0.01]\nconfig:\n  actor_lr: log:1e-5,1e-3\n")
    run = sweep.parse([*SAC, "--space", str(file), "--seeds=2"])
    assert len(run.trials) == 20 and all(set(t) == {"config.tau", "config.actor_lr"} for t in run.trials)
    assert sweep.parse([*SAC, "--space", str(file), "--seeds=2"]).folder == run.folder
    assert sweep.parse([*SAC, "--space", str(file), "--seeds=2", "--draw-seed=1"]).folder != run.folder
    assert len(sweep.parse([*SAC, *TAU]).trials) == 3  # all there are


def test_the_schedule_of_target_entropies_should_end_with_the_run():
    swept = sweep.parse([*SAC, "--space=svg-entropy", "--steps=5000", "--schedule.warmup-steps=9"])
    moving, still = (
        options.parse([*SAC, "--steps=5000", *more]) for more in (["--config.final-entropy=-3"], ["--seeds=1"])
    )
    notes = [train._unfinished_schedule(run) for run in (swept, moving)]
    assert all("--config.entropy-steps=5000" in note for note in notes)
    ending = [replace(run, config=replace(run.config, entropy_steps=5e3)) for run in (swept, moving)]
    assert [train._unfinished_schedule(run) for run in (*ending, still)] == ["", "", ""]


@pytest.mark.parametrize(
    "argv", [("svg", "--preset=paper-text", "--config.final-entropy=-3"), ("mage", "--steps=5000")]
)
def test_the_line_that_repeats_a_run_makes_the_same_run(argv):
    changes = ("--env", "pbrl/MageHopper-v0", "--seeds=4", "--first-seed=2", "--config.head-hidden=7,9")
    run = options.parse([*argv, *changes, "--config.discount=0.98765"])
    words = shlex.split(repeat.command_line(run))
    assert words[:2] == ["pbrl", "train"] and len(words) < 13
    assert options.parse(words[2:]).identity() == run.identity()


def test_trials_are_ranked_by_their_last_return_with_diverged_ones_last():
    trials = [{"config.tau": tau} for tau in (0.1, 0.2, 0.3, 0.4)]
    nan = math.nan
    returns = np.array([
        [[0, 4, 2], [0, 4, 4]], [[0, nan, nan], [0, 9, 9]], [[0, 2, 9], [0, 2, 11]], [[0, 0, 3], [0, 0, 10]],
    ], float)  # fmt: skip
    lost = np.array([[-1, -1], [7, -1], [-1, -1], [-1, -1]])
    results = ranking.rank(trials, np.array([0, 10, 30]), returns, lost, np.array([[0, 0], [30, 2], [0, 0], [0, 1]]))
    assert [r.trial for r in results] == [2, 3, 0, 1] and [r.rank for r in results] == [1, 2, 3, 4]
    assert [r.final for r in results[:3]] == [10.0, 6.5, 3.0] and math.isnan(results[3].final)
    assert (results[0].final_low, results[0].final_high) == (9.0, 11.0)  # two seeds: the lower and the higher
    assert [r.overlaps_best for r in results] == [True, True, False, None]  # up to 10, up to 4
    assert results[2].area == pytest.approx((2 * 10 + 3.5 * 20) / 30)
    assert (results[3].diverged_at, results[3].skipped_updates, results[0].diverged_at) == (7, 32, None)
    lines = ranking.table(results)
    assert lines[1].endswith("0.3  best") and lines[2].endswith("~ best") and lines[3].endswith("0.1")
    assert lines[4].endswith("diverged at step 7")


def test_a_trial_without_a_last_return_says_why_it_is_last():
    returns = np.array([[[1.0, math.nan]], [[math.nan, 2]], [[0, 1]]])
    never, none = -np.ones((3, 1)), np.zeros((3, 1))
    results = ranking.rank([{"config.tau": 0.1}] * 3, np.array([0, 10]), returns, never, none)
    assert [r.trial for r in results] == [1, 2, 0]
    _, first, second, last = ranking.table(results)
    assert first.endswith("1 of its evaluations have no return") and second.endswith("0.1")
    assert last.endswith("1 of its evaluations have no return, the last one included: not ranked")


def test_one_seed_has_no_interval():
    (only,) = ranking.rank([{"config.tau": 0.1}], np.array([0]), np.ones((1, 1, 1)), -np.ones((1, 1)), np.zeros((1, 1)))
    assert only.final == only.area == 1.0 and math.isnan(only.final_low) and only.overlaps_best is None


def test_a_sweep_from_draws_to_pictures(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command = ("sweep", *SAC, "--preset=cpu", *SMALL, "--seeds=2", "--trials=2", *TAU)
    assert call(*command) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert "2 trials of seeds 0–1, 40 steps each" in out and "trials differ in config.tau" in out
    assert "intervals over 2 seeds; from so few they are rough" in out and "biased upwards" in out
    result = json.loads((folder / "sweep.json").read_text())
    with open(folder / "sweep.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    draws = json.loads((folder / "config.json").read_text())["trials"]
    assert [int(row["rank"]) for row in rows] == [1, 2]
    for row, entry in zip(rows, result["results"], strict=True):
        assert float(row["config.tau"]) == entry["values"]["config.tau"] == draws[int(row["trial"])]["config.tau"]
        assert float(row["final"]) == pytest.approx(np.mean(entry["returns"]))
    assert result["results"][0]["final"] >= result["results"][1]["final"]
    assert result["rerun"] in out
    rerun = options.parse(shlex.split(result["rerun"])[2:])
    assert rerun.seeds == (2, 3, 4, 5, 6) and rerun.config.tau == result["results"][0]["values"]["config.tau"]
    picture = (folder / "curve.png").read_bytes()
    assert len(picture) > 5_000

    (folder / "sweep.csv").unlink()
    assert call(*command) == 0
    assert "this run is complete: it is at step 40" in capsys.readouterr().out
    assert (folder / "sweep.csv").exists() and json.loads((folder / "sweep.json").read_text()) == result

    assert call(*command, "--draw-seed=5", "--out", str(folder)) == 2
    assert "differs in trials (other draws" in capsys.readouterr().err
    assert call("eval", str(folder), "--episodes=1") == 0
    columns = ["trial", "seed", "return", "length", "std", "min", "max", "episodes"]
    assert capsys.readouterr().out.splitlines()[1].split() == columns
    assert call("plot", str(folder), "--out", "sweep.png") == 0
    assert (tmp_path / "sweep.png").stat().st_size > 5_000
    capsys.readouterr()
    assert call("video", str(folder), "--seed-index=4") == 2
    assert "the run has 4 streams (trial 0's seeds, then trial 1's, ...)" in capsys.readouterr().err


def test_help_names_the_spaces(capsys):
    assert call("sweep", "sac", "--env", "Pendulum-v1", "--help") == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for word in ("usage: pbrl sweep sac", "PATH=log:LOW,HIGH", "svg-entropy", "--draw-seed", "--config.entropy-decay"):
        assert word in text
