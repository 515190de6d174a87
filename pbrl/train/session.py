"""One process' work on a run, whichever driver takes its steps: its folder, its checkpoints, and what may end it.

Several hosts each train their share of the seeds. They meet at the same steps (`pbrl.train.host_sync`), where logs and
checkpoints of all are put together; between meetings each goes its own pace.
"""

import contextlib
import time
from collections.abc import Callable

from pbrl.diagnose import diagnosis
from pbrl.errors import Diverged, EnvError, Hung, RunError, Stopped
from pbrl.parallel import hosts
from pbrl.runs.folder import prepare, refuse_another, refuse_modules_within
from pbrl.runs.lock import locked
from pbrl.runs.placement import require_width, share
from pbrl.runs.run import Run
from pbrl.train import from_data, graft, host_sync, watchdog
from pbrl.train.contract import Driver
from pbrl.train.journal import Journal, Progress
from pbrl.train.resume import Checkpoints, begin_at
from pbrl.train.stopping import ASKED, Stop
from pbrl.train.watchdog import Watchdog

Report = Callable[[Progress], bool | None]
"""Hears how far a run is; what is true ends the run, saved, and so does what it raises."""


def check(run: Run, driver: str) -> None:
    """Raise `RunError` for a run that cannot be, or not with this driver, before anything is written."""
    refuse_modules_within(run, run.folder)
    run.validate()
    if run.driver != driver:
        raise RunError(f"this run's driver is {run.driver!r}; train it with pbrl.train.{run.driver}.train")
    require_width(run)
    graft.check(run)
    from_data.check(run)
    refuse_another(run)
    share(run)
    if run.schedule.diagnose_every:
        diagnosis.check(run)


def train(run: Run, make_driver: Callable[[Run], Driver], report: Report) -> Progress:
    """Hold the run's folder, and train to the end of the schedule with a driver of this process' share.

    On several hosts, each trains its share of the seeds, and the first holds and writes the folder that all see.
    """
    seconds = watchdog.timeout_of(run.schedule.step_timeout)
    with hosts.together(), contextlib.ExitStack() as held, Stop() as stop, Watchdog(stop, seconds) as watch:

        def begin() -> None:
            if hosts.is_first():
                held.enter_context(locked(run.folder))
                refuse_another(run)  # again, since another process may have made it meanwhile
                prepare(run, begin_at(run))

        hosts.all_or_none(begin)
        hosts.all_or_none(lambda: host_sync.agree_on(run))
        session = Session(run, make_driver(run))
        watch.rescue = session.rescue
        try:
            return session.run_to_end(stop, report)
        finally:
            session.close()


class Session:
    """Takes a driver through a schedule, lets the journal write what is due, and saves, whatever ends the run."""

    def __init__(self, run: Run, driver: Driver):
        """Let the driver go on from the newest checkpoint, or begin. `run` is the whole one, of all hosts."""
        self.run, self.driver = driver.run, driver
        self.sync, self.checkpoints = host_sync.HostSync(run.schedule), Checkpoints(run, driver)
        self.journal = Journal(run, driver, self.checkpoints.begin_or_resume())
        self.limit = driver.step  # where hosts meet next
        self.met: tuple[int | None, bool] = None, False  # what they agreed on when they last did
        self.saving, self.hang = False, None  # what a rescue has to know
        self.ended = False  # saved, since `report` wants no more

    def run_to_end(self, stop: Stop, report: Report) -> Progress:
        """Step until the schedule ends, a signal comes, or updates or environments fail for good."""
        if self.driver.step == 0 and self.run.schedule.eval_every:
            self.journal.evaluate()
            if self.run.initial is not None:  # of what has been learned before, even the first may be the best
                self.checkpoints.best.look(self.journal.evaluation["eval/return"])
        return self._go_on(stop, report)

    def _go_on(self, stop: Stop, report: Report) -> Progress:
        schedule, driver = self.run.schedule, self.driver
        reported = 0.0
        while driver.step < schedule.total_steps and not self.ended:
            error = self._advance()
            signal, overdue, error = self.sync.agree(driver.step, stop.reason, self.checkpoints.overdue(), error)
            if error is not None:
                raise hosts.agreed(self._ended_by(error)) from error
            self.met = signal, overdue
            try:
                logged = self.journal.write_due()
            except EnvError as error:  # environments to evaluate in cannot be made, or cannot take the policy's actions
                if not hosts.alone():
                    raise
                raise self._ended_by(error) from error
            if self.journal.evaluated_step == driver.step:
                self.checkpoints.best.look(self.journal.evaluation["eval/return"])
            self._save_what_is_due(stop)
            if logged or time.perf_counter() - reported > 1.0:
                stop.asked |= self._tell(report)
                reported = time.perf_counter()
                if stop.asked and hosts.alone():
                    self._save_what_is_due(stop)
        if not self.ended:
            self.save("the run has ended")
        return self.journal.progress()

    def _tell(self, report: Report) -> bool:
        """Let `report` hear where the run stands; what it raises passes on once the run is saved, on a lone host."""
        try:
            return bool(report(self.journal.progress()))
        except Exception:
            if hosts.alone():
                self.save("what `report` raised ended the run")
            raise

    def _save_what_is_due(self, stop: Stop) -> None:
        """Save where a signal has come, and raise `Stopped` then, where `report` has asked, or a checkpoint is due."""
        signal, overdue = self.met
        signal = stop.reason if hosts.alone() else signal  # hosts hear of it when they meet
        if signal == ASKED:
            self.save("ended by the program that trains")
            self.ended = True
            return
        if signal is not None:
            self.save("stopped by a signal")
            raise Stopped(f"stopped at step {self.driver.step}, saved; the same command resumes", 128 + signal)
        if self.driver.step and (self.driver.step % self.run.schedule.checkpoint_every == 0 or overdue):
            self.saving = True
            self.checkpoints.try_to_save(self.journal.elapsed)
            self.saving = False

    def save(self, why: str) -> None:
        """Write a checkpoint of where the driver stands, before the run ends; `why` says what ends it.

        Raises `CheckpointError` where that fails, and `Diverged` where nothing is sound (`Checkpoints.save`).
        """
        self.saving = True
        self.checkpoints.save_at_last(self.journal.elapsed, why)
        self.saving = False

    def _ended_by(self, error: Exception) -> Exception:
        """Save, and return the error with what it leaves; raises as `save`."""
        self.save(f"{error}; this ended the run")
        return type(error)(f"{error}; {self._saved()}")

    def _saved(self) -> str:
        """Say what a run that ends here leaves, once `save` has returned."""
        step = self.driver.step
        return f"what was learned is saved at step {step}" if step else "nothing had been learned"

    def rescue(self, stop: Stop, hang: Hung | None) -> None:
        """Save in the place of a thread that is stuck in an environment; raise what ends the run.

        That is `hang`, or `Stopped` on a signal. Saved is the state after the last whole step, and the training
        environments' own only where another one is stuck. Of several hosts this one goes on to where they meet, by
        broken steps, and all save there; its seeds have no evaluation where that is what hangs.
        """
        why, step = "stopped while an environment hangs", self.driver.step
        stage = "save" if self.saving else self.journal.stage
        elsewhere = stage == "diagnosis" or (stage == "evaluation" and not self.run.schedule.eval_on_training_env)
        if not elsewhere:
            self.driver.park()
        self.hang = hang and Hung(f"{hang}, at step {step + 1}")
        try:
            if hosts.alone():
                self.save(str(self.hang or why))
                if self.hang is not None:
                    raise Hung(f"{self.hang}; {self._saved()}")
                raise Stopped(f"{why}; {self._saved()}", 128 + (stop.signal or 0))
            if stage == "evaluation":
                self.journal.write_evaluation({})
            if elsewhere:
                schedule = self.run.schedule
                diagnosed = step > 0 and schedule.due_after_warmup(step, schedule.diagnose_every)
                if diagnosed and (row := hosts.joined({})):
                    self.journal.log.write("diagnose", step, row)
                self._save_what_is_due(stop)
            if stage == "save":
                self.save(str(self.hang or why))
            self._go_on(stop, lambda progress: None)
            if self.hang is not None:  # as it closes
                raise Hung(f"{self.hang}; {self._saved()}")
        finally:
            self.journal.log.close()

    def close(self) -> None:
        """Close logs and environments."""
        self.journal.close()
        self.driver.close()

    def _advance(self) -> Exception | None:
        """Step on, with other hosts to the next meeting; return what went wrong.

        There is a meeting for a host that fails, too, so that all save at one step: it goes on by broken steps.
        """
        driver, error = self.driver, None
        if driver.step >= self.limit:
            self.limit = self.sync.following(driver.step)
        while True:
            try:
                driver.advance(self.limit)
            except (Diverged, EnvError) as new:
                error = error or new
            if hosts.alone() or driver.step >= self.limit:
                return error or self.hang
