"""Seeds and batches over eight devices of one process, and what needs no second device."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from small_agents import config

from pbrl.errors import RunError
from pbrl.parallel import devices as parallel
from pbrl.parallel import hosts
from pbrl.runs.placement import share
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """What `eight_devices.py` found."""
    script = Path(__file__).with_name("eight_devices.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path_factory.mktemp("runs")],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_collectives_are_seen_where_there_are_some(eight):
    assert eight["devices"] == 8 and eight["a sum"] > 0


@pytest.mark.parametrize("name", ["sac", "mage"])
def test_an_update_over_seeds_communicates_nothing(eight, name):
    count, apart = eight["updates"][name]["seeds"]
    assert count == 0 and apart < 1e-6


@pytest.mark.parametrize("name", ["sac", "mage"])
@pytest.mark.parametrize("way", ["data", "both"])
def test_a_batch_over_devices_is_that_batch(eight, name, way):
    count, apart = eight["updates"][name][way]
    assert count > 0 and apart < 1e-6


def test_an_epoch_and_an_evaluation_over_seeds_communicate_nothing(eight):
    """Fits that stop early, each stream's in its own time, and episodes that end when they do, included."""
    assert eight["epochs"] == {"maac, map": [0, 0], "maac, vmap": [0, 0]}


@pytest.mark.parametrize("driver", ["device", "host"])
def test_a_run_uses_all_devices_and_ends_as_on_one(eight, driver):
    found = dict(eight[driver])
    assert found.pop("apart") < 1e-6  # a program for several devices rounds otherwise than one for one
    assert found.pop("apart from two") == 0
    assert found == {"devices": 8, "shard": 2, "resumed": [8]}


def test_the_streams_of_a_spread_run_are_diagnosed_side_by_side_as_on_one_device(eight):
    count, devices, apart = eight["diagnosis"]
    assert count == 0 and devices == 8 and apart < 1e-5


def test_cores_become_devices_for_several_streams_unless_someone_chose_their_number():
    script = "from pbrl.cli import sweep;"
    script += "words = 'sac --env pbrl/ToyPendulum-v0 --preset cpu --seeds 2 --space config.tau=0.1,0.2,0.3';"
    script += "print(sweep.parse(words.split()).seed_mode); import jax; print(jax.device_count())"
    unset = {name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    flag = "--xla_force_host_platform_device_count=3"
    for chosen, count in ({}, parallel.sharers(6, parallel.cores())), ({"XLA_FLAGS": flag}, 3):
        words = [sys.executable, "-c", script]
        found = subprocess.run(words, env={**unset, **chosen}, capture_output=True, text=True, check=True).stdout
        assert found.split() == ["map", str(count)]


def test_streams_keep_all_cores_busy():
    on_two = {n: parallel.sharers(n, 2) for n in (1, 2, 3, 5, 8, 9, 11, 64)}
    assert on_two == {1: 1, 2: 2, 3: 3, 5: 5, 8: 2, 9: 3, 11: 1, 64: 2}
    assert [parallel.sharers(n, 16) for n in (3, 16, 20, 31, 67)] == [3, 16, 20, 31, 1]
    assert {parallel.sharers(n, 1) for n in range(1, 9)} == {1}


def test_as_many_devices_as_get_equally_many_streams(eight):
    assert eight["meshes"] == [None, 6, 7, 8, None, 6, 8]


def test_a_mesh_larger_than_the_machine_is_refused():
    with pytest.raises(ValueError, match=r"a mesh of 3 x 2 \(seeds x data\) is not to be had from 1 devices"):
        parallel.mesh(3, 2, jax.devices()[:1])
    with pytest.raises(ValueError, match="a mesh of 1 x 0"):
        parallel.mesh(data=0)


def test_by_itself_a_process_shares_with_nobody():
    arrays = {"a": np.arange(3.0), "b": np.float32(2)}
    assert hosts.alone() and hosts.is_first() and hosts.everyone({"x": [1, None]}) == [{"x": [1, None]}]
    assert hosts.everyones_arrays(arrays) == [arrays] and hosts.joined(arrays)["a"] is arrays["a"]
    assert parallel.whole(arrays) is arrays


def test_shares_of_a_run(monkeypatch):
    run = Run("sac", "Pendulum-v1", tuple(range(6)), config("sac"), Schedule(), Path())
    assert share(run) is run
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    shares = []
    for i in range(3):
        monkeypatch.setattr(jax, "process_index", lambda i=i: i)
        shares.append(share(run).seeds)
    assert shares == [(0, 1), (2, 3), (4, 5)]
    with pytest.raises(RunError, match="5 seeds cannot be shared among 3 hosts"):
        share(replace(run, seeds=tuple(range(5))))
    with pytest.raises(RunError, match="a sweep trains within one process"):
        share(replace(run, trials=({"config.tau": 0.1},)))
