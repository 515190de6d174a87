"""Faults of a run's folder while it trains: a full disk, a process that dies early, and folders that others made."""

import errno
import json
import os
import sys
import warnings
from dataclasses import replace
from functools import partial

import counting_agent
import numpy as np
import pytest

import pbrl
from pbrl.cli import main
from pbrl.errors import CheckpointError, RunError, Stopped
from pbrl.runs import checkpoint, manifest, record
from pbrl.runs.folder import load
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import host, resume, session
from pbrl.trained import restore

SCHEDULE = Schedule(
    total_steps=60, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=1_000, eval_every=30,
    eval_episodes=1, log_every=10, checkpoint_every=20,
)  # fmt: skip
TOY = "pbrl/ToyPendulum-v0"


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Make a run of the counting agent, which learns nothing and is quick."""
    monkeypatch.setitem(sys.modules, "pbrl.agents.counting", counting_agent)
    monkeypatch.setitem(pbrl.AGENTS, "counting", "counts")

    def make(**changes):
        run = Run("counting", TOY, (0, 1), counting_agent.Config(), SCHEDULE, tmp_path / "run", sinks=("jsonl", "csv"))
        schedule = {name: changes.pop(name) for name in list(changes) if hasattr(SCHEDULE, name)}
        return replace(run, schedule=replace(SCHEDULE, **schedule), **changes)

    return make


def steps_of(run):
    return checkpoint.steps(run.folder / "checkpoints")


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while `disk.full` is set; checkpoints alone are written to it."""

    class Disk:
        full = False

    real = manifest.write_through

    def write_through(path, content):
        if Disk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    monkeypatch.setattr(manifest, "write_through", write_through)
    return Disk


def at_step(step, action):
    """Report to an action once a step is reached."""
    return lambda progress: action() if progress.step >= step else None


def test_a_full_disk_is_told_once_and_tried_again(make, disk, monkeypatch):
    run, real = make(), resume.checkpoint.save
    tries = []
    monkeypatch.setattr(
        resume.checkpoint, "save", lambda *args: (args[0].name == "best" or tries.append(args[1]), real(*args))
    )

    def report(progress):
        disk.full = 20 <= progress.step < 50

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        host.train(run, report)
    told = [text for warning in caught if "is not trained" not in (text := str(warning.message))]
    assert sum("No space left on device" in text and "Training goes on" in text for text in told) == 1
    assert sum("saving works again" in text for text in told) == 1 and len(told) == 2
    assert tries == [20, 40, 60] and steps_of(run) == [20, 60]
    assert [row["step"] for row in read_rows(run.folder, "train")] == [10, 20, 30, 40, 50, 60]


def test_a_failed_save_is_tried_before_the_next_is_due(make, disk, monkeypatch):
    monkeypatch.setattr(resume, "RETRY", 1e-9)
    run = make(checkpoint_every=30, total_steps=55)
    disk.full = True

    def report(progress):
        disk.full = progress.step < 40

    with pytest.warns(UserWarning, match="saving works again"):
        host.train(run, report)
    assert steps_of(run) == [41, 55]


@pytest.mark.filterwarnings("ignore:cannot save")
def test_what_is_lost_at_the_end_is_an_error_that_says_so(make, disk):
    run = make()
    with pytest.raises(
        CheckpointError, match=r"the run has ended at step 60, but .* after step 20 .* No space left"
    ) as e:
        host.train(run, at_step(30, lambda: setattr(disk, "full", True)))
    assert e.value.exit_code == 3
    disk.full = False
    with pytest.warns(UserWarning, match="reaches step 60, and the run goes on from step 20"):
        host.train(run)
    assert steps_of(run)[-1] == 60


@pytest.mark.filterwarnings("ignore:cannot save")
def test_what_a_signal_loses_is_an_error_that_says_so(make, disk, monkeypatch):
    run = make()

    def stop():
        disk.full = True
        os.kill(os.getpid(), 15)

    with pytest.raises(CheckpointError, match=r"stopped by a signal at step .* could not be saved and is lost"):
        host.train(run, at_step(30, stop))


def test_a_process_that_dies_before_its_first_save_leaves_no_second_row(make, monkeypatch):
    run = make(checkpoint_every=1_000)

    def die():
        raise KeyboardInterrupt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                host.train(run, die and at_step(0, die))
        host.train(run)
    for kind in ("train", "eval"):
        steps = [json.loads(line)["step"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()
                 if json.loads(line)["kind"] == kind]  # fmt: skip
        assert steps == sorted(set(steps))
        lines = (run.folder / f"{kind}.csv").read_text().splitlines()[1:]
        assert len(lines) == 2 * len(steps)


def test_an_older_checkpoint_is_gone_on_from_and_nothing_is_lost(make):
    run = make()
    host.train(run)
    assert steps_of(run) == [40, 60]
    with pytest.raises(CheckpointError, match=r"there is no checkpoint of step 20 in .*; it has 40, 60"):
        host.train(replace(run, from_step=20))
    assert steps_of(run) == [40, 60]
    before = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    with pytest.warns(UserWarning) as caught:
        host.train(replace(run, from_step=40))
    told = " ".join(str(warning.message) for warning in caught)
    assert (
        "goes on from step 40; later checkpoints are set aside as 60.aside" in told and "metrics.jsonl.dropped" in told
    )
    assert steps_of(run) == [40, 60] and (run.folder / "checkpoints" / "60.aside" / "manifest.json").exists()
    dropped = [json.loads(line) for line in (run.folder / "metrics.jsonl.dropped").read_text().splitlines()]
    assert dropped == [row for row in before if row["step"] > 40]
    rows = [row["step"] for row in read_rows(run.folder, "train")]
    assert rows == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("harm", ["edited", "deleted"])
def test_other_settings_than_the_checkpoints_are_refused_everywhere(make, harm):
    run = make()
    host.train(run)
    other = make(batch_size=16)
    (run.folder / "config.json").unlink()
    if harm == "edited":
        (run.folder / "config.json").write_text(json.dumps(other.to_json()))
        with pytest.raises(RunError, match=r"differs in schedule.batch_size .*config.json has been changed since"):
            load(run.folder)
    else:
        with pytest.raises(RunError, match=r"is not a run folder: .* its checkpoints are there, and the same command"):
            load(run.folder)
    with pytest.raises(RunError, match=r"checkpoint of step .* differs in schedule.batch_size \(8 there, 16 here\)"):
        host.train(other)
    with pytest.raises(RunError, match=r"checkpoint of step 60 .* differs in schedule.batch_size \(8 there, 16 here\)"):
        restore.agents(other)
    if harm == "deleted":
        assert not (run.folder / "config.json").exists()
        host.train(run)
        assert record.run_of(run.folder) == replace(run, sinks=Run.sinks)


PLANTED = [
    "lock", "config.json", "config.tmp.json", "metrics.jsonl", "train.csv", "eval.tmp.csv", "checkpoints", "curve.png",
    "curve.tmp.png", "tensorboard", "checkpoints/20.partial", "checkpoints/20",
]  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_no_planted_link_is_written_through(make, tmp_path, name):
    """Whatever else comes of it, a file elsewhere keeps its content, and a folder elsewhere gets no file."""
    run = make(sinks=("jsonl", "csv", "tensorboard"), total_steps=20)
    outside, empty = tmp_path / "outside", tmp_path / "empty"
    outside.write_text("precious")
    empty.mkdir()
    path = run.folder / name
    path.parent.mkdir(parents=True)
    path.symlink_to(
        empty if name in ("checkpoints", "tensorboard", "checkpoints/20.partial", "checkpoints/20") else outside
    )
    from pbrl.cli import train

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main.guarded(partial(train.train, run, train.summarise))
    assert code in (0, 2, 3)
    assert outside.read_text() == "precious" and not list(empty.iterdir())


def test_a_module_within_the_folder_is_not_imported(make, tmp_path, monkeypatch):
    run = make()
    run.folder.mkdir()
    (run.folder / "planted_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(run.folder)
    with pytest.raises(RunError, match="within the run's folder"):
        session.check(replace(run, env="planted_module:X-v0"), "host")
    words = ["train", "sac", "--env", "planted_module:X-v0", "--out", str(run.folder)]
    assert main.guarded(partial(main.run, words)) == 2
    assert "planted_module" not in sys.modules


def test_a_signal_before_any_step_is_no_claim_of_a_save(make):
    run = make()
    with pytest.raises(Stopped, match=r"stopped at step \d+, saved"):
        host.train(run, lambda progress: os.kill(os.getpid(), 15))
    assert steps_of(run)
    assert np.isfinite(read_rows(run.folder, "eval")[0]["eval/return"]).all()
