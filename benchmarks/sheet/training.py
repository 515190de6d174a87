"""Whole trainings: milliseconds of an environment step of all seeds, and seconds until Pendulum is solved.

What trains on the device is compiled first, all of it side by side (`compile_s`); `seconds` begin after that. On the
host the phases compile when they are first due, within `seconds`. A cell is written with every evaluation, and ends
when Pendulum is solved and the steps are timed, when its time is up, or with its last step. `ms_per_step` is over the
steps past the warm-up, fits of the model as they fall due, evaluations apart; the first interval is not counted.
`whole_s` is what all steps would take.
"""

import contextlib
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from sheet.cells import Cells

from pbrl.presets import lookup, overrides
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule
from pbrl.train.drivers import driver_module

SOLVED, INTERVALS = -200.0, 4
"""Mean return over the seeds at which Pendulum counts as solved, and intervals that are timed at least."""


class Training(NamedTuple):
    """What a cell trains, and for how many seconds at most."""

    agent: str
    env: str
    preset: str
    seeds: int
    driver: str
    seconds: float
    eval_every: int
    episodes: int = 10

    @property
    def name(self) -> str:
        return f"{self.agent} {self.preset} on {self.env}, {self.seeds} seeds, {self.driver}"


PENDULUM = (
    Training("mage", "pbrl/MagePendulum-v0", "paper", 16, "device", 45, 250),
    Training("sac", "Pendulum-v1", "cpu", 16, "device", 10, 500),
    Training("mage", "pbrl/MagePendulum-v0", "paper", 16, "host", 40, 250),
    Training("sac", "Pendulum-v1", "cpu", 256, "device", 15, 500),
    Training("svg", "Pendulum-v1", "cpu", 16, "device", 20, 500),
)
HALF_CHEETAH = (Training("maac", "pbrl/MaacHalfCheetah-v0", "paper", 4, "host", math.inf, 1_000, episodes=1),)
QUICK = (
    Training("td3", "pbrl/MagePendulum-v0", "cpu", 2, "device", 30, 250, episodes=2),
    Training("td3", "pbrl/MagePendulum-v0", "cpu", 2, "host", 30, 250, episodes=2),
)


def run_of(training: Training) -> Run:
    """Return the run of a cell, whose folder nothing is written to."""
    changes = lookup.preset(training.preset, training.agent, training.env)
    config, schedule = overrides.apply(agent_module(training.agent).Config(), Schedule(), changes)
    if training.preset == "paper" and "Pendulum" in training.env:
        schedule = replace(schedule, total_steps=5_000)  # the paper's figure
    if "HalfCheetah" in training.env:
        schedule = replace(schedule, total_steps=50_000)
    schedule = replace(schedule, eval_every=training.eval_every, eval_episodes=training.episodes)
    seeds = tuple(range(training.seeds))
    names = training.agent, training.env, seeds, config, schedule, Path("nowhere")
    return Run(*names, seed_mode="vmap", driver=training.driver)


def ready(training: Training) -> tuple[Any, float]:
    """Return a cell's driver, on the device with its programs compiled, and the seconds that this took."""
    begin = time.perf_counter()
    driver = driver_module(run := run_of(training)).Driver(run)
    driver.begin()
    if training.driver == "device":
        driver.advance(1)
        driver.scores()
    return driver, time.perf_counter() - begin


def train(cells: Cells, training: Training, driver: Any, compile_s: float) -> None:
    """Train until the cell's time is up, and write what came of it with every evaluation."""
    run, began = run_of(training), time.perf_counter()
    total, every, warmup = run.schedule.total_steps, run.schedule.eval_every, run.schedule.warmup_steps
    curve: list[dict[str, float]] = []
    stepping: list[tuple[float, int]] = []
    until = began + min(training.seconds, cells.left() - 5)
    while driver.step < total and time.perf_counter() < until:
        first, chunk = driver.step, time.perf_counter()
        goal = min(total, (first // every + 1) * every)
        while driver.step < goal and time.perf_counter() < until:
            driver.advance(goal)
        jax.block_until_ready(driver.learner)
        if first > warmup:
            stepping.append((time.perf_counter() - chunk, driver.step - first))
        returns = driver.scores()["eval/return"] if driver.step == goal else np.full(1, math.nan)
        point = {"step": driver.step, "seconds": time.perf_counter() - began, "return": float(np.mean(returns))}
        curve.append(point)
        row = summary(training, run, curve, stepping)
        cells.record(training.name, row | {"compile_s": compile_s})
        if row["solved_s"] is not None and len(stepping) > INTERVALS:
            return


def summary(training: Training, run: Run, curve: list, stepping: list) -> dict[str, Any]:
    """Return a cell's row. The first interval past the warm-up still compiles, where there are others."""
    counted = stepping[1:] or stepping
    steps = sum(count for _, count in counted)
    ms = 1e3 * sum(seconds for seconds, _ in counted) / steps if steps else math.nan
    returns = [point["return"] for point in curve if not math.isnan(point["return"])]
    solved = [point["seconds"] for point in curve if point["return"] >= SOLVED and "Pendulum" in training.env]
    schedule = run.schedule
    return {
        "step": curve[-1]["step"],
        "seconds": curve[-1]["seconds"],
        "return": returns[-1] if returns else math.nan,
        "ms_per_step": ms,
        "updates_per_second": 1e3 * training.seeds * schedule.updates_per_step / ms if ms else math.nan,
        "whole_s": ms * schedule.total_steps / 1e3,
        "total_steps": schedule.total_steps,
        "solved_s": solved[0] if solved else None,
        "curve": curve,
    }


def fill(cells: Cells, trainings: tuple[Training, ...]) -> None:
    """Fill cells: make all drivers side by side, then train one after the other."""
    names = cells.missing(training.name for training in trainings)
    with ThreadPoolExecutor(len(trainings)) as pool:
        jobs = [(training, pool.submit(ready, training)) for training in trainings if training.name in names]
    for training, job in jobs:
        if cells.left() < 10:
            return
        try:
            driver, compile_s = job.result()
            with contextlib.closing(driver):
                train(cells, training, driver, compile_s)
        except Exception as error:  # one training that fails ends no other
            cells.failed(training.name, error)


def run(cells: Cells) -> None:
    """Train on Pendulum by either driver."""
    fill(cells, QUICK[:1] if cells.quick else PENDULUM)


def learning(cells: Cells) -> None:
    """Train MAAC on its HalfCheetah for as long as there is time."""
    fill(cells, QUICK[1:] if cells.quick else HALF_CHEETAH)
