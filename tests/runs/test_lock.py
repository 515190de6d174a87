"""One process at a time in a folder, on every file system."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pbrl.errors import RunError
from pbrl.runs import lock
from pbrl.runs.lock import locked

HOLD = """
import errno, fcntl, sys, time, warnings
from pathlib import Path
from pbrl.runs.lock import locked
warnings.simplefilter("ignore")
if sys.argv[2] == "none":
    def flock(fd, op): raise OSError(errno.ENOLCK, "no locks")
    fcntl.flock = flock
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder, kind):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(params=["flock", "none"])
def kind(request, monkeypatch):
    """Where there are file locks, and where there are none."""
    if request.param == "none":
        monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    return request.param


def refusing(code):
    def flock(descriptor, operation):
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.filterwarnings("ignore:.*without file locks")
def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path, kind):
    process = holder(tmp_path, kind)
    try:
        with pytest.raises(RunError, match=r"is training in .*; wait for it, or give another --out"):
            locked(tmp_path).__enter__()
    finally:
        end(process)
    for _ in range(2):
        with locked(tmp_path):  # a killed process leaves nothing that is in the way
            pass
    assert [p.name for p in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_the_folder_held(tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    with pytest.warns(UserWarning, match=r"without file locks \(flock\): it is held by lock.held in it"):
        with locked(tmp_path):
            assert (tmp_path / "lock.held").exists()
            with pytest.raises(RunError, match=f"process {os.getpid()} on .* is training"):
                locked(tmp_path).__enter__()
    assert not (tmp_path / "lock.held").exists()


def test_hosts_that_mount_the_folder_in_different_ways_see_each_other(tmp_path):
    process = holder(tmp_path, "none")
    try:
        with pytest.raises(RunError, match=f"process {process.pid} on"):
            locked(tmp_path).__enter__()
    finally:
        end(process)


@pytest.mark.filterwarnings("ignore:.*without file locks")
def test_another_host_is_believed_to_live_for_as_long_as_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    path = tmp_path / "lock.held"
    path.write_text(json.dumps({"host": "elsewhere 123", "pid": os.getpid(), "began": "1", "token": "x"}))
    with pytest.raises(RunError, match=r"process \d+ on elsewhere is training .* try again in 4 minutes"):
        locked(tmp_path).__enter__()
    os.utime(path, (1, 1))
    with locked(tmp_path):
        assert json.loads(path.read_text())["host"] != "elsewhere 123"


@pytest.mark.filterwarnings("ignore:.*without file locks")
def test_the_file_is_touched_and_a_thief_ends_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    monkeypatch.setattr(lock, "BEAT", 0.02)
    ended, path = [], tmp_path / "lock.held"
    monkeypatch.setattr(os, "_exit", lambda code: ended.append(code))
    with locked(tmp_path):
        os.utime(path, (1, 1))
        while path.stat().st_mtime < 2:
            pass
        path.write_text(json.dumps({"host": "elsewhere 1", "pid": 7, "began": "1", "token": "x"}))
        while not ended:
            pass
    assert ended[0] == 2
    assert json.loads(path.read_text())["pid"] == 7  # which is not this process' to remove


@pytest.mark.filterwarnings("ignore:.*without file locks")
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{}", b'{"host": 3, "pid": "x"}', b"[" * 9000])
def test_what_is_no_lock_counts_as_one_of_a_host_that_died_once_it_is_old(tmp_path, monkeypatch, content):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    (tmp_path / "lock.held").write_bytes(content)
    with pytest.raises(RunError, match="is training in"):
        locked(tmp_path).__enter__()
    os.utime(tmp_path / "lock.held", (1, 1))
    with locked(tmp_path):
        pass


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder"])
def test_a_planted_lock_is_refused_and_nothing_written_through_it(tmp_path, kind):
    folder, outside = tmp_path / "run", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("precious")
    path = folder / "lock"
    make = {
        "link": lambda: path.symlink_to(outside), "dangling": lambda: path.symlink_to(tmp_path / "new"),
        "pipe": lambda: os.mkfifo(path), "folder": path.mkdir,
    }  # fmt: skip
    make[kind]()
    with pytest.raises(RunError, match=r"lock is (a link to|in the way)"):
        locked(folder).__enter__()
    assert outside.read_text() == "precious" and not (tmp_path / "new").exists()


@pytest.mark.filterwarnings("ignore:.*without file locks")
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_in_place_of_the_lock_is_named(tmp_path, kind, make):
    make(tmp_path / "lock.held")
    with pytest.raises(RunError, match=r"lock.held is in the way: it is not a file; move it elsewhere"):
        locked(tmp_path).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "lock.held"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, code):
    def mkdir(path, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(RunError, match=rf"cannot be written: {os.strerror(code)}; make room"):
        locked(tmp_path / "run").__enter__()
