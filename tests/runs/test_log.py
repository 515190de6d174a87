import csv
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pbrl.runs.log import RunLog, read_rows


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_come_back_with_their_seeds(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl",))
    log.write("train", 5, {"critic/loss": np.array([1.5, np.nan]), "seconds": 2.0})
    log.write("eval", 5, {"eval/return": [3.0, 4.0]})
    (row,) = read_rows(tmp_path, "train")
    assert row["step"] == 5 and row["critic/loss"][0] == 1.5 and math.isnan(row["critic/loss"][1])
    assert row["seconds"] == 2.0
    assert read_rows(tmp_path, "eval")[0]["eval/return"] == [3.0, 4.0]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_torn_last_line_is_skipped(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl",))
    for step in (1, 2):
        log.write("eval", step, {"eval/return": [1.0]})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "eval", "step": 3, "eval/re')
    assert [row["step"] for row in read_rows(tmp_path, "eval")] == [1, 2]


def test_resuming_drops_later_rows_and_repeats_none(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))
    for step in (10, 20, 30):
        log.write("train", step, {"loss": [float(step), 0.0]})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"torn')
    log = RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=20)
    for step in (30, 40):
        log.write("train", step, {"loss": [-1.0, 0.0]})
    assert [(r["step"], r["loss"][0]) for r in read_rows(tmp_path, "train")] == [(10, 10), (20, 20), (30, -1), (40, -1)]
    assert [r["step"] for r in table(tmp_path / "train.csv") if r["seed_index"] == "1"] == ["10", "20", "30", "40"]


def test_a_new_column_rewrites_the_csv(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))
    log.write("train", 1, {"a": [1.0, 2.0]})
    log.write("train", 2, {"a": [3.0, 4.0], "b": 9.0})
    rows = table(tmp_path / "train.csv")
    assert [(r["step"], r["seed_index"], r["a"], r["b"]) for r in rows] == [
        ("1", "0", "1.0", ""), ("1", "1", "2.0", ""), ("2", "0", "3.0", "9.0"), ("2", "1", "4.0", "9.0"),
    ]  # fmt: skip


def test_tensorboard_gets_the_mean_and_each_seed(tmp_path):
    log = RunLog(tmp_path)
    log.write("train", 1, {"loss": [1.0, 3.0]})
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss/seed0" in content and b"loss/seed1" in content
    assert not log.failures


def test_a_failing_sink_is_reported_once_and_the_rest_goes_on(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))

    def broken(row):
        raise OSError("the tracker is down")

    log._sinks["csv"].write = broken
    with pytest.warns(UserWarning, match="the csv log failed and training goes on without it: the tracker is down"):
        log.write("train", 1, {"loss": 1.0})
    log.write("train", 2, {"loss": 1.0})  # no second warning, which pytest would turn into a failure
    assert [row["step"] for row in read_rows(tmp_path, "train")] == [1, 2]
    assert log.failures == {"csv": 1}


def test_a_full_disk_costs_rows_not_the_run(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl",))
    path = log._sinks["jsonl"].path
    path.mkdir()  # appending fails, as on a full or read-only disk
    with pytest.warns(UserWarning, match="the jsonl log failed"):
        log.write("train", 1, {"loss": 1.0})
    path.rmdir()
    log.write("train", 2, {"loss": 1.0})
    assert [row["step"] for row in read_rows(tmp_path, "train")] == [2]


def test_a_torn_line_does_not_swallow_the_next_row(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "eval", "step": 1}\n{"kind": "eval", "st')
    log = RunLog(tmp_path, sinks=("jsonl",))
    log.write("eval", 2, {"eval/return": [1.0]})
    assert [row["step"] for row in read_rows(tmp_path, "eval")] == [1, 2]


def test_resuming_puts_the_csv_back_even_if_no_row_follows(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))
    for step in (10, 20):
        log.write("train", step, {"loss": [1.0, 2.0]})
    (tmp_path / "notes.csv").write_text("not ours")
    RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=10).close()
    assert [row["step"] for row in table(tmp_path / "train.csv")] == ["10", "10"]
    assert (tmp_path / "notes.csv").read_text() == "not ours"


def test_values_that_are_not_finite_are_nan_in_every_csv_line(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))
    for step, metrics in enumerate(({"a": [1.0, np.inf]}, {"a": [np.nan, 1.0]}, {"b": 1.0, "a": [1.0, -np.inf]})):
        log.write("train", step, metrics)
        log.write("train", 10 + step, metrics)
    a = [row["a"] for row in table(tmp_path / "train.csv")]
    assert a == ["1.0", "nan"] * 2 + ["nan", "1.0"] * 2 + ["1.0", "nan"] * 2


def test_a_row_that_the_record_could_not_take_stays_in_the_csv(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))
    log.write("train", 1, {"a": 1.0})
    log._sinks["jsonl"].path = tmp_path  # appending fails, as on a full disk
    with pytest.warns(UserWarning, match="the jsonl log failed"):
        log.write("train", 2, {"a": 1.0, "b": 2.0})
    assert [(row["step"], row["b"]) for row in table(tmp_path / "train.csv")] == [("1", ""), ("2", "2.0")]


def test_a_sink_that_cannot_be_closed_is_reported_and_the_others_are_closed(tmp_path):
    log, closed = RunLog(tmp_path, sinks=("jsonl", "csv")), []
    log._sinks["csv"].close = lambda: 1 / 0
    log._sinks = {"csv": log._sinks["csv"], "jsonl": log._sinks["jsonl"]}
    log._sinks["jsonl"].close = lambda: closed.append(True)
    with pytest.warns(UserWarning, match="the csv log failed"):
        log.close()
    assert closed and log.failures == {"csv": 1}


@pytest.mark.parametrize("sinks", [("jsonl", "cvs"), ("csv",)])
def test_sinks_that_cannot_be_are_refused(tmp_path, sinks):
    with pytest.raises(ValueError, match="expected sinks among jsonl, csv"):
        RunLog(tmp_path, sinks=sinks)


def events(folder):
    """Read TensorBoard's records, each framed by its length and checksums: `[(tag, step, value)]`."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            found += [("purge", event.step, event.session_log.status)] if event.HasField("session_log") else []
            at += size + 16
    return found


def test_tensorboard_values_by_hand_and_steps_after_the_checkpoint_are_hidden(tmp_path):
    log = RunLog(tmp_path)
    log.write("train", 7, {"loss": [1.0, 4.0, np.nan], "count": 3})
    log.close()
    assert events(tmp_path) == [("loss", 7, 2.5), ("loss/seed0", 7, 1.0), ("loss/seed1", 7, 4.0), ("count", 7, 3.0)]
    (tmp_path / "tensorboard").rename(tmp_path / "earlier")
    RunLog(tmp_path, resume_step=5).close()
    assert ("purge", 6, 1) in events(tmp_path)  # 1: SessionLog.START, from which on earlier events count no more


def test_weights_and_biases_get_means_and_seeds(tmp_path, monkeypatch):
    calls = []
    run = SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("end"))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: run))
    (tmp_path / "config.json").write_text("{}")
    log = RunLog(tmp_path, sinks=("jsonl", "wandb"))
    log.write("eval", 3, {"eval/return": [1.0, 3.0]})
    log.close()
    assert calls == [(3, {"eval/return": 2.0, "eval/return/seed0": 1.0, "eval/return/seed1": 3.0}), "end"]


def test_a_missing_tracker_costs_a_warning(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="the wandb log failed and training goes on without it"):
        log = RunLog(tmp_path, sinks=("jsonl", "wandb"))
    log.write("train", 1, {"loss": 1.0})
    assert [row["step"] for row in read_rows(tmp_path, "train")] == [1]
