"""`pbrl eval`: fresh episodes with what a run has learned, by its policies and, with --mpc, by planning as well."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from pbrl import config as configs
from pbrl.cli import process, words
from pbrl.cli.display import counted, played, statistics_line
from pbrl.errors import RunError
from pbrl.planning import config as planner
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
    mpc: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    mpc_: Annotated[planner.Config, tyro.conf.arg(name="mpc")] = planner.Config(),
    trust_env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODULE")] = (),
) -> None:
    """Play fresh evaluation episodes with a run's trained policies: a table by seed, mean, IQM and its interval.

    Args:
        run: The run's folder.
        episodes: Whole episodes for each seed, from first states that training's evaluations did not use.
        step: Evaluate the checkpoint of this step instead of the newest.
        mpc: Play the same episodes again, planning every action with the agent's model and critics, and compare.
        mpc_: How to plan; each of these implies --mpc.
        trust_env: Python module of the run's environment MODULE:ID, which reading the run imports: as the program of
            whoever made the folder, it can do anything.
    """
    words.require("--episodes", episodes, 1, MOST_EPISODES)
    it = load(run, trust_env)
    from pbrl.planning import cem
    from pbrl.trained import play, restore

    process.start(it.float64)
    if mpc:
        try:
            cem.check(agent_module(it.agent), it.config, mpc_, oracle=bool(it.oracle))
        except ValueError as error:
            raise RunError(str(error)) from None
    state, at = restore.agents(it, step)
    planned = {}
    result = play.evaluate(it, play.policies(it, state), at, episodes)
    print(f"{it.title} on {it.env}, step {at}, {counted(episodes, 'fresh episode')} for each seed")
    columns, scores = _columns(result), {"": result["eval/return"]}
    if mpc:
        print(f"planned: {', '.join(f'{name} {value}' for name, value in configs.to_json(mpc_).items())}")
        planned = play.evaluate(it, play.planners(it, state, at, mpc_), at, episodes)
        columns = {name: columns[name] for name in ("return", "length")}
        columns |= {"planned": planned["eval/return"], "its length": planned["eval/length"]}
        gain = planned["eval/return"] - result["eval/return"]
        scores = {"policy: ": result["eval/return"], "planned: ": planned["eval/return"], "difference: ": gain}
    _print_table(it, columns)
    for name, of in {"": result, **({"planned: ": planned} if planned else {})}.items():
        if (of["eval/episodes"] != episodes).any():
            print(f"{name}{played(of, episodes)}")
    for i in range(max(len(it.trials), 1)):
        for name, values in scores.items():
            trial = f"trial {i}: " if it.trials else ""
            print(f"{trial}{name}{statistics_line(values.reshape(-1, len(it.seeds))[i])}")


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
