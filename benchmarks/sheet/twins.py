"""The twins of MuJoCo's tasks: a step, and a step with its gradient, of many states at once, in float32.

As `oracle_speed.py` times them. The states are `REACHED` that a random policy reached, over and over.
"""

from concurrent.futures import ThreadPoolExecutor, as_completed

import jax
import jax.numpy as jnp
from oracle_speed import milliseconds, programs
from sheet.cells import Cells

from pbrl.diagnose import gradcheck

ENVS, SIZES, REACHED = ("Hopper-v5", "HalfCheetah-v5", "Ant-v5"), (4_096, 65_536, 256), 256


def run(cells: Cells) -> None:
    """Fill the part's cells; of one size all are compiled side by side, then timed one after the other."""
    envs, sizes = (ENVS[:1], (16,)) if cells.quick else (ENVS, SIZES)
    wholes = {}
    for env_id in envs:
        reached = gradcheck.reached(env_id, min(REACHED, max(sizes)), 0)
        draws = jax.random.uniform(jax.random.key(0), reached.action.shape, minval=-1.0)
        wholes[env_id] = reached.replace(action=draws)
    for size in sizes:
        todo = cells.missing(f"{env_id}, {size} states" for env_id in envs)
        with ThreadPoolExecutor(len(envs)) as pool:
            jobs = {}
            for name in todo:
                env_id = name.partition(",")[0]
                batch = jax.tree.map(lambda x, n=size: jnp.resize(x, (n, *x.shape[1:])), wholes[env_id])
                jobs[pool.submit(programs, env_id, "fidelity", batch)] = name
            done = {jobs[job]: job for job in as_completed(jobs)}
        for name in todo:
            if error := done[name].exception():
                cells.failed(name, error)
                continue
            row = {"states": size}
            try:
                for what, (program, compile_s) in done[name].result().items():
                    milliseconds(program)  # the first calls pay for memory
                    ms = milliseconds(program)
                    row |= {f"{what}_ms": ms, f"{what}s_per_second": 1e3 * size / ms, f"{what}_compile_s": compile_s}
                cells.record(name, row)
            except Exception as error:  # memory that runs out ends a cell, not the part
                cells.failed(name, error)
