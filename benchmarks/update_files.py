"""Which files an update runs through: what one opens to understand it. `python benchmarks/update_files.py [AGENT ...]`

Traces the lines that one abstract call of `AGENT.update` runs in pbrl, with the default configuration on a task whose
reward and termination are known, and prints a table: files, distinct lines, and how many of those stand in the agent's
own file and in its parts (`agents/parts/`). Nothing is computed, so it takes seconds.
"""

import importlib
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp

import pbrl
from pbrl.types import Array, EnvSpec, Transition

PACKAGE = Path(pbrl.__file__).parent
BATCH = 32


def reward_fn(obs: Array, action: Array, next_obs: Array) -> Array:
    """Pay for small states and actions."""
    return -jnp.square(next_obs).sum(-1) - jnp.square(action).sum(-1)


def termination_fn(next_obs: Array) -> Array:
    """End nowhere."""
    return jnp.zeros(next_obs.shape[:-1], bool)


SPEC = EnvSpec(3, 2, 50, reward_fn, termination_fn)


def lines_run(name: str) -> Counter[str]:
    """Return how many distinct lines of each file one update runs, by path within the package."""
    agent = importlib.import_module(f"pbrl.agents.{name}")
    shape = lambda *size: jnp.zeros((BATCH, *size))  # noqa: E731
    batch = Transition(shape(3), shape(2), shape(), shape(), shape(3), {"log_prob": shape()})
    key, seen = jax.random.key(0), set()
    state = jax.eval_shape(lambda key: agent.init(key, SPEC), key)

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(PACKAGE) or frame.f_code.co_name == "__post_init__":
            return None  # the latter: JAX puts a configuration together again, which says nothing of the update
        if event == "line":
            seen.add((path.relative_to(PACKAGE).as_posix(), frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        jax.eval_shape(agent.update, state, batch, key)
    finally:
        sys.settrace(None)
    return Counter(path for path, _ in seen)


def main(names: list[str]) -> None:
    """Print the table of these agents, or of all."""
    print("| agent | files | lines run | in its file | in its file and parts | where |")
    print("|---|---|---|---|---|---|")
    for name in names or pbrl.AGENTS:
        lines = lines_run(name)
        total, own = sum(lines.values()), lines[f"agents/{name}.py"]
        parts = own + sum(count for path, count in lines.items() if path.startswith("agents/parts/"))
        where = ", ".join(f"{path} {count}" for path, count in lines.most_common())
        print(f"| `{name}` | {len(lines)} | {total} | {own / total:.0%} | {parts / total:.0%} | {where} |")


if __name__ == "__main__":
    main(sys.argv[1:])
