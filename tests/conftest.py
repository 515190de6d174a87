"""Fixtures for all tests. They run on the CPU alone, whatever accelerator a machine has."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MUJOCO_GL", "egl")

import tempfile

import jax
import pytest

# Tests build the same programs over and over; processes of one test run share what they compiled.
CACHE = os.path.join(tempfile.gettempdir(), f"pbrl-tests-{os.getuid()}-jax-{jax.__version__}")
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def x64():
    """Run one test in float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def key():
    return jax.random.key(0)
