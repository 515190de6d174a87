"""Every error that pbrl raises on purpose, and the code that it ends a process with. Imports nothing of pbrl's.

0: done; 1: training diverged, another host is gone, or `pbrl doctor` has found a fault; 2: something asked for cannot
be; 3: no good checkpoint, or what was learned could not be saved; 4: memory ran out; 75: an environment hangs, what
could be is saved; 129, 130, 138, 143: stopped by a signal, after saving. Whatever else is raised is a bug, of pbrl's or
of a user's program, and passes with its traceback.
"""

import errno
import sys
import traceback
from pathlib import Path


class RunError(ValueError):
    """Something is wrong with what was asked for or with a run's folder; the message says what to do."""

    exit_code = 2


class Busy(RunError):
    """Another process is training in the folder."""


class EnvError(ValueError):
    """An environment that pbrl cannot use, or that misbehaved; one sentence with the remedy."""

    exit_code = 2


class NoTwin(EnvError):
    """An environment without differentiable dynamics of its own."""


class ActionError(EnvError):
    """An action that no environment could take: the fault is the policy's."""


class Unfit(Exception):
    """`pbrl doctor` has found what keeps an environment from being trained on."""

    exit_code = 1


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message says which, and what to do."""

    exit_code = 3


class OtherSchema(CheckpointError):
    """A checkpoint is whole as far as can be told, but another version of pbrl wrote it."""


class Diverged(RuntimeError):
    """Too many updates in a row were not finite; the last good state has been saved."""

    exit_code = 1


class Hung(RuntimeError):
    """A call of an environment has not returned in time; what could be saved has been."""

    exit_code = 75


class HostLost(RuntimeError):
    """Another process of the job has ended or cannot be reached, so that this one ends as well."""

    exit_code = 1


class EndedAtOnce(SystemExit):
    """A second signal while a run stops: the process ends without saving. No environment's doing."""


class Stopped(RuntimeError):
    """Training stopped on a signal after saving.

    `exit_code`: 130 (Ctrl-C), 143 (SIGTERM), 138 (SIGUSR1) or 129 (closed terminal).
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What a disk says that cannot take more."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, the machine's or a device's."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)[:1000]


def exit_code(error: BaseException) -> int | None:
    """Return the code that an error ends the process with; None for a bug."""
    code = getattr(error, "exit_code", None)
    if code is None and isinstance(error, OSError) and (error.filename is not None or error.errno in NO_ROOM):
        code = 2  # a folder that cannot be written, output to a full disk, and the like
    if code is None and out_of_memory(error):
        code = 4
    return code


def described(error: BaseException) -> str:
    """Return an error's kind and message as one line."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:300]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error: BaseException) -> str:
    """Return where an error was raised, as `rail.py, line 12`: the innermost line of a user's own, if there is one."""
    frames = _users_frames(error) or list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if not is_installed(frame.filename)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def origin(error: BaseException) -> str:
    """Return the traceback of what a user's code raised, where one of our errors came of it; else nothing.

    It begins where the user's code does: calls of pbrl's and of Gymnasium's before that are left out.
    """
    cause: BaseException | None = error
    while cause is not None and (type(cause).__module__ == __name__ or not _is_users(cause)):
        cause = cause.__cause__
    if cause is None or cause is error:
        return ""
    told = traceback.TracebackException.from_exception(cause)
    told.stack = traceback.StackSummary.from_list(_users_frames(cause))
    return "".join(told.format()).rstrip()


def with_origin(said: str, error: BaseException) -> str:
    """Return a sentence about an error, and below it the traceback of what a user's code raised, if that is why."""
    return "\n".join(filter(None, (said, origin(error))))


def _is_users(error: BaseException) -> bool:
    """Return whether an error is of a user's code; what cannot be parsed has no frames of its own."""
    return bool(_users_frames(error)) or isinstance(error, SyntaxError)


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of a traceback from the first on that is neither pbrl's nor Gymnasium's nor Python's import."""
    frames, gymnasium = list(traceback.extract_tb(error.__traceback__)), sys.modules.get("gymnasium")
    files = [__file__, getattr(gymnasium, "__file__", None)]
    passing = [Path(file).parent for file in files if file]

    def passes(name: str) -> bool:
        return "importlib" in name or any(Path(name).is_relative_to(folder) for folder in passing)

    first = next((i for i, frame in enumerate(frames) if not passes(frame.filename)), len(frames))
    return frames[first:]


def is_installed(name: str) -> bool:
    """Return whether a file is Python's own or of an installed package."""
    installed = not {"site-packages", "dist-packages"}.isdisjoint(Path(name).parts)
    return installed or name.startswith("<frozen") or Path(name).is_relative_to(Path(traceback.__file__).parent)
