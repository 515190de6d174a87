"""When the hosts of a job wait for each other while they train, and what they agree on. One by itself never waits."""

import time

from pbrl.errors import ActionError, Diverged, EnvError, Hung, RunError
from pbrl.parallel import hosts
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule

KINDS = {kind.__name__: kind for kind in (ActionError, Diverged, EnvError, Hung)}
SECONDS = 1.0
"""About how far apart hosts meet, so that a signal to one of them is heard by all."""


def agree_on(run: Run) -> None:
    """Raise `RunError` where hosts were not given the same run, or do not see the folder that the first has made."""
    told = hosts.everyone({**run.identity(), "total_steps": run.schedule.total_steps})
    if any(theirs != told[0] for theirs in told):
        raise RunError("the hosts were not all given the same run; start the same command on all of them")
    path = run.folder / "config.json"
    if not hosts.visible(path):
        raise RunError(
            f"{path}, which host 0 has written, cannot be seen here; with --out, name a folder that all share"
        )


class HostSync:
    """The steps at which all hosts stand at once: those at which anything is due, and others about a second apart."""

    def __init__(self, schedule: Schedule):
        self.schedule, self.stride = schedule, 1
        self.step, self.began = 0, time.perf_counter()

    def following(self, step: int) -> int:
        """Return the step to go to next, from one where all stand; a process by itself may stop before."""
        s = self.schedule
        cadences = (s.warmup_steps, s.log_every, s.eval_every, s.diagnose_every, s.checkpoint_every)
        due = min([s.total_steps, *((step // every + 1) * every for every in cadences if every)])
        self.step, self.began = step, time.perf_counter()
        return due if hosts.alone() else min(due, step + self.stride)

    def agree(
        self, step: int, signal: int | None, overdue: bool, error: Exception | None
    ) -> tuple[int | None, bool, Exception | None]:
        """Meet at `step`; return, alike on all, what some host has met with since they met last.

        A signal, whether some checkpoint is overdue, and the first error. That no seed of one host is left to train is
        none while others have some.
        """
        if hosts.alone():
            return signal, overdue, error
        pace = (step - self.step) * SECONDS / max(time.perf_counter() - self.began, 1e-9)
        told = hosts.everyone(
            {
                "signal": signal,
                "overdue": overdue,
                "steps": int(pace),
                "error": None if error is None else [type(error).__name__, str(error)],
            }
        )
        # Steps take longer once updates begin.
        settled = step != self.schedule.warmup_steps
        self.stride = max(1, min(2 * self.stride, *(one["steps"] for one in told))) if settled else 1
        signals = [one["signal"] for one in told if one["signal"] is not None]
        errors = [KINDS.get(kind, EnvError)(text) for kind, text in (one["error"] for one in told if one["error"])]
        overdue = any(one["overdue"] for one in told)
        diverged = [error for error in errors if isinstance(error, Diverged)]
        hard = [error for error in errors if not isinstance(error, Diverged)]
        ending = hard or (diverged if len(diverged) == len(told) else [])
        return signals[0] if signals else None, overdue, ending[0] if ending else None
