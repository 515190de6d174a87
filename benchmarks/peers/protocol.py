"""What every peer does alike: it answers the commands of `update_speed.py`, one JSON object on a line for each.

Commands on standard input: `threads 2`, `time update 10`, `time model 16`, `flops update 2`, `stop`. Between
commands the process blocks on its input.
"""

# pyright: reportMissingImports=false
import argparse
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

Loops = dict[str, Callable[[int], None]]
"""For `update`, `model` and what else a peer does, a function that runs so many of them."""


def arguments() -> argparse.Namespace:
    """Read the command line, make the checkout importable and fix the seeds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", help="folder of the authors' repository")
    parser.add_argument("--task", required=True)
    parser.add_argument("--sizes", type=json.loads, required=True)
    parser.add_argument("--transitions", type=int, required=True)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    sys.path.insert(0, options.checkout)
    np.random.seed(0)
    torch.manual_seed(0)
    return options


def stub(name: str, **attributes) -> None:
    """Put a module with these attributes alone in the place of a package that the authors' files import."""
    sys.modules[name] = module_from_spec(ModuleSpec(name, None))  # with a spec, which torch asks every module for
    vars(sys.modules[name]).update(attributes)


class Everything:
    """In the place of torch's tracker of modules, which fails on a view made under `no_grad`: all counts as one."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_) -> None:
        pass


def serve(loops: Loops) -> None:
    """Answer commands until told to stop or left alone."""
    print(json.dumps({"torch": torch.__version__, "mkl": torch.backends.mkl.is_available()}), flush=True)
    idle_from = time.process_time()
    for line in sys.stdin:
        if line.strip() == "stop":
            return
        idle_cpu_s = time.process_time() - idle_from  # above zero where threads spin while the other side is timed
        reply = answer(loops, line.split())
        idle_from = time.process_time()
        print(json.dumps(reply | {"idle_cpu_s": idle_cpu_s}), flush=True)


def answer(loops: Loops, words: list[str]) -> dict:
    """Carry out one command and return what to print."""
    if words[0] == "threads":
        torch.set_num_threads(int(words[1]))
        return {"threads": torch.get_num_threads()}
    loop, steps = loops[words[1]], int(words[2])
    if words[0] == "flops":
        counter = FlopCounterMode(display=False)
        counter.mod_tracker = Everything()
        with counter:
            loop(steps)
        return {"gflop": counter.get_total_flops() / steps / 1e9}
    begin = time.perf_counter()
    loop(steps)
    elapsed = time.perf_counter() - begin
    return {
        "ms": elapsed * 1e3 / steps,
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
