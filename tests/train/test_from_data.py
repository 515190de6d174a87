"""A run that begins with a dataset: what is exported comes back to the bit, trains, resumes; what is wrong is told."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from small_agents import config

from pbrl.cli import options
from pbrl.errors import RunError
from pbrl.runs import record
from pbrl.runs.dataset import Dataset, parse
from pbrl.runs.dataset_rows import read
from pbrl.runs.layout import Layout
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device, host
from pbrl.trained import dataset, restore

minari = pytest.importorskip("minari", reason="needs pbrl[data]")
h5py = pytest.importorskip("h5py", reason="needs pbrl[data]")

SCHEDULE = Schedule(
    total_steps=60, warmup_steps=60, batch_size=8, updates_per_step=1, model_every=0, eval_every=0, log_every=60,
    buffer_size=50,
)  # fmt: skip
ENV = "InvertedPendulum-v5"  # actions within ±3, terminations after about ten steps


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run of two seeds whose buffers have wrapped around, with episodes of both ends, and its dataset."""
    folder = tmp_path_factory.mktemp("old") / "run"
    run = Run("td3", ENV, (3, 4), config("td3"), SCHEDULE, folder, sinks=("jsonl",), wrap=("time-limit=6",))
    host.train(run)
    out = folder.parent / "pole-v0"
    return run, out, dataset.write(run, out)


def layout_of(run):
    return restore.buffers(run)[1]


def in_order(ring, i):
    """Return the rows of stream i, oldest first."""
    size, inserted = ring.episode.shape[1], int(ring.inserted[i])
    order = (inserted - size + np.arange(size)) % size
    return jax.tree.map(lambda x: np.asarray(x)[i, order], ring.rows)


def test_what_is_exported_comes_back_to_the_bit(old):
    run, out, written = old
    found, ring = read(Dataset.find(str(out)), layout_of(run)), restore.buffers(run)[0]
    expected = jax.tree.map(lambda *xs: np.concatenate(xs), in_order(ring, 0), in_order(ring, 1))
    for name in ("obs", "action", "reward", "discount", "next_obs"):
        there, here = getattr(expected, name), getattr(found.batch, name)
        assert there.dtype == here.dtype
        np.testing.assert_array_equal(there, here)
    terminated = found.batch.discount == 0
    assert written.rows == 100 and 0 < written.terminated < written.episodes
    assert terminated.sum() == written.terminated and (found.truncated & terminated).sum() == 0
    assert found.last.sum() == written.episodes and (found.last == (terminated | found.truncated)).all()


def test_minari_reads_it_and_every_episode_says_its_seed(old, monkeypatch):
    _, out, written = old
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(out.parent))
    assert Dataset.find("pole-v0") == Dataset.find(str(out))
    there = minari.load_dataset("pole-v0")
    assert there.total_episodes == written.episodes and there.total_steps == 100
    assert there.action_space.high.tolist() == [3.0] and there.env_spec.id == ENV
    assert {int(one["run_seed"]) for one in there.storage.get_episode_metadata(there.episode_indices)} == {3, 4}
    for one in there:
        assert one.observations.shape == (len(one) + 1, 4) and not (one.terminations & one.truncations).any()
        assert not (one.terminations | one.truncations)[:-1].any()
        assert one.terminations[-1] | one.truncations[-1] and len(one) <= 6 and repr(one)


def test_one_seed_alone_and_names_that_minari_does_not_take(old, tmp_path, monkeypatch):
    run, out, _ = old
    monkeypatch.chdir(tmp_path)
    assert dataset.write(run, Path("sets/one-v1"), seed_index=1).rows == 50
    assert Dataset.find("sets/one-v1").rows == 50 and [path.name for path in Path("sets").iterdir()] == ["one-v1"]
    with pytest.raises(RunError, match="expected a folder named NAME-vN"):
        dataset.write(run, out.with_name("pole"))
    with pytest.raises(RunError, match="it is there already"):
        dataset.write(run, out)


def test_what_lies_beside_an_export_stays(old, tmp_path, monkeypatch):
    run = old[0]
    (tmp_path / "one-v1.partial").mkdir()
    dataset.write(run, tmp_path / "one-v1")

    def full(*_):
        raise RuntimeError("unable to flush file's cached information")  # what h5py says of a full disk

    monkeypatch.setattr(dataset, "_store", full)
    with pytest.raises(RunError, match="two-v1 cannot be written: unable to flush"):
        dataset.write(run, tmp_path / "two-v1")
    assert {path.name for path in tmp_path.iterdir()} == {"one-v1", "one-v1.partial"}


def test_what_transitions_carry_besides_comes_back_too(old, tmp_path):
    run = old[0]
    settings, schedule = config("svg"), replace(SCHEDULE, updates_per_step=0, warmup_steps=20, total_steps=20)
    run = replace(run, agent="svg", config=settings, oracle="fidelity", wrap=(), seeds=(0,), schedule=schedule)
    run = replace(run, folder=tmp_path / "run")
    host.train(run)
    dataset.write(run, tmp_path / "state-v0")
    given, ring = Dataset.find(str(tmp_path / "state-v0")), restore.buffers(run)[0]
    found = read(given, layout_of(run)).batch.extras
    assert found.keys() == ring.rows.extras.keys() and found
    for name, there in found.items():
        np.testing.assert_array_equal(there, np.asarray(ring.rows.extras[name])[0])
    assert begun(replace(run, data=given)).replay.inserted.tolist() == [20]

    def other(file, about):
        for episode in file.values():
            for name, there in list(episode["infos/pbrl"].items()):
                del episode[f"infos/pbrl/{name}"]
                episode[f"infos/pbrl/{name}"] = np.zeros((len(there), 99))

    wrong = spoiled(tmp_path / "state-v0", tmp_path / "other-v0", other)
    with pytest.raises(RunError, match=r"has shape \[99\] in a transition, expected"):
        begun(replace(run, data=wrong))


def test_the_device_driver_learns_from_it_alone(tmp_path):
    schedule = replace(SCHEDULE, updates_per_step=0, total_steps=40, warmup_steps=40, buffer_size=0)
    run = Run("td3", "pbrl/ToyDoubleIntegrator-v0", (0, 1), config("td3"), schedule, tmp_path / "run", driver="device")
    device.train(run)
    written = dataset.write(run, tmp_path / "integrator-v0")
    given = Dataset.find(str(tmp_path / "integrator-v0"))
    schedule = replace(schedule, total_steps=3, warmup_steps=0, updates_per_step=1, offline=True)
    new = replace(run, data=given, schedule=schedule, folder=tmp_path / "new")
    device.train(new)
    learner, _ = restore.learners(new)
    assert written.rows == 80 and learner.replay.inserted.tolist() == [80, 80]
    np.testing.assert_array_equal(learner.replay.rows.obs[0, :40], restore.buffers(run)[0].rows.obs[0])
    assert learner.skipped.tolist() == [0, 0]
    assert not np.array_equal(*(jax.tree.leaves(x.agent.ac.critic)[0] for x in (learner, begun_on_device(new))))


def begun_on_device(run):
    driver = device.Driver(run)
    driver.begin()
    return jax.tree.map(np.asarray, driver.learner)


def begun(run):
    """Return the learners with which a run begins."""
    from pbrl.train import from_data

    driver = host.Driver(run)
    driver.begin(lambda fresh: from_data.onto(run, driver.layout, fresh))
    driver.close()
    return jax.tree.map(np.asarray, driver.learner)


def test_replay_and_normaliser_begin_with_its_rows(old, tmp_path):
    run, out, _ = old
    given = Dataset.find(str(out))
    schedule = replace(SCHEDULE, total_steps=20, warmup_steps=0, buffer_size=0)
    new = replace(run, data=given, schedule=schedule, folder=tmp_path / "new")
    learner, rows = begun(new), read(given, layout_of(run))
    assert new.schedule.data_rows == 100 and learner.replay.capacity == 120
    assert learner.replay.inserted.tolist() == [100, 100] and learner.agent.stats.count.tolist() == [100, 100]
    np.testing.assert_array_equal(learner.replay.rows.obs[1, :100], rows.batch.obs)
    np.testing.assert_allclose(learner.agent.stats.mean[0], rows.batch.obs.mean(0), rtol=1e-5, atol=1e-6)
    assert (np.diff(learner.replay.episode[0, :100]) == rows.last[:-1]).all()
    assert learner.replay.cuts[0] == learner.replay.episode[0, 99] + 1  # no sequence runs on into the environment
    newest = begun(replace(new, schedule=replace(schedule, data_rows=30)))
    np.testing.assert_array_equal(newest.replay.rows.reward[0, :30], rows.batch.reward[-30:])


def test_offline_takes_no_step_and_fits_the_model_first(old, tmp_path, monkeypatch):
    run, out, _ = old
    schedule = replace(SCHEDULE, total_steps=3, warmup_steps=0, offline=True, model_every=25, model_batch_size=16)
    schedule = replace(schedule, model_min_batches=2, buffer_size=0, log_every=1)
    new = replace(run, agent="mage", config=config("mage"), data=Dataset.find(str(out)), schedule=schedule)
    new = replace(new, folder=tmp_path / "new")
    monkeypatch.setattr("pbrl.train.streams.Streams.step", None)
    host.train(new)
    learner = restore.learners(new)[0]
    assert learner.replay.inserted.tolist() == [100, 100] and (np.asarray(learner.fitted) > 0).all()
    rows = [json.loads(line) for line in (new.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["critic/loss"] for row in rows if "critic/loss" in row]
    assert len(losses) == 3 and np.isfinite(losses).all()


def test_it_trains_resumes_and_refuses_other_data(old, tmp_path):
    run, out, _ = old
    given = Dataset.find(str(out))
    schedule = replace(SCHEDULE, total_steps=6, warmup_steps=0, buffer_size=0)
    new = replace(run, data=given, schedule=schedule, folder=tmp_path / "new")
    host.train(new)
    assert restore.learners(new)[0].replay.inserted.tolist() == [106, 106]
    written = json.loads((new.folder / "config.json").read_text())
    assert written["data"] == {"id": "pole-v0", "sha256": given.sha256, "rows": 100}
    assert record.run_of(new.folder).identity() == new.identity()
    longer = replace(new, schedule=replace(new.schedule, total_steps=8))
    assert host.train(longer).step == 8 and restore.learners(longer)[0].replay.inserted.tolist() == [108, 108]
    for other in (None, replace(given, sha256="0" * 64)):
        with pytest.raises(RunError, match=r"it differs in data.*Give the old values to resume it"):
            host.train(replace(longer, data=other, schedule=replace(schedule, total_steps=8)))


def spoiled(out, place, change):
    """Copy a dataset and change it: `change` takes its HDF5 file and its metadata."""
    shutil.copytree(out, place)
    path = place / "data" / "metadata.json"
    about = json.loads(path.read_text())
    with h5py.File(place / "data" / "main_data.hdf5", "a") as file:
        change(file, about)
    path.write_text(json.dumps(about))
    return Dataset.find(str(place))


def _nan(file, about):
    file["episode_1/rewards"][0] = np.nan


def _wild(file, about):
    file["episode_1/observations"][1] = 1e12


def _size(file, about):
    box = {"type": "Box", "dtype": "float32", "shape": [5], "low": [-1.0] * 5, "high": [1.0] * 5}
    about["observation_space"] = json.dumps(box)


def _dict(file, about):
    about["observation_space"] = json.dumps({"type": "Dict", "subspaces": {}})


def _bounds(file, about):
    about["action_space"] = about["action_space"].replace("3.0", "2.0")


def _beyond(file, about):
    file["episode_0/actions"][0] = 4.0


def _empty(file, about):
    about["total_episodes"] = 0


def _count(file, about):
    about["total_steps"] = 7


def _torn(file, about):
    del file["episode_0/rewards"]


def _short(file, about):
    rewards = file["episode_0/rewards"][:-1]
    del file["episode_0/rewards"]
    file["episode_0/rewards"] = rewards


def _type(file, about):
    about["total_episodes"] = "13"


def _infos(file, about):
    infos = file["episode_0/infos"] if "infos" in file["episode_0"] else file["episode_0"].create_group("infos")
    infos.create_group("pbrl")["state"] = [1.0, 2.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_nan, r"1 of 100 rows are not sound.*NaN, infinite"),
        (_wild, r"rows are not sound.*far larger than all others"),
        (_size, r"its observations are Box \(5,\), the environment's are Box \(4,\)"),
        (_dict, "its observations are Dict, the environment's"),
        (_bounds, r"bounded by \(-2\) and \(2\), the environment's by \(-3\) and \(3\)"),
        (_beyond, "episode 0 has actions beyond the bounds"),
        (_empty, "it holds no episode"),
        (_count, "it states 7 steps and holds 100"),
        (_torn, "is damaged, or no dataset that Minari reads .*rewards.*; put a whole copy of it there"),
        (_short, r"episode 0 has arrays of .*expected"),
        (_type, "is damaged, or no dataset that Minari reads"),
        (_infos, "episode 0 has [0-9]+ steps and fewer infos of pbrl's"),
    ],
)
def test_wrong_data_are_one_sentence(old, tmp_path, change, said):
    run, out, _ = old
    given = spoiled(out, tmp_path / "wrong-v0", change)
    schedule = replace(SCHEDULE, total_steps=6, warmup_steps=0)
    with pytest.raises(RunError, match=said) as raised:
        begun(replace(run, data=given, schedule=schedule, folder=tmp_path / "new"))
    assert "\n" not in str(raised.value)


def test_an_environment_that_a_dataset_names_is_never_made(old, tmp_path, monkeypatch):
    """Minari would make it where spaces are missing, and so import any module."""
    run, out, _ = old
    (tmp_path / "harm.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def without_space(file, about):
        del about["action_space"]
        about["env_spec"] = about["env_spec"].replace("gymnasium.envs.mujoco.inverted_pendulum_v5", "harm")

    given = spoiled(out, tmp_path / "named-v0", without_space)
    with pytest.raises(SystemExit, match="imported"):
        minari.MinariDataset(given.folder)
    found, expected = (read(one, layout_of(run)) for one in (given, Dataset.find(str(out))))
    assert all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(expected)))


def test_what_cannot_be_asked_for_is_one_sentence(old, tmp_path):
    run, out, _ = old
    with pytest.raises(RunError, match="there is no such folder"):
        Dataset.find(str(tmp_path / "nothing"))
    (tmp_path / "data").mkdir()
    for text in ("{", "[]", '{"dataset_id": "a", "total_steps": 0}'):
        (tmp_path / "data" / "metadata.json").write_text(text)
        with pytest.raises(RunError, match=r"cannot be read.*; put a whole copy|lacks dataset_id|expected the id"):
            Dataset.find(str(tmp_path))
    for data in ({}, {"id": "a", "sha256": "0", "rows": 1}, {"id": "a", "sha256": "0" * 64, "rows": True}):
        with pytest.raises(ValueError, match="data: expected the id"):
            parse(data)
    given = Dataset.find(str(out))
    short = replace(SCHEDULE, total_steps=6, warmup_steps=0, buffer_size=0)
    for changes, said in (
        ({"data": given, "schedule": replace(short, data_rows=101)}, "expected at most 100, the rows of pole-v0"),
        ({"schedule": replace(short, data_rows=5)}, "no dataset, which --data gives"),
        ({"schedule": replace(short, offline=True)}, "schedule.offline: expected rows of a dataset"),
        ({"data": given, "schedule": replace(short, offline=True, warmup_steps=2)}, "schedule.offline: expected rows"),
    ):
        with pytest.raises(RunError, match=said):
            replace(run, **changes, folder=tmp_path / "new").validate()
    oracle = replace(run, wrap=(), agent="svg", config=config("svg"), oracle="fidelity", data=given, schedule=short)
    with pytest.raises(RunError, match=r"its transitions lack .* the simulator's state, for an oracle"):
        begun(replace(oracle, folder=tmp_path / "new"))


def test_the_command_line_says_the_same(old, monkeypatch):
    _, out, _ = old
    with pytest.raises(RunError, match="--data: expected a folder or an id, got nothing"):
        options.parse(["td3", f"--env={ENV}", "--preset=cpu", "--data="])  # an empty variable of a shell
    words = ["td3", f"--env={ENV}", "--preset=cpu", "--data", str(out)]
    run = options.parse(words)
    assert run.data == Dataset.find(str(out)) and run.schedule.warmup_steps == 0 and run.schedule.data_rows == 100
    assert options.parse([*words, "--schedule.warmup-steps=7"]).schedule.warmup_steps == 7
    assert run.folder != options.parse(words[:3]).folder
    assert options.parse([*words, "--schedule.offline=True"]).schedule.capacity == 100


def test_bounds_that_are_not_symmetric_come_back():
    layout = Layout(1, 2, 5, (-1.5, 2.0), (4.0, 3.7))
    action = np.random.default_rng(0).uniform(-1, 1, (1000, 2)).astype(np.float32)
    from pbrl.runs.dataset_rows import _rescaled

    (stored,) = dataset._in_units([action], layout)
    np.testing.assert_array_equal(_rescaled(stored, layout, 0), action)
    assert stored.dtype == np.float64
    (same,) = dataset._in_units([action], replace(layout, low=(-1.0, -2.0), high=(1.0, 2.0)))
    assert same.dtype == np.float32
