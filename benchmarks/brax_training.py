"""Time SAC on a Brax environment, each training in compiled programs, against Brax' own SAC.

    python benchmarks/brax_training.py                    # ten minutes on two cores

Environment, networks, batches, rates, warm-up, one update a step, target entropy and evaluations are the same on both
sides. Each turn trains one seed by each side, for 10,000 steps, of which the last 4,500 are timed, when everything has
been compiled, without the evaluation that follows. Brax' algorithm differs in parts: it warms up with its fresh policy,
draws first weights from other distributions, and leaves the last step before a time limit out of the critics' loss.

Its SAC calls a function that jax has removed since; it is given back here.

Writes benchmarks/results/brax-training.json.
"""

import argparse
import functools
import importlib.metadata
import json
import statistics
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine

from pbrl.agents import sac
from pbrl.envs.brax import EPISODE, environment
from pbrl.report import stats
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device

RESULTS = Path(__file__).parent / "results" / "brax-training.json"
NAME, BACKEND = "inverted_pendulum", "spring"
ENV = f"brax/{NAME}-{BACKEND}"
STEPS, WARMUP, BATCH, EPISODES, HIDDEN = 10_000, 1_000, 256, 10, (64, 64)
RATE, TEMPERATURE_RATE, TAU = 1e-3, 3e-4, 0.005  # the second is fixed in Brax
HALF = (WARMUP + STEPS) // 2  # Brax spreads its evaluations over the steps after the warm-up


def ours(seed: int) -> tuple[float, float]:
    """Train one seed as `pbrl train` does; return the seconds of the timed steps, and the last mean return."""
    spec = environment(ENV).spec
    config = sac.Config(
        actor_lr=RATE, critic_lr=RATE, temperature_lr=TEMPERATURE_RATE, tau=TAU, initial_temperature=1.0,
        initial_entropy=-0.5 * spec.action_size, actor_hidden=HIDDEN, critic_hidden=HIDDEN, normalize_obs=False,
    )  # fmt: skip
    schedule = Schedule(
        total_steps=STEPS, warmup_steps=WARMUP, batch_size=BATCH, updates_per_step=1, model_every=0,
        buffer_size=STEPS, eval_every=HALF, eval_episodes=EPISODES,
    )  # fmt: skip
    programs = device.Programs(Run("sac", ENV, (seed,), config, schedule, Path("nowhere"), "map", driver="device"))
    state = programs.epoch(programs.start(STEPS), programs.plan, 0, HALF)
    jax.block_until_ready(programs.evaluate(state, HALF))
    began = time.perf_counter()
    state = jax.block_until_ready(programs.epoch(state, programs.plan, HALF, STEPS - HALF))
    took = time.perf_counter() - began
    return took, float(programs.evaluate(state, STEPS)["eval/return"][0])


def theirs(seed: int) -> tuple[float, float]:
    """Train one seed by Brax; return what `ours` does."""
    from brax import envs
    from brax.training.agents.sac import networks, train

    sizes: Any = functools.partial(networks.make_sac_networks, hidden_layer_sizes=HIDDEN)
    marks = []

    def progress(step: int, metrics: Mapping[str, Any]) -> None:
        marks.append((step, metrics.get("training/walltime"), float(metrics["eval/episode_reward"])))

    train.train(
        envs.get_environment(NAME, backend=BACKEND), num_timesteps=STEPS, episode_length=EPISODE, num_envs=1,
        num_eval_envs=EPISODES, learning_rate=RATE, discounting=0.99, seed=seed, batch_size=BATCH, num_evals=3, tau=TAU,
        min_replay_size=WARMUP, max_replay_size=STEPS, grad_updates_per_step=1, deterministic_eval=True,
        network_factory=sizes, progress_fn=progress,
    )  # fmt: skip
    (_, _, _), (half, began, _), (end, ended, score) = marks
    assert (half, end) == (HALF, STEPS), marks
    return ended - began, score


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns, and seeds")
    turns = parser.parse_args().repeats
    warnings.simplefilter("ignore")  # that Brax' physics are maintained no more
    jax.config.update("jax_enable_compilation_cache", False)  # neither side's programs come from an earlier run
    if not hasattr(jax, "device_put_replicated"):
        jax.device_put_replicated = lambda tree, devices: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
    sides = {"pbrl": ours, "brax": theirs}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(turns):
        for name, train in list(sides.items())[:: -1 if turn % 2 else 1]:  # each goes first in every other turn
            found[name].append(train(turn))
            print(f"seed {turn}, {name}: {found[name][-1][0]:.2f} s, return {found[name][-1][1]:.1f}", flush=True)
    sizes = {"steps": STEPS, "warm-up": WARMUP, "batch": BATCH, "hidden": HIDDEN, "rate": RATE, "tau": TAU}
    sizes |= {"temperature rate": TEMPERATURE_RATE}
    report: dict[str, Any] = {
        "command": "python benchmarks/brax_training.py",
        "machine": machine(),
        "settings": {"env": ENV, "timed steps": STEPS - HALF, "episodes": EPISODES, **sizes},
        "brax": importlib.metadata.version("brax"),
        "rows": {},
    }
    for name, pairs in found.items():
        seconds, returns = np.transpose(pairs)
        row = {"seconds": statistics.median(seconds), "steps_per_second": (STEPS - HALF) / statistics.median(seconds)}
        row["brax_takes"] = statistics.median(b[0] / a[0] for a, b in zip(pairs, found["brax"], strict=True))
        row |= {"seconds_per_seed": seconds.tolist(), "return": vars(stats.aggregate(returns))}
        report["rows"][name] = row | {"return_per_seed": returns.tolist()}
        print(name, report["rows"][name])
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
