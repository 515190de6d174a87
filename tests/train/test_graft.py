"""A run that begins with what another has learned: which parts, of which seeds, and what is refused."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import config, transitions

from pbrl.cli import options
from pbrl.data import replay
from pbrl.errors import RunError
from pbrl.runs import record
from pbrl.runs.initial import PARTS, Initial, parse
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import best, graft, host
from pbrl.trained import restore

SCHEDULE = Schedule(
    total_steps=30, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=0, eval_every=30, eval_episodes=1,
    log_every=30, buffer_size=25,
)  # fmt: skip


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run of two seeds, whose buffer has wrapped around, and its learners."""
    folder = tmp_path_factory.mktemp("old") / "run"
    run = Run("td3", "Pendulum-v1", (0, 1), config("td3"), SCHEDULE, folder, sinks=("jsonl",))
    host.train(run)
    return run, restore.learners(run)[0]


def begun(run):
    driver = host.Driver(run)
    driver.begin(partial(graft.onto, run))
    driver.close()
    return jax.tree.map(np.asarray, driver.learner)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


def test_what_is_asked_for_is_taken_and_the_rest_is_fresh(old, tmp_path):
    source, learned = old
    changed = replace(source, config=config("td3", actor_lr=0.5), folder=tmp_path / "new")
    everything = begun(replace(changed, initial=Initial.newest(source.folder, tuple(PARTS))))
    assert same(everything.agent.ac, learned.agent.ac) and same(everything.agent.stats, learned.agent.stats)
    assert (everything.agent.config.actor_lr == 0.5).all()  # hyper-parameters are the new run's
    assert (everything.replay.inserted == 25).all() and same(everything.experience, learned.experience)
    some = begun(replace(changed, initial=Initial(source.folder, 30, ("networks",))))
    assert same(some.agent.ac.actor, learned.agent.ac.actor) and same(some.agent.ac.critic, learned.agent.ac.critic)
    assert not same(some.agent.ac.actor_opt, learned.agent.ac.actor_opt) and (some.agent.stats.count == 0).all()
    assert (some.replay.inserted == 0).all()


def test_seeds_begin_from_those_that_there_are(old, tmp_path):
    source, learned = old
    new = replace(source, seeds=(5, 6, 7), env="pbrl/MagePendulum-v0", folder=tmp_path / "new")  # of the same sizes
    actor = begun(replace(new, initial=Initial.newest(source.folder))).agent.ac.actor
    expected = jax.tree.map(lambda x: np.asarray(x)[[0, 1, 0]], learned.agent.ac.actor)
    assert same(actor, expected)


def test_transitions_come_in_the_order_of_time_as_many_as_fit():
    def filled(capacity, rows):
        ring = replay.init(jax.tree.map(lambda x: x[0], transitions(1)), capacity)
        for i in range(rows):
            row = jax.tree.map(lambda x, i=i: jnp.full((1, *x.shape[1:]), float(i)), transitions(1))
            ring = replay.add(ring, row, jnp.array([i % 4 == 3]))
        return jax.tree.map(lambda x: np.asarray(x)[None], ring)

    for capacity, expected in ((8, [4, 5, 6, 7, 8, 9]), (4, [6, 7, 8, 9])):
        new = graft._refilled(filled(capacity, 0), filled(6, 10), np.array([0]))
        assert new.inserted.tolist() == [len(expected)] and new.refused.tolist() == [0]
        np.testing.assert_array_equal(new.rows.reward[0, : len(expected)], expected)
        np.testing.assert_array_equal(new.episode[0, : len(expected)], [i // 4 for i in expected])
        assert new.cuts.tolist() == [3]  # no sequence runs on from the last of them


def test_it_trains_on_and_says_where_it_comes_from(old, tmp_path):
    source, _ = old
    new = replace(source, folder=tmp_path / "new", initial=Initial.newest(source.folder))
    host.train(new)
    written = json.loads((new.folder / "config.json").read_text())
    assert written["initial"] == {"run": "run", "step": 30, "parts": ["networks", "optimisers", "normaliser", "model"]}
    assert record.run_of(new.folder).identity() == new.identity()
    with pytest.raises(RunError, match="it differs in initial"):
        host.train(replace(new, initial=None))
    assert host.train(new).step == 30  # the same one is complete
    assert restore.policies(new, "best").steps.min() >= 0 and best.folder_of(new).is_dir()


def test_what_cannot_be_begun_with_is_one_sentence(old, tmp_path):
    source, _ = old
    new = replace(source, folder=tmp_path / "new")
    with pytest.raises(RunError, match="there is no checkpoint in it to begin from"):
        Initial.newest(tmp_path)
    with pytest.raises(RunError, match=r"--init-parts: expected some of networks,.* got weights"):
        Initial(source.folder, 30, ("weights",))
    with pytest.raises(RunError, match="would begin from itself"):
        host.check(replace(source, initial=Initial.newest(source.folder)))
    for changes, said in (
        ({"config": config("td3", actor_hidden=(9, 9))}, r"expected float32\[2, 9\].* Both runs need the same sizes"),
        ({"env": "MountainCarContinuous-v0"}, "Both runs need the same sizes"),
        ({"initial": Initial(source.folder, 7)}, "there is no checkpoint of step 7"),
    ):
        with pytest.raises(RunError, match=said):
            begun(replace(new, **{"initial": Initial.newest(source.folder), **changes}))
    for data in ({"run": "a/b", "step": 1, "parts": ["model"]}, {"run": "a", "step": 1, "parts": []}, {}):
        with pytest.raises(ValueError, match="initial: expected run, step and parts"):
            parse(data)


def test_the_command_line_says_the_same(old, tmp_path):
    source, _ = old
    words = ["td3", "--env=Pendulum-v1", "--init", str(source.folder)]
    assert options.parse(words).initial == Initial.newest(source.folder)
    chosen = options.parse([*words, "--init-step=7", "--init-parts=networks,replay"])
    assert chosen.initial == Initial(source.folder, 7, ("networks", "replay"))
    assert len({options.parse(words).folder, chosen.folder, options.parse(words[:2]).folder}) == 3
