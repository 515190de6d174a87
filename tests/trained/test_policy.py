"""A policy taken home: `pbrl.load`, with and without what it was trained with, and the best that a run has had."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ACTION, AGENTS, OBS, config, module, ready

import pbrl
from pbrl.envs.gym import GymEnv
from pbrl.errors import CheckpointError, RunError
from pbrl.runs import checkpoint, layout, manifest
from pbrl.runs.layout import Layout
from pbrl.runs.log import read_rows
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import acting, best, host
from pbrl.train.best import Best
from pbrl.trained import restore

SCHEDULE = Schedule(
    total_steps=60, warmup_steps=20, batch_size=8, updates_per_step=1, model_every=0, eval_every=20, eval_episodes=1,
    log_every=60, checkpoint_every=30,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds of a small agent on Pendulum, whose torque is within ±2."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run = Run("sac", "Pendulum-v1", (3, 4), config("sac"), SCHEDULE, folder, sinks=("jsonl",))
    host.train(run)
    return run


@pytest.fixture
def copied(trained, tmp_path):
    return replace(trained, folder=shutil.copytree(trained.folder, tmp_path / "run"))


def rewrite(folder, change):
    """Change what a checkpoint says of itself, and seal it again."""
    content = json.loads((folder / manifest.MANIFEST).read_text())
    change(content)
    text = json.dumps(content).encode()
    (folder / manifest.MANIFEST).write_bytes(text)
    (folder / manifest.SEAL).write_text(hashlib.sha256(text).hexdigest())


def observations(*shape):
    return np.random.default_rng(0).normal(size=(*shape, 3))


def test_it_acts_as_training_does_in_the_environments_own_units(trained):
    policy = pbrl.load(trained.folder, seed=4)
    env, raw = GymEnv("Pendulum-v1"), gymnasium.make("Pendulum-v1")
    state, _ = restore.agents(trained)
    mode = jax.jit(lambda obs: module("sac").act(jax.tree.map(lambda x: x[1], state), obs, None, explore=False))
    obs, (seen, _) = env.reset(7), raw.reset(seed=7)
    for _ in range(20):
        action = policy(seen)
        np.testing.assert_allclose(action, 2.0 * mode(obs), rtol=1e-4, atol=1e-5)
        obs, seen = env.step(np.asarray(mode(obs))).next_obs, raw.step(action)[0]
        np.testing.assert_allclose(seen, obs, rtol=1e-3, atol=1e-4)
    assert (policy.step, policy.seeds, policy.spec.obs_size, policy.spec.episode_length) == (60, (4,), 3, 200)
    np.testing.assert_array_equal([policy.low, policy.high], [[-2.0], [2.0]])


def test_any_leading_axes_one_seed_or_all(trained):
    both, one = pbrl.load(trained.folder), pbrl.load(str(trained.folder), seed=3)
    obs = observations(4, 5)
    assert one(obs).shape == (4, 5, 1) and both(obs).shape == (2, 4, 5, 1) and one(obs[0, 0]).shape == (1,)
    assert isinstance(one(obs), np.ndarray) and one([0, 1, 2]).shape == (1,)
    np.testing.assert_allclose(both(obs)[0], one(obs), atol=1e-5)
    np.testing.assert_allclose(one(obs)[2, 3], one(obs[2, 3]), atol=1e-5)
    assert np.abs(both(1e6 * obs)).max() <= 2.0


def test_within_programs_of_ones_own(trained):
    policy = pbrl.load(trained.folder, seed=3)
    obs = jnp.asarray(observations(6), float)
    np.testing.assert_allclose(jax.jit(jax.vmap(policy))(obs), policy(np.asarray(obs)), atol=1e-5)


def test_exploring_draws_by_the_key(trained):
    policy = pbrl.load(trained.folder)
    obs, key = observations(8), jax.random.key(1)
    drawn = policy(obs, explore=True, key=key)
    np.testing.assert_array_equal(policy(obs, explore=True, key=key), drawn)
    assert drawn.shape == (2, 8, 1) and np.abs(drawn).max() <= 2.0
    assert (drawn != policy(obs)).all() and (policy(obs, explore=True, key=jax.random.key(2)) != drawn).any()


def test_what_it_cannot_take_is_one_sentence(trained):
    policy = pbrl.load(trained.folder, seed=3)
    for obs in (np.zeros(4), np.zeros((2, 3, 1)), 1.0, jnp.zeros(4)):
        with pytest.raises(ValueError, match=r"expected observations of Pendulum-v1, \[\.\.\., 3\], got \["):
            policy(obs)
    with pytest.raises(ValueError, match="the observation holds nan"):
        policy([0.0, np.nan, 0.0])
    for wrong in ({"explore": True}, {"key": jax.random.key(0)}):
        with pytest.raises(ValueError, match="to explore takes both"):
            policy(np.zeros(3), **wrong)
    with pytest.raises(RunError, match="has no seed 0; it has 3, 4"):
        pbrl.load(trained.folder, seed=0)
    with pytest.raises(RunError, match="has no checkpoint of step 7; it has 30, 60"):
        pbrl.load(trained.folder, step=7)
    with pytest.raises(RunError, match="not a run folder"):
        pbrl.load(trained.folder / "checkpoints")


def test_it_needs_neither_the_environment_nor_its_package(trained):
    """And `import pbrl` stays light."""
    program = """
import sys
for name in "gymnasium", "mujoco", "brax":
    sys.modules[name] = None
import pbrl
assert "jax" not in sys.modules and "numpy" not in sys.modules
print(pbrl.load(sys.argv[1], seed=3, step="best")([0.1, 0.2, 0.3]).shape)
"""
    argv = [sys.executable, "-c", program, str(trained.folder)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True, env=os.environ).stdout == "(1,)\n"


def test_a_folder_of_before_asks_the_environment(copied, monkeypatch):
    wanted = pbrl.load(copied.folder)(observations(3))
    path = copied.folder / "checkpoints" / "60"
    rewrite(path, lambda content: content["info"].pop("layout"))
    np.testing.assert_array_equal(pbrl.load(copied.folder)(observations(3)), wanted)
    rewrite(path, lambda content: content["info"].update(layout={"low": [0.0]}))
    with pytest.raises(RunError, match="layout: expected sizes and finite bounds"):
        pbrl.load(copied.folder)


@pytest.mark.parametrize(
    "change",
    [{"low": [2.0]}, {"high": [float("inf")]}, {"obs_size": 0}, {"action_size": 2}, {"high": 2.0}, {"more": 1}],
)
def test_a_layout_is_read_with_doubt(change):
    known = Layout(3, 1, 200, (-2.0,), (2.0,))
    assert layout.parse(json.loads(json.dumps(known.to_json()))) == known
    with pytest.raises(ValueError, match="layout: expected"):
        layout.parse(known.to_json() | change)


@pytest.mark.parametrize("name", AGENTS)
def test_acting_reads_a_small_part_of_any_agents_state(name):
    run = Run(name, "Some-v0", (0, 1, 2), config(name), SCHEDULE, None)
    part = acting.shapes(run, Layout(OBS, ACTION, 50, (-1.0,) * ACTION, (1.0,) * ACTION))
    kept = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(part)}
    assert sum(".ac.actor[" in path for path in kept) == 6
    assert all(".ac.actor[" in path or ".stats" in path or ".config.exploration" in path for path in kept)
    assert all(leaf.shape[0] == 3 for leaf in kept.values())


@pytest.mark.parametrize("explore", [False, True])
def test_that_part_acts_as_the_whole_does(explore):
    state = ready("td3")
    part = jax.tree.map(lambda x: x[0], acting.part_of(module("td3"), jax.tree.map(lambda x: x[None], state), OBS))
    assert part.ac.critic["MLP_0"]["Dense_0"]["kernel"] is None
    first, second = (module("td3").act(s, jnp.ones(OBS), jax.random.key(3), explore=explore) for s in (part, state))
    np.testing.assert_array_equal(first, second)


def test_the_best_of_each_seed_is_kept(trained):
    rows = read_rows(trained.folder, "eval")[1:]
    returns = np.array([row["eval/return"] for row in rows])
    steps = tuple(rows[i]["step"] for i in returns.argmax(0))
    found = restore.policies(trained, "best")
    assert tuple(found.steps) == steps
    policy = pbrl.load(trained.folder, step="best")
    assert policy.step == (steps if len(set(steps)) > 1 else steps[0])
    newest = pbrl.load(trained.folder)(observations(5))
    for i, seed in enumerate(trained.seeds):
        same = np.array_equal(pbrl.load(trained.folder, step="best", seed=seed)(observations(5)), newest[i])
        assert same == (steps[i] == 60)
    size = lambda folder: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())  # noqa: E731
    assert size(best.folder_of(trained)) < size(trained.folder / "checkpoints" / "60")


def fake(n=3):
    """A driver of `n` streams whose policies act by one number, the step."""
    agent = SimpleNamespace(act=lambda state, obs, key, explore: obs[..., :1] * state["w"])
    seeds = tuple(range(n))
    run = SimpleNamespace(stream_seeds=seeds, agent=agent)
    driver = SimpleNamespace(run=run, step=0, layout=Layout(2, 1, 5, (-1.0,), (1.0,)))

    def at(step):
        driver.step = step
        driver.learner = SimpleNamespace(agent={"w": jnp.full(n, float(step)), "unread": jnp.zeros(n)})

    return run, driver, at


def test_what_is_better_is_judged_by_seed(tmp_path, monkeypatch):
    run, driver, at = fake()
    monkeypatch.setattr(best, "agent_module", lambda agent: agent)
    run.folder = tmp_path
    kept = Best(run, driver)
    for step, returns in ((10, [1, np.nan, 5]), (20, [2, np.nan, 5]), (30, [-np.inf, 0, 4]), (40, [1, np.nan, np.nan])):
        at(step)
        kept.unsaved = False
        kept.look(np.array(returns, float))
        assert kept.unsaved == (step < 40)  # equal is not better: the earlier one stays
    np.testing.assert_array_equal(kept.steps, [20, 30, 10])
    np.testing.assert_array_equal(kept.returns, [2, 0, 5])
    np.testing.assert_array_equal(kept.policy["w"], [20.0, 30.0, 10.0])
    assert kept.policy["unread"] is None


def test_a_resumed_run_goes_on_with_its_best(copied):
    """Damage to them is told, and the ones before taken, or none: no run ends for it."""
    kept = best.folder_of(copied)
    before = restore.policies(copied, "best")
    driver = host.Driver(copied)
    try:
        resumed = Best(copied, driver)
        resumed.restore(60)
        np.testing.assert_array_equal(resumed.steps, before.steps)
        for a, b in zip(*map(jax.tree.leaves, (resumed.policy, before.state)), strict=True):
            np.testing.assert_array_equal(a, b)
        driver.begin()
        driver.step = 70
        resumed.look(np.array([0.0, -1e9]))  # no swing-up is worth as much
        resumed.save(checkpoint.read_info(kept)[0])
        after = restore.policies(copied, "best")
        assert after.steps.tolist() == [70, before.steps[1]]
        for a, b in zip(*map(jax.tree.leaves, (after.state, before.state)), strict=True):
            np.testing.assert_array_equal(a[1], b[1])
        _, last = steps = manifest.steps(kept)
        (kept / "70" / manifest.SEAL).write_text("0")
        with pytest.warns(UserWarning, match="the checkpoint before it is used"):
            assert restore.policies(copied, "best").steps.tolist() == before.steps.tolist()
        again = Best(copied, driver)
        with pytest.warns(UserWarning, match="best policies are left out: .* is damaged"):
            again.restore(70)
        np.testing.assert_array_equal(again.steps, before.steps)
        (kept / str(steps[0]) / manifest.SEAL).write_text("0")
        again = Best(copied, driver)
        with pytest.warns(UserWarning, match="best policies are left out"):
            again.restore(70)
        assert last == 70 and again.policy is None and (again.steps == -1).all()
    finally:
        driver.close()
    with pytest.raises(CheckpointError, match="has no best policy that can be read"):
        pbrl.load(copied.folder, step="best")


def test_going_back_sets_later_best_ones_aside(copied):
    folder = best.folder_of(copied)
    checkpoint.save(folder, 60, {"x": np.zeros(2)}, {})
    best.set_aside_later(copied, 30)
    assert all(step <= 30 for step in manifest.steps(folder)) and (folder / "60.aside").is_dir()


def test_a_policy_that_is_not_finite_is_refused(trained):
    found = restore.policies(trained)
    spoilt = jax.tree.map(
        lambda x: np.where(np.arange(2).reshape(-1, *[1] * (x.ndim - 1)) == 1, np.nan, x), found.state
    )
    broken = found._replace(state=spoilt)
    from pbrl.trained.policy import Policy

    with pytest.raises(RunError, match=r"the policy of seeds \[4\] is not finite"):
        Policy(trained, broken)
    assert Policy(trained, broken, 0).seeds == (3,)
