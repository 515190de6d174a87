"""One process at a time in a run's folder.

The operating system's lock (`flock`) dies with the process that holds it. Some network folders have none: Lustre
mounted without `-o flock`, NFS without lockd. There the folder is held by a file of its own, `lock.held`, which only
one process can make and which is touched while that process lives.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pbrl.errors import Busy, RunError
from pbrl.runs import files

BEAT, STALE = 20.0, 180.0
"""Seconds between two touches of `lock.held`, and without one after which its process counts as dead."""
NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, made where there is none, against a second process.

    Raises `Busy` where another process holds it, and `RunError` for what cannot be a lock in its place, and where it
    cannot be written.
    """
    held = folder / "lock.held"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = files.opened(folder / "lock")
            files.refuse_non_file(held)
            stack.callback(os.close, lock)
            if not _flock(lock, folder):
                warnings.warn(
                    f"{folder} is on a file system without file locks (flock): it is held by {held.name} in it, which "
                    f"another process takes over {STALE / 60:.0f} minutes after this one has died on another host",
                    stacklevel=3,
                )
                stack.enter_context(_held(held))
            elif held.is_symlink() or held.exists():  # a host that mounts the folder in another way
                _refuse_alive(held)
                held.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written: {files.reason(error)}; make room or give it free, or give another "
                "folder with --out"
            ) from None
        yield


def _flock(descriptor: int, folder: Path) -> bool:
    """Lock by the operating system; return whether the file system can. Raises `Busy` where another has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in TAKEN:
            raise Busy(_taken(folder)) from None
        if error.errno in NO_FLOCK:
            return False
        raise


def _taken(folder: Path, who: str = "another process") -> str:
    return f"{who} is training in {folder}; wait for it, or give another --out"


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a folder by a file in it."""
    me = {"host": _host(), "pid": os.getpid(), "began": _began(os.getpid()), "token": secrets.token_hex(8)}
    for _ in range(3):
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            with os.fdopen(descriptor, "w") as file:
                json.dump(me, file)
            break
        _take_from_the_dead(path, _refuse_alive(path))
    else:
        raise Busy(_taken(path.parent))
    ended = threading.Event()
    beat = threading.Thread(target=_keep, args=(path, me, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        if _read(path) == me:
            path.unlink(missing_ok=True)


def _keep(path: Path, me: dict[str, Any], ended: threading.Event) -> None:
    """Touch the file while this process has it. Where another has taken it, end at once: two would mix what they write.

    That happens to a process that stood still (a laptop that slept, SIGSTOP) for longer than `STALE`.
    """
    while not ended.wait(BEAT):
        try:
            if (it := _read(path)) not in (me, None):
                text = f"pbrl: {_taken(path.parent, _named(it))}. It took over while this one stood still, which ends\n"
                with contextlib.suppress(OSError, AttributeError):
                    os.write(sys.__stderr__.fileno(), text.encode())  # pyright: ignore[reportOptionalMemberAccess]
                os._exit(RunError.exit_code)
            os.utime(path)
        except OSError:  # a network that is away comes back, or the folder is gone, which the next save will say
            continue


def _refuse_alive(path: Path) -> dict[str, Any] | None:
    """Raise `Busy` where the process that holds the file may live; return what the file says of it."""
    it = _read(path)
    probe = path.with_name(f"lock.{secrets.token_hex(4)}")
    try:
        files.fresh(probe)
        age = os.lstat(probe).st_mtime - os.lstat(path).st_mtime  # by the clock of whoever keeps the folder
    except FileNotFoundError:
        return it  # it has gone meanwhile
    finally:
        probe.unlink(missing_ok=True)
    here = it is not None and it.get("host") == _host()
    dead = here and (it or {}).get("began") != _began((it or {}).get("pid"))
    if not dead and (here or age < STALE):
        hint = (
            ""
            if here
            else f". If that one is gone, try again in {min(max(STALE - age, 0), STALE) / 60 + 1:.0f} minutes"
        )
        raise Busy(_taken(path.parent, _named(it)) + hint)
    return it


def _take_from_the_dead(path: Path, it: dict[str, Any] | None) -> None:
    """Remove the file that a dead process has left, unless another has been quicker."""
    grave = path.with_name(f"lock.{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(grave)
        if _read(grave) != it:  # it was another's already
            with contextlib.suppress(FileExistsError):
                os.link(grave, path)
        grave.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    """Return what the file says; nothing where it is gone or no such file."""
    try:
        it = json.loads(files.read(path, 10_000)) if not path.is_symlink() else None
        return it if isinstance(it, dict) else None
    except (OSError, ValueError, RecursionError):
        return None


def _named(it: dict[str, Any] | None) -> str:
    return f"process {it.get('pid')} on {str(it.get('host')).partition(' ')[0]}" if it else "another process"


def _host() -> str:
    """Name this machine and the time since it was started: process numbers mean nothing elsewhere."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return socket.gethostname()


def _began(pid: Any) -> str | None:
    """Return when a process of this machine began, in ticks; nothing where it is dead."""
    if type(pid) is not int or pid < 1:
        return None
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc, as on macOS
        os.kill(pid, 0)
        return "alive"
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return "alive"
