"""Checkpoints: whole or not there, checked byte by byte, and never a pickle."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl import checkpoint
from pbrl.checkpoint import CheckpointError


def make(scale=1.0):
    return {
        "params": {"w": scale * jnp.arange(600.0).reshape(20, 30), "b": jnp.zeros(3, jnp.bfloat16)},
        "key": jax.random.split(jax.random.key(5), 2),
        "count": jnp.int32(7),
        "flag": jnp.array(True),
        "envs": [{"physics": np.linspace(0, 1, 11), "words": np.array([2**64 - 1], np.uint64)}, {"empty": np.zeros(0)}],
    }


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_everything_comes_back_to_the_bit(tmp_path):
    folder = tmp_path / "a folder with spaces, ünïcode"
    checkpoint.save(folder, 30, make(), {"seconds": 0.1 + 0.2, "seeds": [1, 2]})
    tree, info, step = checkpoint.restore(folder, make())
    assert_same(tree, make())
    assert (info, step) == ({"seconds": 0.1 + 0.2, "seeds": [1, 2]}, 30)
    assert jax.random.uniform(tree["key"][0]) == jax.random.uniform(make()["key"][0])
    assert checkpoint.read_info(folder) == (info, 30)


def test_the_newest_two_stay(tmp_path):
    for step in (1, 2, 10):
        checkpoint.save(tmp_path, step, make(step), {})
    assert checkpoint.steps(tmp_path) == [2, 10]
    assert_same(checkpoint.restore(tmp_path, make())[0], make(10))
    assert_same(checkpoint.restore(tmp_path, make(), step=2)[0], make(2))


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_a_hundred_flipped_bytes_are_a_hundred_found(tmp_path):
    checkpoint.save(tmp_path, 1, make(1), {})
    checkpoint.save(tmp_path, 2, make(2), {})
    rng, files = np.random.default_rng(0), files_of(tmp_path / "2")
    sizes = np.array([f.stat().st_size for f in files])
    for _ in range(100):
        path = files[rng.choice(len(files), p=sizes / sizes.sum())]
        content = bytearray(path.read_bytes())
        place = rng.integers(len(content))
        content[place] ^= 1 << rng.integers(8)
        original, _ = path.read_bytes(), path.write_bytes(bytes(content))
        with pytest.warns(UserWarning, match="the checkpoint before it is used"):
            assert checkpoint.read_info(tmp_path)[1] == 1
        path.write_bytes(original)
    assert checkpoint.read_info(tmp_path)[1] == 2


@pytest.mark.parametrize("harm", ["truncate", "remove", "add"])
def test_other_damage_is_named_and_the_previous_step_used(tmp_path, harm):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make(step), {})
    path = max(files_of(tmp_path / "2" / "arrays"), key=lambda p: p.stat().st_size)
    if harm == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "remove":
        path.unlink()
    else:
        path = path.with_name("stranger")
        path.write_text("hello")
    with pytest.warns(UserWarning, match=path.name):
        tree, _, step = checkpoint.restore(tmp_path, make())
    assert step == 1
    assert_same(tree, make(1))


def test_no_good_checkpoint_is_one_clear_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        checkpoint.restore(tmp_path, make())
    checkpoint.save(tmp_path, 1, make(), {})
    (tmp_path / "1" / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is good: .*checksum differs"):
        checkpoint.restore(tmp_path, make())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "count": jnp.int32([7, 8])}, r"\['count'\] is int32\[\], expected int32\[2\]"),
        (lambda t: {**t, "count": jnp.float32(7)}, r"\['count'\] is int32\[\], expected float32\[\]"),
        (lambda t: {**t, "more": jnp.zeros(2)}, r"leaf \['more'\] is missing in it"),
        (lambda t: {k: v for k, v in t.items() if k != "flag"}, r"leaf \['flag'\] is not part of this run"),
    ],
)
def test_another_structure_names_the_leaf(tmp_path, change, message):
    checkpoint.save(tmp_path, 1, make(), {})
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(tmp_path, change(make()))


def reseal(folder, manifest):
    """Write a manifest with a valid seal, as somebody hostile would."""
    import hashlib

    text = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(hashlib.sha256(text).hexdigest())


def test_another_schema_is_refused_with_a_sentence(tmp_path):
    checkpoint.save(tmp_path, 1, make(), {})
    manifest = json.loads((tmp_path / "1" / "manifest.json").read_text())
    reseal(tmp_path / "1", {**manifest, "schema": 0})
    with pytest.raises(CheckpointError, match="has schema 0, this pbrl reads 1"):
        checkpoint.restore(tmp_path, make())


def test_hostile_manifests_and_links_are_refused(tmp_path):
    checkpoint.save(tmp_path, 1, make(), {})
    folder = tmp_path / "1"
    manifest = json.loads((folder / "manifest.json").read_text())
    reseal(folder, {**manifest, "files": {**manifest["files"], "../../secret": [1, "0"]}})
    with pytest.raises(CheckpointError, match="secret is missing"):
        checkpoint.restore(tmp_path, make())
    huge = {**manifest["leaves"], "['count']": {"shape": [2**40], "dtype": "float64", "key": None}}
    reseal(folder, {**manifest, "leaves": huge})
    with pytest.raises(CheckpointError, match="expected int32"):
        checkpoint.restore(tmp_path, make())
    reseal(folder, ["not", "a", "manifest"])
    with pytest.raises(CheckpointError, match="is not a manifest"):
        checkpoint.restore(tmp_path, make())
    reseal(folder, manifest)
    assert checkpoint.restore(tmp_path, make())[2] == 1
    (folder / "arrays" / "link").symlink_to("/etc/passwd")
    with pytest.raises(CheckpointError, match="is a link"):
        checkpoint.restore(tmp_path, make())


def test_a_failed_write_leaves_the_last_checkpoint_and_no_rest(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, make(1), {})

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(CheckpointError, match="No space left on device; the checkpoint of step 1 is intact"):
        checkpoint.save(tmp_path, 2, make(2), {})
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    assert_same(checkpoint.restore(tmp_path, make())[0], make(1))


def test_killed_writers_leave_nothing_half_done(tmp_path):
    """Whenever the process dies, what is listed is whole, and the next save clears the rest away."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np; from pathlib import Path; from pbrl import checkpoint\n"
        "for i in range(1, 100): checkpoint.save(Path(sys.argv[2]), i, {'w': np.full(2_000_000, float(i))}, {})"
    )
    for wait in (0.05, 0.15, 0.3):
        process = subprocess.Popen([sys.executable, "-c", code, os.getcwd(), str(tmp_path)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not checkpoint.steps(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a damaged newest step would warn
            tree, _, step = checkpoint.restore(tmp_path, {"w": np.zeros(2_000_000)})
        assert (tree["w"] == step).all()
    checkpoint.save(tmp_path, 1000, {"w": np.zeros(1)}, {})
    assert all(p.name.isdigit() for p in tmp_path.iterdir())
