"""What is done while an environment hangs: the run is saved and ended from another thread, since its own is stuck.

A call is given up after `schedule.step_timeout`, or where a signal has waited `GRACE` seconds for it to return. Python
runs no handlers while C code blocks, so signals are heard by their numbers on a pipe.
"""

import contextlib
import faulthandler
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

import jax

from pbrl.envs import calls
from pbrl.errors import Hung, Stopped, exit_code
from pbrl.parallel import hosts
from pbrl.train.stopping import Stop

GRACE = 5.0
"""Seconds that a signal waits for a call of an environment; schedulers kill after 30 or more."""
SAVING = 60.0
"""Seconds after which the process ends anyhow, whatever holds up the save."""
SEVERAL_HOSTS = 300
"""Seconds that a call may take on several hosts where the run does not say: the others wait for it."""


def timeout_of(seconds: int) -> int:
    """Return after how many seconds a call has hung, by `schedule.step_timeout`; 0 for never."""
    return seconds or (0 if hosts.alone() else SEVERAL_HOSTS)


class Watchdog:
    """Watches the environments' calls of the thread that makes it, between `__enter__` and `__exit__`.

    Where one is too long, that thread is given up: should the call return, it waits for ever. Another thread saves by
    `rescue`, which raises what ends the run, and ends the process. An environment that hangs in C code without
    releasing Python's lock lets no thread save; then Python's `faulthandler` prints where it is, and ends the process
    with code 1.
    """

    rescue: Callable[[Stop, Hung | None], None] | None = None

    def __init__(self, stop: Stop, seconds: int):
        self.stop, self.seconds, self.watched = stop, seconds, threading.get_ident()
        self.heard: tuple[int, float] | None = None  # a signal, and when
        self.over = False
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self.thread = threading.Thread(target=self._watch, name="pbrl watchdog", daemon=True)
        self.before: int | None = None

    def __enter__(self) -> "Watchdog":
        with contextlib.suppress(ValueError):  # not the main thread, which has no signals
            self.before = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            signal.set_wakeup_fd(self.before)
        self.over = True
        os.write(self.writing, b"\0")
        self.thread.join()
        os.close(self.reading)
        os.close(self.writing)

    def _watch(self) -> None:
        while not self.over:
            self._last_resort()
            waits = [min(1.0, self.seconds / 4)] if self.seconds else []
            waits += [0.5] if self.heard else []
            if select.select([self.reading], [], [], min(waits) if waits else None)[0]:
                self._listen(os.read(self.reading, 1024))
            call = calls.running(self.watched)
            if call is None or self.over:
                continue
            now = time.monotonic()
            hung = 0 < self.seconds < now - call.since
            awaited = self.heard is not None and now - max(call.since, self.heard[1]) > GRACE
            if (hung or awaited) and call.claim():
                self._end(call, None if awaited and not hung else now - call.since)
        faulthandler.cancel_dump_traceback_later()

    def _listen(self, numbers: bytes) -> None:
        for number in numbers:
            if number in Stop.SIGNALS and self.heard is None:
                self.heard = number, time.monotonic()

    def _last_resort(self) -> None:
        """Let C end the process where no Python runs any more; put off at every look."""
        if self.seconds:
            with contextlib.suppress(Exception):  # no standard error
                faulthandler.dump_traceback_later(self.seconds + SAVING, exit=True, file=sys.__stderr__)  # pyright: ignore

    def _end(self, call: calls.Call, seconds: float | None) -> None:
        """Save in the place of the thread that is stuck, and end the process; `seconds` is `None` on a signal."""
        hang = None
        if seconds is not None:
            hang = Hung(
                f"{call.who}: its {call.what} has not returned for {seconds:.0f} s, "
                "longer than --schedule.step-timeout allows"
            )
        code = 128 + self.heard[0] if hang is None and self.heard else Hung.exit_code
        threading.Thread(target=self._give_up, args=(code,), daemon=True).start()
        with contextlib.suppress(Exception):
            faulthandler.cancel_dump_traceback_later()
        try:
            if self.rescue is None:
                nothing = "nothing has been trained since the last checkpoint"
                raise Hung(f"{hang}; {nothing}") if hang else Stopped(f"stopped; {nothing}", code)
            if self.stop.signal is None and self.heard:
                self.stop.signal = self.heard[0]
            self.rescue(self.stop, hang)
        except BaseException as error:
            told = exit_code(error)
            code = code if told is None else told
            with contextlib.suppress(OSError):
                if told is None:
                    traceback.print_exc()
                print(f"pbrl: {error}", file=sys.stderr, flush=True)
        if not hosts.alone():
            with contextlib.suppress(Exception):
                jax.distributed.shutdown()  # others wait for it
        _exit(code)

    @staticmethod
    def _give_up(code: int) -> None:
        time.sleep(SAVING)
        with contextlib.suppress(OSError):
            print("pbrl: saving takes too long while an environment hangs; the last checkpoint stands", file=sys.stderr)
        _exit(code)


def _exit(code: int) -> None:
    """End the process from a thread that is not its first: `sys.exit` would end but the thread."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)
