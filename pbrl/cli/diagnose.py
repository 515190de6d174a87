"""`pbrl diagnose`: what a run's model is worth where its policy goes, as a table, as warnings and as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pbrl.cli import output, process, progress, words
from pbrl.cli.display import counted
from pbrl.cli.gradcheck import require_some
from pbrl.diagnose import present
from pbrl.runs import files
from pbrl.runs.folder import load
from pbrl.runs.log import read_rows

if TYPE_CHECKING:
    from pbrl.diagnose.diagnosis import Diagnosis

CALL = 3e-4
"""Seconds that a policy takes for one action, about."""


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl diagnose` with the words after it. Raises as `diagnose`."""
    words.call(diagnose, argv, "pbrl diagnose")


def diagnose(
    run: Path,
    /,
    *,
    step: int | None = None,
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16),
    states: int = 64,
    trust_env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE")] = (),
) -> None:
    """Hold a run's model against the truth: gradients, imagined returns and the critics' range.

    From states of fresh episodes. Policy gradients go H steps through the model and through the environment's own
    dynamics, where it has differentiable ones; returns are compared everywhere. Writes diagnose.png and diagnose.json
    into the run's folder, with what --diagnose-every has written during training.

    Args:
        run: The run's folder.
        step: Look at the checkpoint of this step instead of the newest.
        horizons: Steps H through the model; those that are longer than half an episode are left out.
        states: For each of eight estimates of a gradient, whose spread is its noise.
        trust_env: Python module of the run's environment MODULE:ID, of its wrappers, or one of yours that registers its
            id. Reading the run imports it: as the program of whoever made the folder, it can do anything.
    """
    require_some(horizons, states)
    it = load(run, trust_env)
    from pbrl.diagnose import diagnosis
    from pbrl.parallel import devices
    from pbrl.trained import restore

    process.start(it.float64)
    devices.use_cores(len(it.stream_seeds))
    diagnosis.check(it)
    with progress.shown("making the environment") as show:
        measuring = diagnosis.Diagnosis(it, horizons, states)
        try:
            learner, at = restore.learners(it, step)
            output.tell(foretold(measuring))
            row = measuring.of(learner.agent, learner.replay, at, show)
        finally:
            measuring.close()
    print(f"{it.title} on {it.task}, step {at}, mean over {counted(len(it.stream_seeds), 'seed')}")
    print(present.table(row, measuring.horizons))
    if dropped := sorted(set(horizons) - set(measuring.horizons)):
        print(f"- longer than half an episode, left out: H = {', '.join(map(str, dropped))}")
    if not measuring.truth:
        print(f"- {it.task} has no differentiable dynamics of its own: gradients have nothing to be compared with")
    for sentence in present.worries(row).values():
        print(f"- warning: {sentence}")
    facts = {"step": at, "states": states, **{name: x.tolist() for name, x in row.items()}}
    files.write(it.folder / "diagnose.json", json.dumps(facts, indent=1) + "\n")
    past, picture = read_rows(it.folder, "diagnose"), it.folder / "diagnose.png"
    with files.whole(picture) as partial:
        present.draw(row, measuring.horizons, past, f"{it.title} on {it.task}, step {at}", partial)
    print(picture)


def foretold(measuring: "Diagnosis") -> str:
    """Say roughly what a diagnosis takes: the steps to play, by a few random ones, and the gradients."""
    from pbrl.diagnose import random_play
    from pbrl.envs.ids import TWINS

    run, played = measuring.run, random_play.play(measuring.env, 20)
    policies = len(run.stream_seeds)
    seconds = policies * measuring.steps * (played.step_s + CALL)
    cheap = not measuring.truth or run.env.rpartition(":")[2] in TWINS
    takes = "seconds, and up to a minute to compile" if cheap else "minutes on a CPU, most of it to compile"
    through = "the model and the environment's own dynamics" if measuring.truth else "the model"
    return (
        f"about {measuring.steps} steps with each of {counted(policies, 'policy', 'policies')} ({seconds:.0f} s), then "
        f"gradients of up to {measuring.horizons[-1]} steps through {through} ({takes}); less with fewer --states and "
        "shorter --horizons"
    )
