"""The twins of MuJoCo's tasks: a step, and a step with its gradient, of many states at once, in float32.

What is timed is `oracle_speed.py`'s. The states are `REACHED` that a random policy reached, over and over. Each cell
has a process of its own, since tracing MJX takes one thread's time; they compile side by side, and one at a time is
timed, while others may compile yet.
"""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import jax
import jax.numpy as jnp
from oracle_speed import milliseconds, program
from sheet.cells import Cells

from pbrl.diagnose import gradcheck
from pbrl.envs import oracles

ENVS, SIZES, REACHED = ("Hopper-v5", "HalfCheetah-v5", "Ant-v5"), (4_096, 65_536, 256), 256
WHAT = ("step", "gradient")


def fill(env_id: str, what: str, size: int, turn: Any) -> dict[str, Any]:
    """Compile one program, and time it when it is its turn: the better of two times."""
    warnings.simplefilter("ignore")  # of weak gradients, which are not the question here
    reached = gradcheck.reached(env_id, min(REACHED, size), 0)
    draws = jax.random.uniform(jax.random.key(0), reached.action.shape, minval=-1.0)
    batch = jax.tree.map(lambda x: jnp.resize(x, (size, *x.shape[1:])), reached.replace(action=draws))
    call, compile_s = program(oracles.oracle(env_id), what, batch)
    with turn:
        milliseconds(call)  # the first calls pay for memory
        ms = min(milliseconds(call) for _ in range(2))
    return {"ms": ms, "per_second": 1e3 * size / ms, "compile_s": compile_s, "states": size}


def run(cells: Cells) -> None:
    """Fill the part's cells, as many at once as there are cores."""
    envs, sizes = (("Pendulum-v1", "Hopper-v5"), (16,)) if cells.quick else (ENVS, SIZES)
    tasks = {f"{env}, {size} states, {what}": (env, what, size) for size in sizes for what in WHAT for env in envs}
    names = cells.missing(tasks)
    context = get_context("spawn")
    workers = max(1, min(len(os.sched_getaffinity(0)) - 2, len(names) or 1))
    with context.Manager() as manager, ProcessPoolExecutor(workers, context) as pool:
        turn = manager.Lock()
        jobs = {pool.submit(fill, *tasks[name], turn): name for name in names}
        for job in as_completed(jobs):
            if error := job.exception():
                cells.failed(jobs[job], error)
            else:
                cells.record(jobs[job], job.result())
