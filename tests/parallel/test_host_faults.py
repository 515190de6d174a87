"""An environment that fails on one host of two: both say why, both save, both end alike."""

from pathlib import Path

import pytest
from test_hosts import SMALL, finish, start, train

from pbrl.runs import checkpoint

WORDS = ["td3", "--env=faulty:Faulty-v0", *SMALL, "--schedule.eval-every=0", "--schedule.checkpoint-every=1000"]


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("None", 2, "faulty:Faulty-v0: the reward is None, expected a number"),
        ("hang", 75, "faulty:Faulty-v0, seed 2: its step has not returned for"),
    ],
)
def test_a_fault_on_one_host_is_named_and_saved_on_all(fault, code, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("FAULT", fault)
    codes, printed = finish(start(tmp_path / "run", [*WORDS, "--schedule.step-timeout=3"], 2))
    assert codes == [code, code], printed
    (step,) = checkpoint.steps(tmp_path / "run" / "checkpoints")
    assert step >= 30
    for text in printed:
        assert said in text and f"what was learned is saved at step {step}" in text and "Traceback" not in text
    monkeypatch.setenv("FAULT", "")
    train(tmp_path / "run", WORDS, 1)
    assert checkpoint.steps(tmp_path / "run" / "checkpoints")[-1] == 400
