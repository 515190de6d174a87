"""`pbrl doctor`: whether an environment can be trained on, and what a run on it would cost, line by line."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from pbrl.cli import options, process, repeat, words
from pbrl.cli.display import say
from pbrl.errors import EnvError, RunError, Unfit, with_origin
from pbrl.runs.run import Run

C = TypeVar("C")


@dataclass(frozen=True)
class Doctor(options.Train[C]):
    """Options of `pbrl doctor`: those of the run that it looks ahead to."""

    about: ClassVar[str] = (
        "Look at an environment before training on it: what is wrong with it, and what a run of these options costs.\n"
        "Takes a minute or two; most of it goes into compiling updates. Exit code 1 where something fails.\n"
        "For example: pbrl doctor my_module:MyEnv-v0 --agent sac --preset cpu"
    )
    agent: str = "mage"
    """Agent of the run that is looked ahead to."""


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl doctor` with the words after it: first the environment. Raises `Unfit` where a check fails."""
    asked = ["--env", *argv] if argv and not argv[0].startswith("-") else list(argv)
    if {"-h", "--help"} & set(asked) and not words.peek(asked, "agent", ""):  # without jax, as an agent's options need
        words.fill(Doctor[Annotated[None, tyro.conf.Suppress]], asked, Doctor(), "pbrl doctor ENV", Doctor.about)
    try:
        given = options.read(asked, Doctor(), "pbrl doctor")
        run = options.settle(options.make_run(given), given).validate()
    except EnvError as error:
        say(f"FAIL makes: {with_origin(str(error), error)}")
        raise Unfit("the environment cannot be made; mend what the line says, and ask again") from None
    examine(run)


def examine(run: Run) -> None:
    """Print one line for each check, and the command that trains. Raises `Unfit` where one fails."""
    process.start(run.float64)
    from pbrl.diagnose import doctor

    failed = []
    say(f"{run.task}:")
    for check in doctor.examine(run.make_env, run.env, standard=run.standard, oracle_asked=bool(run.oracle)):
        say(str(check))
        failed += [check.name] if check.level == "FAIL" else []
    if failed:
        raise Unfit(f"{run.task}: {', '.join(failed)} failed; mend what the lines say, and ask again")
    foretell(run)
    say(f"to train: {repeat.command_line(run)}")


def foretell(run: Run) -> None:
    """Say what memory and time a run needs. Raises `Unfit` where there is too little memory."""
    import contextlib

    from pbrl.diagnose import random_play
    from pbrl.train import cost, footprint

    with contextlib.closing(run.make_env()) as env:
        env.reset(seed=0)
        extras: Any = env.extras() if run.oracle else {}
        try:
            say(f"ok   memory: {run.title} needs at least {footprint.require(footprint.of(run, env.spec, extras))}")
        except RunError as error:
            say(f"FAIL memory: {error}")
            raise Unfit(f"{run.task}: memory failed; see above") from None
        played = random_play.play(env, extras=bool(run.oracle))
        found = cost.measure(run, env.spec, played.rows, played.step_s)
    parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in found.parts.items())
    steps = f"{run.schedule.total_steps} steps of {len(run.stream_seeds)} seed" + "s" * (len(run.stream_seeds) > 1)
    say(f"ok   time: about {duration(found.total)} for {steps} here ({parts}), and {found.compile_s:.0f} s to compile")


def duration(seconds: float) -> str:
    """Say a time in the unit that suits it."""
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds:.{0 if seconds >= 10 else 1}f} s"
