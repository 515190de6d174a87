"""How far the gradients through an environment's own dynamics can be trusted, by horizon (`pbrl gradcheck`)."""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.envs import oracles
from pbrl.envs.gym import GymEnv
from pbrl.types import Array, Dynamics, Transition

DIRECTIONS, WIDTH = 8, 1e-6
"""Random directions in the actions, and the step of the differences along them."""
AT_BOUNDS = 0.125
"""Share of the actions' coordinates that are exactly ±1, where simulators clip them."""
TRUSTED = 1e-3
"""Largest median relative error of a gradient that is called trustworthy here."""


class Row(NamedTuple):
    """What was found for one horizon, over states; pairs are a median and the worse tail (5th or 95th percentile)."""

    horizon: int
    finite: float
    """Share of states whose whole gradient is finite."""
    cosine: tuple[float, float]
    """Between the derivatives along the directions, by the gradient and by one-sided differences of second order."""
    error: tuple[float, float]
    """Relative, of the same."""
    norm: tuple[float, float]
    """Of the gradient in all actions."""
    reward_norm: float
    """Median norm of the gradient of the rewards alone."""


class Check(NamedTuple):
    """Rows by horizon, and what the gradient of the longest cost for all states at once."""

    rows: list[Row]
    compile_s: float
    run_ms: float


def measure(env_id: str, horizons: tuple[int, ...], states: int, seed: int) -> Check:
    """Return what `pbrl gradcheck` prints. Raises `EnvError` for an environment without an oracle."""
    dynamics, longest = oracles.oracle(env_id), max(horizons)
    batch, rng = reached(env_id, states, seed), np.random.default_rng(seed)
    start = jax.jit(dynamics.start)(batch)
    actions, directions = drawn((longest, *batch.action.shape), rng)
    size = dynamics.observe(start).shape[-1]
    c = jnp.asarray(rng.normal(size=size)) / jnp.sqrt(size)

    returns, at = objective(dynamics, start, c), jnp.arange(longest)
    began = time.perf_counter()
    slope = jax.jit(jax.grad(lambda *args: returns(*args).sum())).lower(actions, *masks(longest, at)).compile()
    compiled, value, rows = time.perf_counter(), jax.jit(returns), []
    for horizon in horizons:
        paid, last = masks(horizon, at)
        gradient, of_rewards = slope(actions, paid, last), slope(actions, paid, 0.0 * last)
        ahead = ([value(actions + h * v, paid, last) for v in directions] for h in (WIDTH, 2 * WIDTH))
        one, two = (np.stack([np.asarray(x) for x in points]) for points in ahead)
        differences = (4 * one - two - 3 * np.asarray(value(actions, paid, last))) / (2 * WIDTH)  # [directions, states]
        said = np.asarray((directions * gradient).sum((1, 3)))
        rows.append(_row(horizon, said, differences, np.asarray(gradient), np.asarray(of_rewards)))
    begin = time.perf_counter()
    jax.block_until_ready(slope(actions, *masks(longest, at)))
    return Check(rows, compiled - began, 1e3 * (time.perf_counter() - begin))


def drawn(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, Array]:
    """Return random actions `shape`, `AT_BOUNDS` of them exactly ±1, and directions that lead inwards from there."""
    actions, directions = rng.uniform(-0.9, 0.9, shape), rng.normal(size=(DIRECTIONS, *shape))
    held = rng.uniform(size=shape) < AT_BOUNDS
    actions = np.where(held, np.sign(actions), actions)
    directions = np.where(held, -np.sign(actions) * np.abs(directions), directions)
    return jnp.asarray(actions), jnp.asarray(directions)


def objective(dynamics: Dynamics, start: Any, c: Array) -> Callable[[Array, Array, Array], Array]:
    """Return `(actions [H, B, A], paid [H], last [H]) -> J [B]` of rollouts from the latent states `start`.

    Step t pays its reward where `paid` is 1 and `c [S]` · its observation where `last` is, so that one program serves
    every horizon up to H. Differentiable in the actions; a backward pass computes each step again.
    """

    def returns(actions: Array, paid: Array, last: Array) -> Array:
        def step(z: Any, inputs: tuple) -> tuple[Any, Array]:
            action, pays, ends = inputs
            z, reward, _ = jax.checkpoint(lambda z, a: dynamics.step(z, a, jax.random.key(0)))(z, action)
            return z, pays * reward + ends * (dynamics.observe(z) @ c)

        return jax.lax.scan(step, start, (actions, paid, last))[1].sum(0)

    return returns


def masks(horizon: int, at: Array) -> tuple[Array, Array]:
    """Return `paid` and `last` of `objective` for the first `horizon` of the steps `at [H]`."""
    return (at < horizon) * 1.0, (at == horizon - 1) * 1.0


def reached(env_id: str, states: int, seed: int) -> Any:
    """Return transitions `[states]` that begin where random actions led, with the simulator's state as extras."""
    env, rng, rows = GymEnv(env_id), np.random.default_rng(seed), []
    for episode in range(states):
        obs = env.reset(seed=seed + episode)
        for _ in range(rng.integers(50)):
            obs, _, terminated, truncated = env.step(rng.uniform(-1.0, 1.0, env.spec.action_size))
            if terminated or truncated:
                obs = env.reset()
        rows.append((obs, env.extras()))
    env.close()
    return beginnings(rows, env.spec.action_size)


def beginnings(rows: list[tuple[np.ndarray, dict[str, np.ndarray]]], action_size: int) -> Any:
    """Return transitions `[B]` for dynamics to start from: of each, only its observation and extras mean anything."""
    obs, extras = jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs), float), *rows)
    nothing = jnp.zeros(len(rows))
    return Transition(obs, jnp.zeros((len(rows), action_size)), nothing, nothing + 1.0, obs, extras)


def advice(rows: list[Row]) -> list[str]:
    """Say what the numbers mean for someone who wants to learn from these gradients."""
    lines = []
    broken = [row for row in rows if row.finite < 1]
    if broken:
        share, horizon = 1 - broken[0].finite, broken[0].horizon
        lines.append(f"not finite in {share:.1%} of states from H = {horizon} on: updates will be skipped")
    trusted = [row.horizon for row in itertools.takewhile(lambda row: row.error[0] <= TRUSTED, rows)]
    if len(trusted) == len(rows):
        lines.append(f"gradients agree with differences to {TRUSTED:g} (median) at every horizon asked for")
    elif trusted:
        lines.append(f"gradients agree with differences to {TRUSTED:g} (median) up to H = {trusted[-1]}: go no further")
    else:
        lines.append(
            f"gradients do not agree with differences at H = {rows[0].horizon}, the shortest: do not learn from them"
        )
    tails = [row.horizon for row in rows if row.error[1] > 0.1]
    if tails and trusted:
        lines.append(f"from H = {tails[0]} on they are wrong in some states: contacts that begin or end, or chaos")
    first, last = rows[0], rows[-1]
    if last.horizon > first.horizon and first.norm[0] > 0:
        growth = (last.norm[0] / first.norm[0]) ** (1 / (last.horizon - first.horizon))
        remedy = ": clip it, or keep H short" if growth > 1.3 else ""
        lines.append(f"the norm grows by a factor of {growth:.2f} a step{remedy}")
    if all(row.reward_norm == 0 for row in rows):
        lines.append("the rewards have no slope in the actions: only the value at the end of a rollout can teach")
    return lines


def _row(horizon: int, said: np.ndarray, true: np.ndarray, gradient: np.ndarray, of_rewards: np.ndarray) -> Row:
    def pair(values: np.ndarray, tail: int) -> tuple[float, float]:
        known = values[np.isfinite(values)]
        return tuple(float(x) for x in np.percentile(known, (50, tail))) if known.size else (np.nan, np.nan)  # pyright: ignore

    size = np.sqrt(np.square(true).sum(0)) + 1e-300
    cosine = (said * true).sum(0) / (np.sqrt(np.square(said).sum(0)) * size + 1e-300)
    norms = [np.sqrt(np.square(x[:horizon]).sum((0, 2))) for x in (gradient, of_rewards)]
    return Row(
        horizon,
        finite=float(np.isfinite(norms[0]).mean()),
        cosine=pair(cosine, 5),
        error=pair(np.sqrt(np.square(said - true).sum(0)) / size, 95),
        norm=pair(norms[0], 95),
        reward_norm=pair(norms[1], 95)[0],
    )
