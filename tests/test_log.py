import csv
import json
import math

import numpy as np
import pytest

from pbrl.log import RunLog, read_rows


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
