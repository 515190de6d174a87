"""Reading what a run's checkpoints hold, whichever driver trained it."""

from typing import Any

import jax

from pbrl.errors import RunError
from pbrl.runs import checkpoint, record
from pbrl.runs.run import Run, require_width
from pbrl.train.drivers import driver_module
from pbrl.train.learn import Learner


def agents(run: Run, step: int | None = None) -> tuple[Any, int]:
    """Read the agents' states, with a leading axis over streams; as `learners`."""
    learner, step = learners(run, step)
    return jax.device_put(learner.agent), step


def learners(run: Run, step: int | None = None) -> tuple[Learner, int]:
    """Read the agents' states and buffers, stacked over streams, from the newest good checkpoint or that of `step`.

    Returns `(learner, step)`. Raises `CheckpointError` where there is no good one, `RunError` for a step without one
    and for a checkpoint of another run.
    """
    require_width(run)
    run.validate()
    folder = run.folder / "checkpoints"
    there = checkpoint.steps(folder)
    if step is not None and step not in there:
        raise RunError(f"{run.folder} has no checkpoint of step {step}; it has {', '.join(map(str, there)) or 'none'}")
    info, step = checkpoint.read_info(folder, step=step)
    record.require_same(info, run, step, "Put the old values back into config.json, which has been changed since")
    contents, _, step = checkpoint.restore(folder, driver_module(run).template(run, info["capacity"]), step=step)
    return contents["learner"], step
