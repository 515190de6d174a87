"""SVG, Fig. 3: does the recurrent model generalise? GRU against an ensemble of MLPs on a replay that never changes.

    python benchmarks/paper/svg_fig3.py            # about fifteen minutes on two cores; the SAC run resumes

A SAC run fills the replay. A tenth of its episodes is kept for testing; the others arrive in order, in five parts, and
after each part both models are fitted anew to nine tenths of what is there. The error is that of open-loop predictions
over several steps, in normalised units, on windows from training, holdout and test episodes. Writes
benchmarks/results/svg-fig3.{csv,json,png}.
"""

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pbrl.agents import sac
from pbrl.models.ensemble import Ensemble
from pbrl.models.sequence_world import Recurrent
from pbrl.nn import networks, normalizer
from pbrl.nn.normalizer import Statistics
from pbrl.parallel import devices
from pbrl.presets import lookup, overrides
from pbrl.report import plots
from pbrl.runs.placement import default_seed_mode
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.types import Array, Key, Params, Transition

RESULTS = Path(__file__).parents[1] / "results"
ENV, SEEDS, STEPS = "pbrl/MbpoHopper-v0", 3, 20_000
TRAINED, MEASURED = 3, 5  # steps of the windows that the GRU is fitted to, and of those that errors are taken on
PARTS, UPDATES, BATCH, RATE = 5, 3_000, 256, 1e-3
WIDTH, MEMBERS, ROWS = 128, 5, 2_000  # paper: 512 wide, 5 members of 4 layers


@dataclass(frozen=True)
class Model:
    """How to draw a model, its loss on windows, and its prediction."""

    init: Callable[[Key], Params]
    loss: Callable[[Params, Statistics, Transition], Array]  # windows [L, B]
    predict: Callable[[Params, Statistics, Array, Array], Array]  # obs [B, S], actions [L, B, A] -> [L, B, S]


def gru(obs_size: int, action_size: int) -> Model:
    """SVG's dynamics, deterministic, in normalised units."""
    net = Recurrent(obs_size, action_size, (WIDTH, WIDTH), WIDTH, 2)

    def inner(stats: Statistics, x: Array) -> Array:
        return normalizer.normalize(stats.obs, x)

    def loss(params: Params, stats: Statistics, batch: Transition) -> Array:
        return net.loss(params, inner(stats, batch.obs[0]), batch.action, inner(stats, batch.next_obs))

    def predict(params: Params, stats: Statistics, obs: Array, actions: Array) -> Array:
        out = net.unroll(params, inner(stats, obs), actions, detach=False)
        return normalizer.denormalize(stats.obs, out)

    return Model(net.init, loss, predict)


def ensemble(obs_size: int, action_size: int) -> Model:
    """Probabilistic MLPs, fitted to single transitions; each follows its own mean, and the paths are averaged."""
    net = Ensemble(obs_size, action_size, (WIDTH,) * 4, MEMBERS)

    def loss(params: Params, stats: Statistics, batch: Transition) -> Array:
        flat = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), batch)
        return net.loss(params, stats, jax.tree.map(lambda x: jnp.broadcast_to(x, (MEMBERS, *x.shape[1:])), flat))

    def predict(params: Params, stats: Statistics, obs: Array, actions: Array) -> Array:
        def step(x: Array, action: Array) -> tuple[Array, Array]:
            x, _ = net.predict(params, stats, x, jnp.broadcast_to(action, (MEMBERS, *action.shape)))
            return x, x.mean(0)

        return jax.lax.scan(step, jnp.broadcast_to(obs, (MEMBERS, *obs.shape)), actions)[1]

    return Model(net.init, loss, predict)


MODELS = {"GRU": gru, "ensemble of MLPs": ensemble}


def collect(folder: Path) -> tuple[list[list[Transition]], Run]:
    """Train SAC, or take up its run, and return every seed's episodes in order."""
    from pbrl.train import host
    from pbrl.trained import restore

    changes = lookup.preset("cpu", "sac", ENV) | {"schedule.total_steps": STEPS, "schedule.eval_every": STEPS}
    config, schedule = overrides.apply(sac.Config(), Schedule(), changes)
    run = Run("sac", ENV, tuple(range(SEEDS)), config, schedule, folder, default_seed_mode())
    host.train(run)  # does nothing where it has come to its end
    buffer = jax.tree.map(np.asarray, restore.learners(run)[0].replay)
    seeds = []
    for i in range(SEEDS):
        cuts = np.flatnonzero(np.diff(buffer.episode[i])) + 1
        rows = jax.tree.map(lambda x, i=i: x[i], buffer.rows)
        seeds.append([jax.tree.map(lambda x, j=j: x[j], rows) for j in np.split(np.arange(STEPS), cuts)])
    return seeds, run


def windows(episodes: list[Transition], length: int) -> Transition:
    """Stack all windows of so many transitions that lie within an episode, `[L, M]`."""
    cut = [
        jax.tree.map(lambda x, t=t: x[t : t + length], e) for e in episodes for t in range(len(e.reward) - length + 1)
    ]
    return jax.tree.map(lambda *x: np.stack(x, 1), *cut)


def fit(model: Model, stats: Statistics, data: Transition, key: Key) -> Params:
    """Take `UPDATES` steps of Adam on random windows, gradients clipped to norm 1."""
    tx, count = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE)), data.reward.shape[1]
    params = model.init(key)

    def step(carry: tuple, key: Key) -> tuple[tuple, None]:
        pick = jax.random.randint(key, (BATCH,), 0, count)
        batch = jax.tree.map(lambda x: x[:, pick], data)
        params, opt_state, *_ = networks.descend(lambda p: (model.loss(p, stats, batch), None), tx, *carry)
        return (params, opt_state), None

    run = jax.jit(lambda p, keys: jax.lax.scan(step, (p, tx.init(p)), keys)[0][0])
    return run(params, jax.random.split(key, UPDATES))


def error(model: Model, params: Params, stats: Statistics, data: Transition) -> np.ndarray:
    """Return the mean squared error after 1 … L steps, `[L]`, in units of the data's deviation."""
    pick = np.random.default_rng(0).permutation(data.reward.shape[1])[:ROWS]
    data = jax.tree.map(lambda x: jnp.asarray(x[:, pick]), data)
    wrong = jax.jit(model.predict)(params, stats, data.obs[0], data.action) - data.next_obs
    return np.asarray(jnp.square(wrong / stats.obs.std).mean((1, 2)))


def measure(episodes: list[Transition], seed: int) -> list[dict[str, Any]]:
    """Return one row for each part, model and kind of data."""
    rng = np.random.default_rng(seed)
    test = set(rng.permutation(len(episodes))[: max(len(episodes) // 10, 1)].tolist())
    kept = [e for i, e in enumerate(episodes) if i not in test]
    rows = []
    for part in range(1, PARTS + 1):
        there = kept[: round(len(kept) * part / PARTS)]
        held = set(rng.permutation(len(there))[: max(len(there) // 10, 1)].tolist())
        split = {
            "train": [e for i, e in enumerate(there) if i not in held],
            "holdout": [there[i] for i in held],
            "test": [episodes[i] for i in test],
        }
        flat = jax.tree.map(lambda *x: np.concatenate(x), *split["train"])
        stats = Statistics.init(flat.obs.shape[-1], flat.action.shape[-1], bounded=True).update(flat)
        data = jax.tree.map(jnp.asarray, windows(split["train"], TRAINED))
        for name, make in MODELS.items():
            model = make(flat.obs.shape[-1], flat.action.shape[-1])
            params = fit(model, stats, data, jax.random.key(seed))
            for kind, chosen in split.items():
                errors = error(model, params, stats, windows(chosen, MEASURED))
                rows.append({"seed": seed, "transitions": len(flat.reward), "part": part, "model": name, "data": kind})
                rows[-1]["errors"] = errors.tolist()
        print(
            f"seed {seed}, part {part}: " + ", ".join(f"{r['model']} {np.mean(r['errors']):.4f}" for r in rows[-4::3])
        )
    return rows


def read() -> list[dict[str, Any]]:
    """Return what `results/svg-fig3.csv` holds."""
    with open(RESULTS / "svg-fig3.csv", newline="") as file:
        return [
            {
                **{name: int(row[name]) for name in ("seed", "part", "transitions")},
                **{name: row[name] for name in ("model", "data")},
                "errors": [float(row[f"error_{i + 1}"]) for i in range(MEASURED)],
            }
            for row in csv.DictReader(file)
        ]


def draw(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Draw the picture, print and return each model's error with all data."""
    curves: dict[str, dict[str, Any]] = {}
    final: dict[str, dict[str, float]] = {}
    for kind in ("train", "holdout", "test"):
        for name in MODELS:
            chosen = [r for r in rows if (r["model"], r["data"]) == (name, kind)]
            values = np.array([[np.mean(r["errors"]) for r in chosen if r["seed"] == s] for s in range(SEEDS)])
            at = np.array([r["transitions"] for r in chosen if r["seed"] == 0])
            curves.setdefault(f"{kind} episodes", {})[name] = at, values
            final.setdefault(kind, {})[name] = float(values[:, -1].mean())
            print(f"{kind:8s} {name:18s} error with all data {values[:, -1].mean():.5f}  n = {SEEDS}")
    title = f"SVG, Fig. 3 at CPU size: error of open-loop predictions over {MEASURED} steps"
    plots.panels(curves, RESULTS / "svg-fig3.png", title, ylabel="mean squared error (normalised)", log=True)
    return final


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/svg-fig3"), help="folder of the SAC run")
    parser.add_argument("--redraw", action="store_true", help="draw the measured errors again, and measure nothing")
    args = parser.parse_args()
    devices.use_cores(SEEDS)
    if args.redraw:
        draw(read())
        return
    seeds, run = collect(args.run)
    rows = [row for seed, episodes in enumerate(seeds) for row in measure(episodes, seed)]
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / "svg-fig3.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "part", "transitions", "model", "data", *(f"error_{i + 1}" for i in range(MEASURED))])
        for row in rows:
            ids = [row[name] for name in ("seed", "part", "transitions", "model", "data")]
            writer.writerow([*ids, *(f"{x:.6f}" for x in row["errors"])])
    settings = {"env": ENV, "trained": TRAINED, "measured": MEASURED, "updates": UPDATES, "batch": BATCH, "rate": RATE}
    settings |= {"width": WIDTH, "members": MEMBERS, "run": run.to_json()}
    report = {"command": "python benchmarks/paper/svg_fig3.py", "settings": settings, "final": draw(rows)}
    (RESULTS / "svg-fig3.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
