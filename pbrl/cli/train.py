"""`pbrl train`: what will train is announced, progress shown, the result summarised."""

import shlex
from collections.abc import Callable, Sequence

import numpy as np

from pbrl.cli import display, options, output, panel, process, reference
from pbrl.cli.display import say
from pbrl.cli.reference import RANDOM, Reference
from pbrl.errors import RunError
from pbrl.report import plots
from pbrl.runs import files
from pbrl.runs.log import read_rows
from pbrl.runs.placement import share
from pbrl.runs.run import Run, agent_module
from pbrl.train.drivers import driver_module


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl train` with the words after it. Raises as `options.parse` and `train`."""
    train(options.parse(argv), summarise)


def train(run: Run, conclude: Callable[[Run, Reference], None]) -> None:
    """Train a run or a sweep to its end, showing progress; then `conclude`, which says what came of it.

    Of several hosts (`pbrl.parallel.hosts.start`) the first does the showing.

    Raises `RunError`, `EnvError`, `CheckpointError`, `Diverged`, `Stopped` and `HostLost` as its driver's `train`.
    """
    from pbrl.parallel import hosts

    process.start(run.float64)
    driver = driver_module(run)
    need = []
    with output.patient():
        hosts.all_or_none(lambda: need.append(driver.check(run)))
        if not hosts.is_first():
            driver.train(run)
            return
        announce(run)
        say(f"memory: at least {need[0]}")
        known = compared(run)
        with panel.report(run, known) as report:
            driver.train(run, report)
        conclude(run, known)


def compared(run: Run) -> Reference:
    """Say and return what returns will compare with."""
    known = reference.of(run)
    if str(known):
        say(f"returns compare with: {known}")
    return known


def announce(run: Run) -> None:
    """Say once what will train, on what and with what precision, and whether it goes on from an earlier process."""
    import jax

    from pbrl.envs.jax_env import physics_precision
    from pbrl.parallel import devices
    from pbrl.runs import checkpoint

    folder = run.folder / "checkpoints"
    done = checkpoint.read_info(folder, step=run.from_step)[1] if run.from_step or checkpoint.steps(folder) else 0
    device = jax.devices()[0]
    seeds = f"seed {run.seeds[0]}" if len(run.seeds) == 1 else f"seeds {run.seeds[0]}–{run.seeds[-1]}"
    if run.trials:
        seeds = f"{len(run.trials)} trials of {seeds}"
    say(f"{run.title} on {run.task}, {seeds}, {run.schedule.total_steps} steps each; folder: {run.folder}")
    own, many = devices.own_mesh(len(share(run).stream_seeds)), jax.process_count()
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
    elif run.initial:
        say(f"beginning with {', '.join(run.initial.parts)} of {run.initial.folder}, step {run.initial.step}")
    if run.data and not done:
        alone = "; no step is taken in the environment" if run.schedule.offline else ""
        say(f"beginning with {run.schedule.data_rows} transitions of {run.data.id}, {run.data.folder}{alone}")
    if run.trials:
        say(f"trials differ in {', '.join(run.trials[0])}; each value is in {run.folder / 'config.json'}")


def _unfinished_schedule(run: Run) -> str:
    """Say where a schedule of target entropies does not end with the run; nothing otherwise."""
    config, total = run.config, run.schedule.total_steps
    if not agent_module(run.agent).abilities(config).entropy_schedule or config.entropy_steps <= total:
        return ""
    swept = any(path.startswith("config.") and path.endswith("_entropy") for trial in run.trials for path in trial)
    if not swept and config.initial_entropy == config.final_entropy:
        return ""
    return (
        f"note: target entropies reach their final value at config.entropy_steps ({config.entropy_steps:g}), after the "
        f"last step ({total}); the paper's runs have both equal: --config.entropy-steps={total}"
    )


def summarise(run: Run, known: Reference) -> None:
    """Print the last evaluation's statistics over seeds and what they compare with, draw `curve.png`, say what next."""
    rows, folder = read_rows(run.folder, "eval"), shlex.quote(str(run.folder))
    known = reference.recorded(run, known)
    if rows:
        last = rows[-1]
        say(f"\nreturn at step {last['step']}, {display.played(last, run.schedule.eval_episodes)}:")
        say(display.statistics_line(last["eval/return"]))
        if str(known):
            judged = known.judge(last["eval/return"])
            say(f"to compare with: {known}" + f"; the mean is {judged}" * bool(judged))
        say(draw_curve(run, known))
    else:
        say("\nno evaluation is on record; `pbrl eval` plays one")
    say(f"run folder: {run.folder}")
    say(f"to film the policy: pbrl video {folder}")


def draw_curve(run: Run, known: Reference) -> str:
    """Draw `curve.png`; say where it is, or why it is not: what was learned is safe without it."""
    path = run.folder / "curve.png"
    try:
        with files.whole(path) as partial:
            lines = {RANDOM: float(np.mean(known.random))} if known.random else {}
            plots.run_curves([run.folder], partial, references={run.env: lines})
    except (OSError, RunError) as error:
        return f"the learning curve could not be drawn: {files.reason(error)}"
    return f"learning curve: {path}"
