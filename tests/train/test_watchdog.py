"""An environment that hangs: the run is saved, and ends with a code of its own in bounded time."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pbrl.envs import calls
from pbrl.errors import EndedAtOnce
from pbrl.runs import checkpoint
from pbrl.runs.log import read_rows
from pbrl.train.stopping import Stop

PROGRAM = str(Path(__file__).with_name("hanging.py"))


def start(folder, where, how, timeout, every=0):
    words = [sys.executable, PROGRAM, str(folder), where, how, str(timeout), str(every)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("where", "how", "every", "what", "step"),
    [
        ("step", "python", 0, "its step has not returned", 29),
        ("evaluation", "busy", 20, "evaluation's episode 0: its reset has not returned", 20),
        pytest.param("reset", "c", 0, "its reset has not returned", 29, marks=pytest.mark.slow),
        pytest.param("close", "python", 0, "its close has not returned", 40, marks=pytest.mark.slow),
    ],
)
def test_a_hang_saves_and_ends_the_run(tmp_path, where, how, every, what, step):
    process = start(tmp_path, where, how, 2, every)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert "pbrl: test/Hangs-v0, seed 7" in err and what in err and f"at step {step + 1}" in err
    assert f"what was learned is saved at step {step}" in err and "Traceback" not in err
    assert checkpoint.steps(tmp_path / "checkpoints") == [step]
    assert read_rows(tmp_path, "train")[-1]["step"] == step // 10 * 10
    if where != "step" or how != "python":
        return
    process = start(tmp_path, "nowhere", how, 2)  # resumes, with a new episode
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "new episodes begin here" in err
    assert checkpoint.steps(tmp_path / "checkpoints") == [29, 40]


@pytest.mark.parametrize(("how", "number"), [("python", signal.SIGTERM), ("c", signal.SIGUSR1)])
def test_a_signal_in_a_hang_saves_within_its_grace_time(tmp_path, how, number):
    process = start(tmp_path, "step", how, 0)
    assert process.stdout is not None and process.stdout.readline() == "hangs\n"
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode == 128 + number and "what was learned is saved at step 29" in err
    assert checkpoint.steps(tmp_path / "checkpoints") == [29]


def test_an_environment_that_lets_no_thread_run_ends_the_process(tmp_path):
    program = (
        "import runpy, sys; from pbrl.train import watchdog; watchdog.SAVING = 2.0; sys.argv = sys.argv[1:]; "
        f"runpy.run_path({PROGRAM!r}, run_name='__main__')"
    )
    words = [sys.executable, "-c", program, PROGRAM, str(tmp_path), "step", "locked", "1", "0"]
    process = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1 and "Timeout" in process.stderr and "hanging.py" in process.stderr


def test_who_claims_a_call_first_has_it():
    call = calls.begin("an environment", "step")
    assert calls.running(threading.get_ident()) is call and call.claim()
    assert calls.running(threading.get_ident()) is None
    late = threading.Thread(target=calls.end, args=(call,), daemon=True)
    late.start()
    late.join(0.2)
    assert late.is_alive()  # it never returns
    calls.end(calls.begin("an environment", "step"))


def test_signals_that_schedulers_send_twice_stop_once():
    stop = Stop()
    for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
        stop._ask(number, None)
    assert stop.signal == signal.SIGUSR1
    with pytest.raises(EndedAtOnce):
        stop._ask(signal.SIGINT, None)
    stop = Stop()
    stop._ask(signal.SIGTERM, None)
    with pytest.raises(EndedAtOnce):
        stop._ask(signal.SIGTERM, None)
