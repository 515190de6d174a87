"""Beginning with a dataset (`pbrl.runs.dataset`): its rows fill the replay buffer before the first step."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.data.soundness import Experience
from pbrl.errors import RunError
from pbrl.parallel import devices, hosts
from pbrl.runs import dataset, dataset_rows
from pbrl.runs.layout import Layout
from pbrl.runs.run import Run, agent_module
from pbrl.train import learn
from pbrl.train.learn import Learner
from pbrl.types import Array, Transition


def check(run: Run) -> None:
    """Raise `RunError` where a run cannot begin with data at all; the rows are looked at by `onto`."""
    if run.data is None:
        return
    if not hosts.alone():
        raise RunError("--data: expected one process, got several hosts; train on one")
    if run.initial is not None and "replay" in run.initial.parts:
        raise RunError("--data, --init-parts: expected transitions of one of them, got both; leave out replay")
    dataset.require_minari(f"--data {run.data.id}")


def onto(run: Run, layout: Layout, fresh: Learner) -> Learner:
    """Return fresh learners `[N, ...]` whose buffers hold the newest `schedule.data_rows` of the run's dataset.

    Every stream begins with the same rows, and has seen them: its normaliser, too, whose count is the clock of
    schedules. Raises `RunError` for rows that are not sound or not to be believed, and for extras that are not there.
    """
    assert run.data is not None
    found = dataset_rows.read(run.data, layout)
    found = jax.tree.map(lambda x: x[-run.schedule.data_rows :], found)
    batch, wanted = found.batch, fresh.replay.rows.extras.keys()
    if missing := wanted - batch.extras.keys():
        raise RunError(
            f"--data {run.data.id}: its transitions lack {', '.join(sorted(missing))}, which {run.title} learns from: "
            "the simulator's state, for an oracle, or what the policy that chose the actions gave them; "
            "`pbrl data export` writes both, of a run that stores them"
        )
    expected = {name: x.shape[2:] for name, x in fresh.replay.rows.extras.items()}
    for name in sorted(wanted):
        if (shape := batch.extras[name].shape[1:]) != expected[name]:
            raise RunError(
                f"--data {run.data.id}: its {name} has shape {list(shape)} in a transition, expected "
                f"{list(expected[name])}; take data of {run.task}"
            )
    batch = replace(batch, extras={name: batch.extras[name] for name in wanted})
    _require_sound(run, batch)
    agent = agent_module(run.agent)

    def one(learner: Learner, batch: Transition, last: Array) -> Learner:
        filled = learn.store(agent, learner, batch, last)
        steps = jnp.zeros_like(filled.experience.counts)  # what is told of a refused row counts the run's own steps
        return replace(filled, experience=replace(filled.experience, counts=steps))

    fill = jax.jit(jax.vmap(one, in_axes=(0, None, None)), donate_argnums=0)
    return devices.lay(fill(fresh, batch, found.last), len(run.stream_seeds))


def _require_sound(run: Run, batch: Transition) -> None:
    """Raise `RunError` where a replay buffer would refuse a row, as it does a broken step of an environment."""
    believed = np.asarray(jax.jit(lambda x: Experience.init().judge(x)[1])(batch))
    if not believed.all():
        assert run.data is not None
        row = int(np.flatnonzero(~believed)[0])
        raise RunError(
            f"--data {run.data.id}: {int((~believed).sum())} of {len(believed)} rows are not sound, the first of them "
            f"row {row} of those taken: NaN, infinite, or far larger than all others; take them out of the dataset"
        )
