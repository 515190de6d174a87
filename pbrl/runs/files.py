"""Writing and reading within a run's folder, which may have come from somebody else: never through a link.

What is written whole appears by one rename, which replaces a link instead of following it. What grows is opened in
such a way that the operating system refuses a link. The folder itself may be a link: the user has named it.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pbrl.errors import RunError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path of an empty file to write, which takes the place of `path` once that is done without an error.

    Raises `RunError` where something that is no file stands in its place, and `OSError` where the disk does.
    """
    refuse_non_file(path)
    partial = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        fresh(partial)
        yield partial
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; as `whole`."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def fresh(path: Path) -> None:
    """Make an empty file in place of any file or link of that name. Raises as `whole`."""
    refuse_non_file(path)
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def opened(path: Path) -> int:
    """Open a file to read it and to add to its end, made where there is none; return its descriptor.

    Raises as `whole`, and for a link.
    """
    refuse_link(path)
    refuse_non_file(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def append(path: Path, lines: bytes) -> None:
    """Add whole lines to the end of a file, all or none of them; a last line that a crash has torn is ended first.

    Raises as `opened`.
    """
    with os.fdopen(opened(path), "rb+", 0) as file:
        size = os.fstat(file.fileno()).st_size
        torn = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
        left = memoryview(b"\n" * bool(torn) + lines)
        try:
            while left:
                left = left[file.write(left) :]  # a disk that fills up takes a part
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), size)  # needs no room
            raise


def read(path: Path, limit: int) -> bytes:
    """Return the content of a file; a pipe is not waited for.

    Raises `FileNotFoundError`, `RunError` for more than `limit` bytes and for what is no file, and `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunError(f"{path} is not a regular file, which alone is read; put one in its place")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise RunError(f"{path} is larger than {limit >> 20} MiB, which no such file is; look at what it holds")
    return content


def folder(path: Path) -> Path:
    """Make a folder within a run's, where there is none. Raises `RunError` for a link or a file in its place."""
    refuse_non_folder(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def set_aside(path: Path, why: str) -> Path:
    """Rename a file or folder to `NAME.WHY`, `NAME.WHY-2`, ...; return the new path."""
    new, count = path.with_name(f"{path.name}.{why}"), 1
    while new.is_symlink() or new.exists():
        count += 1
        new = path.with_name(f"{path.name}.{why}-{count}")
    path.rename(new)
    return new


def reason(error: Exception) -> str:
    """Return what the operating system says, without number and name of the file."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def refuse_link(path: Path) -> None:
    """Raise `RunError` for a link."""
    if path.is_symlink():
        raise RunError(
            f"{path} is a link to {os.readlink(path)}, and pbrl does not write through links within a run's folder; "
            "remove it. The run's folder itself may be a link, or lie elsewhere by --out"
        )


def refuse_non_folder(path: Path) -> None:
    """Raise `RunError` for a link or a file where a folder has to be."""
    refuse_link(path)
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is in the way: a folder has to be there; move it elsewhere")


def refuse_non_file(path: Path) -> None:
    """Raise `RunError` for what is neither a file nor a link where a file has to be."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise RunError(f"{path} is in the way: it is not a file; move it elsewhere")
