"""Standard output and error that may be closed, full, or read by somebody who stands still: training waits for nobody.

A pipe that is full blocks whoever writes to it, also against signals, and so does a terminal after Ctrl-S.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from typing import Any

from pbrl.runs import files

PATIENCE = 1.0
"""Seconds that a reader may stand still before what is written is dropped."""


class Patient:
    """A text stream that writes what can be written without waiting for long, and drops the rest; it never raises.

    Everything else is the stream's that it stands for.
    """

    def __init__(self, stream: Any):
        self.stream, self.descriptor = stream, stream.fileno()
        self.dropped, self.failed = 0, False
        stream.flush()

    def write(self, text: str) -> int:
        """Write at once, without a buffer."""
        if self.dropped and text.strip() and self._ready(0.0):
            note, self.dropped = f"\n… {self.dropped} pieces of output were dropped, since nobody read them …\n", 0
            self._write(note)
        self._write(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _write(self, text: str) -> None:
        content = text.encode(self.stream.encoding or "utf-8", "replace")
        while content:
            if not self._ready(0.0 if self.dropped else PATIENCE):
                self.dropped += 1
                return
            try:
                # As much as a pipe with any room takes whole, so that this does not block.
                content = content[os.write(self.descriptor, content[: select.PIPE_BUF]) :]
            except OSError as error:
                self._note(error)
                return

    def _ready(self, seconds: float) -> bool:
        try:
            poll = select.poll()
            poll.register(self.descriptor, select.POLLOUT)
            return bool(poll.poll(1000 * seconds))
        except OSError:
            return True

    def _note(self, error: OSError) -> None:
        """Say once, where that can be heard, that output is lost; a reader that has gone, such as `head`, knows."""
        if not self.failed and error.errno != errno.EPIPE and self.stream is sys.__stdout__:
            tell(f"standard output cannot be written ({files.reason(error)}); training goes on without it")
        self.failed = True


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Let standard output and error be such that nobody waits for them."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_patient(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def tell(sentence: str) -> None:
    """Print `pbrl: SENTENCE` on standard error, unless nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"pbrl: {sentence}", file=_patient(sys.stderr), flush=True)


def open_what_is_closed() -> list[str]:
    """Let standard streams that the process began without lead nowhere; return their names, of output and error.

    The next files to be opened would take their numbers, and libraries would write messages into them.
    """
    closed = []
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            if number:
                setattr(sys, name, open(number, "w", closefd=False, encoding="utf-8", errors="replace"))
                closed.append(name)
    return closed


def _patient(stream: Any) -> Any:
    """Return a stream that never waits; a notebook's or a test's is left as it is."""
    try:
        return stream if isinstance(stream, Patient) else Patient(stream)
    except (OSError, ValueError, AttributeError, io.UnsupportedOperation):
        return stream
