"""Train MAGE on a MuJoCo task, watch it learn, and find the learning curve in the run's folder.

    python examples/run_mujoco.py                                   # about five minutes on two CPU cores
    python examples/run_mujoco.py --env Hopper-v5 --seeds 3 --steps 20000
    python examples/run_mujoco.py --agent dyna                      # a baseline on the same task
    python examples/run_mujoco.py --help                            # everything that `pbrl train` takes

The same command again resumes an interrupted run.
"""

import sys

from pbrl.cli import options, panel, process, train
from pbrl.cli.main import guarded

DEFAULTS = options.Train(agent="mage", env="pbrl/MageHalfCheetah-v0", preset="cpu", steps=8_000)


def main() -> None:
    """Do what `pbrl train` does, step by step."""
    run = options.parse(sys.argv[1:], DEFAULTS, prog="python examples/run_mujoco.py")  # agent, env, seeds, sizes
    process.start(run.float64)  # compilation cache, headless rendering

    from pbrl.train.drivers import driver_module

    driver = driver_module(run)
    driver.check(run)  # what cannot train is refused before anything is written
    train.announce(run)
    known = train.compared(run)  # what random actions are paid
    with panel.report(run, known) as report:  # a live panel, or plain lines where there is no terminal
        driver.train(run, report)  # collects, fits the model, updates, evaluates, logs, saves, resumes
    train.summarise(run, known)  # statistics over seeds, curve.png, and the command for a film


if __name__ == "__main__":
    sys.exit(guarded(main))
