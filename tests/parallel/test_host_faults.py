"""An environment that fails on one host of two: both say why, both save, both end alike."""

import signal
from pathlib import Path

import pytest
from test_hosts import SMALL, finish, start, train

from pbrl.runs import checkpoint

WORDS = ["td3", "--env=faulty:Faulty-v0", *SMALL, "--schedule.checkpoint-every=1000"]


@pytest.mark.parametrize(
    ("fault", "every", "code", "said"),
    [
        ("None", 0, 2, "faulty:Faulty-v0: the reward is None, expected a number"),
        ("hang", 0, 75, "faulty:Faulty-v0, seed 2: its step has not returned for"),
        pytest.param(
            *("hang evaluation", 40, 75, "seed 2, evaluation's episode 0: its step has not returned for"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_fault_on_one_host_is_named_and_saved_on_all(fault, every, code, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("FAULT", fault)
    codes, printed = finish(
        start(tmp_path / "run", [*WORDS, f"--schedule.eval-every={every}", "--schedule.step-timeout=3"], 2)
    )
    assert codes == [code, code], printed
    (step,) = checkpoint.steps(tmp_path / "run" / "checkpoints")
    assert step >= 30
    for text in printed:
        assert said in text and f"what was learned is saved at step {step}" in text and "Traceback" not in text
    monkeypatch.setenv("FAULT", "")
    train(tmp_path / "run", [*WORDS, f"--schedule.eval-every={every}"], 1)
    assert checkpoint.steps(tmp_path / "run" / "checkpoints")[-1] == 400


def test_a_signal_to_a_host_that_hangs_saves_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("FAULT", "hang")
    job = start(tmp_path / "run", [*WORDS, "--schedule.eval-every=0"], 2)
    assert "hangs\n" in iter(job[1].stdout.readline, "")
    job[1].send_signal(signal.SIGTERM)
    codes, printed = finish(job)
    assert codes == [143, 143], printed
    (step,) = checkpoint.steps(tmp_path / "run" / "checkpoints")
    assert step >= 30 and all(f"stopped at step {step}, saved" in text for text in printed)
