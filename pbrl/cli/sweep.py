"""`pbrl sweep`: random search over numeric leaves of a config. Every trial trains with every seed, all in one process.

The result is a run whose streams are (trial, seed) pairs: the loop, checkpoints, resuming and logs are those of a run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import tyro

from pbrl import config as configs
from pbrl.cli import options, repeat, words
from pbrl.cli.display import played
from pbrl.cli.reference import Reference
from pbrl.cli.train import draw_curve, train
from pbrl.errors import RunError
from pbrl.presets import overrides
from pbrl.runs.feasible import check
from pbrl.runs.folder import default_folder
from pbrl.runs.log import read_rows
from pbrl.runs.run import MAX_STREAMS, Run, agent_module
from pbrl.sweep import outcome, ranking
from pbrl.sweep import space as search
from pbrl.sweep.ranking import Result
from pbrl.sweep.space import Space

C = TypeVar("C")
TRIALS = 20  # as many as the paper of SVG made for each task


@dataclass(frozen=True)
class Sweep(options.Train[C]):
    """Options of `pbrl sweep`: those of `pbrl train`, and what varies."""

    about: ClassVar[str] = (
        "Train random draws of hyper-parameters side by side and rank them; the same command again resumes.\n"
        "For example: pbrl sweep sac --env Pendulum-v1 --preset cpu --trials 8 --space config.actor_lr=log:1e-5,1e-2"
    )
    seeds: int = 3
    """Number of seeds of every trial."""
    trials: int | None = None
    """Number of draws (default: 20, or all there are)."""
    space: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What varies (required): PATH=A,B,C or PATH=uniform:LOW,HIGH or PATH=log:LOW,HIGH, a FILE.yaml of such, or
    svg-entropy or svg-entropy-code (target entropies of SVG, App. A.2)."""
    draw_seed: int = 0
    """Seed of the draws."""


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl sweep` with the words after it. Raises as `parse` and `train`."""
    train(parse(argv), summarise)


def parse(argv: Sequence[str]) -> Run:
    """Turn the words after `pbrl sweep` into a checked run with trials. Raises `RunError` as `options.parse` does."""
    given = options.read(argv, Sweep(), "pbrl sweep")
    base = options.make_run(given)
    if not base.schedule.eval_every:
        raise RunError("schedule.eval_every: expected at least 1, got 0; a sweep ranks its trials by evaluations")
    if given.trials is not None:
        words.require("--trials", given.trials, 1, MAX_STREAMS // given.seeds)  # that many streams in all
    words.require("--draw-seed", given.draw_seed, 0, 2**63 - 1)
    try:
        found = spaces(given.space, base)
        size = math.prod(space.size() for space in found)
        trials = search.draw(found, given.trials or int(min(TRIALS, size)), given.draw_seed)
        run = options.settle(replace(base, trials=trials), given)  # what follows lets jax look for its devices
        base.validate()
        for trial in (trial for space in found for trial in space.extremes()):  # the agent may refuse these alone
            check(agent_module(base.agent), replace(base, trials=(trial,)).trial(0).config, base.schedule)
    except ValueError as error:
        raise RunError(str(error)) from None
    run.validate()
    return replace(run, folder=given.out or default_folder(run))


def spaces(words: Sequence[str], base: Run) -> list[Space]:
    """Read every `--space`, for trials that otherwise are `base`.

    Raises `ValueError` for what is no space, and for a field that is not a number that trials may differ in.
    """
    found: list[Space] = []
    for word in words:
        path, equals, spec = word.partition("=")
        if equals:
            found.append(_space(path, spec, base))
        elif word.endswith((".yaml", ".yml")):
            given = overrides.read(Path(word), "--space")
            found += [_space(path, spec, base) for path, spec in given.items()]
        elif word in search.NAMED:
            found.append(search.NAMED[word])
            if not agent_module(base.agent).abilities(base.config).entropy_schedule:
                raise ValueError(f"--space {word}: {base.agent} has no target entropy; this space is for svg and sac")
        else:
            hint = configs.suggest(word, search.NAMED, "space")
            raise ValueError(f"--space {word}: expected PATH=VALUES, a file that ends in .yaml, or a name{hint}")
    if not found:
        raise ValueError("what shall vary? For example: --space config.actor_lr=log:1e-5,1e-3, or --space svg-entropy")
    search.check_disjoint(found)
    return found


def _space(path: str, spec: Any, base: Run) -> Space:
    """Make the space of one path after seeing that it is a numeric leaf of the config."""
    path = path.replace("-", "_")
    part, _, name = path.partition(".")
    if part not in ("config", "schedule") or not name:
        hint = configs.suggest(part, ("config", "schedule"), "part")
        raise ValueError(f"--space {path}: expected a path such as config.actor_lr{hint}")
    known = configs.leaf_paths(base.config)
    if path.removeprefix("config.") in known:
        return search.parse(path, spec)
    there = {f.name for f in fields(base.config if part == "config" else base.schedule)}
    if name not in there:
        raise ValueError(f"--space {path}: there is no such field{configs.suggest(name, known, 'numeric field')}")
    value = spec.split(",")[0] if isinstance(spec, str) and ":" not in spec else "VALUE"
    why = "shapes the program" if part == "config" else "sets the pace of the loop"
    raise ValueError(
        f"--space {path}: this field {why} that all trials share, so sweep it by separate runs, one for each value:\n"
        f"  {repeat.command_line(base)} --{part}.{name.replace('_', '-')}={value}"
    )


def summarise(run: Run, known: Reference) -> None:
    """Rank a finished sweep: print the table, write `sweep.csv`, `sweep.json` and `curve.png`."""
    step, results = outcome.ranked(run)
    kept = not math.isnan(results[0].final)
    rerun = repeat.command_line(outcome.winner(run, results[0].trial)) if kept else None
    about = {**run.identity(), "step": step, "confidence": 0.95, "rerun": rerun}
    about.pop("trials")
    ranking.write(run.folder, results, about)
    curves = draw_curve(run, known)
    last = read_rows(run.folder, "eval")[-1]
    print(f"\nreturn at step {step} and mean over training, {played(last, run.schedule.eval_episodes)}:")
    print("\n".join(ranking.table(results)))
    print(_caveat(results, len(run.seeds)))
    if rerun:
        print(
            f"The best of {len(results)} draws was picked by these very returns, so its own is biased upwards. ", end=""
        )
        print(f"Measure it on fresh seeds:\n  {rerun}")
    else:
        print("Every trial lost the last return of a seed, so there is no winner; its row says why. Narrow the --space")
    print(f"table: {run.folder / 'sweep.csv'}, {run.folder / 'sweep.json'}; {curves}")


def _caveat(results: Sequence[Result], seeds: int) -> str:
    if seeds < 2:
        return "One seed: no intervals, so a difference between trials may be luck. Give more with --seeds"
    alike = sum(bool(r.overlaps_best) for r in results) - 1
    rough = "; from so few they are rough, and too narrow" if seeds < outcome.FRESH_SEEDS else ""
    return (
        f"Brackets: 95 % bootstrap intervals over {seeds} seeds{rough}. "
        f"~ best: the interval overlaps the best one's ({alike} of {len(results) - 1})"
    )
