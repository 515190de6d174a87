"""Finite is not sound: wild readings, phases with nothing to work on, and seeds that diverge beside good ones."""

import warnings
from dataclasses import replace

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box
from small_agents import SPEC, config, learner, module, unchanged

from pbrl.envs import jax_env, registry
from pbrl.errors import Diverged, EnvError, RunError
from pbrl.runs import checkpoint
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import device, host, learn
from pbrl.train.guard import NEVER
from pbrl.trained import play, restore

SCHEDULE = Schedule(
    total_steps=80, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=20, model_batch_size=8,
    model_min_batches=2, eval_every=40, eval_episodes=1, log_every=20, checkpoint_every=40,
)  # fmt: skip


class Drift(gymnasium.Env):
    """A point that is pushed; a subclass changes what it returns."""

    observation_space, action_space = Box(-np.inf, np.inf, (3,)), Box(-1.0, 1.0, (1,))
    steps = 0  # of all copies, in training and evaluation

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 3)
        return self.x.copy(), {}

    def step(self, action):
        Drift.steps += 1
        self.x = 0.9 * self.x + 0.1 * float(action[0])
        return self.x.copy(), -float(np.square(self.x).sum()), False, False, {}


@pytest.fixture
def make(tmp_path):
    """Register a subclass of `Drift` by its name, and return a run on it."""
    made = []

    def make(cls, agent="td3", seeds=(0,), folder="run", limit=10, **changes):
        Drift.steps = 0
        gymnasium.register(f"test/{cls.__name__}-v0", entry_point=cls, max_episode_steps=limit)
        made.append(f"test/{cls.__name__}-v0")
        schedule = replace(SCHEDULE, **changes)
        if not module(agent).abilities(config(agent)).has_model:
            schedule = replace(schedule, model_every=0)
        return Run(agent, made[-1], seeds, config(agent), schedule, tmp_path / folder, sinks=("jsonl",))

    yield make
    for name in made:
        gymnasium.registry.pop(name, None)


def spiking(obs=0.0, reward=0.0, at=55):
    class Spiking(Drift):
        def step(self, action):
            seen, paid, *rest = super().step(action)
            if Drift.steps == at:
                seen[1], paid = seen[1] + obs, paid + reward
            return seen, paid, *rest

    return Spiking


def statistics(state):
    return getattr(state.stats, "obs", state.stats)


@pytest.mark.parametrize(
    ("agent", "wild"),
    [("sac", {"obs": 1e10}), ("td3", {"obs": 1e14}), ("mage", {"reward": -1e14})],
)
def test_one_wild_reading_is_named_and_spoils_nothing(make, agent, wild):
    run = make(spiking(**wild, at=45), agent, seeds=(7,))  # after an evaluation of 10 steps at step 0: step 35
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        host.train(run)
    refused, last = (2, 36) if "obs" in wild else (1, 35)  # an observation is that of two transitions
    expected = f"seed 7: {refused} more transition{'s' * (refused > 1)} refused, the last that of step {last}: its lar"
    assert any(str(w.message).startswith(expected) for w in said), [str(w.message) for w in said]
    rows = read_rows(run.folder, "train")
    assert [row["train/refused_rows"] for row in rows] == [[0], *[[refused]] * 3]
    assert all(abs(row["train/return"][0]) < 30 for row in rows)  # ten steps of at most 3: the wild one is left out
    assert all(np.isfinite(row["critic/loss"]).all() and row["train/skipped_updates"] == [0] for row in rows[1:])
    state, step = restore.agents(run)
    assert step == 80 and (np.asarray(statistics(state).std) < 2.0).all()
    assert np.isfinite(play.played(run, play.policies(run, state), step, 1).scores["eval/return"]).all()


def test_a_wild_reading_on_the_device(tmp_path, monkeypatch):
    def step(state, action, key=None):
        x, t = 0.9 * state["x"] + 0.1 * action, state["t"] + 1
        return {"x": x, "t": t}, jnp.where(t == 42, 1e12, -jnp.square(x).sum()), jnp.ones(())

    spec = replace(SPEC, obs_size=1, action_size=1, episode_length=50, reward_fn=None, termination_fn=None)
    reset = lambda key: {"x": jax.random.uniform(key, (1,)), "t": jnp.zeros(())}  # noqa: E731
    env = jax_env.JaxEnv(spec, reset, step, lambda state: state["x"])
    monkeypatch.setitem(registry.OWN, "spiking", env)
    run = Run("td3", "spiking", (3, 4), config("td3"), replace(SCHEDULE, model_every=0), tmp_path, driver="device")
    with pytest.warns(
        UserWarning, match=r"seed 4: 1 more transition refused, the last that of step 42: its largest observation is"
    ):
        device.train(replace(run, sinks=("jsonl",)))
    last = read_rows(tmp_path, "train")[-1]
    assert last["train/skipped_updates"] == [0, 0] and last["train/refused_rows"] == [1, 1]
    assert max(np.abs(last["train/return"])) < 50  # of the first 50 steps, without the wild one


class Counted(Drift):
    """Pays 1, but -1e12 where an episode ends at the fifth step of training."""

    def step(self, action):
        obs, _, _, *rest = super().step(action)
        return obs, -1e12 if Drift.steps == 5 else 1.0, Drift.steps == 5, *rest


def test_a_refused_reward_is_left_out_of_the_return_at_an_episodes_end_as_well(make):
    run = make(Counted, eval_every=0, log_every=5, total_steps=20, warmup_steps=20)
    with pytest.warns(UserWarning, match="1 more transition refused"):
        host.train(run)
    assert [row["train/return"] for row in read_rows(run.folder, "train")] == [[4], [4], [10], [10]]


def test_rewards_that_are_always_large_are_said_with_what_to_do(make):
    class Rich(Drift):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 1e9, *rest

    run = make(Rich, eval_every=0, log_every=5, total_steps=10, warmup_steps=10)
    with pytest.warns(
        UserWarning, match=r"rewards beyond 1e\+07 are usual here.*by gymnasium.wrappers.TransformReward"
    ):
        host.train(run)


class Priceless(Drift):
    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, 1e30, *rest


def test_rewards_that_float32_cannot_square_end_the_run_by_name(make):
    with pytest.raises(EnvError, match="the reward is 1e\\+30"):
        host.train(make(Priceless))


@pytest.mark.parametrize("agent", ["td3", "mage"])
def test_an_update_on_rewards_of_1e30_is_undone(agent):
    before = learner(agent, 16, 20)
    rows = replace(before.replay.rows, reward=jnp.full_like(before.replay.rows.reward, 1e30))
    if agent == "mage":  # its reward is known: let what the critics say be wild
        ac = replace(before.agent.ac, target_critic=jax.tree.map(lambda x: 1e10 * x, before.agent.ac.target_critic))
        before = replace(before, agent=replace(before.agent, ac=ac))
    before = replace(before, replay=replace(before.replay, rows=rows))
    after, metrics = learn.learn(module(agent), before, jax.random.key(0), replace(SCHEDULE, updates_per_step=2))
    assert int(after.skipped) == int(after.streak) == 2 and np.isnan(metrics["critic/loss"])
    assert unchanged(before.agent, after.agent)


@pytest.mark.parametrize("wild", [1e20, -1e16, np.inf])
def test_what_float32_cannot_square_is_a_broken_step(make, wild):
    run = make(spiking(obs=wild, at=45), eval_every=0)
    with pytest.warns(
        UserWarning, match="seed 0: 1 more transition refused, the last that of step .*: the environment"
    ):
        host.train(run)
    assert read_rows(run.folder, "train")[-1]["train/refused_rows"] == [1]


class Short(Drift):
    def step(self, action):
        obs, reward, *_ = super().step(action)
        return obs, reward, True, False, {}


def test_svg_without_a_window_updates_nothing_and_says_so(make):
    run = make(Short, "svg", model_every=1)
    with pytest.warns(UserWarning, match=r"seeds \[0\]: the model is not trained, .* no episode so far holds 2 steps"):
        progress = host.train(run)
    last = read_rows(run.folder, "train")[-1]
    assert np.isnan(last["model/loss"]).all() and np.isnan(last["critic/loss"]).all()
    assert last["model/windows"] == [0.0]
    fresh = host.Driver(run)
    fresh.begin()
    for new, old in zip(jax.tree.leaves(progress.agent.ac), jax.tree.leaves(fresh.learner.agent.ac), strict=True):
        np.testing.assert_array_equal(new, old)
    fresh.close()


def test_svg_is_refused_where_no_window_can_ever_be(make):
    with pytest.raises(RunError, match=r"windows of 2 steps within an episode, but those of .* end after 1"):
        host.train(make(Drift, "svg", limit=1))
    with pytest.raises(RunError, match="expected at least 2, as many rows as the model's windows"):
        make(Drift, "svg", buffer_size=1, folder="b").validate()


def test_updates_wait_for_the_first_row(make):
    class Late(Drift):
        def step(self, action):
            obs, *rest = super().step(action)
            return (obs * np.nan if Drift.steps <= 6 else obs), *rest

    run = make(Late, warmup_steps=1, total_steps=12, log_every=1, eval_every=0)
    with pytest.warns(UserWarning, match="no transition is stored: every one so far was refused"):
        host.train(run)
    losses = [row["critic/loss"][0] for row in read_rows(run.folder, "train")]
    refused = [row["train/refused_rows"][0] for row in read_rows(run.folder, "train")]
    first = refused.index(max(refused)) + 1
    assert np.isnan(losses[:first]).all() and np.isfinite(losses[first:]).all() and 0 < first < 12


def test_a_batch_waits_for_imagined_rows():
    before = learner("mbpo", 16, 20, imagined=10)
    schedule = replace(SCHEDULE, imagine_every=5, imagine_batch=4)
    after, metrics = learn.learn(module("mbpo"), before, jax.random.key(0), schedule)
    assert np.isnan(metrics["critic/loss"]) and int(after.skipped) == 0 and unchanged(before.agent, after.agent)


def test_one_seed_that_diverges_leaves_the_others_to_train(make, monkeypatch):
    run = make(Drift, seeds=(3, 4), max_skipped_updates=4)
    good, (_, mark) = module("td3").update, marks(run)

    def update(state, batch, key):
        new, metrics = good(state, batch, key)
        bad = (state.ac.updates > 10) & (jnp.abs(mark_of(state.ac) - mark) < 0.05)
        return new, {**metrics, "critic/loss": jnp.where(bad, jnp.nan, metrics["critic/loss"])}

    monkeypatch.setattr(module("td3"), "update", update)
    with pytest.warns(UserWarning, match=r"seeds \[4\] are given up at step 34: the last 4 updates were not sound"):
        host.train(run)
    last = read_rows(run.folder, "eval")[-1]
    assert last["train/diverged_at"] == [NEVER, 34]
    assert np.isfinite(last["eval/return"][0]) and np.isnan(last["eval/return"][1])
    assert checkpoint.steps(run.folder / "checkpoints")[-1] == 80


def marks(run):
    """Return a number of each seed's fresh actor by which to tell it."""
    driver = host.Driver(run)
    driver.begin()
    driver.close()
    first, second = jax.vmap(mark_of)(driver.learner.agent.ac).tolist()
    assert abs(first - second) > 0.2
    return first, second


def mark_of(ac):
    return 10.0 * jax.tree.leaves(ac.target_actor)[1].ravel()[0]


def test_a_state_that_is_not_sound_is_not_saved_over_one_that_is(make, monkeypatch):
    run, step = make(Drift), host.Driver.advance

    def advance(self, limit):
        step(self, limit)
        if self.step == 60:
            nan = jax.tree.map(lambda x: x * jnp.nan if x.dtype.kind == "f" else x, self.learner.agent)
            self.learner = replace(self.learner, agent=nan)

    monkeypatch.setattr(host.Driver, "advance", advance)
    with pytest.raises(Diverged, match=r"not finite at step 61, and was not saved: the checkpoint of step 40 stands"):
        host.train(run)
    assert checkpoint.steps(run.folder / "checkpoints") == [40]
    monkeypatch.setattr(host.Driver, "advance", step)
    host.train(run)  # goes on from there
    assert checkpoint.steps(run.folder / "checkpoints")[-1] == 80


@pytest.mark.parametrize("seed", [2**32, 1_764_254_565_123, -1])
def test_seeds_that_no_key_can_hold_are_refused(tmp_path, seed):
    run = Run("td3", "Pendulum-v1", (seed,), config("td3"), replace(SCHEDULE, model_every=0), tmp_path)
    with pytest.raises(RunError, match="seeds: expected numbers from 0 to 4294967295, got"):
        run.validate()
    replace(run, seeds=(2**32 - 1,)).validate()


def test_steps_and_rows_that_nothing_can_count_are_refused(tmp_path):
    for field, most in (("total_steps", 2**31 - 1), ("imagine_buffer", 2**29)):
        with pytest.raises(ValueError, match=f"schedule.{field}: expected an integer from 1 to {most}"):
            replace(SCHEDULE, **{field: most + 1}).validate()


def test_what_training_refuses_is_no_episode_on_the_device_either(tmp_path, monkeypatch):
    def step(state, action, key=None):
        t = state + 1
        return t, jnp.where(t == 7, 1e20, 1.0), jnp.ones(())

    spec = replace(SPEC, obs_size=1, action_size=1, episode_length=10, reward_fn=None, termination_fn=None)
    env = jax_env.JaxEnv(spec, lambda key: jnp.zeros(()), step, lambda state: 0.1 * state[None])
    monkeypatch.setitem(registry.OWN, "priceless", env)
    schedule = replace(SCHEDULE, model_every=0, total_steps=20, eval_every=20)
    run = Run("td3", "priceless", (0,), config("td3"), schedule, tmp_path, sinks=("jsonl",), driver="device")
    device.train(run)
    last = read_rows(tmp_path, "eval")[-1]
    assert last["eval/episodes"] == [0] and np.isnan(last["eval/return"][0])
