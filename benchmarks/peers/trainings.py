"""Train by pbrl, SBX or Brax in slices, on request: `training_speed.py` starts this script, one process for each side.

A slice is asked for by a line on standard input, and answered by its seconds, once the training is past its warm-up and
compiled. Between slices the process blocks on its input, within a function that the training calls every few steps.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
import argparse
import functools
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WARMUP, BATCH, BUFFER, RATE, TAU, GAMMA = 500, 256, 20_000, 3e-4, 0.005, 0.99
SKIPPED = 2  # slices after the warm-up that nobody asks for: they compile
CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "wall": time.perf_counter}


class Slices:
    """Answers for one slice after the other; `end()` is called at the end of each, with the seconds it took."""

    def __init__(self, clock: Callable[[], float], reply: Callable[[Any], None]):
        self.clock, self.reply, self.count, self.began = clock, reply, 0, clock()

    def end(self, seconds: float | None = None) -> None:
        """Tell how long the slice took, by default since the one before, and wait until another is asked for."""
        seconds = self.clock() - self.began if seconds is None else seconds
        if self.count >= SKIPPED:
            self.reply(seconds)
        self.count += 1
        if self.count >= SKIPPED and not sys.stdin.readline().strip():
            sys.exit()
        self.began = self.clock()


def pbrl(options: argparse.Namespace, slices: Slices) -> None:
    """Train as `pbrl train` does, without evaluations; a slice ends with every row of the log."""
    from pbrl.agents import sac, td3
    from pbrl.runs.run import Run
    from pbrl.runs.schedule import Schedule
    from pbrl.train import device, host

    hidden = (options.width,) * 2
    fields: dict[str, Any] = {"actor_lr": RATE, "critic_lr": RATE, "tau": TAU, "activation": "relu"}
    fields |= {"actor_hidden": hidden, "critic_hidden": hidden}
    if options.agent == "sac":
        fields |= {"temperature_lr": RATE, "initial_temperature": 1.0, "normalize_obs": False}
    config = {"sac": sac, "td3": td3}[options.agent].Config(**fields)
    schedule = Schedule(
        total_steps=1_000_000, warmup_steps=WARMUP, batch_size=BATCH, updates_per_step=options.updates, model_every=0,
        buffer_size=BUFFER, eval_every=0, log_every=options.steps, checkpoint_every=1_000_000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        driver = "device" if options.env.startswith("brax/") else "host"
        run = Run(options.agent, options.env, (0,), config, schedule, Path(folder) / "run", "map", driver=driver)

        def report(progress: Any) -> None:
            if progress.step > WARMUP and progress.step % options.steps == 0:  # it hears of others, once a second
                slices.end()

        {"device": device, "host": host}[driver].train(run, report)


def sbx(options: argparse.Namespace, slices: Slices) -> None:
    """Train by SBX, the JAX sibling of Stable-Baselines3."""
    import sbx
    from stable_baselines3.common.callbacks import BaseCallback

    class Callback(BaseCallback):
        def _on_step(self) -> bool:
            past = self.num_timesteps - WARMUP
            if past > 0 and past % options.steps == 0:
                slices.end()
            return True

    algorithm = {"sac": sbx.SAC, "td3": sbx.TD3}[options.agent](
        "MlpPolicy", options.env, policy_kwargs={"net_arch": [options.width] * 2}, learning_rate=RATE, tau=TAU,
        gamma=GAMMA, learning_starts=WARMUP, buffer_size=BUFFER, batch_size=BATCH, gradient_steps=options.updates,
    )  # fmt: skip
    algorithm.learn(1_000_000, callback=Callback())


def brax(options: argparse.Namespace, slices: Slices) -> None:
    """Train by Brax' own SAC; a slice is what it does between two evaluations, which are not timed."""
    import jax
    import jax.numpy as jnp
    from brax import envs
    from brax.training.agents.sac import networks, train

    if not hasattr(jax, "device_put_replicated"):  # jax has removed it since
        jax.device_put_replicated = lambda tree, devices: jax.tree.map(lambda x: jnp.asarray(x)[None], tree)
    train.time = types.SimpleNamespace(time=slices.clock)
    name, backend = options.env.removeprefix("brax/").rsplit("-", 1)
    sizes: Any = functools.partial(networks.make_sac_networks, hidden_layer_sizes=(options.width,) * 2)
    total = 0.0

    def progress(step: int, metrics: Mapping[str, Any]) -> None:
        nonlocal total
        if step:
            seconds, total = metrics["training/walltime"] - total, metrics["training/walltime"]
            slices.end(seconds)

    count = 2_000
    train.train(
        envs.get_environment(name, backend=backend), num_timesteps=WARMUP + count * options.steps, episode_length=1000,
        num_envs=1, num_eval_envs=1, learning_rate=RATE, discounting=GAMMA, batch_size=BATCH, num_evals=count + 1,
        tau=TAU, min_replay_size=WARMUP, max_replay_size=BUFFER, grad_updates_per_step=options.updates,
        deterministic_eval=True, progress_fn=progress, network_factory=sizes,
    )  # fmt: skip


SIDES = {"pbrl": pbrl, "sbx": sbx, "brax": brax}
PACKAGES = {"pbrl": "pbrl", "sbx": "sbx-rl", "brax": "brax"}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=list(SIDES))
    parser.add_argument("--agent", choices=("sac", "td3"), required=True)
    parser.add_argument("--env", required=True)
    parser.add_argument("--clock", choices=list(CLOCKS), required=True)
    for name in ("width", "updates", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print is no reply
    reply = lambda value: print(json.dumps(value), file=replies, flush=True)  # noqa: E731
    reply({name: importlib.metadata.version(name) for name in (PACKAGES[options.side], "jax")})
    SIDES[options.side](options, Slices(CLOCKS[options.clock], reply))


if __name__ == "__main__":
    main()
