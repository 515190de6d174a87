"""MAAC: how noisy the actor's gradient is, by samples per start state and by size of the batch (beside Fig. 4 and 5).

    python benchmarks/paper/maac_variance.py

Gradients are those that `maac.update` takes, read off Adam's first moment; start states are drawn anew each time, so
that their noise counts. What is reported is the standard deviation of the whole gradient over the norm of its mean,
over 200 draws. Three systems: MAAC on Pendulum after 1,000 environment steps (`cpu` preset, seed 0, trained first), and
linear-quadratic ones of 2 and of 20 dimensions through their true, noisy dynamics, with a random stable A and a linear
policy at gain 0. N samples of each of B states against one sample of each of N·B: both cost the same.

Writes `results/maac-variance.json` and `.png`.
"""

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from pbrl.agents import maac
from pbrl.data import replay
from pbrl.envs.lqr import Lqr
from pbrl.presets import lookup, overrides
from pbrl.report import plots
from pbrl.runs.placement import default_seed_mode
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.types import EnvSpec, Transition

RESULTS = Path(__file__).parents[1] / "results"
ENV, STEPS, DRAWS, STATES, HORIZON = "Pendulum-v1", 1_000, 200, 64, 4
SAMPLES = (1, 2, 5, 10, 20)
BETA_1 = 0.9  # of Adam: the first moment after one step from zero is a tenth of the gradient


def spread(state: maac.State, starts: Transition, samples: int, states: int) -> float:
    """Return the standard deviation of the actor's gradient over the norm of its mean."""
    config = replace(state.config, samples=samples, branch="start", critic_lr=jnp.zeros_like(state.config.critic_lr))
    fresh = jax.tree.map(jnp.zeros_like, state.ac.actor_opt)
    state = replace(state, config=config, ac=replace(state.ac, actor_opt=fresh))

    @jax.jit
    def gradient(key: jax.Array) -> jax.Array:
        row_key, update_key = jax.random.split(key)
        index = jax.random.randint(row_key, (states,), 0, starts.reward.shape[0])
        after, _ = maac.update(state, jax.tree.map(lambda x: x[index], starts), update_key)
        moment = optax.tree_utils.tree_get(after.ac.actor_opt, "mu")
        return jnp.concatenate([x.reshape(-1) for x in jax.tree.leaves(moment)]) / (1.0 - BETA_1)

    gradients = jax.lax.map(gradient, jax.random.split(jax.random.key(0), DRAWS))
    return float(jnp.sqrt(gradients.var(0).sum()) / jnp.linalg.norm(gradients.mean(0)))


def pendulum(root: Path) -> tuple[maac.State, Transition]:
    """Train MAAC on Pendulum for a while; return its state and what it saw."""
    from pbrl.train import host
    from pbrl.trained import restore

    changes = {**lookup.preset("cpu", "maac", ENV), "config.horizon": HORIZON}
    changes |= {"schedule.total_steps": STEPS, "schedule.eval_every": STEPS}
    config, schedule = overrides.apply(maac.Config(), Schedule(), changes)
    run = Run("maac", ENV, (0,), config, schedule, root / "maac-variance", default_seed_mode())
    host.train(run)
    learner = jax.device_put(jax.tree.map(lambda x: x[0], restore.learners(run)[0]))
    return learner.agent, replay.take(learner.replay, jnp.arange(STEPS))


def linear(size: int) -> tuple[maac.State, Transition]:
    """Make MAAC with the true dynamics of a noisy linear-quadratic system, and standard normal start states."""
    keys = jax.random.split(jax.random.key(size), 4)
    a = jax.random.normal(keys[0], (size, size))
    a = 0.9 * a / jnp.abs(jnp.linalg.eigvals(a)).max()
    b = jax.random.normal(keys[1], (size, size)) / jnp.sqrt(size)
    system = Lqr(a, b, jnp.eye(size) / size, jnp.eye(size) / size, 0.1 * jnp.eye(size), 0.99)
    config = maac.Config(
        horizon=HORIZON, actor_hidden=(), critic_hidden=(64, 64), target_horizon=0, initial_temperature=0.01
    )
    state = maac.init(keys[2], EnvSpec(size, size, 1_000), config, oracle=system.oracle)
    actor = jax.tree.map(jnp.zeros_like, state.ac.actor)  # mean 0, deviation 1 before the tanh
    obs, nothing = jax.random.normal(keys[3], (10_000, size)), jnp.zeros(10_000)
    starts = Transition(obs, jnp.zeros_like(obs), nothing, nothing + 1.0, obs)
    return replace(state, ac=replace(state.ac, actor=actor)), starts


def draw(table: dict[str, dict[str, list[float]]]) -> None:
    """Draw both ways to spend the same rows, a panel for each system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8))
    for axis, (system, curves) in zip(figure.subplots(1, len(table)), table.items(), strict=True):
        for label, values in curves.items():
            axis.plot(SAMPLES, values, marker="o", label=label)
        axis.set(title=system, xlabel="N", xscale="log", yscale="log", ylabel="deviation / norm of the mean")
        axis.set_xticks(SAMPLES, [str(n) for n in SAMPLES])
        plots.finish(axis, legend=8)
    figure.suptitle(f"MAAC: noise of the actor's gradient, {STATES} start states, H = {HORIZON}", fontsize=12)
    figure.tight_layout()
    figure.savefig(RESULTS / "maac-variance.png", dpi=130)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trained run is")
    root = parser.parse_args().runs
    systems = {
        f"Pendulum, learned model, {STEPS:,} steps": partial(pendulum, root),
        "linear-quadratic, 2 dimensions": partial(linear, 2),
        "linear-quadratic, 20 dimensions": partial(linear, 20),
    }
    table: dict[str, dict[str, list[float]]] = {}
    for name, make in systems.items():
        state, starts = make()
        table[name] = {
            "N samples of each state": [spread(state, starts, n, STATES) for n in SAMPLES],
            "one sample, N times the states": [spread(state, starts, 1, n * STATES) for n in SAMPLES],
        }
        for label, values in table[name].items():
            cells = (f"N={n}: {v:.3f}" for n, v in zip(SAMPLES, values, strict=True))
            print(f"{name:36s} {label:32s} " + "  ".join(cells))
    RESULTS.mkdir(exist_ok=True)
    settings = {"states": STATES, "horizon": HORIZON, "draws": DRAWS, "samples": SAMPLES, "steps": STEPS}
    report = {"command": "python benchmarks/paper/maac_variance.py", "settings": settings, "relative_deviation": table}
    (RESULTS / "maac-variance.json").write_text(json.dumps(report, indent=1) + "\n")
    draw(table)


if __name__ == "__main__":
    main()
