"""Diagnoses of a run while it trains."""

import warnings
from typing import Any

import numpy as np

from pbrl.data.replay import Replay
from pbrl.diagnose.diagnosis import Diagnosis
from pbrl.diagnose.present import worries
from pbrl.errors import ActionError, EnvError
from pbrl.parallel import hosts
from pbrl.runs.run import Run


class Watch:
    """Looks at the model of a process' share of a run, and warns once of each thing in it that should worry."""

    def __init__(self, run: Run):
        """Make nothing yet: many runs are never diagnosed."""
        self.run, self.diagnosis = run, None
        self.worried: set[str] = set()

    def row(self, agents: Any, replay: Replay, step: int) -> dict[str, np.ndarray]:
        """Return `diagnose/...` of the streams of all hosts; with a warning, nothing of those whose environment breaks.

        `agents` and `replay` are those of this process, stacked over its streams.
        """
        mine = {}
        try:
            if self.diagnosis is None:
                self.diagnosis = Diagnosis(self.run)
            mine = self.diagnosis.of(agents, replay, step)
        except ActionError:
            raise
        except EnvError as error:
            warnings.warn(f"step {step}: no diagnosis, since {error}", stacklevel=2)
        row = hosts.joined(mine)  # NaN for those without
        if not row:
            return {}
        for name, sentence in worries(row).items():
            if name not in self.worried and hosts.is_first():
                warnings.warn(f"step {step}: {sentence}", stacklevel=2)
            self.worried.add(name)
        return row

    def close(self) -> None:
        """Close the environment, if there is one."""
        if self.diagnosis is not None:
            self.diagnosis.close()
