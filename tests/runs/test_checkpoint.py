"""Checkpoints: whole or not there, checked byte by byte, and never a pickle."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.errors import CheckpointError
from pbrl.runs import checkpoint, manifest


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


def reseal(folder, content):
    """Write a manifest with a valid seal, as somebody hostile would."""
    text = json.dumps(content).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(hashlib.sha256(text).hexdigest())


def test_another_schema_is_refused_with_a_sentence(tmp_path):
    checkpoint.save(tmp_path, 1, make(), {})
    reseal(tmp_path / "1", {**sealed(tmp_path / "1"), "schema": 0})
    with pytest.raises(CheckpointError, match="has schema 0, this pbrl reads 3"):
        checkpoint.restore(tmp_path, make())


def sealed(folder):
    """Return the content of a checkpoint's manifest, with the checksums of the files that are there now."""
    files = {name: [size, manifest._digest(folder / name)] for name, size in manifest._files(folder).items()}
    return {**json.loads((folder / "manifest.json").read_text()), "files": files}


W = {"shape": [20, 30], "dtype": "float32", "key": None}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"files": {"../../secret": [1, "0"]}}, "secret is missing"),
        ({"files": {"/etc/passwd": [1, "0"]}}, "/etc/passwd is missing"),
        ({"files": []}, "another type"),
        ({"files": {"arrays/x": 3}}, "another type"),
        ({"info": None}, "another type"),
        ({"leaves": []}, "is not a manifest"),
        ({"leaves": {"['w']": 5}}, "is not a manifest"),
        ({"leaves": {"['w']": {**W, "shape": 5}}}, "another type"),
        ({"leaves": {"['w']": {**W, "shape": [-1]}}}, "another type"),
        ({"leaves": {"['w']": {**W, "shape": [2**62, 2**62]}}}, r"is float32\[4611.*, expected float32\[20, 30\]"),
        ({"leaves": {"['w']": {**W, "dtype": "object"}}}, r"is object\[20, 30\], expected float32"),
        ({"leaves": {"['w']": {**W, "key": "made_up"}}}, "expected float32"),
        ({"leaves": {"['w']": {**W, "shape": [0]}}}, "expected float32"),
        ({"step": 99}, "belongs to step 99, which is not its folder's"),
        ({"schema": [1]}, "has schema"),
    ],
)
def test_hostile_manifests_are_refused(tmp_path, entry, message):
    tree = {"w": np.zeros((20, 30), np.float32)}
    checkpoint.save(tmp_path, 1, tree, {})
    reseal(tmp_path / "1", sealed(tmp_path / "1") | entry)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(tmp_path, tree)


@pytest.mark.parametrize("text", [b"[]", b"3", b"{}", b"\xff", b"[" * 10**5, b'{"schema": ' + b"1" * 5000 + b"}"])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    checkpoint.save(tmp_path, 1, make(), {})
    (tmp_path / "1" / "manifest.json").write_bytes(text)
    (tmp_path / "1" / "manifest.sha256").write_text(hashlib.sha256(text).hexdigest())
    with pytest.raises(CheckpointError, match="is not a manifest"):
        checkpoint.restore(tmp_path, make())


@pytest.mark.parametrize("place", ["1", "1/arrays", "1/manifest.json", "1/stranger"])
def test_links_are_refused(tmp_path, place):
    folder = tmp_path / "run"
    checkpoint.save(folder, 1, make(), {})
    elsewhere = tmp_path / "elsewhere"
    if (folder / place).exists():
        (folder / place).rename(elsewhere)
    (folder / place).symlink_to(elsewhere)
    with pytest.raises(CheckpointError, match=r"is a link|is missing"):
        checkpoint.restore(folder, make())


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    checkpoint.save(tmp_path, 1, make(), {})
    os.mkfifo(tmp_path / "1" / "pipe")
    with pytest.raises(CheckpointError, match="neither a file nor a folder"):
        checkpoint.restore(tmp_path, make())


def test_arrays_larger_than_stated_are_refused_before_they_are_read(tmp_path, monkeypatch):
    for step, size in ((1, 5), (2, 500_000)):
        checkpoint.save(tmp_path, step, {"w": np.zeros(size)}, {})
    shutil.rmtree(tmp_path / "1" / "arrays")
    (tmp_path / "2" / "arrays").rename(tmp_path / "1" / "arrays")
    reseal(tmp_path / "1", sealed(tmp_path / "1"))
    monkeypatch.setattr("orbax.checkpoint.PyTreeCheckpointer.restore", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match=r"\['w'\] does not have the shape or type that its manifest states"):
        checkpoint.restore(tmp_path, {"w": np.zeros(5)}, step=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # threads of the storage library
def test_arrays_forged_with_right_checksums_end_in_a_clean_error_or_in_arrays(tmp_path):
    tree = {"w": np.arange(50.0), "n": np.arange(3)}
    checkpoint.save(tmp_path, 1, tree, {})
    folder, rng = tmp_path / "1", np.random.default_rng(0)
    files = files_of(folder / "arrays")
    refused = 0
    for _ in range(60):
        path = files[rng.integers(len(files))]
        original = path.read_bytes()
        content = bytearray(original)
        for place in rng.integers(len(content), size=rng.integers(1, 6)):
            content[place] = rng.integers(256)
        path.write_bytes(bytes(content))
        reseal(folder, sealed(folder))
        try:
            restored = checkpoint.restore(tmp_path, tree)[0]
            assert {k: (v.shape, v.dtype) for k, v in restored.items()} == {
                k: (v.shape, v.dtype) for k, v in tree.items()
            }
        except CheckpointError:
            refused += 1
        path.write_bytes(original)
    assert refused > 10
    reseal(folder, sealed(folder))
    assert_same(checkpoint.restore(tmp_path, tree)[0], tree)


@pytest.mark.parametrize("name", ["1", "1.partial", "1.before.partial"])
@pytest.mark.parametrize("there", [True, False])
def test_a_save_removes_planted_links_and_follows_none(tmp_path, name, there):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    folder.mkdir()
    (folder / name).symlink_to(outside)
    if there:
        outside.mkdir()
        (outside / "file").write_text("precious")
    checkpoint.save(folder, 1, make(), {})
    assert_same(checkpoint.restore(folder, make())[0], make())
    assert [path.name for path in folder.iterdir()] == ["1"]
    assert outside.exists() == there and (not there or (outside / "file").read_text() == "precious")


def test_arrays_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"w": np.zeros(1000)}, {})
    monkeypatch.setattr("pbrl.parallel.memory.of_machine", lambda: 7999)
    with pytest.raises(CheckpointError, match="holds arrays of 8,000 bytes, and 7,999 are free here"):
        checkpoint.restore(tmp_path, {"w": np.zeros(1000)})


def test_going_back_sets_later_ones_aside(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, make(step), {}, keep=3)
    for _ in range(2):
        assert all(path.name.startswith("3.aside") for path in checkpoint.go_back(tmp_path, 2))
        assert checkpoint.steps(tmp_path) == [1, 2]
        checkpoint.save(tmp_path, 3, make(4), {}, keep=3)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3", "3.aside", "3.aside-2"}
    harm(tmp_path / "2")
    with pytest.raises(
        CheckpointError,
        match=r"^the checkpoint of step 2 is damaged: .*/2/.* differs; good are those of 1, 3: name one of them",
    ):
        checkpoint.go_back(tmp_path, 2)
    assert checkpoint.steps(tmp_path) == [1, 2, 3]
    for step in (1, 3):
        harm(tmp_path / str(step))
    with pytest.raises(CheckpointError, match=r"the checkpoint of step 2 is damaged: .*; no other is good$"):
        checkpoint.read_info(tmp_path, step=2)


def test_names_that_are_no_steps_are_not_listed(tmp_path):
    checkpoint.save(tmp_path, 3, make(), {})
    for name in ("²", "007", "-1", "4.orbax-checkpoint-tmp", "٣", "1" * 30):
        (tmp_path / name).mkdir()
    (tmp_path / "5").write_text("a file")
    assert checkpoint.steps(tmp_path) == [3]


def harm(folder):
    (folder / "manifest.sha256").write_text("0" * 64)


def test_what_is_kept_is_good(tmp_path):
    """A damaged checkpoint neither counts among those kept nor, being ahead of the run, outlives those behind it."""
    for step in (10, 20):
        checkpoint.save(tmp_path, step, make(step), {})
    harm(tmp_path / "20")
    checkpoint.save(tmp_path, 15, make(15), {})
    assert checkpoint.steps(tmp_path) == [10, 15]
    harm(tmp_path / "15")
    checkpoint.save(tmp_path, 16, make(16), {})
    assert checkpoint.steps(tmp_path) == [10, 16]
    checkpoint.save(tmp_path, 17, make(17), {}, keep=1)
    assert checkpoint.steps(tmp_path) == [17]


def test_a_checkpoint_of_another_version_is_neither_passed_over_nor_removed(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make(step), {})
    reseal(tmp_path / "2", {**sealed(tmp_path / "2"), "schema": 4})
    with pytest.raises(CheckpointError, match="has schema 4, this pbrl reads 3"):
        checkpoint.restore(tmp_path, make())
    checkpoint.save(tmp_path, 3, make(3), {}, keep=1)
    assert checkpoint.steps(tmp_path) == [2, 3]


def test_one_damaged_step_is_reported_once(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make(step), {})
    harm(tmp_path / "2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        checkpoint.read_info(tmp_path)
        checkpoint.restore(tmp_path, make())
    assert ["manifest.json is damaged" in str(w.message) for w in caught] == [True]


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg"])
def test_keys_of_any_kind_come_back_from_arrays_and_from_shapes(tmp_path, implementation):
    tree = {"key": jax.random.split(jax.random.key(3, impl=implementation), 4)}
    checkpoint.save(tmp_path, 1, tree, {})
    for template in (tree, jax.eval_shape(lambda: tree)):
        restored = checkpoint.restore(tmp_path, template)[0]
        assert restored["key"].dtype == tree["key"].dtype
        assert_same(restored, tree)


def test_a_key_of_another_kind_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, {"key": jax.random.key(3, impl="rbg")}, {})
    with pytest.raises(CheckpointError, match=r"\['key'\] is uint32\[4\] \(key: rbg\), .* \(key: unsafe_rbg\)"):
        checkpoint.restore(tmp_path, {"key": jax.random.key(3, impl="unsafe_rbg")})


def test_a_step_that_is_not_there_is_named(tmp_path):
    checkpoint.save(tmp_path, 4, make(), {})
    with pytest.raises(CheckpointError, match=r"there is no checkpoint of step 3 in .*; it has 4"):
        checkpoint.restore(tmp_path, make(), step=3)


def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    for error, call in (
        (TypeError, {"step": 1, "tree": make(), "info": {"a": np.float32(1)}}),
        (ValueError, {"step": -1, "tree": make(), "info": {}}),
        (ValueError, {"step": 1, "tree": make(), "info": {}, "keep": 0}),
        (CheckpointError, {"step": 1, "tree": {"words": "abc"}, "info": {}}),
        (CheckpointError, {"step": 1, "tree": {"things": np.array([object()])}, "info": {}}),
    ):
        with pytest.raises(error):
            checkpoint.save(tmp_path, **call)
        assert list(tmp_path.iterdir()) == []


def test_saving_and_restoring_is_silent(tmp_path, capfd):
    checkpoint.save(tmp_path, 1, make(), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.restore(tmp_path, make())
    assert capfd.readouterr() == ("", "")


def test_a_failed_write_leaves_the_last_checkpoint_and_no_rest(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, make(1), {})

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "write_through", full)
    with pytest.raises(CheckpointError, match="No space left on device; the previous checkpoint at step 1 is intact"):
        checkpoint.save(tmp_path, 2, make(2), {})
    assert [p.name for p in tmp_path.iterdir()] == ["1"]
    assert_same(checkpoint.restore(tmp_path, make())[0], make(1))


def test_replacing_a_step_never_loses_it(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, make(1), {})
    rename = Path.rename

    def fails_at_the_end(self, target):
        if self.name == "1.partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_at_the_end)
    with pytest.raises(CheckpointError, match="Input/output error; the previous checkpoint at step 1 is intact"):
        checkpoint.save(tmp_path, 1, make(2), {})
    assert_same(checkpoint.restore(tmp_path, make())[0], make(1))
    monkeypatch.undo()
    checkpoint.save(tmp_path, 1, make(3), {})
    assert_same(checkpoint.restore(tmp_path, make())[0], make(3))
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot save step 1 in .*; there is no earlier checkpoint"):
        checkpoint.save(tmp_path / "file" / "checkpoints", 1, make(), {})


def test_a_disk_that_is_full_is_named_as_such(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        small, large = {"w": np.zeros(10)}, {"w": np.random.default_rng(0).normal(size=500_000)}
        checkpoint.save(tmp_path, 1, small, {})
        with pytest.raises(CheckpointError, match="No space left on device; the previous checkpoint at step 1 is int"):
            checkpoint.save(tmp_path, 2, large, {})
        assert [p.name for p in tmp_path.iterdir()] == ["1"]
        assert checkpoint.restore(tmp_path, small)[2] == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_killed_writers_leave_nothing_half_done(tmp_path):
    """Whenever the process dies, what is listed is whole, and the next save clears the rest away."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np; from pathlib import Path; from pbrl.runs import checkpoint\n"
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
