"""Playing fresh episodes with what a run has learned: its policies' modes, or planning with its models."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from pbrl.parallel import devices
from pbrl.planning import cem
from pbrl.planning.config import Config
from pbrl.runs import seeding
from pbrl.runs.run import Run, agent_module
from pbrl.train.evaluate import Evaluator, statistics
from pbrl.train.guard import Guard

Act = Callable[[np.ndarray, dict], jax.Array]
"""`(obs [N, *, S], extras) -> actions [N, *, A]` in [-1, 1], of all streams; `extras` as an oracle starts from them."""


def policies(run: Run, state: Any) -> Act:
    """Return the modes of all streams' policies as one function."""
    agent, unused = agent_module(run.agent), jax.random.key(0)  # the mode draws nothing
    mode = jax.jit(jax.vmap(lambda one, obs: agent.act(one, obs, unused, explore=False)))
    return lambda obs, _: mode(state, obs)


def planners(run: Run, state: Any, step: int, config: Config) -> Act:
    """Return what all streams do when they plan, as one function of `obs [N, E, S]` and extras, one compiled program.

    Keys derive from (seed, step, call): the same calls in the same order give the same actions. Streams share the
    device as in training, the episodes of each are planned for at once.
    """
    agent, calls, over = agent_module(run.agent), itertools.count(), partial(devices.over_seeds, mode=run.seed_mode)

    @jax.jit
    def plan(state: Any, obs: jax.Array, extras: dict, call: int) -> jax.Array:
        def one(state: Any, obs: jax.Array, extras: dict, seed: jax.Array) -> jax.Array:
            key = jax.random.fold_in(seeding.at(seeding.root(seed), step, seeding.PLAN), call)
            keys = jax.random.split(key, len(obs))
            act = partial(cem.act, agent, state)
            return jax.vmap(lambda obs, extras, key: act(obs, key, config, extras))(obs, extras, keys)

        return over(one)(state, obs, extras, seeding.bits(run.stream_seeds))

    return lambda obs, extras: plan(state, obs, extras, next(calls))


class Played(NamedTuple):
    """Whole episodes: `evaluate.statistics`, each `[N]`, and each episode's own, `[N, E]`, NaN where it broke."""

    scores: dict[str, np.ndarray]
    returns: np.ndarray
    lengths: np.ndarray


def played(run: Run, act: Act, step: int, episodes: int) -> Played:
    """Play whole episodes that no evaluation of the run has seen.

    The same step and number of episodes mean the same first states, whatever acts.
    """
    seeds, alone = run.stream_seeds, run.schedule.eval_on_training_env
    evaluator = Evaluator(run.make_env, seeds, episodes, extras=bool(run.oracle), alone=alone)
    guard = Guard(run)
    try:
        each = evaluator.play(lambda *seen: guard.actions(np.asarray(act(*seen)), step), seeding.FRESH + step)
        scores = guard.mask(statistics(*each))  # a trial of a sweep whose policy has diverged scores NaN
        return Played(scores, *each)
    finally:
        evaluator.close()
