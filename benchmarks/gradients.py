"""Gradients through the twins of MuJoCo's tasks, against central differences of C MuJoCo itself; and through Brax.

    python benchmarks/gradients.py                      # all tasks
    python benchmarks/gradients.py --env Hopper-v5 brax/reacher-spring

From `STATES` states that a random policy reached, H random actions; J = the H rewards + c · the last observation, with
a fixed random c, so that a task whose reward is constant has a gradient too. Compared is the derivative of J along one
random direction in all actions, in float64: |∇J · v - difference| / |difference|. A state counts as `switching` where
two central differences, of widths 1e-6 and 1e-5, differ by more than a thousandth: there a contact begins or ends.
`implicit` and `implicit, speed` are the twins' two presets; `one iteration` is MJX's own solver stopped after one
iteration (4 of line search), the usual way to differentiate it.
Brax' backends are held against central differences of themselves, as `pbrl gradcheck` does, with its table's columns.

Writes benchmarks/results/gradients.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine
from twin_fidelity import TASKS

from pbrl.diagnose import gradcheck
from pbrl.envs.ids import BRAX
from pbrl.envs.make_gym import make
from pbrl.envs.mujoco import physics, twin
from pbrl.types import Transition

RESULTS = Path(__file__).parent / "results" / "gradients.json"
STATES, HORIZONS, WIDTHS = 128, (1, 2, 4, 8, 16), (1e-6, 1e-5)
VARIANTS = {"implicit": "fidelity", "implicit, speed": "speed", "one iteration": "one iteration"}
BRAXES = [
    f"{BRAX}{name}-{backend}"
    for name in ("inverted_pendulum", "reacher", "hopper", "halfcheetah")
    for backend in ("positional", "spring", "generalized")
]


def reached(env: Any, read: Callable[[], dict]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return observations and extras of the states."""
    rng, rows = np.random.default_rng(1), []
    for seed in range(STATES):
        obs, _ = env.reset(seed=seed)
        for _ in range(rng.integers(50)):
            obs, _, terminated, *_ = env.step(env.action_space.high * rng.uniform(-1, 1, env.action_space.shape))
            if terminated:
                obs, _ = env.reset()
        rows.append((obs, read()))
    return jax.tree.map(lambda *xs: np.stack(xs), *rows)


def differences(env: Any, extras: dict, actions: np.ndarray, direction: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return C MuJoCo's central differences `[len(WIDTHS), len(HORIZONS), STATES]`."""
    base, data = env.unwrapped, env.unwrapped.data
    scale = base.action_space.high

    def play(row: int, actions: np.ndarray) -> np.ndarray:
        env.reset(seed=0)
        for name in twin.STATE:
            getattr(data, name)[:] = extras[name][row]
        if "torso" in extras:
            data.body("torso").xpos[:2] = extras["torso"][row]
        total, values = 0.0, []
        for action in actions:
            obs, reward, *_ = base.step(scale * action)
            total += float(reward)
            values.append(total + c @ obs)
        return np.array(values)[np.array(HORIZONS) - 1]

    return np.stack([
        np.stack([
            (play(i, actions[:, i] + h * direction[:, i]) - play(i, actions[:, i] - h * direction[:, i])) / (2 * h)
            for i in range(STATES)
        ], -1)
        for h in WIDTHS
    ])  # fmt: skip


def slopes(dynamics: Any, start: Any, actions: jax.Array, direction: jax.Array, c: jax.Array) -> list[tuple]:
    """Return for every horizon the derivative along the direction and the gradient's norm, both `[STATES]`."""
    returns, at = gradcheck.objective(dynamics, start, c), jnp.arange(max(HORIZONS))
    gradient = jax.jit(jax.grad(lambda *args: returns(*args).sum()))
    rows = []
    for horizon in HORIZONS:  # one program for all
        slope = gradient(actions, *gradcheck.masks(horizon, at))
        rows.append(((slope * direction).sum((0, 2)), jnp.sqrt(jnp.square(slope).sum((0, 2)))))
    return jax.device_get(rows)


def measure(env_id: str) -> dict[str, Any]:
    """Return the table's rows of one task."""
    if env_id.startswith(BRAX):
        return {"own differences": of_brax(env_id)}
    env, rng = make(env_id), np.random.default_rng(2)
    obs, extras = reached(env, twin.reader(env, np.float64))
    shape = max(HORIZONS), STATES, *(env.action_space.shape or ())
    actions, direction = rng.uniform(-0.9, 0.9, shape), rng.normal(size=shape)
    c = rng.normal(size=obs.shape[1]) / np.sqrt(obs.shape[1])
    exact = differences(env, extras, actions, direction, c)
    env.close()
    switching = np.abs(exact[0] - exact[1]) > 1e-3 * np.abs(exact[0])
    implicit, result = physics.solve, {}
    for name, preset in VARIANTS.items():
        if name == "one iteration":
            from mujoco.mjx._src import solver

            physics.solve, twin.ITERATIONS[preset] = solver.solve, (1, 4)
        dynamics = twin.twin(env_id, preset)
        nothing = jnp.zeros(STATES)
        batch = Transition(jnp.asarray(obs), nothing, nothing, nothing, nothing, jax.tree.map(jnp.asarray, extras))
        start = dynamics.start(batch)
        rows = slopes(dynamics, start, *(jnp.asarray(x) for x in (actions, direction, c)))
        physics.solve = implicit
        result[name] = {
            str(horizon): {
                "finite": float(np.isfinite(slope).mean()),
                "relative_error": quantiles(np.abs(slope - exact[0, i]) / np.abs(exact[0, i])),
                "norm": quantiles(norm),
                "switching": float(switching[i].mean()),
            }
            for i, (horizon, (slope, norm)) in enumerate(zip(HORIZONS, rows, strict=True))
        }
    return result


def of_brax(env_id: str) -> dict[str, Any]:
    """Return what `pbrl gradcheck` measures, with the names of the other rows."""
    check = gradcheck.measure(env_id, HORIZONS, STATES, 1)
    return {
        str(row.horizon): {"finite": row.finite, "relative_error": row.error, "cosine": row.cosine, "norm": row.norm}
        for row in check.rows
    }


def quantiles(x: np.ndarray) -> list[float]:
    """Return median and 95th percentile of what is finite."""
    return [float(np.percentile(x[np.isfinite(x)], q)) for q in (50, 95)]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=[*(f"{name}-v5" for name in TASKS), *BRAXES], help="ids of tasks")
    jax.config.update("jax_enable_x64", True)
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    report |= {"command": "python benchmarks/gradients.py", "states": STATES}
    for env_id in parser.parse_args().env:
        report["rows"][env_id] = rows = measure(env_id)
        report.setdefault("machines", {})[env_id] = machine()
        for name, by_horizon in rows.items():
            errors = "  ".join("{:.0e}/{:.0e}".format(*row["relative_error"]) for row in by_horizon.values())
            last = by_horizon[str(max(HORIZONS))]
            shares = ", ".join(f"{what} {last[what]:.3f}" for what in ("finite", "switching") if what in last)
            print(f"{env_id:26s} {name:14s} {errors}  {shares}", flush=True)
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
