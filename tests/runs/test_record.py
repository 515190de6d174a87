"""`config.json`: whatever it says, it is used or refused with a sentence, and nothing that it names is imported."""

import json
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from small_agents import config

from pbrl.errors import RunError
from pbrl.runs import checkpoint, config_file, record, software
from pbrl.runs.folder import load, prepare, refuse_another
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule


def make(folder, **changes):
    run = Run("td3", "Pendulum-v1", (0, 1), config("td3"), Schedule(model_every=0), folder)
    return replace(run, **changes)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    run = make(tmp_path_factory.mktemp("good"))
    prepare(run)
    return json.loads((run.folder / "config.json").read_text())


def test_what_is_written_is_read(tmp_path):
    run = make(tmp_path)
    prepare(run)
    assert record.run_of(tmp_path) == load(tmp_path) == run


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


CHANGES = [
    ({"agent": 3}, "agent: expected str, got 3"), ({"agent": "mgae"}, "did you mean 'mage'"),
    ({"agent": ["td3"]}, "agent: expected str"), ({"agent": "../td3"}, "there is no agent"),
    ({"env": 3}, "env: expected str"), ({"env": ""}, "the id of an environment"), ({"env": "x" * 300}, "the id of an"),
    ({"env": "a\nb"}, "the id of an environment"), ({"env": None}, "env: expected str"),
    ({"seeds": 0}, "seeds: expected"), ({"seeds": []}, "seeds: expected"), ({"seeds": [0, 0]}, "seeds: expected"),
    ({"seeds": [-1]}, "seeds: expected"), ({"seeds": [0.5]}, "seeds: expected"), ({"seeds": [2**64]}, "seeds: exp"),
    ({"seeds": list(range(10**5))}, "seeds: expected"), ({"seeds": "01"}, "seeds: expected"),
    ({"seeds": [True]}, "seeds: expected"), ({"seeds": {"0": 1}}, "seeds: expected"),
    ({"seed_mode": "vamp"}, "seed_mode: expected vmap or map"), ({"seed_mode": None}, "seed_mode: expected"),
    ({"driver": "hsot"}, "driver: expected host or device"), ({"driver": 1}, "driver: expected"),
    ({"float64": 1}, "float64: expected bool"), ({"float64": "no"}, "float64: expected bool"),
    ({"oracle": "fast"}, "oracle: expected"), ({"oracle": 3}, "oracle: expected"), ({"oracle": []}, "oracle: exp"),
    ({"trials": 3}, "trials: expected"), ({"trials": [3]}, "trials: expected"), ({"trials": [{}]}, "trials: expected"),
    ({"trials": [{"config.tau": 1}, {"config.tua": 1}]}, "trials: expected"),
    ({"trials": [{"config.tau": "1"}]}, "trials: expected"), ({"trials": [{"config.tau": np.nan}]}, "trials: exp"),
    ({"trials": [{"config.tau": 0.1}] * 40_000}, "trials: expected"),
    ({"config": 3}, "config: expected an object"), ({"config": []}, "config: expected an object"),
    ({"config": {"tua": 1}}, "did you mean 'tau'"), ({"config": {"tau": "1"}}, "config.tau: expected float"),
    ({"config": {"tau": 7}}, "config.tau: expected a value in [0, 1], got 7.0"),
    ({"schedule": {"model_every": 25}}, "schedule.model_every: expected 0"), ({"oracle": "speed"}, "no use for an"),
    ({"config": {"tau": [0.1]}}, "config.tau: expected float"), ({"config": {"tau": True}}, "config.tau: expected"),
    ({"config": {"actor_hidden": 8}}, "config.actor_hidden: expected"),
    ({"config": {"actor_hidden": [8.5]}}, "config.actor_hidden"),
    ({"config": {"actor_hidden": [2**70]}}, "a number below 2"),
    ({"config": {"actor_hidden": [8] * 20_000}}, "at most 10,000 values"),
    ({"config": {"tau": deep(500)}}, "config.tau"), ({"config": {"tau.x": 1}}, "has no fields"),
    ({"schedule": 3}, "schedule: expected an object"), ({"schedule": {"total_steps": 1.5}}, "expected int"),
    ({"schedule": {"total_steps": -1}}, "schedule.total_steps"), ({"schedule": {"total_steps": 2**63}}, "below 2^63"),
    ({"schedule": {"total_steps": 10**4000}}, "below 2^63"), ({"schedule": {"total_steps": 10**11}}, "total_steps"),
    ({"schedule": {"warmup_steps": 10**7}}, "warmup_steps"), ({"schedule": {"real_fraction": float("nan")}}, "real_fr"),
    ({"schedule": {"imagine_length": [1, 2]}}, "imagine_length"), ({"schedule": {"buffer_size": -1}}, "buffer_size"),
    ({"schedule": {"batch_size": None}}, "batch_size: expected int"), ({"schedule": {"typo": 1}}, "no such field"),
    ({"colour": "red"}, "there is no entry 'colour'"), ({"history": 3}, "history: expected what pbrl"),
    ({"history": [{"from_step": "0"}]}, "history: expected"), ({"history": [3]}, "history: expected"),
    ({"history": [{"from_step": 0, "python": "\x1b[2J"}]}, "history: expected"),
    ({"versions": {"jax": 3}}, "versions: expected"), ({"versions": []}, "versions: expected"),
    ({"versions": {"\x1b[2J": "1"}}, "versions: expected"), ({"device": 3}, "device: expected"),
    ({"cpu_cores": "two"}, "cpu_cores: expected what pbrl writes of software and machine; or take it out"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=range(len(CHANGES)))
def test_a_wrong_entry_is_named(tmp_path, good, change, message):
    (tmp_path / "config.json").write_text(json.dumps({**good, **change}))
    with pytest.raises(RunError) as error:
        load(tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize("name", record.NEEDED)
def test_a_missing_entry_is_named(tmp_path, good, name):
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in good.items() if k != name}))
    with pytest.raises(RunError, match=f"the entry '{name}' is missing"):
        load(tmp_path)


CONTENTS = [
    b"",
    b"{",
    b"[]",
    b"3",
    b"null",
    b'"x"',
    b"\xff\xfe\x00",
    b"{}",
    b"[" * 10**5,
    b'{"a": ' + b"1" * 5000 + b"}",
]
CONTENTS += [b"\0" * 100, b'{"agent": NaN}', b"{'agent': 'td3'}", b"\xef\xbb\xbf{}"]


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_what_is_no_run_is_one_sentence(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(
        RunError, match=r"config.json cannot be (read|used): .* \(mend it, or move it away: the `pbrl train` command"
    ):
        load(tmp_path)


def test_what_is_no_file_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(RunError, match=r"config.json is not a regular file"):
        load(tmp_path)
    (tmp_path / "config.json").rmdir()
    monkeypatch.setattr(config_file, "MAX_BYTES", 2**20)
    (tmp_path / "config.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(RunError, match="larger than 1 MiB"):
        load(tmp_path)
    with pytest.raises(RunError, match="is not a run folder"):
        load(tmp_path / "nowhere")


def test_a_module_is_imported_only_where_it_is_named(tmp_path, good, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**good, "env": "foreign_module:X-v0"}))
    for place in (tmp_path, folder):
        (place / "foreign_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RunError, match=r"would run the Python module foreign_module.* add --trust-env foreign_module"):
        load(folder)
    with pytest.raises(RunError, match="add --trust-env"):
        load(folder, trust=["foreign", "other_module"])
    assert load(folder, trust=["foreign_module"]).env == load(folder, trust=["foreign_module:X-v0"]).env
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(RunError, match="within the run's folder"):
        load(folder, trust=["foreign_module"])
    assert "foreign_module" not in sys.modules


def info_of(run):
    return {"run": run.identity(), "seconds": 1.0, "capacity": 10, "diverged_at": [-1] * len(run.seeds)}


def save(run, step=5):
    checkpoint.save(run.folder / "checkpoints", step, {"w": np.zeros(3)}, info_of(run))


def test_the_checkpoint_is_asked_which_run_it_is_of(tmp_path):
    run = make(tmp_path)
    prepare(run)
    save(run)
    refuse_another(replace(run, schedule=replace(run.schedule, total_steps=200_000)))  # longer is the same run
    other = replace(run, config=config("td3", tau=0.5))
    (tmp_path / "config.json").unlink()
    with pytest.raises(RunError, match=r"checkpoint of step 5 in .*differs in config.tau \(0.005 there, 0.5 here\)"):
        refuse_another(other)
    (tmp_path / "config.json").write_text(json.dumps(other.to_json()))
    with pytest.raises(RunError, match=r"checkpoint of step 5 in .*differs in config.tau"):
        refuse_another(other)
    with pytest.raises(
        RunError, match=r"config.json has been changed since \(put the old values back, or move it away"
    ):
        refuse_another(run)
    with pytest.raises(
        RunError, match=r"config.json has been changed since \(put the old values back, or move it away"
    ):
        record.run_of(tmp_path)
    prepare(replace(run, folder=tmp_path / "other"))
    with pytest.raises(RunError, match=r"holds another run; it differs in config.tau \(0.005 there, 0.5 here\)"):
        refuse_another(replace(other, folder=tmp_path / "other"))


INFOS = [
    {"run": None}, {"run": 3}, {"run": {}}, {"run": {"schedule": 3}}, {"capacity": 0}, {"capacity": "9"},
    {"capacity": 2**40}, {"capacity": None}, {"seconds": None}, {"seconds": "1"},
]  # fmt: skip


@pytest.mark.parametrize("change", INFOS, ids=range(len(INFOS)))
def test_a_checkpoint_that_says_nonsense_is_one_sentence(tmp_path, change):
    run = make(tmp_path)
    with pytest.raises(RunError, match="does not say which run it belongs to"):
        record.require_same({**info_of(run), **change}, run, 5, "")


def test_other_software_is_told_and_kept(tmp_path, monkeypatch):
    run = make(tmp_path)
    prepare(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = (tmp_path / "config.json").stat()
        prepare(run, 5)  # the same
        assert (tmp_path / "config.json").stat().st_ino == before.st_ino  # not even written
    real = software.here()
    newer = {**real, "versions": {**real["versions"], "jax": "99", "brax": None}, "cpu_cores": 77}
    newer["versions"].pop("brax")
    monkeypatch.setattr(software, "here", lambda: newer)
    with pytest.warns(UserWarning, match=r"from step 5 under other software .*jax \(.* there, 99 here\)") as caught:
        prepare(run, 5)
    assert "none here" in str(caught[0].message) and "cpu cores" in str(caught[0].message)
    data = json.loads((tmp_path / "config.json").read_text())
    assert [entry["from_step"] for entry in data["history"]] == [0, 5]
    assert data["history"][0]["versions"] == real["versions"] and data["versions"] == newer["versions"]
    assert data["cpu_cores"] == data["history"][1]["cpu_cores"] == 77
    assert load(tmp_path) == run
    prepare(run)  # nothing was saved: it begins again
    assert [entry["from_step"] for entry in json.loads((tmp_path / "config.json").read_text())["history"]] == [0]


def test_what_the_file_says_now_is_what_is_compared(tmp_path, good):
    edited = {**good, "cpu_cores": 33}
    (tmp_path / "config.json").write_text(json.dumps(edited))
    with pytest.warns(UserWarning, match=r"cpu cores \(33 there"):
        prepare(make(tmp_path), 9)
    history = json.loads((tmp_path / "config.json").read_text())["history"]
    assert [(entry["from_step"], entry["cpu_cores"] == 33) for entry in history] == [(0, True), (9, False)]


def test_a_run_of_an_earlier_version_keeps_its_record(tmp_path, good):
    old = {k: v for k, v in good.items() if k != "history"} | {"versions": {"jax": "0.1", "numpy": np.__version__}}
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.warns(UserWarning, match=r"jax \(0.1 there"):
        prepare(make(tmp_path), 9)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["history"][0] == {"from_step": 0, **{k: old[k] for k in ("versions", "python", "device", "cpu_cores")}}
    assert "jaxlib" in data["versions"] and "orbax-checkpoint" in data["versions"]
