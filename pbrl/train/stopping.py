"""Stop on Ctrl-C, SIGTERM, SIGUSR1 or a closed terminal: the first asks, so that the loop saves; a second ends it."""

import signal
from types import FrameType
from typing import Any

from pbrl.errors import EndedAtOnce

ASKED = 0
"""In the place of a signal: the program that trains has asked."""


class Stop:
    """Catches signals between `__enter__` and `__exit__`; elsewhere (a thread, a notebook) it is never asked.

    SIGUSR1 is what SLURM is asked to send before a job's time is over. A hang-up that is ignored, as `nohup` has it,
    stays so.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

    def __init__(self) -> None:
        self.signal: int | None = None
        self.asked = False  # by what `report` returned
        self._previous: dict[int, Any] = {}

    @property
    def reason(self) -> int | None:
        """The signal, or `ASKED` where `report` wants the run to end; `None` to go on."""
        return ASKED if self.signal is None and self.asked else self.signal

    def __enter__(self) -> "Stop":
        for number in self.SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            try:
                self._previous[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: the caller's own handling stands
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number in (signal.SIGHUP, signal.SIGUSR1):
            return  # a terminal that closes sends two: the shell's, and the kernel's as the shell ends; SLURM to each
        if self.signal == signal.SIGUSR1 and number == signal.SIGTERM:
            return  # what follows the warning: no reason to leave the save half done
        if self.signal is not None:
            raise EndedAtOnce(128 + number)
        self.signal = number
