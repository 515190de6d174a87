"""`pbrl eval`: fresh episodes with what a run has learned, by its policies and, with --mpc, by planning as well."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from pbrl import config as configs
from pbrl.cli import process, progress, words
from pbrl.cli.display import counted, played, statistics_line
from pbrl.errors import RunError
from pbrl.planning import config as planner
from pbrl.runs import files, rows
from pbrl.runs.folder import load
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import MOST_EPISODES


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl eval` with the words after it. Raises as `evaluate`."""
    implied = ["--mpc"] if any(word.startswith("--mpc.") for word in argv) else []
    words.call(evaluate, [*argv, *implied], "pbrl eval")


def evaluate(
    run: Path,
    /,
    *,
    episodes: int = 10,
    step: int | None = None,
    best: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    out: Path | None = None,
    mpc: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    mpc_: Annotated[planner.Config, tyro.conf.arg(name="mpc")] = planner.Config(),
    trust_env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE")] = (),
) -> None:
    """Play fresh evaluation episodes with a run's trained policies: a table by seed, mean, IQM and its interval.

    Args:
        run: The run's folder.
        episodes: Whole episodes for each seed, from first states that training's evaluations did not use.
        step: Evaluate the checkpoint of this step instead of the newest.
        best: Evaluate each seed's best policy by the run's own evaluations instead.
        out: A JSON file for all of it, with every episode's return and length.
        mpc: Play the same episodes again, planning every action with the agent's model and critics, and compare.
        mpc_: How to plan; each of these implies --mpc.
        trust_env: Python module of the run's environment MODULE:ID, of its wrappers, or one of yours that registers its
            id. Reading the run imports it: as the program of whoever made the folder, it can do anything.
    """
    words.require("--episodes", episodes, 1, MOST_EPISODES)
    if best and mpc:
        raise RunError("--best, --mpc: expected one of them, since of the best policies no model is kept, got both")
    which = words.step(step, best)
    if out is not None and not out.parent.is_dir():
        raise RunError(f"--out: there is no folder {out.parent} to write {out.name} in; make it first")
    it = load(run, trust_env)
    from pbrl.planning import cem
    from pbrl.trained import play, restore

    process.start(it.float64)
    rounds = episodes if it.schedule.eval_on_training_env else 1  # one after the other

    def play_by(act: play.Act, state: Any, at: int, how: str, show: Callable[[str], None]) -> play.Played:
        words, most = f"{how} {counted(episodes, 'episode')} of each seed", rounds * state.spec.episode_length
        return play.played(it, progress.counting(act, show, words, most), at, episodes)

    if not mpc:
        with progress.shown("reading the checkpoint, making environments") as show:
            state, _, steps, _ = restore.policies(it, which, trust_env)
            result = play_by(play.policies(it, state), state, int(steps.max()), "playing", show)
        _report(it, steps, episodes, {"policy": result}, out)
        return
    try:
        cem.check(agent_module(it.agent), it.config, mpc_, oracle=bool(it.oracle))
    except ValueError as error:
        raise RunError(str(error)) from None
    with progress.shown("reading the checkpoint, making environments") as show:
        state, at = restore.agents(it, step)
        result = play_by(play.policies(it, state), state, at, "playing", show)
        planned = play_by(play.planners(it, state, at, mpc_), state, at, "planning", show)
    about = f"planned: {', '.join(f'{name} {value}' for name, value in configs.to_json(mpc_).items())}"
    steps = np.full(len(it.stream_seeds), at)
    _report(it, steps, episodes, {"policy": result, "planned": planned}, out, about)


def _report(
    run: Run, steps: np.ndarray, episodes: int, by: Mapping[str, Any], out: Path | None, about: str = ""
) -> None:
    """Print what was played by "policy" and perhaps "planned", and write it."""
    print(f"{run.title} on {run.task}, {_of_step(steps)}, {counted(episodes, 'fresh episode')} for each seed")
    result = by["policy"].scores
    columns, scores = _columns(result), {"": result["eval/return"]}
    if about:
        print(about)
        planned = by["planned"].scores
        columns = {name: columns[name] for name in ("return", "length")}
        columns |= {"planned": planned["eval/return"], "its length": planned["eval/length"]}
        gain = planned["eval/return"] - result["eval/return"]
        scores = {"policy: ": result["eval/return"], "planned: ": planned["eval/return"], "difference: ": gain}
    _print_table(run, columns)
    for name, of in by.items():
        if (of.scores["eval/episodes"] != episodes).any():
            print(f"{'planned: ' * (name == 'planned')}{played(of.scores, episodes)}")
    for i in range(max(len(run.trials), 1)):
        for name, values in scores.items():
            trial = f"trial {i}: " if run.trials else ""
            print(f"{trial}{name}{statistics_line(values.reshape(-1, len(run.seeds))[i])}")
    if out is not None:
        what = {"run": str(run.folder), "agent": run.agent, "env": run.env, "oracle": run.oracle}
        what |= {name: _streams(run, steps, of) for name, of in by.items()}
        files.write(out, json.dumps(what, indent=1, allow_nan=False) + "\n")


def _of_step(steps: np.ndarray) -> str:
    """Say of which steps the policies are."""
    if (steps == steps[0]).all():
        return f"step {steps[0]}"
    return f"each seed's best by the run's evaluations, of steps {', '.join(map(str, steps))}"


def _streams(run: Run, steps: np.ndarray, of: Any) -> list[dict[str, Any]]:
    """Return what was played as JSON, an object for each stream; what is not a number is null."""
    found = []
    for i, seed in enumerate(run.stream_seeds):
        trial = {"trial": i // len(run.seeds)} if run.trials else {}
        means = {name.removeprefix("eval/"): float(x[i]) for name, x in of.scores.items()}
        each = {"returns": of.returns[i].tolist(), "lengths": of.lengths[i].tolist()}
        row = {**trial, "seed": seed, "step": int(steps[i]), **means, **each}
        found.append({name: rows.plain(value) for name, value in row.items()})
    return found


def _columns(result: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the table shows of an evaluation: over each seed's whole episodes."""
    shown = ("return", "length", "return_std", "return_min", "return_max", "episodes")
    return {name.removeprefix("return_"): result[f"eval/{name}"] for name in shown}


def _print_table(run: Run, columns: Mapping[str, np.ndarray]) -> None:
    """Print values `[N]` by stream, lengths with one digit, numbers of episodes with none."""
    digits = {name: 0 if name == "episodes" else 1 if name.endswith("length") else 2 for name in columns}
    width = {name: 12 if digits[name] == 2 else 10 for name in columns}
    print("   trial " * bool(run.trials) + f"{'seed':>8}" + "".join(f" {name:>{w}}" for name, w in width.items()))
    for i, seed in enumerate(run.stream_seeds):
        trial = f"{i // len(run.seeds):>8} " if run.trials else ""
        cells = (f" {x[i]:>{width[n]}.{digits[n]}f}" for n, x in columns.items())
        print(f"{trial}{seed:>8}{''.join(cells)}")
