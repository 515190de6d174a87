"""Fixtures for all tests. They run on the CPU alone, whatever accelerator a machine has."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # numbers are compared to the bit, whatever cores a machine has

import tempfile

import jax
import pytest

# Tests build the same programs over and over. A worker shares what it compiled with its subprocesses and later runs,
# not with other workers: JAX writes entries in place, so that one might read what another has half written.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
CACHE = os.path.join(tempfile.gettempdir(), f"pbrl-tests-{os.getuid()}-jax-{jax.__version__}-{WORKER}")
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

OPTIMISED = {"test_oracle", "test_probes"}  # files whose programs are compiled as users' are


@pytest.fixture(autouse=True, scope="module")
def programs_of_a_file(request):
    """Compile them cheaply, since nearly all of the suite's time goes there, and let go of them afterwards.

    Thousands in one process use up the memory maps that Linux grants it. Subprocesses compile alike.
    """
    cheap = request.module.__name__ not in OPTIMISED
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(cheap))
    jax.config.update("jax_disable_most_optimizations", cheap)
    yield
    jax.clear_caches()
    assert not jax.config.read("jax_enable_x64"), "a test of this file left float64 on for those of the next ones"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """Keep a file's tests in one process, which then compiles once; in a file over many names, a name's tests."""
    for item in items:
        name = item.callspec.params.get("name") if hasattr(item, "callspec") else None
        item.add_marker(pytest.mark.xdist_group(f"{item.path.name}-{name}" if name else item.path.name))


@pytest.fixture
def x64():
    """Run one test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def key():
    return jax.random.key(0)
