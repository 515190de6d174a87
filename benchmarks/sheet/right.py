"""Whether a device computes what a CPU does, in float32, at each matmul precision.

Three kinds of cells, each computed in one process on the CPU and on the device from the same numbers:

- `gradient`: the gradients of one update at the papers' HalfCheetah sizes, read off Adam's first moments: the norm of
  the difference over the CPU's norm, for each group of parameters.
- `oracle`: the gradient of a rollout of `HORIZON` steps through an environment's own dynamics in its actions, from
  `STATES` states that a random policy reached: the norm of the difference over the norm, for each state.
- `golden`: what `tests/golden` records of an agent, in float32: ten updates of small networks. The difference of two
  numbers is taken over the larger of `LEAST` and the CPU's.

`rounding` is the CPU against itself: for gradients with all data moved by a last bit, for golden numbers with another
order of additions (XLA's optimisations on). A device that is right differs by about as much.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sheet import updates
from sheet.cells import Cells
from workloads import data

from pbrl.diagnose import gradcheck
from pbrl.envs import oracles
from pbrl.runs.run import agent_module

TESTS = Path(__file__).parents[2] / "tests"
PLAIN = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
ORACLES = (
    "Hopper-v5", "HalfCheetah-v5", "Ant-v5", "Pendulum-v1",
    "Walker2d-v5", "InvertedDoublePendulum-v5", "Reacher-v5", "pbrl/MageCartPole-v0",
)  # fmt: skip
STATES, HORIZON, LEAST = 32, 4, 0.1


def tasks(quick: bool) -> list[tuple[str, ...]]:
    """Return kind and arguments of every cell, in order of value."""
    variants = recording().VARIANTS
    if quick:
        return [("gradient", "td3", "highest"), ("oracle", "Pendulum-v1", "default"), ("golden", "td3", "default")]
    golden = [("golden", name, variant) for name in variants for variant in variants[name]]
    first = [("golden", name, next(iter(variants[name]))) for name in variants]
    return [
        *(("gradient", agent, precision) for precision in ("highest", "default") for agent in updates.TASKS),
        *(("oracle", env_id, "highest") for env_id in ORACLES[:4]),
        *first,
        ("oracle", "Hopper-v5", "default"),
        *(("gradient", agent, "high") for agent in updates.TASKS),
        *(task for task in golden if task not in first),
        *(("oracle", env_id, "highest") for env_id in ORACLES[4:]),
    ]


def recording() -> Any:
    """Return the module of the tests that computes golden numbers."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    return importlib.import_module("golden.recording")


def fill(task: tuple[str, ...]) -> dict[str, Any]:
    """Return a cell: the differences to the CPU by precision."""
    warnings.simplefilter("ignore")  # of weak gradients, which are not the question here
    return {"golden": golden, "gradient": gradient, "oracle": oracle}[task[0]](*task[1:])


def golden(name: str, variant: str) -> dict[str, Any]:
    """Compare the recorded numbers of an agent; of variants but its first at `highest` alone, without `rounding`."""
    run, variants = recording().run, recording().VARIANTS[name]
    first = variant == next(iter(variants))
    make = lambda precision: partial(run, name, **variants[variant], precision=precision)  # noqa: E731
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    true = compiled(make("highest"), (), cpu, PLAIN)()
    precisions = ("highest", "default") if first else ("highest",)
    row = {precision: by_number(true, compiled(make(precision), (), device)()) for precision in precisions}
    return row | ({"rounding": by_number(true, compiled(make("highest"), (), cpu)())} if first else {})


def gradient(name: str, precision: str) -> dict[str, Any]:
    """Compare the gradients of one update at the published sizes."""
    agent = agent_module(name)

    def settings(precision: str) -> tuple:
        config, schedule, spec = updates.settings(name, precision)
        if hasattr(config, "policy_delay"):
            config = replace(config, policy_delay=1)  # the first update trains the actor as well
        return config, schedule, spec

    def init(precision: str) -> Any:
        config, _, spec = settings(precision)
        return agent.init(jax.random.key(0), spec, config)

    def make(precision: str) -> Callable:
        shapes = jax.eval_shape(partial(init, precision))

        def moments(batch: Any, leaves: Any, key: Any) -> Any:
            state = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
            after = agent.update(agent.observe(state, batch), batch, key)[0]
            found: dict[str, list] = {}
            for path, leaf in jax.tree_util.tree_flatten_with_path(after)[0]:
                names = [str(getattr(entry, "name", "")) for entry in path]
                if "mu" in names and "world" not in names:  # which this update does not train
                    found.setdefault(next(n for n in names if n not in ("", "ac")), []).append(leaf.ravel())
            return {group: jnp.concatenate(parts) for group, parts in found.items()}

        return moments

    _, schedule, spec = settings("highest")
    with jax.default_device(jax.devices("cpu")[0]):
        leaves = jax.tree.leaves(jax.jit(partial(init, "highest"))())
        sizes = {"obs": spec.obs_size, "action": spec.action_size}
        batch = jax.tree.map(lambda x: x[: schedule.batch_size], data(sizes))
        return differences(make, precision, (batch, leaves, jax.random.key(1)), by_group)


def oracle(env_id: str, precision: str) -> dict[str, Any]:
    """Compare the gradient of a short rollout through an environment's own dynamics."""
    dynamics = oracles.oracle(env_id)
    with jax.default_device(jax.devices("cpu")[0]):
        batch, rng = gradcheck.reached(env_id, STATES, 0), np.random.default_rng(0)
        start = jax.jit(dynamics.start)(batch)
        actions = jnp.asarray(rng.uniform(-0.9, 0.9, (HORIZON, *batch.action.shape)), float)
        at = jnp.arange(HORIZON)

    def make(precision: str) -> Callable:
        def slope(actions: jax.Array, start: Any) -> jax.Array:
            size = dynamics.observe(start).shape[-1]
            returns = gradcheck.objective(dynamics, start, jnp.ones(size) / size**0.5)
            with jax.default_matmul_precision(precision):
                gradient = jax.grad(lambda a: returns(a, *gradcheck.masks(HORIZON, at)).sum())(actions)
            return jnp.moveaxis(gradient, 1, 0)

        return slope

    return differences(make, precision, (actions, start), by_state)


def differences(make: Callable, precision: str, arguments: tuple, compare: Callable) -> dict[str, Any]:
    """Compute on the CPU, there with the first argument's numbers moved by a last bit, and on the device."""
    cpu, device = jax.devices("cpu")[0], jax.devices()[0]
    program = compiled(make("highest"), arguments, cpu, PLAIN)
    moved = jax.tree.map(lambda x: np.nextafter(x, np.inf, dtype=x.dtype), jax.tree.map(np.asarray, arguments[0]))
    true = program(*arguments)
    found = compiled(make(precision), arguments, device)(*arguments)
    return {precision: compare(true, found), "rounding": compare(true, program(moved, *arguments[1:]))}


def compiled(function: Callable, arguments: tuple, device: Any, options: dict | None = None) -> Callable[..., Any]:
    """Return a function compiled for a device, which takes arguments from anywhere and returns NumPy's arrays."""
    with jax.default_device(device):
        placed = jax.device_put(arguments, device)
        program = jax.jit(lambda *args: function(*args)).lower(*placed).compile(compiler_options=options)
    return lambda *args: jax.tree.map(np.asarray, program(*jax.device_put(args, device)))


def by_number(true: Any, found: Any) -> dict[str, Any]:
    """Return median and worst difference of all numbers, and where the worst is."""
    pairs = zip(jax.tree_util.tree_flatten_with_path(true)[0], jax.tree.leaves(found), strict=True)
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): float(
            np.max(np.abs(a - b) / np.maximum(np.abs(a), LEAST))
        )
        for (path, a), b in pairs
        if np.issubdtype(a.dtype, np.floating)
    }
    worst = max(sizes, key=lambda name: np.nan_to_num(sizes[name], nan=np.inf))
    return {"median": float(np.median(list(sizes.values()))), "worst": sizes[worst], "where": worst}


def by_group(true: Any, found: Any) -> dict[str, Any]:
    """Return median and worst group of parameters."""
    norms = {name: float(np.linalg.norm(true[name] - found[name]) / np.linalg.norm(true[name])) for name in true}
    worst = max(norms, key=lambda name: norms[name])
    return {"median": float(np.median(list(norms.values()))), "worst": norms[worst], "where": worst}


def by_state(true: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """Return median and worst state of gradients `[states, ...]`."""
    size = lambda x: np.sqrt(np.square(x).reshape(len(x), -1).sum(1))  # noqa: E731
    errors = size(found - true) / np.maximum(size(true), 1e-12)
    return {"median": float(np.median(errors)), "worst": float(errors.max()), "where": f"state {errors.argmax()}"}


def run(cells: Cells) -> None:
    """Fill the part's cells, as many at once as there are cores."""
    todo = {task: " ".join(task) for task in tasks(cells.quick)}
    names = cells.missing(todo.values())
    workers = max(1, min(len(os.sched_getaffinity(0)) - 2, 14, len(names) or 1))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = {pool.submit(fill, task): name for task, name in todo.items() if name in names}
        for job in as_completed(jobs):
            if error := job.exception():
                cells.failed(jobs[job], error)
            else:
                cells.record(jobs[job], job.result())
