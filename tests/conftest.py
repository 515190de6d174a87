"""Fixtures for all tests. They run on the CPU alone, whatever accelerator a machine has."""

import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # numbers are compared to the bit, whatever cores a machine has

import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import pytest

# Tests build the same programs over and over. A worker shares what it compiled with its subprocesses and later runs,
# not with other workers: JAX writes entries in place, so that one might read what another has half written.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
CACHE = os.path.join(tempfile.gettempdir(), f"pbrl-tests-{os.getuid()}-jax-{jax.__version__}-{WORKER}")
os.environ["JAX_COMPILATION_CACHE_DIR"], os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = CACHE, "0.1"
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# Nearly all of the suite's time goes into compiling. A program in one piece by XLA's plainer code generator is there
# in a third of the time; later releases have no such choice. XLA reads this once, with the first computation.
FLAGS = ["--xla_cpu_parallel_codegen_split_count=1"]
if jax.__version_info__ < (0, 11):
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
CHOSEN = os.environ.get("XLA_FLAGS", "").split()
os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in FLAGS if flag not in CHOSEN), *CHOSEN])

gc.set_threshold(100_000, 20, 50)  # tracing makes many objects and little garbage

OPTIMISED = {"test_oracle", "test_probes"}  # files whose programs are compiled as users' are
MAPS = Path("/proc/self/maps")
MANY = 20_000  # of the 65,530 memory maps that Linux grants a process; a compiled program takes about ten


@pytest.fixture(autouse=True, scope="module")
def programs_of_a_file(request):
    """Compile cheaply, since nearly all of the suite's time goes there, and keep programs while there is room.

    Subprocesses compile alike.
    """
    cheap = request.module.__name__ not in OPTIMISED
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(cheap))
    if cheap != jax.config.read("jax_disable_most_optimizations") or _maps() > MANY:
        jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", cheap)
    yield
    assert not jax.config.read("jax_enable_x64"), "a test of this file left float64 on for those of the next ones"


def _maps():
    return MAPS.read_bytes().count(b"\n") if MAPS.exists() else MANY + 1


SPLIT = {name: "name" for name in ("test_agents", "test_resume", "test_float64", "test_probes")} | {
    "test_hosts": "straight"
}
LONGEST = ("test_hosts", "test_parallel", "test_resume", "test_agents", "test_twin", "test_float64", "test_golden")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """Keep a file's tests in one process, which then compiles once, and begin with the longest files.

    The longest of all are cut along a parameter that their programs depend on.
    """
    for item in items:
        file, parameters = item.path.stem, item.callspec.params if hasattr(item, "callspec") else {}
        part = parameters.get(SPLIT.get(file), "")
        item.add_marker(pytest.mark.xdist_group(f"{file}-{part}" if part else file))
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture
def x64():
    """Run one test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB, for what happens when it is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def key():
    return jax.random.key(0)
