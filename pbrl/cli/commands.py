"""What the subcommands of `pbrl` do. Imports nothing heavy: each command imports what it needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import ArrayLike

from pbrl import AGENTS
from pbrl import config as configs
from pbrl.errors import RunError
from pbrl.planning import config as planner
from pbrl.presets import lookup
from pbrl.runs.folder import load
from pbrl.runs.run import Run, agent_module, driver_module

# The ids of Gymnasium that work as they are; `pbrl.envs.TASKS` has those of pbrl.
GYMNASIUM = {
    "MuJoCo, in Gymnasium": (
        *("InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Reacher-v5", "Pusher-v5", "Swimmer-v5"),
        *("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5", "HumanoidStandup-v5"),
    ),
    "classic control, in Gymnasium": ("Pendulum-v1", "MountainCarContinuous-v0"),
}


def train(run: Run) -> None:
    """Train a run or a sweep to its end, showing progress; then summarise it and draw its curves.

    Of several hosts (`pbrl.parallel.devices.start_hosts`) the first does the showing.

    Raises `RunError`, `EnvError`, `CheckpointError`, `Diverged`, `Stopped` and `HostLost` as its driver's `train`.
    """
    from pbrl.cli import display, process
    from pbrl.parallel import hosts

    process.start(run.float64)
    driver = driver_module(run)
    hosts.all_or_none(lambda: driver.check(run))
    if not hosts.is_first():
        driver.train(run)
        return
    announce(run)
    if run.trials:
        from pbrl.sweep import sweep

        display.say(sweep.announcement(run))
    with display.report(run) as report:
        driver.train(run, report)
    if run.trials:
        sweep.summarise(run)
    else:
        summarise(run)


def _unfinished_schedule(run: Run) -> str:
    """Say where a schedule of target entropies does not end with the run; nothing otherwise."""
    config, steps, total = run.config, getattr(run.config, "entropy_steps", 0), run.schedule.total_steps
    swept = any(path.startswith("config.") and path.endswith("_entropy") for trial in run.trials for path in trial)
    moves = swept or getattr(config, "initial_entropy", None) != getattr(config, "final_entropy", None)
    if steps <= total or not moves:
        return ""
    return (
        f"note: target entropies reach their final value at config.entropy_steps ({steps:g}), after the last step "
        f"({total}); the paper's runs have both equal: --config.entropy-steps={total}"
    )


def announce(run: Run) -> None:
    """Say once what will train, on what and with what precision, and whether it goes on from an earlier process."""
    import jax

    from pbrl.cli.display import say
    from pbrl.envs.jax_env import physics_precision
    from pbrl.parallel import devices
    from pbrl.runs import checkpoint

    folder = run.folder / "checkpoints"
    done = checkpoint.read_info(folder)[1] if checkpoint.steps(folder) else 0
    device = jax.devices()[0]
    seeds = f"seed {run.seeds[0]}" if len(run.seeds) == 1 else f"seeds {run.seeds[0]}–{run.seeds[-1]}"
    if run.trials:
        seeds = f"{len(run.trials)} trials of {seeds}"
    say(f"{run.title} on {run.env}, {seeds}, {run.schedule.total_steps} steps each; folder: {run.folder}")
    own, many = devices.own_mesh(len(devices.share(run).stream_seeds)), jax.process_count()
    used, there = many * (own.size if own else 1), jax.device_count()
    several = f"{used} of {there} devices" + f" on {many} hosts" * (many > 1) if there > 1 else "device"
    width = "float64" if run.float64 else "float32"
    learns_model = run.schedule.model_every > 0 and not run.oracle
    say(
        f"{several}: {device.platform} ({device.device_kind}), driver: {run.driver}, seeds by {run.seed_mode}; "
        f"{width}, matmul precision: {run.config.precision} (actor, critics)"
        + ", highest (model)" * learns_model
        + f", {physics_precision()} (physics)" * bool(run.oracle)
    )
    if run.oracle:
        say(f"oracle ({run.oracle}): the environment's own dynamics take the place of a learned model")
    if note := _unfinished_schedule(run):
        say(note)
    if done >= run.schedule.total_steps:
        say(f"this run is complete: it is at step {done}. Train for longer with --steps, or elsewhere with --out")
    elif done:
        say(f"resuming from step {done}")


def summarise(run: Run) -> None:
    """Print the last evaluation's statistics over seeds, draw `curve.png`, and say where everything is."""
    from pbrl.cli.display import say
    from pbrl.report import plots
    from pbrl.runs.log import read_rows

    rows = read_rows(run.folder, "eval")
    if rows:
        last = rows[-1]
        plots.run_curves([run.folder], run.folder / "curve.png")
        say(f"\nreturn at step {last['step']}, {run.schedule.eval_episodes} episodes for each seed:")
        say(statistics_line(last["eval/return"]))
        say(f"learning curve: {run.folder / 'curve.png'}")
    say(f"run folder: {run.folder}")


def statistics_line(returns: ArrayLike) -> str:
    """Return mean and interquartile mean over seeds and, from two seeds on, their bootstrap intervals as one line."""
    from pbrl.report import stats

    a = stats.aggregate(np.asarray(returns))
    if a.n < 2:
        return f"mean {a.mean:.1f} (one seed: no interval)"
    mean = f"mean {a.mean:.1f} [{a.low:.1f}, {a.high:.1f}]"
    iqm = f"interquartile mean {a.iqm:.1f} [{a.iqm_low:.1f}, {a.iqm_high:.1f}]"
    return f"{mean}, {iqm} (95 % bootstrap intervals over {a.n} seeds)"


def evaluate(
    run: Path,
    /,
    *,
    episodes: int = 10,
    step: int | None = None,
    mpc: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    mpc_: Annotated[planner.Config, tyro.conf.arg(name="mpc")] = planner.Config(),
) -> None:
    """Play fresh evaluation episodes with a run's trained policies: a table by seed, mean, IQM and its interval.

    Args:
        run: The run's folder.
        episodes: Whole episodes for each seed, from first states that training's evaluations did not use.
        step: Evaluate the checkpoint of this step instead of the newest.
        mpc: Play the same episodes again, planning every action with the agent's model and critics, and compare.
        mpc_: How to plan; each of these implies --mpc.
    """
    if episodes < 1:
        raise RunError(f"--episodes: expected at least 1, got {episodes}")
    it = load(run)
    from pbrl.cli import process
    from pbrl.planning import cem
    from pbrl.trained import play

    process.start(it.float64)
    if mpc:
        try:
            cem.check(agent_module(it.agent), it.config, mpc_, oracle=bool(it.oracle))
        except ValueError as error:
            raise RunError(str(error)) from None
    state, at = play.restore(it, step)
    result = play.evaluate(it, play.policies(it, state), at, episodes)
    print(f"{it.title} on {it.env}, step {at}, {episodes} fresh episodes for each seed")
    columns, scores = {"return": result["eval/return"], "length": result["eval/length"]}, {"": result["eval/return"]}
    if mpc:
        print(f"planned: {', '.join(f'{name} {value}' for name, value in configs.to_json(mpc_).items())}")
        planned = play.evaluate(it, play.planners(it, state, at, mpc_), at, episodes)
        columns |= {"planned": planned["eval/return"], "its length": planned["eval/length"]}
        gain = planned["eval/return"] - result["eval/return"]
        scores = {"policy: ": result["eval/return"], "planned: ": planned["eval/return"], "difference: ": gain}
    _print_table(it, columns)
    for i in range(max(len(it.trials), 1)):
        for name, values in scores.items():
            trial = f"trial {i}: " if it.trials else ""
            print(f"{trial}{name}{statistics_line(values.reshape(-1, len(it.seeds))[i])}")


def _print_table(run: Run, columns: Mapping[str, np.ndarray]) -> None:
    """Print values `[N]` by stream, lengths with one digit."""
    width = {name: 10 if name.endswith("length") else 12 for name in columns}
    print("   trial " * bool(run.trials) + f"{'seed':>8}" + "".join(f" {name:>{w}}" for name, w in width.items()))
    for i, seed in enumerate(run.stream_seeds):
        trial = f"{i // len(run.seeds):>8} " if run.trials else ""
        cells = (f" {x[i]:>{width[n]}.{1 if n.endswith('length') else 2}f}" for n, x in columns.items())
        print(f"{trial}{seed:>8}{''.join(cells)}")


def plot(runs: tuple[Path, ...], /, *, out: Path = Path("curves.png")) -> None:
    """Draw the learning curves of runs: the mean over seeds, and its bootstrap band.

    Args:
        runs: Folders of runs; those of one agent on one environment add up their seeds (with an oracle, on the
            device or in float64 it is another).
        out: The picture to write, whose ending says its format.
    """
    if not runs:
        raise RunError("which runs? For example: pbrl plot runs/mage-Pendulum-v1-1seeds-0123abcd")
    from pbrl.report import plots
    from pbrl.runs.log import read_rows

    for folder in runs:
        load(folder)
        if not read_rows(folder, "eval"):
            raise RunError(f"{folder} has no evaluation to draw yet; train it, with --schedule.eval-every above 0")
    if out.suffix not in (".png", ".pdf", ".svg"):
        raise RunError(f"--out: expected a name that ends in .png, .pdf or .svg, got {str(out)!r}")
    plots.run_curves(list(runs), out)
    print(out)


def video(run: Path, /, *, out: Path | None = None, seed_index: int = 0, episodes: int = 1) -> None:
    """Film a run's trained policy as an mp4.

    Args:
        run: The run's folder.
        out: The file to write; by default video.mp4 in the run's folder.
        seed_index: Which of the run's seeds, counted from 0; of a sweep, trial times seeds plus seed.
        episodes: Whole episodes to film.
    """
    if episodes < 1:
        raise RunError(f"--episodes: expected at least 1, got {episodes}")
    it = load(run)
    from pbrl.cli import process
    from pbrl.trained import play

    process.start(it.float64)
    out = out or it.folder / "video.mp4"
    state, at = play.restore(it)
    returns = play.record(it, state, at, seed_index, episodes, out)
    who = f"trial {seed_index // len(it.seeds)}, " if it.trials else ""
    who += f"seed {it.stream_seeds[seed_index]}"
    print(f"{out}: step {at}, {who}, return {', '.join(f'{r:.1f}' for r in returns)}")


def list_() -> None:
    """Name the agents, some environments and the presets."""
    print("agents")
    for name, summary in AGENTS.items():
        print(f"  {name:8} {summary}")
    print("\npresets")
    for name, summary in lookup.SUMMARIES.items():
        print(f"  {name:8} {summary}")
    from pbrl.envs import BRAX, MAAC, MAGE, MBPO, POPLIN, TOYS

    print("\nenvironments: any Gymnasium id with Box observations and actions, such as")
    groups = {
        "MAGE's tasks, with known reward and termination": MAGE,
        "MBPO's tasks, with known termination": MBPO,
        "POPLIN's and PETS's tasks, with known reward; they never terminate": POPLIN,
        "MAAC's tasks, with known reward; they never terminate": MAAC,
        "toys in pure JAX, with known reward and termination": [f"pbrl/Toy{name}-v0" for name in TOYS],
        "Brax', by name and backend, such as": [f"{BRAX}halfcheetah-positional", f"{BRAX}reacher-spring"],
        **GYMNASIUM,
    }
    for group, ids in groups.items():
        print(f"  {group}")
        for env_id in ids:
            print(f"    {env_id}")
