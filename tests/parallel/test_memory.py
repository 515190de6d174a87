"""How much memory there is, by made-up machines, and that a run that cannot fit is refused before it is begun."""

import resource
from dataclasses import replace

import jax
import pytest
from small_agents import config

from pbrl.errors import RunError
from pbrl.parallel import memory
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device, footprint, host

MEMINFO = "MemTotal: 1000 kB\nMemAvailable:   600 kB\nSwapTotal: 0 kB\nSwapFree:  100 kB\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 700 kB free, 600 of them memory, and no limits."""
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "self/statm").write_text("100 9 9 9 9 10 0\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    return tmp_path


def group(place, limit, usage, cache, names=("memory.max", "memory.current", "inactive_file")):
    place.mkdir(parents=True, exist_ok=True)
    (place / names[0]).write_text(f"{limit}\n")
    (place / names[1]).write_text(f"{usage}\n")
    (place / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\n")


def test_the_machine_says_what_it_has(machine):
    assert memory.of_machine() == 700 * 1024
    arc = machine / "spl/kstat/zfs/arcstats"
    arc.parent.mkdir(parents=True)
    arc.write_text("9 1 0x01 123 1 2 3\nname type data\nc_min 4 1000\nsize 4 6000\n")
    assert memory.of_machine() == 700 * 1024 + 5000
    (machine / "meminfo").write_text("MemTotal: 1 kB\n")
    assert memory.of_machine() is None


@pytest.mark.parametrize(("outer", "left"), [("max", 60_000 - 20_000 + 5_000), (30_000, 30_000 - 20_000 + 5_000)])
def test_a_container_says_less(machine, outer, left):
    (machine / "self/cgroup").write_text("0::/job/step\n")
    group(machine / "groups/job/step", 60_000, 20_000, 5_000)
    group(machine / "groups/job", outer, 20_000, 5_000)
    assert memory.of_machine() == left


def test_a_container_of_the_older_kind(machine):
    (machine / "self/cgroup").write_text("3:cpu:/x\n2:memory,hugetlb:/box\n")
    names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    group(machine / "groups/memory/box", 50_000, 20_000, 1_000, names)
    group(machine / "groups/memory", 2**63 - 4096, 20_000, 1_000, names)
    assert memory.of_machine() == 31_000


def test_a_limit_of_the_shell(machine, monkeypatch):
    page = resource.getpagesize()
    limits = {resource.RLIMIT_AS: 150 * page, resource.RLIMIT_DATA: 30 * page}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind],) * 2)
    assert memory.of_machine() == 20 * page
    limits[resource.RLIMIT_DATA] = resource.RLIM_INFINITY
    assert memory.of_machine() == 50 * page


def make(folder, env="Pendulum-v1", **schedule):
    schedule = {"total_steps": 1000, "warmup_steps": 100, "model_every": 0, "batch_size": 10, **schedule}
    return Run("td3", env, (0, 1, 2), config("td3"), Schedule(**schedule), folder)


def test_a_need_is_that_of_the_arrays(tmp_path):
    run = make(tmp_path)
    need, driver = host.check(run), host.Driver(run)
    driver.begin()
    size = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))  # noqa: E731
    assert need.replay == size(driver.learner.replay) and need.agents == size(driver.learner.agent)
    assert need.batches == need.replay // 3 // 100 and not need.plan
    driver.close()
    other = replace(run, env="pbrl/ToyPendulum-v0", driver="device")
    assert device.check(other).plan == 12 * 1000 and "plan" in str(device.check(other))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "schedule",
    [{"total_steps": 2**29}, {"buffer_size": 2**29 - 2, "total_steps": 2**31 - 1}, {"batch_size": 2**31 - 1}],
)
def test_what_cannot_fit_is_refused_before_it_is_begun(tmp_path, monkeypatch, schedule):
    monkeypatch.setattr(host, "Driver", lambda run: pytest.fail("it was begun"))
    monkeypatch.setattr(memory, "of_machine", lambda: 16 * 2**30)
    with pytest.raises(
        RunError, match=r"needs memory of at least \d+\.\d GiB \(replay .*and 16.0 GiB are free here. Lower"
    ):
        host.train(make(tmp_path, **schedule))
    assert not list(tmp_path.iterdir())


def test_an_accelerator_is_asked_itself(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 100, "bytes_in_use": 30}

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(), Device()])
    assert memory.available() == 140
    monkeypatch.setattr(Device, "memory_stats", lambda self: None)
    assert memory.available() is None
    footprint.require(footprint.Footprint(2**60, 0, 0, 0))
