"""What `update_speed.py` times: for each algorithm its sizes, its compiled phases and their counts of operations."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import operations
from operations import EPOCHS, Sizes
from timing import Program

from pbrl.agents import dhmbpo, maac, mage, svg
from pbrl.data import replay
from pbrl.envs.tasks import rewards
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting, learn, model_data
from pbrl.types import Agent, EnvSpec, Key, Metrics, Transition

MAGE_MODEL_STEPS = 20  # gradient steps in one timed fit of ours
SVG_MODEL_STEPS = 4  # those of one environment step


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
    peer_step: dict[str, float] = field(default_factory=dict)
    """The same of the authors' code, where it is another; it may have phases that we have not."""
    peer_units: dict[str, int] = field(default_factory=lambda: {"update": 2, "model": 2})
    """How many runs of each of the peer's phases make a whole, in which all that comes now and then has its share."""


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
        max_epochs=EPOCHS,
        persistence=1.0,  # no member stops before
    )
    batches = {"batch_size": sizes["batch"], "model_batch_size": sizes["model_batch"]}
    schedule = Schedule(**batches, updates_per_step=8)
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, rewards.half_cheetah, rewards.never)
    return _phases(maac, spec, config, schedule, sizes, EPOCHS * operations.epoch(sizes))


def dhmbpo_config(sizes: Sizes) -> dhmbpo.Config:
    """Return the agent of these sizes: its ensemble is as wide as the authors', with a reward beside it."""
    return dhmbpo.Config(
        horizon=sizes["horizon"],
        critics=sizes["critics"],
        target_subset=sizes["target_subset"],
        actor_hidden=tuple(sizes["actor"]),
        critic_hidden=tuple(sizes["critic"]),
        model_hidden=tuple(sizes["model"]),
        head_hidden=tuple(sizes["head"]),
        ensemble_size=sizes["ensemble"],
        elites=sizes["ensemble"],
        max_epochs=EPOCHS,  # fewer than its patience has
    )


def dhmbpo_programs(task: str, sizes: Sizes) -> dict[str, Program]:
    """Compile the updates of `rollout_every` environment steps with the rollout that is due, and a fit of epochs."""
    del task
    config = dhmbpo_config(sizes)
    schedule = Schedule(
        batch_size=sizes["batch"],
        model_batch_size=sizes["model_batch"],
        updates_per_step=sizes["rollout_every"],
        imagine_every=sizes["rollout_every"],
        imagine_batch=sizes["batch"],
        imagine_buffer=10 * sizes["rollout"] * sizes["batch"],
        real_fraction=0.0,
    )
    spec = EnvSpec(sizes["obs"], sizes["action"], 1000, rewards.half_cheetah, rewards.never)

    def update(learner: learn.Learner, key: Key) -> tuple[learn.Learner, Metrics]:
        imagine_key, update_key = jax.random.split(key)
        learner = model_data.imagine(dhmbpo, learner, imagine_key, sizes["rollout"], schedule)
        return learn.learn(dhmbpo, learner, update_key, schedule)

    return _phases(dhmbpo, spec, config, schedule, sizes, EPOCHS * operations.epoch(sizes), update)


def data(sizes: Sizes) -> Transition:
    """Draw as many random ones as replay holds."""
    obs_key, action_key, change_key, reward_key = jax.random.split(jax.random.key(0), 4)
    rows = operations.rows(sizes)
    obs = jax.random.normal(obs_key, (rows, sizes["obs"]))
    action = jax.random.uniform(action_key, (rows, sizes["action"]), minval=-1.0, maxval=1.0)
    next_obs = obs + 0.1 * jax.random.normal(change_key, obs.shape)
    reward = jax.random.normal(reward_key, (rows,))
    return Transition(obs, action, reward, jnp.ones(rows), next_obs)


def _learner(agent: Agent, spec: EnvSpec, config: Any, data: Transition, imagined: int = 0) -> learn.Learner:
    rows = data.reward.size
    empty = learn.start(agent, jax.random.key(0), spec, config, rows, imagined)
    full = learn.collect(agent, empty, data, jnp.zeros(rows, bool))
    return replace(full, fitted=jnp.ones((), jnp.int32))  # updates wait for no model


def _phases(
    agent: Agent,
    spec: EnvSpec,
    config: Any,
    schedule: Schedule,
    sizes: Sizes,
    model_steps: int,
    update: Callable | None = None,
) -> dict[str, Program]:
    """Compile an environment step's updates, or `update`, and one fit, each with a learner of its own."""

    def learner() -> learn.Learner:
        return _learner(agent, spec, config, data(sizes), schedule.imagined_capacity)

    update = update or (lambda state, key: learn.learn(agent, state, key, schedule))
    return {
        "update": Program(update, learner(), schedule.updates_per_step),
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


DHMBPO_FIT = 145 * 6 / 1000
"""Gradient steps of the model in an environment step as released: the fewest epochs of a fit, every 1,000 steps."""

_MAGE: dict[str, Any] = {
    "worker": "mage_torch.py",
    "landmark": "td3.py",
    "programs": mage_programs,
    "flops": {"update": operations.mage_update_flops, "model": operations.mage_model_flops},
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
        flops={"update": operations.svg_update_flops, "model": operations.svg_model_flops},
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
        flops={"update": operations.maac_update_flops, "model": operations.maac_model_flops},
        products=lambda s: [
            (s["critics"], s["samples"] * s["batch"], s["critic"][0], s["critic"][0]),
            (s["ensemble"], s["model_batch"], s["model"][0], s["model"][0]),
        ],
    ),
    "dhmbpo": Workload({
        "obs": 17, "action": 6, "horizon": 5, "batch": 256, "actor": [256] * 3, "critic": [256] * 3, "critics": 5,
        "target_subset": 2, "model": [256] * 3, "ensemble": 8, "head": [256] * 2, "model_batch": 2048, "rollout": 20,
        "rollout_every": 20, "transitions": 16_384,  # of which an epoch has six batches on both sides
    },
        worker="dhmbpo_torch.py",
        landmark="erl_lib/agent/svg.py",
        programs=dhmbpo_programs,
        flops={"update": operations.dhmbpo_update_flops, "model": operations.dhmbpo_model_flops},
        products=lambda s: [
            (s["critics"], s["batch"], s["critic"][0], s["critic"][0]),
            (s["ensemble"], s["model_batch"], s["model"][0], s["model"][0]),
        ],
        step={"update": 1, "model": DHMBPO_FIT},
        peer_step={"update": 1, "critics": 0.25, "model": DHMBPO_FIT},
        peer_units={"update": 20, "critics": 2, "model": 6 * EPOCHS},
    ),
}  # fmt: skip
