"""How true the twins are: every MuJoCo task's twin beside C MuJoCo, from the same states, under the same actions.

    python benchmarks/twin_fidelity.py                          # all tasks, about ten minutes
    python benchmarks/twin_fidelity.py --env Hopper-v5

Each of `STATES` states was reached by a random policy; from there C MuJoCo takes 50 random actions, whether or not the
task calls it a fall. `error` is the largest absolute difference of an observation's numbers, after one step, 10 and 50;
`drift` its root mean square after 50 in standard deviations of the data, of what varies; `terminations` the share of
steps at which both say the same. float64 is the twin against MuJoCo's own rounding, float32 what training uses.

Writes benchmarks/results/twin-fidelity.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine

from pbrl.envs.make_gym import make
from pbrl.envs.mujoco import twin
from pbrl.types import Transition

RESULTS = Path(__file__).parent / "results" / "twin-fidelity.json"
TASKS = (
    "InvertedPendulum", "InvertedDoublePendulum", "Reacher", "Pusher", "Swimmer",
    "Hopper", "HalfCheetah", "Walker2d", "Ant",
)  # fmt: skip
STATES, STEPS, AT = 128, 50, (1, 10, 50)
VARIANTS = {"float64": (True, "fidelity"), "float32": (False, "fidelity"), "float32, speed": (False, "speed")}


def recorded(env_id: str) -> dict[str, Any]:
    """Return where C MuJoCo went: extras and observation of the first states, actions, observations, terminations."""
    env, rng, rows = make(env_id), np.random.default_rng(0), []
    read, base = twin.reader(env, np.float64), env.unwrapped
    low, high = (np.asarray(bound, float) for bound in (env.action_space.low, env.action_space.high))  # pyright: ignore

    def act() -> tuple[np.ndarray, np.ndarray, bool]:
        action = rng.uniform(-1.0, 1.0, low.shape)
        obs, _, terminated, *_ = base.step(low + 0.5 * (action + 1.0) * (high - low))
        return action, obs, terminated

    for seed in range(STATES):
        obs, _ = env.reset(seed=seed)
        for _ in range(rng.integers(50)):
            _, obs, terminated = act()
            if terminated:
                obs, _ = env.reset()
        first = obs, read()
        actions, seen, ends = (np.array(column) for column in zip(*(act() for _ in range(STEPS)), strict=True))
        rows.append({"obs": first[0], "extras": first[1], "actions": actions, "seen": seen, "ends": ends})
    env.close()
    return jax.tree.map(lambda *xs: np.stack(xs), *rows)


def compare(env_id: str, data: dict[str, Any], preset: str) -> dict[str, Any]:
    """Return the errors of a twin in the precision that JAX computes in."""
    dynamics, nothing = twin.twin(env_id, preset), jnp.zeros(STATES)
    obs, extras, actions = (jax.tree.map(jnp.asarray, data[name]) for name in ("obs", "extras", "actions"))
    start = dynamics.start(Transition(obs, actions[:, 0], nothing, nothing, obs, extras))

    def roll(z: Any, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(z: Any, action: jax.Array) -> tuple[Any, tuple]:
            z, _, discount = dynamics.step(z, action, jax.random.key(0))
            return z, (dynamics.observe(z), discount)

        return jax.lax.scan(step, z, jnp.moveaxis(actions, 1, 0))[1]

    seen, discount = (np.moveaxis(np.asarray(x, np.float64), 0, 1) for x in jax.jit(roll)(start, actions))
    error = seen - data["seen"]
    size = np.abs(error).max(-1)
    scale = data["seen"].reshape(-1, seen.shape[-1]).std(0)
    moves = scale > 1e-6  # what never changes has no scale: only rounding
    drift = np.sqrt(np.square(error[:, -1, moves] / scale[moves]).mean(-1))
    return {
        **{f"error_{k}": [float(np.median(size[:, k - 1])), float(np.percentile(size[:, k - 1], 95))] for k in AT},
        "drift_50": [float(np.median(drift)), float(np.percentile(drift, 95))],
        "terminations": float(((discount == 0) == data["ends"]).mean()),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", nargs="+", default=[f"{name}-v5" for name in TASKS], help="ids of MuJoCo tasks")
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    report |= {"command": "python benchmarks/twin_fidelity.py", "states": STATES}
    for env_id in parser.parse_args().env:
        data, rows = recorded(env_id), report["rows"].setdefault(env_id, {})
        report.setdefault("machines", {})[env_id] = machine()
        for variant, (double, preset) in VARIANTS.items():
            jax.config.update("jax_enable_x64", double)
            rows[variant] = row = compare(env_id, data, preset)
            errors = "  ".join(f"{row[f'error_{k}'][0]:.0e}/{row[f'error_{k}'][1]:.0e}" for k in AT)
            print(f"{env_id:26s} {variant:15s} {errors}  {row['terminations']:.4f}", flush=True)
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
