"""Which call of an environment runs now, for a watchdog in another thread to see (`pbrl.train.watchdog`)."""

import threading
import time
from dataclasses import dataclass, field

RUNNING: dict[int, "Call"] = {}
"""By thread, its newest call, which may have ended."""


@dataclass
class Call:
    """One call of an environment. Its thread and a watchdog may both claim it; the first to do so has it."""

    who: str  # the environment, and for which seed it plays
    what: str  # "step", "reset", ...
    since: float = field(default_factory=time.monotonic)
    unclaimed: list[None] = field(default_factory=lambda: [None])

    def claim(self) -> bool:
        """Take the call, unless the other has; atomic, without a lock."""
        try:
            self.unclaimed.pop()
        except IndexError:
            return False
        return True


def begin(who: str, what: str) -> Call:
    """Note that this thread calls an environment."""
    call = RUNNING[threading.get_ident()] = Call(who, what)
    return call


def end(call: Call) -> None:
    """Note that it has returned. Where a watchdog has given it up, never return: another thread ends the process."""
    while not call.claim():
        threading.Event().wait()


def running(thread: int) -> Call | None:
    """Return the call in which a thread is now."""
    call = RUNNING.get(thread)
    return call if call is not None and call.unclaimed else None
