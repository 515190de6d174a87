"""Imagined transitions next to the real ones: the model data set of MBPO and MAAC, for one seed."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from pbrl.data import replay
from pbrl.data.replay import Replay
from pbrl.runs.schedule import Schedule
from pbrl.train.learn import Learner
from pbrl.types import Array, Key, Transition


def imagine(agent: Any, learner: Learner, key: Key, steps: Array | int, schedule: Schedule) -> Learner:
    """Add `steps` (may be traced) transitions from each of `schedule.imagine_batch` replayed states to `imagined`.

    Chained, each goes on where the one before ended, unless it ended there for good: the policy's own trajectories
    under the model. Otherwise all are first steps, from states drawn anew. Rows that are not sound are refused. Raises
    `ValueError` for an agent that imagines nothing, and for a learner without that buffer.
    """
    if not agent.abilities(learner.agent.config).imagines:
        raise ValueError(f"{agent.__name__} imagines no transitions; its `abilities` say which agents do")
    if learner.imagined is None:
        raise ValueError("the learner has no buffer for imagined transitions: learn.start(..., imagined=CAPACITY)")
    start_key, step_key = jax.random.split(key)

    def draw(i: Array | int) -> Transition:
        return replay.sample(learner.replay, jax.random.fold_in(start_key, i), schedule.imagine_batch)

    def step(i: Array, carry: tuple[Replay, Transition, Array]) -> tuple[Replay, Transition, Array]:
        buffer, batch, alive = carry
        imagined, after = agent.imagine(learner.agent, batch, jax.random.fold_in(step_key, i))
        buffer = replay.add(buffer, imagined, last=jnp.ones(alive.shape, bool), keep=alive)
        if not schedule.imagine_chained:
            return buffer, draw(i + 1), alive
        going_on = alive & (imagined.discount > 0) & jnp.isfinite(imagined.next_obs).all(-1)
        return buffer, after, going_on

    steps = jnp.where(learner.replay.size > 0, steps, 0)  # there must be a state to begin in
    alive = jnp.ones(schedule.imagine_batch, bool)
    return replace(learner, imagined=jax.lax.fori_loop(0, steps, step, (learner.imagined, draw(0), alive))[0])
