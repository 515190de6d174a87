"""Several processes train one run over loopback: they write what one process would, and one's death ends all."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import pytest

from pbrl.cli import main
from pbrl.errors import RunError
from pbrl.parallel import hosts
from pbrl.runs import checkpoint
from pbrl.runs.folder import load
from pbrl.runs.lock import locked
from pbrl.runs.log import read_rows
from pbrl.train.drivers import driver_module

EXAMPLE = Path(__file__).parents[2] / "examples" / "run_pod.py"
SEEDS, STEPS = 4, 400
SMALL = [
    *(
        "--preset=cpu",
        f"--seeds={SEEDS}",
        f"--steps={STEPS}",
        "--config.actor-hidden=8,8",
        "--config.critic-hidden=16,16",
    ),
    *("--schedule.warmup-steps=20", "--schedule.batch-size=8", "--schedule.updates-per-step=1", "--sinks", "jsonl"),
    *("--schedule.eval-every=200", "--schedule.eval-episodes=1", "--schedule.log-every=50"),
    "--schedule.checkpoint-every=20",
]
COMMANDS = {
    "device": ["td3", "--env=pbrl/ToyPendulum-v0", *SMALL],
    "host": ["td3", "--env=Pendulum-v1", *SMALL],
}


def start(folder, words, processes):
    """Start the processes of a job; one alone is no job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(processes), "--process"]
    program = [str(EXAMPLE)] if processes > 1 else ["-c", "from pbrl.cli.main import main; main()", "train"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "cache")}
    return [
        subprocess.Popen(
            [sys.executable, *program, *([*job, str(i)] if processes > 1 else []), *words, "--out", str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(processes)
    ]


def finish(job):
    """Wait for all; return exit codes and what they printed."""
    printed = [process.communicate(timeout=240)[0] for process in job]
    return [process.returncode for process in job], printed


def train(folder, words, processes):
    codes, printed = finish(start(folder, words, processes))
    assert codes == [0] * processes, printed
    return printed


@contextmanager
def running_until(folder, words, processes, step):
    """Run a job that has saved `step`; kill what is left of it."""
    job = start(folder, words, processes)
    try:
        while not [saved for saved in checkpoint.steps(folder / "checkpoints") if saved >= step]:
            assert all(process.poll() is None for process in job), finish(job)
            time.sleep(0.02)
        yield job
    finally:
        for process in job:
            process.kill()


def final(folder):
    """Return every array of the newest checkpoint, read by this one process."""
    run = load(folder)
    info, _ = checkpoint.read_info(run.folder / "checkpoints")
    tree, _, step = checkpoint.restore(run.folder / "checkpoints", driver_module(run).template(run, info["capacity"]))
    return [step, *(np.asarray(x) for x in jax.tree.leaves(tree))]


def assert_same(one, other):
    for x, y in zip(one, other, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module", params=COMMANDS)
def straight(request, tmp_path_factory):
    """What one process makes of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    words = COMMANDS[request.param]
    train(folder, words, 1)
    return words, folder


BOTH = pytest.mark.parametrize("straight", ["host", pytest.param("device", marks=pytest.mark.slow)], indirect=True)
"""What ends a job is told by code that both drivers share."""


def test_two_hosts_train_what_one_does(straight, tmp_path):
    words, alone = straight
    first, second = train(tmp_path / "run", words, 2)
    assert "2 of 2 devices on 2 hosts" in first and "return at step" in first
    assert "return" not in second
    assert_same(final(alone), final(tmp_path / "run"))
    for kind in ("train", "eval"):
        rows = [read_rows(folder, kind) for folder in (alone, tmp_path / "run")]
        for row, other in zip(*rows, strict=True):
            assert row.keys() == other.keys()
            for name in row.keys() - {"time", "train/seconds", "eval/seconds"}:
                np.testing.assert_array_equal(row[name], other[name])


@BOTH
def test_a_host_dies_and_the_run_goes_on_elsewhere(straight, tmp_path):
    """Four hosts, one is killed, two take over: the end is that of the run that nothing interrupted."""
    words, alone = straight
    with running_until(tmp_path / "run", words, 4, 20) as job:
        job[2].kill()
        codes, printed = finish(job)
        assert codes[2] == -signal.SIGKILL and 0 not in codes
        assert "pbrl: another host of this job has ended" in printed[0] and "same command again" in printed[0]
    step = checkpoint.steps(tmp_path / "run" / "checkpoints")[-1]
    assert 0 < step < STEPS
    printed = train(tmp_path / "run", words, 2)
    assert f"resuming from step {step}" in printed[0]
    assert_same(final(alone), final(tmp_path / "run"))


@BOTH
def test_a_signal_to_one_host_saves_all(straight, tmp_path):
    words, alone = straight
    with running_until(tmp_path / "run", words, 2, 20) as job:
        job[1].send_signal(signal.SIGTERM)
        codes, printed = finish(job)
    assert codes == [143, 143], printed
    step = checkpoint.steps(tmp_path / "run" / "checkpoints")[-1]
    assert step < STEPS and all(f"stopped at step {step}, saved" in text for text in printed)
    train(tmp_path / "run", words, 1)
    assert_same(final(alone), final(tmp_path / "run"))


def test_saves_that_fail_on_one_host_fail_on_all_and_training_goes_on(tmp_path):
    folder = tmp_path / "run"
    job = start(folder, COMMANDS["device"], 2)
    while not (folder / "config.json").exists():  # what is in the way before is refused
        time.sleep(0.02)
    (folder / "checkpoints").write_text("in the way")
    codes, printed = finish(job)
    assert codes == [3, 3], printed
    for text in printed:
        assert text.count("Training goes on") == 1 and "checkpoints is in the way" in text
        assert f"the run has ended at step {STEPS}, but what was learned after step 0 could not be saved" in text
    assert read_rows(folder, "train")[-1]["step"] == STEPS


def test_seeds_that_do_not_come_out_even_are_refused(tmp_path):
    codes, printed = finish(start(tmp_path / "run", [*COMMANDS["device"], "--seeds=3"], 2))
    assert codes == [2, 2] and all("3 seeds cannot be shared among 2 hosts" in text for text in printed)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_in_use_is_refused_on_all(tmp_path):
    with locked(tmp_path / "run"):
        codes, printed = finish(start(tmp_path / "run", COMMANDS["device"], 2))
    assert codes == [2, 2] and all("another process is training in" in text for text in printed)
    assert "pbrl: host 0: another process" in printed[1]


def test_a_job_that_cannot_be_is_refused(capsys):
    for given, said in (
        (("10.0.0.1:1", 2), "expected a coordinator, the number"),
        (("nonsense", 2, 0), "expected HOST:PORT, such as 10.0.0.1:8476, got 'nonsense'"),
    ):
        assert main.guarded(lambda given=given: hosts.start(*given)) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(RunError, match=r"nobody answers at the coordinator 127.0.0.1:1 .*; start process 0"):
        hosts._await("127.0.0.1:1", there=False, seconds=0.0)
    with pytest.raises(RunError, match="cannot join a job of several hosts"):
        hosts.start()
