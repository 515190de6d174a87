import contextlib
import csv
import json
import math
import os
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from pbrl.errors import RunError
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
        raise RuntimeError("the tracker is down")

    log._sinks["csv"].write = broken
    with pytest.warns(UserWarning, match="the csv log failed and training goes on without it: the tracker is down"):
        log.write("train", 1, {"loss": 1.0})
    log.write("train", 2, {"loss": 1.0})  # no second warning, which pytest would turn into a failure
    assert [row["step"] for row in read_rows(tmp_path, "train")] == [1, 2]
    assert log.failures == {"csv": 1}


def test_a_full_disk_costs_neither_rows_nor_the_run(tmp_path):
    log = RunLog(tmp_path, sinks=("jsonl", "csv"))
    (tmp_path / "metrics.jsonl").mkdir()  # appending fails, as on a full or read-only disk
    (tmp_path / "train.csv").mkdir()
    with pytest.warns(UserWarning, match="the jsonl log failed and its rows are kept, and written once it can be"):
        log.write("train", 1, {"loss": 1.0})
        log.write("train", 2, {"loss": 1.0})
    (tmp_path / "metrics.jsonl").rmdir()
    log.write("train", 3, {"loss": 1.0})
    assert [row["step"] for row in read_rows(tmp_path, "train")] == [1, 2, 3]


def test_a_small_disk_loses_no_row_and_no_half_of_one(small_disk):
    log = RunLog(small_disk, sinks=("jsonl", "csv", "tensorboard"))
    log.write("train", 1, {"loss": [1.0, 2.0]})
    fill(small_disk)
    with pytest.warns(UserWarning, match="log failed"):
        for step in range(2, 300):
            log.write("train", step, {f"loss{i}": [1.0, 2.0] for i in range(20)})
    for line in (small_disk / "metrics.jsonl").read_bytes().splitlines():
        json.loads(line)
    (small_disk / "fill").unlink()
    log.write("train", 300, {"loss": [1.0, 2.0]})
    assert [row["step"] for row in read_rows(small_disk, "train")] == [*range(1, 301)]
    assert [row["step"] for row in table(small_disk / "train.csv")][::2] == [str(i) for i in range(1, 301)]
    log.close()


def test_rows_that_never_could_be_written_are_counted(small_disk):
    log = RunLog(small_disk, sinks=("jsonl",))
    log.write("train", 1, {"loss": 1.0})
    fill(small_disk)
    with pytest.warns(UserWarning, match="the jsonl log failed"):
        for step in range(2, 200):
            log.write("train", step, {f"loss{i}": [1.0, 2.0] for i in range(20)})
    with pytest.warns(UserWarning, match=r"row\(s\) of the log are lost, the last ones of steps .* to 199: .*No space"):
        log.close()


def fill(folder):
    with open(folder / "fill", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_torn_line_does_not_swallow_the_next_row(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "eval", "step": 1, "eval/return": 1}\n{"kind": "eval", "st')
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
        log.write("train", 2 * step, metrics)
        log.write("train", 2 * step + 1, metrics)
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


def test_weights_and_biases_get_means_and_seeds_and_one_run_goes_on(tmp_path, monkeypatch):
    calls, made = [], []
    run = SimpleNamespace(log=lambda values, step: calls.append((step, values)), finish=lambda: calls.append("end"))
    init = lambda **options: (made.append(options), run)[1]  # noqa: E731
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    (tmp_path / "config.json").write_text("{}")
    log = RunLog(tmp_path, sinks=("jsonl", "wandb"))
    log.write("eval", 3, {"eval/return": [1.0, 3.0]})
    log.close()
    assert calls == [(3, {"eval/return": 2.0, "eval/return/seed0": 1.0, "eval/return/seed1": 3.0}), "end"]
    RunLog(tmp_path, sinks=("jsonl", "wandb"), resume_step=3).close()
    assert made[0]["id"] == made[1]["id"] and made[0]["resume"] == "allow" and len(made[0]["id"]) == 16
    (tmp_path / "wandb-id").write_bytes(b"\xff../..")
    RunLog(tmp_path, sinks=("jsonl", "wandb"), resume_step=3).close()
    assert made[2]["id"].isalnum() and made[2]["id"] != made[0]["id"]


def test_a_missing_tracker_costs_a_warning(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="the wandb log failed and training goes on without it"):
        log = RunLog(tmp_path, sinks=("jsonl", "wandb"))
    log.write("train", 1, {"loss": 1.0})
    assert [row["step"] for row in read_rows(tmp_path, "train")] == [1]


def write(folder, *steps, name="loss", kind="train"):
    log = RunLog(folder, sinks=("jsonl", "csv"))
    for step in steps:
        log.write(kind, step, {name: [1.0, 2.0]})
    log.close()


BAD_LINES = [
    b"{", b"[]", b"3", b"null", b"\xff\xfe", b"\0" * 50, b"[" * 10**5, b'{"kind": "train"}', b'{"step": 5}',
    b'{"kind": "train", "step": "5"}', b'{"kind": "train", "step": 5.0}', b'{"kind": "train", "step": true}',
    b'{"kind": "train", "step": -5}', b'{"kind": 3, "step": 5}', b'{"kind": "train", "step": 5, "loss": "x"}',
    b'{"kind": "train", "step": 5, "loss": {"a": 1}}', b'{"kind": "train", "step": 5, "loss": [[1.0, 2.0]]}',
    b'{"kind": "train", "step": 5, "loss": [1.0]}', b'{"kind": "train", "step": 5, "loss": []}',
    b'{"kind": "train", "step": 5, "loss": [1.0, 2.0], "b": [1.0]}',
    b'{"kind": "train", "step": 5, "a": 1' + b"0" * 400 + b"}",
    b'{"kind": "train", "step": 5, "a": 1' + b"0" * 5000 + b"}", b'{"kind": "train", "step": 5, "loss": [true, false]}',
    b'{"kind": "eval", "step": 10, "eval/retrun": [1.0, 2.0]}',
    b'{"kind": "train", "step": 10, "loss": [1.0, 2.0', b'"kind": "train", "step": 10}',
]  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_damaged_line_is_named_and_kept_aside_and_the_csv_is_not_shrunk(tmp_path, line):
    write(tmp_path, 10, 20, 30)
    path = tmp_path / "metrics.jsonl"
    rows = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([rows[0], line, rows[2], b""]))
    with pytest.warns(UserWarning, match=r"metrics.jsonl: 1 line is damaged \(2\), and left out here"):
        assert [row["step"] for row in read_rows(tmp_path, "train")] == [10, 30]
    with pytest.warns(UserWarning) as caught:
        log = RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=30)
    told = " ".join(str(warning.message) for warning in caught)
    assert "1 line is damaged (2); kept in " in told and "train.csv has 1 step(s) that" in told
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == line + b"\n"
    assert [row["step"] for row in table(tmp_path / "train.csv.kept")][::2] == ["10", "20", "30"]
    assert path.read_bytes() == b"\n".join([rows[0], rows[2], b""])
    log.write("train", 40, {"loss": [1.0, 2.0]})
    assert [row["step"] for row in table(tmp_path / "train.csv")][::2] == ["10", "30", "40"]


@pytest.mark.parametrize("torn", [b'{"kind": "train", "st', b"\0" * 30, b"\xff", b'{"kind"'])
def test_what_a_crash_tore_is_no_damage_later(tmp_path, torn):
    write(tmp_path, 10, 20)
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(torn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log = RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=20)
        log.write("train", 30, {"loss": [1.0, 2.0]})
        assert [row["step"] for row in read_rows(tmp_path, "train")] == [10, 20, 30]


def test_a_record_that_is_gone_is_missed(tmp_path):
    write(tmp_path, 10, 20)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning) as caught:
        RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=20).close()
    told = " ".join(str(warning.message) for warning in caught)
    assert "metrics.jsonl is missing: the run goes on from step 20, its earlier rows are lost" in told
    assert "it is kept as train.csv.kept" in told
    assert [row["step"] for row in table(tmp_path / "train.csv.kept")][::2] == ["10", "20"]


def test_a_log_that_reaches_further_than_the_checkpoints_is_named_and_kept(tmp_path):
    write(tmp_path, 10, 20, 30)
    with pytest.warns(UserWarning, match=r"reaches step 30, and the run goes on from step 10, .* moved to .*\.dropped"):
        RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=10).close()
    assert [json.loads(x)["step"] for x in (tmp_path / "metrics.jsonl.dropped").read_text().splitlines()] == [20, 30]
    with pytest.warns(UserWarning, match=r"reaches step 10, and the run goes on from the start, without a checkpoint"):
        RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=-1).close()
    assert len((tmp_path / "metrics.jsonl.dropped").read_text().splitlines()) == 3
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_the_first_evaluation_of_a_run_that_never_saved_is_not_doubled(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            log = RunLog(tmp_path, sinks=("jsonl", "csv"), resume_step=-1)
            log.write("eval", 0, {"eval/return": [1.0]})
    assert [row["step"] for row in read_rows(tmp_path, "eval")] == [0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(table(tmp_path / "eval.csv")) == 1


def test_of_rows_that_an_earlier_version_doubled_the_last_counts(tmp_path):
    lines = [{"kind": "eval", "step": 0, "eval/return": 0, "a": i} for i in range(3)] + [
        {"kind": "train", "step": 0, "a": 9}
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [row["a"] for row in read_rows(tmp_path, "eval")] == [2]
    with pytest.warns(UserWarning, match=r"held 2 row\(s\) of steps that have a later one"):
        RunLog(tmp_path, sinks=("jsonl",), resume_step=0)
    assert [json.loads(x)["a"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [2, 9]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "train.csv", "train.tmp.csv", "metrics.jsonl.dropped", "tensorboard"]
)
def test_nothing_is_written_through_what_is_planted(tmp_path, name, kind):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    write(folder, 10, 20)
    outside.write_text("precious")
    path = folder / name
    path.unlink(missing_ok=True)
    {"link": lambda: path.symlink_to(outside), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            log = RunLog(folder, resume_step=10)
            log.write("train", 20, {"loss": [1.0, 2.0]})
            log.close()
        except RunError as error:
            assert name in str(error)
    assert outside.read_text() == "precious"


def test_rows_of_another_run_or_kind_are_damaged_and_order_is_that_of_steps(tmp_path):
    (tmp_path / "config.json").write_text('{"seeds": [0, 1]}')
    rows = [(200, [1, 2], "eval"), (100, [3, 4], "eval"), (300, [5, 6, 7], "eval"), (400, [5, 6], "evbl")]
    lines = [f'{{"kind": "{kind}", "step": {step}, "eval/return": {values}}}\n' for step, values, kind in rows]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    with pytest.warns(UserWarning, match=r"2 lines are damaged \(3, 4\), and left out here"):
        assert [row["step"] for row in read_rows(tmp_path, "eval")] == [100, 200]
