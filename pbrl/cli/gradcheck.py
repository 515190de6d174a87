"""`pbrl gradcheck`: how far the gradients of an environment's own dynamics can be trusted, as a table with advice."""

import json
from collections.abc import Sequence
from pathlib import Path

from pbrl.cli import process, words
from pbrl.errors import RunError

MOST_STEPS, MOST_STATES = 10_000, 100_000
"""Of `--horizons` and `--states`: far beyond what tells anything."""


def command(argv: Sequence[str]) -> None:
    """Carry out `pbrl gradcheck` with the words after it. Raises as `check_gradients`."""
    words.call(check_gradients, argv, "pbrl gradcheck")


def check_gradients(
    env: str,
    /,
    *,
    horizons: tuple[int, ...] = (1, 2, 4, 8, 16),
    states: int = 64,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Compare gradients through an environment's own dynamics with differences of them, in float64.

    From states that random actions reached, J = the rewards of H random actions + c · the last observation, c random
    and fixed. An eighth of the actions' coordinates are exactly ±1; there the slope is that from inside, as the
    one-sided differences are. A policy's gradient is made of the slopes of J.

    Args:
        env: An id with an oracle: `Hopper-v5`, `Pendulum-v1`, `brax/hopper-positional`.
        horizons: Lengths of the rollouts.
        states: How many to begin in.
        seed: Of states, actions and directions.
        out: Write all numbers here as JSON as well.
    """
    require_some(horizons, states)
    words.require("--seed", seed, 0, 2**32 - 1)
    if out and not out.parent.is_dir():
        raise RunError(f"--out: there is no folder {out.parent}; make it, or write elsewhere")
    process.start(float64=True)
    import jax

    jax.devices()  # what jax cannot begin on is said as such, and is no fault of the environment
    from pbrl.diagnose import gradcheck

    check = gradcheck.measure(env, tuple(sorted(set(horizons))), states, seed)
    print(f"{env}: gradients in float64 from {states} states, median (95th percentile; of the cosine the 5th)")
    print(f"{'H':>4} {'finite':>8} {'cosine':>18} {'relative error':>18} {'norm':>18}")
    for row in check.rows:
        columns = ((row.cosine, ".4f"), (row.error, ".0e"), (row.norm, ".2g"))
        cells = (f"{middle:{form}} ({tail:{form}})" for (middle, tail), form in columns)
        print(f"{row.horizon:>4} {row.finite:>8.1%} " + " ".join(f"{cell:>18}" for cell in cells))
    longest = check.rows[-1].horizon
    print(f"one gradient of H = {longest}, all states: {check.run_ms:.0f} ms; compiled in {check.compile_s:.0f} s")
    for line in gradcheck.advice(check.rows):
        print(f"- {line}")
    if out:
        facts = {"env": env, "states": states, "seed": seed, "rows": [row._asdict() for row in check.rows]}
        out.write_text(json.dumps({**facts, "compile_s": check.compile_s, "run_ms": check.run_ms}, indent=1) + "\n")
        print(out)


def require_some(horizons: tuple[int, ...], states: int) -> None:
    """Raise `RunError` for `--horizons` or `--states` with which nothing can be measured."""
    if not horizons:
        raise RunError("--horizons: expected at least one number, got none")
    for horizon in horizons:
        words.require("--horizons", horizon, 1, MOST_STEPS)
    words.require("--states", states, 1, MOST_STATES)
