"""MAGE, Fig. 3: how wrong the critic's action gradient is for a fixed random policy, on Pendulum.

    python benchmarks/paper/mage_fig3.py                  # train what is missing, then draw; resumes
    python benchmarks/paper/mage_fig3.py --summary        # only draw what there is

The agents train as usual, after 200 steps of random actions, but for the actor, which keeps its first weights; one MAGE
has the environment's own dynamics in its model's place. Now and then (paper, App. D, eq. 14), in 10 episodes of that
policy,

    L = mean over t of γ^t ‖∇_a G(s_t, a_t) - ∇_a Q(s_t, a_t)‖_1

where G is the discounted return of the episode from s_t on, differentiated through the environment's own dynamics and
the policy. Q is the first critic; the paper does not say which. `cpu` preset, λ = 0.05 and 4 seeds as in the paper.

The paper takes the mean over episodes. With some first policies a few episodes have errors in the hundreds, whoever the
agent, and rule the mean: exact gradients through a chaotic closed loop. The median over episodes stands beside it. And
G knows nothing of what follows the 200 steps of an episode, which Q does, as it should where time limits are no ends:
even Q's exact gradient has an error. That `floor`, of the same episodes going on for 600 steps more, is in the CSV and
JSON files.

Writes benchmarks/results/mage-fig3.{csv,json,png}.
"""

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import measurements
import numpy as np

from pbrl.envs.toy import TOYS
from pbrl.parallel import devices
from pbrl.presets import lookup, overrides
from pbrl.report import plots, stats
from pbrl.runs.placement import default_seed_mode
from pbrl.runs.run import Run, agent_module
from pbrl.runs.schedule import Schedule
from pbrl.types import Array, Key

RESULTS = Path(__file__).parents[1] / "results"
ENV, SEEDS, STEPS, EVERY, EPISODES, LENGTH, GAMMA = "pbrl/MagePendulum-v0", 4, 3_000, 100, 10, 200, 0.99
BEYOND = 600  # steps after an episode's end, when γ^800 = 0.0003 is left
LAM = {"config.lam": 0.05, "config.loss_scale": 20.0}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "MAGE": ("mage", LAM),
    "MAGE, true dynamics": ("mage", LAM),
    "Dyna-TD3": ("dyna", {}),
    "TD3 ×10": ("td3", {"schedule.updates_per_step": 10}),
    "TD3": ("td3", {"schedule.updates_per_step": 1}),
}
PENDULUM = TOYS["Pendulum"]
MEASURES: dict[str, tuple[str, Callable[..., np.ndarray]]] = {  # which errors, and how they are reduced over episodes
    "mean": ("critic", np.mean),
    "median": ("critic", np.median),
    "floor": ("exact", np.median),
}
PANELS = {name: f"{name} over {EPISODES} episodes" for name in ("mean", "median")}


def make_run(label: str, root: Path) -> Run:
    """Return the run of one agent whose actor never moves."""
    agent, changes = ROWS[label]
    changes = {**lookup.preset("cpu", agent, ENV), **changes, "config.actor_lr": 0.0}
    changes |= {"schedule.total_steps": STEPS, "schedule.log_every": EVERY, "schedule.eval_every": 0}
    config, schedule = overrides.apply(agent_module(agent).Config(), Schedule(), changes)
    folder = root / label.replace(" ×", "-x").replace(", ", "-").replace(" ", "-")
    run = Run(agent, ENV, tuple(range(SEEDS)), config, schedule, folder, default_seed_mode())
    return replace(run, oracle="fidelity") if "true dynamics" in label else run


def errors_of(agent: Any) -> Callable[[Any, Key], dict[str, Array]]:
    """Return a program: errors of action gradients in each episode of every seed, `[N, E]`, by states and a key."""

    def one(state: Any, key: Key) -> dict[str, Array]:
        nets = agent.networks(state)
        first = jax.vmap(PENDULUM.reset)(jax.random.split(key, EPISODES))

        def play(change: Array) -> tuple[Array, tuple[Array, Array]]:
            """Return the discounted return of all episodes whose actions are `change [T, E, 1]` off the policy's."""

            def step(carry: tuple[Array, Array], change: Array) -> tuple[tuple[Array, Array], tuple]:
                where, factor = carry
                obs = PENDULUM.observe(where)
                action = nets.policy(state.ac.actor, obs) + change
                after, reward, _ = PENDULUM.step(where, action)
                return (after, GAMMA * factor), (obs, action, factor * reward)

            _, (obs, action, reward) = jax.lax.scan(step, (first, jnp.ones(())), change)
            return reward.sum(), (obs[:LENGTH], action[:LENGTH])

        def exact(steps: int) -> tuple[Array, tuple[Array, Array]]:
            # A change at t moves the action there and all that follows: its derivative is γ^t ∇_a G(s_t, a_t).
            gradient, path = jax.grad(play, has_aux=True)(jnp.zeros((steps, EPISODES, 1)))
            return gradient[:LENGTH], path

        (of_episode, (obs, action)), (of_all, _) = exact(LENGTH), exact(LENGTH + BEYOND)
        by_critic = jax.grad(lambda a: nets.q(state.ac.critic, obs, a)[0].sum())(action)
        by_critic *= GAMMA ** jnp.arange(LENGTH)[:, None, None]
        found = {"critic": by_critic, "exact": of_all}
        return {name: jnp.abs(of_episode - x).sum(-1).mean(0) for name, x in found.items()}

    return jax.jit(jax.vmap(one, in_axes=(0, None)))


def train(label: str, run: Run) -> None:
    """Train one agent, appending its errors to error.jsonl as it goes."""
    from pbrl.train import host

    errors = errors_of(agent_module(run.agent))

    def report(progress: Any) -> None:
        if progress.step % EVERY == 0:
            each = {name: np.asarray(x) for name, x in errors(progress.agent, jax.random.key(progress.step)).items()}
            values = {name: reduce(each[which], -1) for name, (which, reduce) in MEASURES.items()}
            measurements.append(run.folder / "error.jsonl", progress.step, **values)
            print(f"{label} {progress.step}: median error {values['median'].mean():.3f}", flush=True)

    host.train(run, report)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--summary", action="store_true", help="train nothing")
    parser.add_argument("--runs", type=Path, default=Path("runs/mage-fig3"), help="where the runs are")
    arguments = parser.parse_args()
    devices.use_cores(SEEDS)
    runs = {label: make_run(label, arguments.runs) for label in ROWS}
    if not arguments.summary:
        for label, run in runs.items():
            train(label, run)
    RESULTS.mkdir(exist_ok=True)
    measured = {label: measurements.read(run.folder / "error.jsonl") for label, run in runs.items()}
    summary: dict[str, Any] = {}
    with open(RESULTS / "mage-fig3.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "seed", "step", *MEASURES])
        for label, rows in measured.items():
            summary[label] = measurements.facts(runs[label].folder)
            for seed, errors in enumerate(zip(*(rows[name] for name in MEASURES), strict=True)):
                each = zip(rows["step"], *errors, strict=True)
                writer.writerows([label, seed, t, *(f"{e:.5f}" for e in of_step)] for t, *of_step in each)
            for name in MEASURES:
                last = stats.aggregate(rows[name][:, -1])
                summary[label][name] = {"at_the_end": vars(last), "per_seed": rows[name][:, -1].round(3).tolist()}
                print(f"{label:19s} {name:7s} {last.mean:.3f} [{last.low:.3f}, {last.high:.3f}]  n = {SEEDS}")
    report = {"command": "python benchmarks/paper/mage_fig3.py", "episodes": EPISODES, "rows": summary}
    (RESULTS / "mage-fig3.json").write_text(json.dumps(report, indent=1) + "\n")
    groups = {
        title: {label: (rows["step"], rows[name]) for label, rows in measured.items()} for name, title in PANELS.items()
    }
    title, ylabel = "MAGE, Fig. 3: a fixed random policy on Pendulum", "error of the action gradient (eq. 14)"
    plots.panels(groups, RESULTS / "mage-fig3.png", title, ylabel=ylabel, log=True)


if __name__ == "__main__":
    main()
