"""The command `pbrl`. It imports jax only once a command that computes has been understood."""

import errno
import importlib
import io
import os
import select
import sys
from collections.abc import Callable, Sequence
from functools import partial

from pbrl import __version__
from pbrl.cli import output, process
from pbrl.errors import RunError, exit_code, out_of_memory, with_origin

HELP = """\
usage: pbrl [-h] [--version] COMMAND ...

Value-gradient reinforcement learning in JAX.

  pbrl train AGENT --env ID   train; the same command again resumes
  pbrl sweep AGENT --env ID   random search over hyper-parameters, all trials in one process
  pbrl eval RUN               play fresh episodes with what a run has learned; --mpc plans as well
  pbrl plot RUN [RUN ...]     draw learning curves
  pbrl video RUN              film a policy as an mp4
  pbrl export RUN             write a policy for programs without pbrl: NumPy, ONNX, StableHLO
  pbrl data export RUN        write what a run has collected as a dataset, in Minari's format
  pbrl diagnose RUN           how far a run's model, its gradients and its critics can be trusted
  pbrl gradcheck ENV          how far the gradients of an environment's own dynamics can be trusted
  pbrl doctor ENV             look at an environment before training on it, and at what that will cost
  pbrl list                   agents, presets, environments

A RUN is the folder that `pbrl train` or `pbrl sweep` made. More about one: pbrl COMMAND --help

first steps:
  pbrl train mage --env Pendulum-v1 --preset cpu
"""
COMMANDS = ("train", "sweep", "eval", "plot", "video", "export", "data", "diagnose", "gradcheck", "doctor", "list")
"""Each is a module of `pbrl.cli` with a function `command`, which takes the words after it."""


TRAINING = ("train", "sweep")
"""What leaves its result in a folder, so that it does not hang on its output."""


def main() -> None:
    """Run the command line of this process and exit with its code."""
    closed, name = output.open_what_is_closed(), sys.argv[1] if len(sys.argv) > 1 else ""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows "?" instead
    if closed and name not in TRAINING:
        output.tell(f"{' and '.join(closed)} closed (as by >&-), so that the result would be lost; let it go somewhere")
        sys.exit(RunError.exit_code)
    if "stdout" in closed:
        output.tell("standard output is closed: training goes on without showing its progress")
    elif closed:
        print("pbrl: standard error is closed: warnings and errors will not be shown", flush=True)
    sys.exit(guarded(partial(run, sys.argv[1:])))


def run(argv: Sequence[str]) -> None:
    """Carry out one command line. Raises `RunError` and what the commands raise."""
    name, rest = (argv[0], list(argv[1:])) if argv else ("--help", [])
    if name in ("-h", "--help"):
        print(HELP, end="")
        return
    if name == "--version":
        print(f"pbrl {__version__}")
        return
    if name not in COMMANDS:
        from pbrl.config import suggest

        raise RunError(f"there is no command {name!r}{suggest(name, [*COMMANDS, '--help', '--version'], 'command')}")
    importlib.import_module(f"pbrl.cli.{name}").command(rest)  # imports what this one command needs


def guarded(function: Callable[[], None]) -> int:
    """Call it and return the exit code, with one or two lines on standard error for what is no bug of pbrl's.

    Codes are those of `pbrl.errors`, and 141: nobody reads its output any more. Any other exception passes, with its
    traceback.
    """
    code = 0
    try:
        function()
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        code, said = 141 if isinstance(error, BrokenPipeError) and _unread() else exit_code(error), ""
        if code is None and (said := process.refused_by_jax(error)):
            code = 2
        if code is None:
            raise
        if code != 141:
            output.tell(with_origin(said or _sentence(error), error))
    try:
        sys.stdout.flush()  # here, since at exit it would be too late to say anything but "Exception ignored"
    except OSError as error:
        if error.errno != errno.EPIPE:
            output.tell(_sentence(error))
        code = code or (141 if error.errno == errno.EPIPE else RunError.exit_code)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left of it
    return code


def _sentence(error: BaseException) -> str:
    """Return what to say of an error."""
    if out_of_memory(error) and not isinstance(error, RunError):
        detail = " ".join(str(error).split())[:200]
        return (
            f"memory ran out ({detail or 'MemoryError'}); the last checkpoint stands. Lower --seeds, "
            "--schedule.buffer-size, --schedule.imagine-batch or widths, or take a machine with more"
        )
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    what = f"{error.filename} cannot be used" if error.filename is not None else "the output cannot be written"
    return f"{what}: {error.strerror}"


def _unread() -> bool:
    """Return whether whoever read our output, such as `head`, is gone."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):  # not a file: a notebook's, a test's
        return False
