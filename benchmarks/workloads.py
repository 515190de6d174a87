"""What `update_speed.py` times: for each algorithm its sizes, its compiled phases and their counts of operations.

Counts are of floating-point operations in matrix products that the algorithm needs. With W weights in a network, B rows
cost 2BW forward, 2BW back to its inputs and 2BW for the gradients of its weights; what nothing asks for, such as the
gradient of data or a product with a hidden state of zeros, is not counted. Element-wise work, normalisation, optimisers
and whatever padding adds are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from timing import Program

from pbrl.agents import maac, mage, svg
from pbrl.data import replay, validation
from pbrl.envs.tasks import rewards
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting, learn
from pbrl.types import Agent, EnvSpec, Transition

TRANSITIONS = 4096  # in both replay buffers
MAGE_MODEL_STEPS = 20  # gradient steps in one timed fit of ours
SVG_MODEL_STEPS = 4  # those of one environment step
MAAC_EPOCHS = 4  # of a timed fit

Sizes = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """One set of sizes, timed in phases called `update` and `model`."""

    sizes: Sizes
    programs: Callable[[str, Sizes], dict[str, Program]]
    """Compiles our phases, given also the key in `WORKLOADS`; a name ends in the phase whose operations it does."""
    flops: dict[str, Callable[[Sizes], float]]
    """Operations of one update and of one gradient step on the model."""
    products: Callable[[Sizes], list[tuple[int, int, int, int]]]
    """Products `[N, B, I] @ [N, I, O]` of its largest layers, whose rates may set the peak."""
    worker: str | None = None
    """Script in `peers/` that times the authors' code, where it still runs."""
    landmark: str | None = None
    """File by which a checkout of the authors' repository is known."""
    step: dict[str, float] = field(default_factory=dict)
    """How often each phase runs in an environment step, on average."""


def _weights(inputs: int, hidden: list[int], outputs: int) -> tuple[int, int]:
    """Return how many weights a network has, and how many of them are the first layer's."""
    layers = [a * b for a, b in pairwise([inputs, *hidden, outputs])]
    return sum(layers), layers[0]


def mage_update_flops(sizes: Sizes) -> float:
    """Count the operations of one update of MAGE, averaged over the actor's delay."""
    obs, action = sizes["obs"], sizes["action"]
    actor, first_actor = _weights(obs, sizes["actor"], action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    model, _ = _weights(obs + action, sizes["model"], 2 * obs)
    target = 2 * (model + actor + 2 * critic)  # y: one member a row, target actor, two target critics; then ∇ₐy
    # Of each critic: Q and ∇ₐQ (2 W), then, for the loss, back through both (2 W, save that nothing asks for
    # the gradient of the first layer's inputs) and the gradients of the weights in both (2 W).
    loss = 2 * (6 * critic - first_critic)
    # Actor, every second time: its pass, both critics and back to the action, its weights and back to its first layer.
    policy = (actor + 2 * 2 * critic + 2 * actor - first_actor) / 2
    return 2.0 * sizes["batch"] * (actor + target + loss + policy)  # the first `actor` is a = π(s)


def mage_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on all members of MAGE's ensemble."""
    weights, first = _weights(sizes["obs"] + sizes["action"], sizes["model"], 2 * sizes["obs"])
    return 2.0 * sizes["ensemble"] * sizes["model_batch"] * (3 * weights - first)  # forward, weights, back to layer 1


def svg_update_flops(sizes: Sizes) -> float:
    """Count the operations of one update of SVG past its warm-up: critics, actor through H model steps, both heads."""
    obs, action, horizon = sizes["obs"], sizes["action"], sizes["horizon"]
    actor, first_actor = _weights(obs, sizes["actor"], 2 * action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    head, first_head = _weights(obs + action, sizes["head"], 1)
    critics = actor + 2 * critic + 2 * (3 * critic - first_critic)  # the target's networks; both critics' loss
    # H + 1 actions, H model steps with reward and termination, both critics: there, and back to the first action and
    # to every later state; then the actor's weights. Nothing asks for the gradient of the first state.
    path = (horizon + 1) * actor + _model_weights(sizes) + 2 * horizon * head + 2 * critic
    unasked = first_actor + obs * (sizes["encoder"][0] + 2 * sizes["head"][0])
    policy = 2 * path - unasked + (horizon + 1) * actor
    heads = 2 * (3 * head - first_head)  # one gradient step each
    return 2.0 * sizes["batch"] * (critics + policy + heads)


def svg_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on SVG's dynamics; predicted states hand no gradient back."""
    inputs = sizes["horizon"] * (sizes["obs"] + sizes["action"]) * sizes["encoder"][0]
    return 2.0 * sizes["model_batch"] * (3 * _model_weights(sizes) - inputs)


def _model_weights(sizes: Sizes) -> int:
    """Return how many weights H steps of the recurrent model use; the first needs none for its hidden state of 0."""
    width, horizon = sizes["recurrent"], sizes["horizon"]
    encoder, _ = _weights(sizes["obs"] + sizes["action"], sizes["encoder"], width)
    gates = 3 * width**2 * sizes["recurrent_layers"]  # of the input, and as many of the hidden state
    return horizon * (encoder + gates + width * sizes["obs"]) + (horizon - 1) * gates


def maac_update_flops(sizes: Sizes) -> float:
    """Count the operations of one update of MAAC as released: STEVE's targets, critics, actor through H model steps."""
    obs, action, horizon, candidates = sizes["obs"], sizes["action"], sizes["horizon"], sizes["target_horizon"]
    actor, first_actor = _weights(obs, sizes["actor"], 2 * action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    model, _ = _weights(obs + action, sizes["model"], 2 * obs)
    each, critics = candidates * sizes["target_members"], sizes["critics"]
    steps = max(candidates - 1, 0)  # that candidates share
    targets = (each + steps + 1) * actor + critics * (1 + each) * critic + (each + steps) * model
    # H + 1 policies, H model steps of one member a row, the critics at N last actions: there and back, then the actor's
    # weights. Nothing asks for the gradient of the first state.
    path = (horizon + 1) * actor + horizon * model + sizes["samples"] * critics * critic
    unasked = first_actor + obs * (sizes["model"][0] if horizon else sizes["samples"] * critics * sizes["critic"][0])
    policy = 2 * path - unasked + (horizon + 1) * actor
    return 2.0 * sizes["batch"] * (targets + critics * (3 * critic - first_critic) + policy)


def maac_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on MAAC's ensemble, with its share of judging the held-out rows.

    A fit judges them before its first epoch and after each.
    """
    weights, _ = _weights(sizes["obs"] + sizes["action"], sizes["model"], 2 * sizes["obs"])
    judged = 2.0 * sizes["ensemble"] * (TRANSITIONS // validation.BLOCK) * weights
    return mage_model_flops(sizes) + (MAAC_EPOCHS + 1) / MAAC_EPOCHS * judged / _maac_epoch(sizes)


def _maac_epoch(sizes: Sizes) -> int:
    """Return how many gradient steps an epoch has."""
    return (validation.BLOCK - 1) * (TRANSITIONS // validation.BLOCK) // sizes["model_batch"]


def mage_programs(task: str, sizes: Sizes) -> dict[str, Program]:
    """Compile the two phases of training as the host loop runs them, and a single update."""
    config = mage.Config(
        actor_hidden=tuple(sizes["actor"]),
        critic_hidden=tuple(sizes["critic"]),
        model_hidden=tuple(sizes["model"]),
        ensemble_size=sizes["ensemble"],
    )
    schedule = Schedule(batch_size=sizes["batch"], model_batch_size=sizes["model_batch"])
    reward = rewards.half_cheetah if task == "halfcheetah" else rewards.pendulum
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, reward, rewards.never)
    batch = jax.tree.map(lambda x: x[: sizes["batch"]], data(sizes))
    learner = _learner(mage, spec, config, data(sizes))
    single = Program(lambda state, key: mage.update(state, batch, key), learner.agent, 1)
    return {"single update": single, **_phases(mage, spec, config, schedule, sizes, MAGE_MODEL_STEPS)}


def svg_programs(task: str, sizes: Sizes) -> dict[str, Program]:
    """Compile the two phases of an environment step past the warm-up, as the host loop runs them."""
    del task
    config = svg.Config(
        horizon=sizes["horizon"],
        actor_warmup=0.0,
        actor_hidden=tuple(sizes["actor"]),
        critic_hidden=tuple(sizes["critic"]),
        encoder_hidden=tuple(sizes["encoder"]),
        recurrent_width=sizes["recurrent"],
        recurrent_layers=sizes["recurrent_layers"],
        head_hidden=tuple(sizes["head"]),
    )
    batches = {"batch_size": sizes["batch"], "model_batch_size": sizes["model_batch"]}
    schedule = Schedule(**batches, updates_per_step=1)
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, rewards.half_cheetah, rewards.never)
    return _phases(svg, spec, config, schedule, sizes, SVG_MODEL_STEPS)


def maac_programs(task: str, sizes: Sizes) -> dict[str, Program]:
    """Compile the updates of an environment step, and a fit of a few epochs with their judgements."""
    del task
    config = maac.Config(
        horizon=sizes["horizon"],
        samples=sizes["samples"],
        branch="end",
        target_horizon=sizes["target_horizon"],
        target_members=sizes["target_members"],
        critics=sizes["critics"],
        actor_hidden=tuple(sizes["actor"]),
        critic_hidden=tuple(sizes["critic"]),
        model_hidden=tuple(sizes["model"]),
        ensemble_size=sizes["ensemble"],
        elites=sizes["ensemble"],
        max_epochs=MAAC_EPOCHS,
        persistence=1.0,  # no member stops before
    )
    batches = {"batch_size": sizes["batch"], "model_batch_size": sizes["model_batch"]}
    schedule = Schedule(**batches, updates_per_step=8)
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, rewards.half_cheetah, rewards.never)
    return _phases(maac, spec, config, schedule, sizes, MAAC_EPOCHS * _maac_epoch(sizes))


def data(sizes: Sizes) -> Transition:
    """Draw `TRANSITIONS` random ones."""
    obs_key, action_key, change_key, reward_key = jax.random.split(jax.random.key(0), 4)
    obs = jax.random.normal(obs_key, (TRANSITIONS, sizes["obs"]))
    action = jax.random.uniform(action_key, (TRANSITIONS, sizes["action"]), minval=-1.0, maxval=1.0)
    next_obs = obs + 0.1 * jax.random.normal(change_key, obs.shape)
    reward = jax.random.normal(reward_key, (TRANSITIONS,))
    return Transition(obs, action, reward, jnp.ones(TRANSITIONS), next_obs)


def _learner(agent: Agent, spec: EnvSpec, config: Any, data: Transition) -> learn.Learner:
    empty = learn.start(agent, jax.random.key(0), spec, config, TRANSITIONS)
    full = learn.collect(agent, empty, data, jnp.zeros(TRANSITIONS, bool))
    return replace(full, fitted=jnp.ones((), jnp.int32))  # updates wait for no model


def _phases(
    agent: Agent, spec: EnvSpec, config: Any, schedule: Schedule, sizes: Sizes, model_steps: int
) -> dict[str, Program]:
    """Compile an environment step's updates and one fit of the model, each with a learner of its own."""

    def learner() -> learn.Learner:
        return _learner(agent, spec, config, data(sizes))

    updates = schedule.updates_per_step
    return {
        "update": Program(lambda state, key: learn.learn(agent, state, key, schedule), learner(), updates),
        "model": Program(
            lambda state, key: fitting.fit(agent, state, key, model_steps, schedule), learner(), model_steps
        ),
    }


def _mage_step(steps: int) -> dict[str, float]:
    """Return the updates and the model's gradient steps for each of so many environment steps, as published.

    A fit every 25 steps, of whole epochs over the buffer that make at least 120 batches of 256.
    """
    fits = (replay.epoch_batches(rows, 256, 120) for rows in range(25, steps + 1, 25))
    return {"update": 10, "model": sum(fits) / steps}


_MAGE: dict[str, Any] = {
    "worker": "mage_torch.py",
    "landmark": "td3.py",
    "programs": mage_programs,
    "flops": {"update": mage_update_flops, "model": mage_model_flops},
    "products": lambda s: [
        (2, s["batch"], s["critic"][0], s["critic"][0]),
        (s["ensemble"], s["model_batch"], s["model"][0], s["model"][0]),
    ],
}
WORKLOADS: dict[str, Workload] = {  # MAGE's: paper, App. D, with HalfCheetah's actor as released; others as released
    "halfcheetah": Workload({
        "obs": 18, "action": 6, "batch": 1024, "actor": [384, 384], "critic": [384, 384],
        "model": [512, 512, 512, 512], "ensemble": 8, "model_batch": 256,
    }, step=_mage_step(100_000), **_MAGE),
    "pendulum": Workload({
        "obs": 3, "action": 1, "batch": 512, "actor": [128, 128], "critic": [384, 384],
        "model": [128, 128], "ensemble": 8, "model_batch": 256,
    }, step=_mage_step(5_000), **_MAGE),
    "svg": Workload({
        "obs": 17, "action": 6, "horizon": 2, "batch": 1024, "actor": [512] * 4, "critic": [512] * 4,
        "encoder": [512] * 2, "recurrent": 512, "recurrent_layers": 2, "head": [512] * 2, "model_batch": 512,
    },
        worker="svg_torch.py",
        landmark="svg/agent.py",
        programs=svg_programs,
        flops={"update": svg_update_flops, "model": svg_model_flops},
        products=lambda s: [
            (2, s["batch"], s["critic"][0], s["critic"][0]),
            (1, s["model_batch"], s["recurrent"], 3 * s["recurrent"]),
        ],
        step={"update": 1, "model": SVG_MODEL_STEPS},
    ),
    "maac": Workload({
        "obs": 17, "action": 6, "horizon": 4, "samples": 5, "target_horizon": 2, "target_members": 4, "batch": 256,
        "actor": [256] * 2, "critic": [256] * 2, "critics": 2, "model": [200] * 4, "ensemble": 8, "model_batch": 256,
    },
        programs=maac_programs,
        flops={"update": maac_update_flops, "model": maac_model_flops},
        products=lambda s: [
            (s["critics"], s["samples"] * s["batch"], s["critic"][0], s["critic"][0]),
            (s["ensemble"], s["model_batch"], s["model"][0], s["model"][0]),
        ],
    ),
}  # fmt: skip
