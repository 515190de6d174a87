"""Output that is closed, full, or read by nobody: a sentence and a code, and training waits for nobody."""

import os
import signal
import subprocess
import sys
import termios
import time

import pytest

from pbrl.cli import output
from pbrl.runs import checkpoint

PBRL = [sys.executable, "-c", "from pbrl.cli.main import main; main()"]
TRAIN = [
    "train", "td3", "--env", "pbrl/ToyPendulum-v0", "--driver=host", "--steps=20", "--schedule.warmup-steps=10",
    "--schedule.batch-size=4", "--schedule.model-every=0", "--schedule.updates-per-step=1", "--schedule.eval-every=10",
    "--schedule.eval-episodes=1", "--config.actor-hidden=4", "--config.critic-hidden=4", "--sinks=jsonl",
]  # fmt: skip


def closed(*words, shell):
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {shell}', "bash", *PBRL, *words], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("shell", [">&-", "2>&-", ">&- 2>&-"])
def test_what_only_prints_needs_somewhere_to_print(shell):
    done = closed("list", shell=shell)
    assert done.returncode == 2
    if "2>" not in shell:
        assert done.stderr == "pbrl: stdout closed (as by >&-), so that the result would be lost; let it go somewhere\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
def test_a_full_disk_behind_standard_output_is_one_sentence():
    done = closed("list", shell="> /dev/full")
    assert done.returncode == 2
    assert done.stderr == "pbrl: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("shell", "told"), [(">&- <&-", "standard output is closed"), ("> /dev/full", "cannot be writ")]
)
def test_training_needs_no_output(tmp_path, shell, told):
    done = closed(*TRAIN, f"--out={tmp_path / 'run'}", shell=shell)
    assert done.returncode == 0, done.stderr
    assert told in done.stderr and len(done.stderr.splitlines()) == 1
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [20]


def test_a_reader_that_stands_still_stops_neither_training_nor_a_signal(tmp_path):
    code = (
        "import os, sys\nfrom pbrl.cli import display\nfrom pbrl.cli.main import main\n"
        "display.Lines.INTERVAL = 0\nreal = display.Lines.__call__\n"
        "def talk(self, progress):\n    self.evaluation = None\n    real(self, progress)\n    display.say('x' * 5000)\n"
        "display.Lines.__call__ = talk\nmain()"
    )
    words = [*TRAIN, f"--out={tmp_path / 'run'}", "--steps=1000000", "--schedule.log-every=1"]
    words += ["--schedule.warmup-steps=1000000", "--schedule.eval-every=0", "--schedule.buffer-size=1000"]
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=write, stderr=write)
    os.close(write)
    try:
        deadline, log = time.monotonic() + 100, tmp_path / "run" / "metrics.jsonl"
        while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") > 300):
            time.sleep(0.1)  # 300 rows, with more output than a pipe holds
        assert log.read_bytes().count(b"\n") > 300
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
        assert checkpoint.steps(tmp_path / "run" / "checkpoints")
    finally:
        process.kill()
        os.close(read)


def test_what_is_dropped_is_told_once_somebody_reads_again(monkeypatch):
    monkeypatch.setattr(output, "PATIENCE", 0.01)
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        patient = output.Patient(stream)
        for _ in range(100):
            patient.write("line " + 1000 * "x" + "\n")
        assert patient.dropped > 30
        os.read(read, 2**16)
        patient.write("again\n")
        assert "pieces of output were dropped" in (seen := os.read(read, 2**16).decode()) and seen.endswith("again\n")
        os.close(read)
        patient.write("nobody\n")  # as `head` leaves it: no error


def test_a_terminal_after_ctrl_s_stops_nobody(monkeypatch):
    monkeypatch.setattr(output, "PATIENCE", 0.01)
    master, terminal = os.openpty()
    termios.tcflow(terminal, termios.TCOOFF)
    with os.fdopen(terminal, "w") as stream:
        patient = output.Patient(stream)
        patient.write("unseen\n")
        assert patient.dropped == 1
        termios.tcflow(terminal, termios.TCOON)
        patient.write("seen\n")
        assert "seen" in os.read(master, 1000).decode() and not patient.dropped
    os.close(master)
