"""The part of an agent's state that its policy needs: a hundredth of a checkpoint, and enough to act."""

from typing import Any

import jax
import jax.numpy as jnp

from pbrl import config as configs
from pbrl.runs.layout import Layout
from pbrl.runs.run import Run, agent_module
from pbrl.types import Agent


def part_of(agent: Agent, states: Any, obs_size: int) -> Any:
    """Return stacked states `[N, ...]` with `None` for every leaf that `agent.act` does not read.

    `states` may be arrays or shapes. What acting reads is what its traced program takes, so that no agent has to say
    it: networks and moments of the policy, and the numbers of its noise.
    """
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), states)
    obs, key = jax.eval_shape(lambda: (jnp.zeros(obs_size), jax.random.key(0)))
    program = jax.make_jaxpr(lambda *args: agent.act(*args, explore=True))(one, obs, key).jaxpr
    read = {id(x) for x in program.outvars} | {id(x) for step in program.eqns for x in step.invars}
    leaves, structure = jax.tree.flatten(states)
    kept = [leaf if id(x) in read else None for leaf, x in zip(leaves, program.invars, strict=False)]
    return structure.unflatten(kept)


def shapes(run: Run, layout: Layout) -> Any:
    """Return `part_of` the states of a run as shapes `[N, ...]`. It makes no environment and no oracle.

    Neither changes anything about a policy.
    """
    agent, n = agent_module(run.agent), len(run.stream_seeds)

    def start(leaves: dict[str, jax.Array]) -> Any:
        return agent.init(jax.random.key(0), layout.spec, configs.replace_leaves(run.config, leaves))

    one = jax.eval_shape(start, jax.tree.map(lambda x: x[0], run.swept_leaves()))
    states = jax.tree.map(lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), one)
    return part_of(agent, states, layout.obs_size)
