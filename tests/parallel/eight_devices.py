"""What `test_parallel.py` asks of eight devices, in a process of its own, since their number is fixed at the start.

    JAX_NUM_CPU_DEVICES=8 python tests/parallel/eight_devices.py FOLDER

prints one JSON object: how often compiled programs communicate, and how far results are from those of one device.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from small_agents import SPEC, config, module, transitions

from pbrl.diagnose.diagnosis import Diagnosis
from pbrl.parallel import devices
from pbrl.parallel.devices import DATA, SEEDS
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device, host
from pbrl.train.session import Session

N, B = 8, 16
COLLECTIVE = re.compile(r"\b(all-reduce|all-gather|all-to-all|reduce-scatter|collective-\w+)[\w-]*\(")
SCHEDULE = Schedule(
    total_steps=30, warmup_steps=10, batch_size=8, updates_per_step=2, model_every=0, eval_every=15, eval_episodes=2,
    log_every=10, checkpoint_every=20,
)  # fmt: skip
MODEL = Schedule(
    total_steps=30, warmup_steps=10, batch_size=8, updates_per_step=2, model_every=10, model_batch_size=8,
    model_min_batches=2, eval_every=30, eval_episodes=2, log_every=10, imagine_every=10, imagine_batch=16,
    imagine_length=(0, 1, 2, 2), buffer_size=1_000,
)  # fmt: skip


def collectives(program):
    return len(COLLECTIVE.findall(program.as_text()))


def apart(one, other):
    """Return the largest difference between two trees, of each leaf relative to its largest entry (or 1).

    Where both are NaN (a mean over nothing) they do not differ.
    """
    pairs = [
        (np.asarray(a, float), np.asarray(b, float)) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    ]
    pairs = [[np.where(np.isnan(a) & np.isnan(b), 0.0, x) for x in (a, b)] for a, b in pairs]
    return float(np.max([np.abs(a - b).max(initial=0) / max(np.abs(a).max(initial=0), 1.0) for a, b in pairs]))


def updates(name):
    """An agent's `update` over seeds, over one batch, and over both."""
    agent = module(name)
    make = jax.jit(jax.vmap(lambda key: agent.init(key, SPEC, config(name))))
    states = make(jax.random.split(jax.random.key(0), N))
    keys, batches = jax.random.split(jax.random.key(1), N), transitions(N, B)
    state, batch, key = jax.tree.map(lambda x: x[0], (states, batches, keys))
    every, one = jax.jit(jax.vmap(agent.update)), jax.jit(agent.update)
    wanted, wanted_one = every(states, batches, keys), one(state, batch, key)

    row = devices.mesh()
    seeds = [devices.place(x, row, SEEDS) for x in (states, batches, keys)]
    column = devices.mesh(1, N)
    data = devices.place(state, column), devices.place(batch, column, DATA), devices.place(key, column)
    square = devices.mesh(4, 2)
    both = (
        devices.place(states, square, SEEDS),
        devices.place(batches, square, SEEDS, DATA),
        devices.place(keys, square, SEEDS),
    )
    found = {}
    for way, function, given, expected in (
        ("seeds", every, seeds, wanted),
        ("data", one, data, wanted_one),
        ("both", every, both, wanted),
    ):
        program = function.lower(*given).compile()
        found[way] = [collectives(program), apart(expected, program(*given))]
    return found


def training(driver, name, env, schedule, folder):
    """A run whose streams are spread over all devices, two on each, against the same on one and on two."""
    run = Run(
        name,
        env,
        tuple(range(2 * N)),
        config(name),
        schedule,
        folder / "spread",
        "map",
        ("jsonl",),
        driver=driver.__name__[11:],
    )
    several = driver.train(run).agent
    with mock.patch.object(devices, "own_mesh", lambda n: None):
        alone = driver.train(Run(**{**vars(run), "folder": folder / "one"})).agent
    with mock.patch.object(devices, "own_mesh", lambda n: devices.mesh(2)):
        two = driver.train(Run(**{**vars(run), "folder": folder / "two"})).agent
    again = Session(run, driver.Driver(run))
    resumed = {len(x.sharding.device_set) for x in jax.tree.leaves(again.driver.learner)}
    again.close()
    leaf = jax.tree.leaves(several)[-1]
    return {
        "apart": apart(alone, several),
        "apart from two": apart(two, several),
        "devices": len(leaf.sharding.device_set),
        "shard": leaf.addressable_shards[0].data.shape[0],
        "resumed": list(resumed),
    }


def epoch(name, schedule, mode):
    """Collectives in a whole epoch over seeds, evaluations apart: fits with early stopping and all."""
    run = Run(name, "pbrl/ToyPendulum-v0", tuple(range(N)), config(name), schedule, Path(), mode, driver="device")
    programs = device.Programs(run)
    state = jax.eval_shape(lambda: programs.start(100))
    lowered = programs.epoch.lower(state, programs.plan, 0, 1), programs.evaluate.lower(state, 1)
    return [collectives(one.compile()) for one in lowered]


def diagnosis():
    """Collectives in a diagnosis of a spread run, its devices, and how far it is from the same on one device."""
    run = Run("mage", "Pendulum-v1", tuple(range(N)), config("mage"), MODEL, Path(), "map")
    watched = Diagnosis(run, (1,), 2)
    learner = host.Programs(run, watched.env.spec, watched.env.extras()).start(100)
    measure, seen = watched._measure, []

    def counting(*args):
        program = measure.lower(*args).compile()
        seen.extend((collectives(program), len(args[1].obs.sharding.device_set)))
        return program(*args)

    with mock.patch.object(watched, "_measure", counting):
        replay = replace(learner.replay, inserted=learner.replay.inserted + 3)  # rows of zeros
        spread = watched.of(learner.agent, replay, 10)
    watched.close()
    there = jax.device_get((learner.agent, replay))
    with mock.patch.object(devices, "own_mesh", lambda n: None):
        alone = Diagnosis(run, (1,), 2)
        seen.append(apart(alone.of(*there, 10), spread))
    alone.close()
    return seen


def main(folder):
    total = jax.jit(jnp.sum).lower(devices.place(jnp.ones(N), devices.mesh(), SEEDS)).compile()
    print(
        json.dumps(
            {
                "devices": jax.device_count(),
                "a sum": collectives(total),
                "updates": {name: updates(name) for name in ("sac", "mage")},
                "epochs": {
                    f"{name}, {mode}": epoch(name, MODEL, mode) for name in ("maac",) for mode in ("map", "vmap")
                },
                "device": training(device, "sac", "pbrl/ToyPendulum-v0", SCHEDULE, folder / "device"),
                "host": training(host, "sac", "Pendulum-v1", SCHEDULE, folder / "host"),
                "diagnosis": diagnosis(),
                "meshes": [getattr(devices.own_mesh(n), "size", None) for n in (1, 6, 7, 8, 11, 12, 16)],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
