"""Updates at the papers' HalfCheetah sizes, for one seed and for as many as a device can use.

A cell is `learn.learn`: a scan of `UPDATES` updates, each on a fresh batch from replay, as both drivers run it; or a
fit of the model, of as many gradient steps. Programs of a wave are compiled side by side, then timed one after the
other, so that nothing else runs while one is timed. `compile_s` is beside the rest of the wave; `compiled_alone` has
one program with nothing beside it, and again from the persistent cache.
"""

import contextlib
import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from operations import TRANSITIONS
from sheet.cells import Cells
from workloads import WORKLOADS, data

from pbrl.envs.tasks import rewards
from pbrl.parallel import devices
from pbrl.presets import lookup, overrides
from pbrl.runs.run import agent_module
from pbrl.runs.schedule import Schedule
from pbrl.train import fitting, learn
from pbrl.types import EnvSpec

TASKS = {  # agent: the task whose published sizes it takes
    "mage": "pbrl/MageHalfCheetah-v0",
    "svg": "pbrl/PoplinHalfCheetah-v0",
    "maac": "pbrl/MaacHalfCheetah-v0",
    "sac": "pbrl/PoplinHalfCheetah-v0",
    "td3": "pbrl/MageHalfCheetah-v0",
}
WORKLOAD = {"mage": "halfcheetah", "svg": "svg", "maac": "maac"}
UPDATES, LEAST_S, CALLS, GROWTH = 10, 0.3, 3, 1.1
PEAK_SIZE, PRECISIONS = 8192, ("highest", "high", "default")


class Work(NamedTuple):
    """What a cell times."""

    agent: str
    phase: str
    seeds: int
    precision: str

    @property
    def name(self) -> str:
        return f"{self.agent} {self.phase}, {self.seeds} seeds, {self.precision}"


def waves(quick: bool) -> list[list[Work]]:
    """Return the cells in order of value, in groups that are compiled together."""
    agents = ("td3", "mage") if quick else tuple(TASKS)

    def update(*counts: int, precision: str = "highest") -> list[Work]:
        return [Work(agent, "update", n, precision) for n in counts for agent in agents]

    if quick:
        return [update(1, 2), update(1, precision="default")]
    few = [Work(agent, "update", 5 if agent == "mage" else 4, "highest") for agent in agents]
    fits = [Work(agent, "fit", n, "highest") for n in (1, 16) for agent in ("mage", "svg")]
    light = ("td3", "sac", "mage")  # compiled in half a minute each; the others' rollouts take minutes
    return [
        [work for work in update(1) if work.agent in light],
        [work for work in [*few, *update(16)] if work.agent in light],
        [work for work in update(1) if work.agent not in light],
        [work for work in [*few, *update(16)] if work.agent not in light],
        [*update(1, 16, precision="default"), *update(64)],
        [*fits, *update(1, 16, precision="high")],
        update(2, 8, 32),
        update(128, 256),
    ]


def settings(agent: str, precision: str, quick: bool = False) -> tuple[Any, Schedule, EnvSpec]:
    """Return an agent's published configuration and schedule on its HalfCheetah, and the task's sizes."""
    changes = {**lookup.preset("paper", agent, TASKS[agent]), "config.precision": precision}
    if agent == "svg":
        changes["config.actor_warmup"] = 0.0  # past it, an update is all that it will be
    if quick:
        small = {"actor_hidden": (16,), "critic_hidden": (16,), "model_hidden": (16,)}
        fields = agent_module(agent).Config.__dataclass_fields__
        changes |= {f"config.{name}": value for name, value in small.items() if name in fields}
        changes |= {"schedule.batch_size": 32, "schedule.model_batch_size": 32}
    config, schedule = overrides.apply(agent_module(agent).Config(), Schedule(), changes)
    sizes = WORKLOADS[WORKLOAD.get(agent, "svg" if agent == "sac" else "halfcheetah")].sizes
    return config, schedule, EnvSpec(sizes["obs"], sizes["action"], 1_000, rewards.half_cheetah, rewards.never)


def flops(agent: str, phase: str, config: Any, schedule: Schedule, spec: EnvSpec) -> float:
    """Count the operations in matrix products that one update, or one gradient step of a fit, needs for one seed.

    MAGE's, SVG's and MAAC's are counted by `workloads.py`, in the same way as SAC's and TD3's here.
    """
    if agent in WORKLOAD:
        workload = WORKLOADS[WORKLOAD[agent]]
        sizes = workload.sizes | {"batch": schedule.batch_size, "model_batch": schedule.model_batch_size}
        hidden = {name: getattr(config, f"{name}_hidden", sizes.get(name)) for name in ("actor", "critic", "model")}
        return workload.flops["update" if phase == "update" else "model"](sizes | hidden)
    outputs = spec.action_size * (2 if agent == "sac" else 1)
    actor, first_actor = _weights(spec.obs_size, config.actor_hidden, outputs)
    critic, first_critic = _weights(spec.obs_size + spec.action_size, config.critic_hidden, 1)
    fit = 2 * (3 * critic - first_critic)  # both critics: forward, back to the first layer, weights
    judges = 2 if agent == "sac" else 1  # TD3's actor asks the first critic alone
    policy = 3 * actor - first_actor + judges * 2 * critic  # there, back to the action, the actor's weights
    return 2.0 * schedule.batch_size * (actor + 2 * critic + fit + (1.0 if agent == "sac" else 0.5) * policy)


def _weights(inputs: int, hidden: tuple[int, ...], outputs: int) -> tuple[int, int]:
    """Return how many weights a network has, and how many of them are the first layer's."""
    layers = [a * b for a, b in zip((inputs, *hidden), (*hidden, outputs), strict=True)]
    return sum(layers), layers[0]


def start(agent: str, config: Any, spec: EnvSpec) -> learn.Learner:
    """Return a learner whose buffer is full of random transitions."""
    rows = data({"obs": spec.obs_size, "action": spec.action_size})
    empty = learn.start(agent_module(agent), jax.random.key(0), spec, config, TRANSITIONS)
    full = learn.collect(agent_module(agent), empty, rows, jnp.zeros(TRANSITIONS, bool))
    return replace(full, fitted=jnp.ones((), jnp.int32))  # updates wait for no model


@cache
def beginning(agent: str, quick: bool) -> list[np.ndarray]:
    """Return the arrays of that learner. They are made on the CPU, where it compiles soonest; seeds begin alike."""
    config, _, spec = settings(agent, "highest", quick)
    with jax.default_device(jax.devices("cpu")[0]):
        return [np.asarray(x) for x in jax.tree.leaves(jax.jit(partial(start, agent, config, spec))())]


class Timed:
    """A cell's program, compiled, with states of its own that each call takes on."""

    def __init__(self, work: Work, quick: bool):
        self.agent, self.work = agent_module(work.agent), work
        self.config, schedule, self.spec = settings(work.agent, work.precision, quick)
        self.schedule = overrides.apply(self.config, schedule, {"schedule.updates_per_step": UPDATES})[1]
        begin = time.perf_counter()
        every = devices.over_seeds(self._one, "vmap")
        keys = jax.random.split(jax.random.key(0), work.seeds)
        shapes = jax.eval_shape(jax.vmap(lambda _: start(work.agent, self.config, self.spec)), jnp.arange(work.seeds))
        self.structure = jax.tree.structure(shapes)
        self.compiled = jax.jit(every, donate_argnums=0).lower(shapes, keys).compile()
        self.compile_s = time.perf_counter() - begin
        self.leaves = beginning(work.agent, quick)

    def _one(self, learner: learn.Learner, key: jax.Array) -> learn.Learner:
        if self.work.phase == "update":
            return learn.learn(self.agent, learner, key, self.schedule)[0]
        return fitting.fit(self.agent, learner, key, UPDATES, self.schedule)[0]

    def measure(self) -> dict[str, Any]:
        """Return the milliseconds of an update of all seeds, and what follows from them."""
        seeds, keys = self.work.seeds, jax.random.split(jax.random.key(1), self.work.seeds)
        memory, cost = self.compiled.memory_analysis(), {}
        with contextlib.suppress(Exception):  # not every device counts
            cost = self.compiled.cost_analysis() or {}
        needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes if memory else 0
        limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", math.inf)
        if needed > limit:
            raise MemoryError(f"{needed / 2**30:.0f} GiB are needed, {limit / 2**30:.0f} are there")
        alike = [jnp.repeat(jnp.asarray(x)[None], seeds, 0) for x in self.leaves]
        state = jax.block_until_ready(jax.tree.unflatten(self.structure, alike))
        del alike  # the program takes the state's memory
        times: list[float] = []
        while len(times) < 1 + CALLS or sum(times) < LEAST_S:
            begin = time.perf_counter()
            state = jax.block_until_ready(self.compiled(state, keys))
            times.append(time.perf_counter() - begin)
        seconds = statistics.median(times[1:]) / UPDATES
        gflop = seeds * flops(self.work.agent, self.work.phase, self.config, self.schedule, self.spec) / 1e9
        return {
            "ms": 1e3 * seconds,
            "ms_min": 1e3 * min(times[1:]) / UPDATES,
            "updates_per_second": seeds / seconds,
            "gflop": gflop,
            "tflops": gflop / seconds / 1e3,
            "compile_s": self.compile_s,
            "mib_per_seed": needed / seeds / 2**20,
            "xla_gflop": cost.get("flops", math.nan) / 1e9,
        }


def peaks(size: int) -> dict[str, float]:
    """Return the rate of a large square product of random float32 matrices at each precision, in TFLOP/s."""
    x, w = jax.random.normal(jax.random.key(0), (2, size, size))
    rates = {}
    for precision in PRECISIONS:
        product = jax.jit(partial(jnp.matmul, precision=precision))
        times = []
        for _ in range(8):
            begin = time.perf_counter()
            product(x, w).block_until_ready()
            times.append(time.perf_counter() - begin)
        rates[precision] = 2.0 * size**3 / statistics.median(times[2:]) / 1e12
    return rates


def stalled(cells: Cells, work: Work) -> bool:
    """Say whether more seeds than these have stopped paying: the last two counts below differ by less than a tenth."""
    counts = (1, 2, 4, 5, 8, 16, 32, 64, 128)
    rates = [
        cells[name]["updates_per_second"]
        for n in counts
        if n < work.seeds and cells.has(name := work._replace(seeds=n).name)
    ]
    return work.phase == "update" and len(rates) > 1 and rates[-1] < GROWTH * rates[-2]


def compile_alone(cells: Cells, work: Work, quick: bool) -> None:
    """Compile the first program with nothing beside it, and once more from the persistent cache."""
    first = Timed(work, quick).compile_s
    jax.clear_caches()
    cells.fact("compiled_alone", {"cell": work.name, "first_s": first, "again_s": Timed(work, quick).compile_s})
    print(f"  {work.name} compiles alone in {first:.1f} s, again in {cells.report['compiled_alone']['again_s']:.1f} s")


def run(cells: Cells) -> None:
    """Fill the part's cells, wave by wave."""
    quick = cells.quick
    if "peaks" not in cells.report:
        cells.fact("peaks", peaks(PEAK_SIZE if jax.default_backend() != "cpu" else 1024))
        print("  peaks, TFLOP/s: " + ", ".join(f"{k} {v:.3g}" for k, v in cells.report["peaks"].items()), flush=True)
    plan = waves(quick)
    if "compiled_alone" not in cells.report:
        compile_alone(cells, next(work for work in plan[0] if work.agent == "mage"), quick)
    for wave in plan:
        names = cells.missing(work.name for work in wave if not stalled(cells, work))
        todo = [work for work in wave if work.name in names]
        made: dict[Work, Timed] = {}
        with ThreadPoolExecutor(max(len(todo), 1)) as pool:
            jobs = {pool.submit(Timed, work, quick): work for work in todo}
            for job in as_completed(jobs):
                if error := job.exception():
                    cells.failed(jobs[job].name, error)
                else:
                    made[jobs[job]] = job.result()
        for work in todo:
            if work not in made:
                continue
            try:
                row = made.pop(work).measure()
                cells.record(work.name, row | {"share_of_peak": row["tflops"] / cells.report["peaks"][work.precision]})
            except Exception as error:  # memory that runs out ends a cell, not the part
                cells.failed(work.name, error)
