"""SVG, Fig. 4: value expansion in the critic, in the actor, in both and in neither, on a deliberately weak model.

    python benchmarks/paper/svg_fig4.py                  # train what is missing, then draw; resumes
    python benchmarks/paper/svg_fig4.py --summary        # only draw what there is

Besides the return it measures the critic's bias: Q(s, a) less the Monte-Carlo soft return of the policy that is being
learned, on fresh episodes of the real environment. Writes benchmarks/results/svg-fig4.{csv,json,png}.
"""

import argparse
import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import measurements
import numpy as np

from pbrl.agents import svg
from pbrl.agents.parts.soft import SoftActorCritic
from pbrl.envs.gym import GymEnv
from pbrl.parallel import devices
from pbrl.presets import lookup, overrides
from pbrl.report import plots, stats
from pbrl.report.curves import evaluation_curve
from pbrl.runs.placement import default_seed_mode
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.runs.seeding import episode_seed

RESULTS = Path(__file__).parents[1] / "results"
ENV, SEEDS, STEPS, EVERY = "Pendulum-v1", 5, 8_000, 1_000
CELLS = {
    "SAC": {"config.actor": "sac", "config.critic": "td"},
    "SVG actor": {"config.actor": "svg", "config.critic": "td"},
    "MVE critic": {"config.actor": "sac", "config.critic": "mve"},
    "SVG actor, MVE critic": {"config.actor": "svg", "config.critic": "mve"},
}
# A model too small and too little trained for five steps: what the comparison is about.
WEAK = {
    "config.horizon": 4,
    "config.recurrent_width": 8,
    "config.encoder_hidden": (8,),
    "config.head_hidden": (8,),
    "config.model_lr": 1e-4,
    "config.head_lr": 1e-4,
    "schedule.model_min_batches": 1,
}
ROLL, MEASURED, STREAM = 600, 100, 4  # steps of an episode, states of it that count, stream of its seeds


def make_run(cell: str, root: Path) -> Run:
    """Return the run of one cell: the `cpu` preset with a weak model."""
    changes = {**lookup.preset("cpu", "svg", ENV), **WEAK, **CELLS[cell]}
    changes |= {"schedule.total_steps": STEPS, "schedule.eval_every": EVERY, "schedule.checkpoint_every": EVERY}
    config, schedule = overrides.apply(svg.Config(), Schedule(), changes)
    folder = root / cell.replace(", ", "-").replace(" ", "-")
    return Run("svg", ENV, tuple(range(SEEDS)), config, schedule, folder, default_seed_mode())


@jax.jit
@partial(jax.vmap, in_axes=(0, 0, 0))
def look(state: svg.State, obs: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
    """Draw an action for `obs [S]` and return it with its log-density, its value (mean of both critics) and α."""
    nets = SoftActorCritic(state.spec, state.config, state.stats.obs)
    action, log_prob = nets.sample(state.ac.actor, obs, key)
    return action, log_prob, nets.q(state.ac.critic, obs, action).mean(0), state.ac.alpha


def bias(state: svg.State, seeds: tuple[int, ...], step: int) -> np.ndarray:
    """Return mean |Q - soft return| and mean (Q - soft return) of every seed, `[2, N]`.

    Episodes run on past the time limit, so that what is cut off of a return is discounted by γ^(600 - 100) or less.
    """
    envs = [GymEnv(ENV, max_episode_steps=ROLL + 1) for _ in seeds]
    obs = np.stack([e.reset(episode_seed(s, step, 0, STREAM)) for e, s in zip(envs, seeds, strict=True)])
    rewards, log_probs, q = (np.zeros((ROLL, len(seeds))) for _ in range(3))
    alpha = np.zeros(len(seeds))
    for t in range(ROLL):
        action, log_probs[t], q[t], alpha = map(
            np.asarray, look(state, obs, jax.random.split(jax.random.key(step + t), len(seeds)))
        )
        for i, env in enumerate(envs):
            obs[i], rewards[t, i], *_ = env.step(action[i])
    gamma, returns = 0.99, np.zeros((ROLL + 1, len(seeds)))
    entropy = np.concatenate([-alpha * log_probs[1:], np.zeros((1, len(seeds)))])  # of the following action
    for t in reversed(range(ROLL)):
        returns[t] = rewards[t] + gamma * (entropy[t] + returns[t + 1])
    error = (q - returns[:-1])[:MEASURED]
    return np.stack([np.abs(error).mean(0), error.mean(0)])


def train(run: Run) -> None:
    """Train one cell, appending its bias to bias.jsonl at every evaluation."""
    from pbrl.train import host

    def report(progress: Any) -> None:
        if progress.step % EVERY == 0:
            size, signed = bias(progress.agent, run.seeds, progress.step)
            measurements.append(run.folder / "bias.jsonl", progress.step, size=size, signed=signed)
            print(f"{run.folder.name} {progress.step}: bias {np.mean(size):.1f}", flush=True)

    host.train(run, report)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="train nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs/svg-fig4"), help="where the runs are")
    arguments = parser.parse_args()
    devices.use_cores(SEEDS)
    runs = {cell: make_run(cell, arguments.runs) for cell in CELLS}
    if not arguments.summary:
        for run in runs.values():
            train(run)
    RESULTS.mkdir(exist_ok=True)
    curves: dict[str, dict[str, Any]] = {"return": {}, "|Q - Monte-Carlo soft return|": {}}
    summary: dict[str, Any] = {"command": "python benchmarks/paper/svg_fig4.py", "env": ENV, "weak": WEAK, "cells": {}}
    with open(RESULTS / "svg-fig4.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cell", "seed", "step", "return", "bias_size", "bias"])
        for cell, run in runs.items():
            measured = measurements.read(run.folder / "bias.jsonl")
            steps, size, signed = (measured[name] for name in ("step", "size", "signed"))
            at, returns = evaluation_curve(run.folder)
            returns = returns[:, np.isin(at, steps)]
            for i, seed in enumerate(run.seeds):
                columns = zip(steps, returns[i], size[i], signed[i], strict=True)
                writer.writerows([cell, seed, t, *(f"{x:.3f}" for x in row)] for t, *row in columns)
            curves["return"][cell], curves["|Q - Monte-Carlo soft return|"][cell] = (steps, returns), (steps, size)
            details = json.loads((run.folder / "config.json").read_text())
            last = {"return": stats.aggregate(returns[:, -1]), "bias_size": stats.aggregate(size[:, -1])}
            summary["cells"][cell] = {k: vars(v) for k, v in last.items()} | {"settings": details}
            print(f"{cell:24s} return {last['return'].mean:8.1f}  |bias| {last['bias_size'].mean:7.2f}  n = {SEEDS}")
    (RESULTS / "svg-fig4.json").write_text(json.dumps(summary, indent=1) + "\n")
    plots.panels(curves, RESULTS / "svg-fig4.png", "SVG, Fig. 4 at CPU size: a weak model, H = 4, Pendulum", ylabel="")


if __name__ == "__main__":
    main()
