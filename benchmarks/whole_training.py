"""Time a whole training within one program against rejax' (https://github.com/keraJLi/rejax), on the same environment.

    pip install rejax 'gymnax<1' && python benchmarks/whole_training.py

SAC and TD3, whose networks, batches, rates, warm-up, updates per step and evaluations are the same on both sides, on
gymnax' Pendulum, for one seed and for several under `vmap`; ours by `map` as well, and by `map` over the devices that
`parallel.use_cores` makes of a CPU, as `pbrl train` does. All programs are compiled first and then take turns. Returns
are those of the last evaluation. What differs is the algorithm: rejax warms up with its fresh policy and takes the time
limit for a termination.

Writes benchmarks/results/whole-training.json.
"""

import argparse
import importlib.metadata
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import machine

from pbrl.agents import sac, td3
from pbrl.envs.gymnax import from_gymnax
from pbrl.parallel import devices
from pbrl.report import stats
from pbrl.runs.schedule import Schedule
from pbrl.train import device

RESULTS = Path(__file__).parent / "results" / "whole-training.json"
STEPS, WARMUP, BUFFER, BATCH, EVAL_EVERY, EPISODES, RATE, TAU = 10_000, 1_000, 10_000, 256, 2_500, 10, 1e-3, 0.005
HIDDEN = (64, 64)  # those of rejax' TD3 cannot be changed
SEEDS = (1, 8)

Train = Callable[[jax.Array], jax.Array]
"""`seeds [N] -> returns of the last evaluation [N]`."""


def ours(agent: str, env: Any, params: Any) -> Callable[[jax.Array], jax.Array]:
    """Return our training of one seed."""
    sizes = {"actor_lr": RATE, "critic_lr": RATE, "tau": TAU, "actor_hidden": HIDDEN, "critic_hidden": HIDDEN}
    module = {"sac": sac, "td3": td3}[agent]
    if agent == "sac":
        sizes |= {"temperature_lr": RATE, "initial_temperature": 1.0, "normalize_obs": False}
    config, task = module.Config(**sizes), from_gymnax(env, params)
    schedule = Schedule(
        total_steps=STEPS, warmup_steps=WARMUP, batch_size=BATCH, updates_per_step=1, model_every=0, buffer_size=BUFFER,
        eval_every=EVAL_EVERY, eval_episodes=EPISODES, log_every=EVAL_EVERY,
    )  # fmt: skip
    return lambda seed: device.run(module, task, config, schedule, jax.random.key(seed))[1]["eval/return"][-1]


def theirs(agent: str, env: Any, params: Any) -> Callable[[jax.Array], jax.Array]:
    """Return rejax' training of one seed."""
    import rejax  # pyright: ignore[reportMissingImports]
    from rejax.evaluate import evaluate  # pyright: ignore[reportMissingImports]

    actor, critic = {"activation": "swish"}, {"activation": "swish"}
    networks = {"sac": {"agent_kwargs": {"activation": "relu"}, "hidden_layer_sizes": HIDDEN}}
    algorithm = rejax.get_algo(agent).create(
        env=env, env_params=params, num_envs=1, total_timesteps=STEPS, fill_buffer=WARMUP, buffer_size=BUFFER,
        batch_size=BATCH, eval_freq=EVAL_EVERY, learning_rate=RATE, polyak=1 - TAU, gamma=0.99,
        **networks.get(agent, {"actor_kwargs": actor, "critic_kwargs": critic}),
    )  # fmt: skip

    def score(algorithm: Any, state: Any, key: jax.Array) -> tuple:
        limit = params.max_steps_in_episode
        return evaluate(algorithm.make_act(state), key, env, params, EPISODES, limit)

    algorithm = algorithm.replace(eval_callback=score)
    return lambda seed: algorithm.train(jax.random.key(seed))[1][1][-1].mean()


def compiled(train: Train, seeds: int) -> tuple[Callable[[int], np.ndarray], float]:
    """Compile a training; return it as a function of the first seed, and the seconds that compiling took."""
    begin = time.perf_counter()
    program = jax.jit(train).lower(jnp.arange(seeds)).compile()
    took = time.perf_counter() - begin
    return lambda first: np.asarray(program(first + jnp.arange(seeds))), took


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", choices=("sac", "td3"), default=("sac", "td3"))
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    arguments = parser.parse_args()
    try:
        import gymnax  # pyright: ignore[reportMissingImports]
        import rejax  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        parser.error("this compares with rejax, which is not installed: pip install rejax 'gymnax<1'")
    jax.config.update("jax_enable_compilation_cache", False)
    devices.use_cores(max(SEEDS))
    env, params = gymnax.make("Pendulum-v1")
    settings = {"env": "gymnax Pendulum-v1", "steps": STEPS, "warm-up": WARMUP, "batch": BATCH, "hidden": HIDDEN}
    settings |= {"rate": RATE, "tau": TAU, "updates per step": 1, "eval_every": EVAL_EVERY, "episodes": EPISODES}
    report: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": {}}
    report |= {"command": "python benchmarks/whole_training.py", "settings": settings}
    facts = {"machine": machine(), "turns": arguments.repeats, "rejax": importlib.metadata.version("rejax")}
    for agent in arguments.agents:
        one = {"pbrl": ours(agent, env, params), "rejax": theirs(agent, env, params)}
        programs = {}
        for n in SEEDS:
            for name, train in one.items():
                programs[f"{name}, vmap", n] = compiled(jax.vmap(train), n)
            mapped = lambda seeds: jax.lax.map(one["pbrl"], seeds)  # noqa: B023, E731
            programs["pbrl, map", n] = compiled(mapped, n)
            if shared := devices.own_mesh(n):
                programs[f"pbrl, map, {shared.size} devices", n] = compiled(devices.spread(mapped, shared), n)
        times: dict[Any, list[float]] = {key: [] for key in programs}
        returns: dict[Any, list[np.ndarray]] = {key: [] for key in programs}
        for turn in range(arguments.repeats):
            for key, (program, _) in programs.items():
                begin = time.perf_counter()
                returns[key].append(program(100 * turn))
                times[key].append(time.perf_counter() - begin)
        rows: dict[str, Any] = {}
        report["rows"][agent] = {**facts, "programs": rows}
        for (name, n), (_, compile_s) in programs.items():
            seconds = times[name, n]
            score = stats.aggregate(np.concatenate(returns[name, n]))
            rows[f"{name}, {n} seeds"] = row = {
                "seconds": statistics.median(seconds),
                "steps_per_second": n * STEPS / statistics.median(seconds),
                "rejax_takes": statistics.median(b / a for a, b in zip(seconds, times["rejax, vmap", n], strict=True)),
                "compile_s": compile_s,
                "return": vars(score),
            }
            print(
                f"{agent:4s} {name:20s} {n:2d} seeds  {row['seconds']:7.2f} s  {row['steps_per_second']:8.0f} steps/s  "
                f"rejax takes {row['rejax_takes']:5.2f} times as long  compiled in {compile_s:5.1f} s  "
                f"return {score.mean:8.1f} [{score.low:.1f}, {score.high:.1f}], n = {score.n}",
                flush=True,
            )
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
