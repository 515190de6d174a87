"""Planning by the cross-entropy method, against numbers worked by hand, closed forms and the policy it starts from."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ACTION, AGENTS, OBS, ORACLE, config, module, ready, transitions

from pbrl.envs.lqr import Lqr
from pbrl.envs.toy import TOYS
from pbrl.equations import actor_critic, expansion
from pbrl.planning import cem
from pbrl.planning.cem import Plan, Problem
from pbrl.planning.config import Config
from pbrl.types import Dynamics, Transition

MODEL_BASED = tuple(name for name in AGENTS if hasattr(module(name), "simulator"))
FEW = Config(horizon=3, iterations=2, candidates=32)


def start(obs):
    obs = jnp.asarray(obs, float)
    return Transition(obs, jnp.zeros(1), jnp.zeros(()), jnp.ones(()), obs)


def around(mean, std):
    """A policy that is the same Gaussian everywhere."""
    return lambda obs: (
        jnp.full((*obs.shape[:-1], 1), mean),
        None if std is None else jnp.full((*obs.shape[:-1], 1), std),
    )


def counter_step(state, action, key):
    """Pays 1, 2, 3, ... plus the action, and ends on reaching 3."""
    del key
    after = state + 1.0
    return after, after[..., 0] + action[..., 0], jnp.where(after[..., 0] >= 3.0, 0.0, 1.0)


COUNTER = Dynamics(lambda batch: batch.obs, counter_step, lambda state: state)


@pytest.mark.parametrize(
    ("actions", "first", "expected"),
    [
        ([0.0], 0.0, 100.0),  # no model step: Q itself
        ([0.0, 0.0], 0.0, 1.0 + 0.5 * 101.0),  # γ^H Q(s_H, a_H) with H = 1, not γ^2
        ([0.1, 0.2, 0.3], 0.0, 1.1 + 0.5 * 2.2 + 0.25 * (102.0 + 3.0)),  # the last action is Q's alone
        ([0.0, 0.0, 0.0], 1.0, 2.0 + 0.5 * 3.0),  # the step that terminates pays, nothing after it does
        ([0.0, 0.0, 0.0, 0.0], 1.0, 2.0 + 0.5 * 3.0),
    ],
)
def test_value_of_a_sequence_by_hand(actions, first, expected, key):
    problem = Problem(COUNTER, around(0.0, 1.0), lambda obs, action: 100.0 + obs[..., 0] + 10.0 * action[..., 0], 0.5)
    sequences = jnp.asarray(actions)[None, :, None]
    np.testing.assert_allclose(cem.evaluate(problem, start([first]), sequences, key, 1), [expected], rtol=1e-6)


def test_following_given_actions_is_the_rollout_of_a_policy_that_gives_them(key):
    z = transitions(5).obs
    path = expansion.rollout(ORACLE, lambda obs, k: (jnp.tanh(obs[..., :ACTION]), None), z, key, 4)
    along = expansion.follow(ORACLE, path.action, z, key)
    for a, b in zip(jax.tree.leaves(path), jax.tree.leaves(along), strict=True):
        np.testing.assert_array_equal(a, b)


def test_refit_by_hand():
    """Two elites of five, 1 and 5, have mean 3 and variance 4; a tenth of what was before stays."""
    settings = Config(candidates=5, elite_fraction=0.4, smoothing=0.1)
    candidates = jnp.array([1.0, -9.0, 5.0, 7.0, 3.0])[:, None, None]
    scores = jnp.array([5.0, 0.0, 4.0, jnp.nan, jnp.inf])
    plan = cem.refit(Plan(jnp.full((1, 1), 10.0), jnp.full((1, 1), 9.0)), candidates, scores, settings)
    np.testing.assert_allclose(plan.mean, [[0.1 * 10.0 + 0.9 * 3.0]], rtol=1e-6)
    np.testing.assert_allclose(plan.variance, [[0.1 * 9.0 + 0.9 * 4.0]], rtol=1e-6)


def test_candidates_that_all_fail_leave_the_plan_finite():
    plan, candidates = Plan(jnp.zeros((2, 1)), jnp.ones((2, 1))), jnp.arange(20.0).reshape(10, 2, 1)
    plan = cem.refit(plan, candidates, jnp.full(10, jnp.nan), Config(candidates=10))
    assert all(np.isfinite(x).all() for x in plan)


@pytest.mark.parametrize(("fraction", "candidates", "elites"), [(0.1, 256, 25), (0.29, 100, 29), (1.0, 7, 7)])
def test_elites_are_the_share_rounded_down(fraction, candidates, elites):
    assert Config(candidates=candidates, elite_fraction=fraction).elites == elites


def test_the_search_begins_with_standard_deviations_along_the_mode(key):
    """Mean s, standard deviation 0.5 + t: variances are squares of the deviation (not of its logarithm)."""
    problem = Problem(COUNTER, lambda obs: (0.1 * obs, 0.5 + obs), lambda obs, action: obs[..., 0], 1.0)
    plan = cem.begin(problem, start([0.0]), key, Config(horizon=2))
    np.testing.assert_allclose(plan.mean[:, 0], [0.0, 0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(plan.variance[:, 0], [0.25, 2.25, 6.25], rtol=1e-6)


def test_a_deterministic_policy_is_explored_by_its_actions(key):
    """One deviation towards the middle moves the action by `initial_deviation`, however saturated."""
    action = np.array([-0.999999, -0.5, 0.0, 0.2, 0.9, 0.999999])
    mean = np.arctanh(action)
    std = cem.deviation_before_tanh(jnp.asarray(mean), 0.3)
    np.testing.assert_allclose(np.tanh(np.abs(mean) - std), np.abs(action) - 0.3, atol=1e-5)
    problem = Problem(COUNTER, around(0.0, None), lambda obs, action: obs[..., 0], 1.0)
    plan = cem.begin(problem, start([0.0]), key, Config(horizon=1, initial_deviation=0.5))
    np.testing.assert_allclose(plan.variance, np.full((2, 1), np.arctanh(0.5) ** 2), rtol=1e-5)


def scalar_lqr(noise=0.0):
    return Lqr(*(jnp.full((1, 1), x) for x in (0.9, 0.5, 1.0, 0.3, noise)), discount=0.9)


@pytest.mark.parametrize("horizon", [0, 1, 4])
def test_the_best_first_action_of_a_linear_system(horizon, key):
    """With the optimal Q at its end, a search over any horizon has the optimal gain's action as its best."""
    lqr = scalar_lqr()
    gain = lqr.optimal_gain()
    problem = Problem(lqr.oracle, around(0.0, 1.0), partial(lqr.q_value, gain), lqr.discount)
    search = jax.jit(lambda obs, key: cem.plan(problem, start(obs), key, Config(horizon=horizon, iterations=8)))
    for state in (-0.8, 0.2, 0.6):
        best = float(gain[0, 0] * state)
        assert 0.1 < abs(best) < 0.9
        np.testing.assert_allclose(np.tanh(search([state], key).mean[0, 0]), best, atol=0.02)


def test_where_the_critic_counts_decides_on_the_action(key):
    """A critic that pays for a distant place outweighs a cost of moving there, if γ^H is what weighs it.

    J = -a_0² + γ · 2 s_1 with s_1 = a_0 is best at a_0 = γ; weighed by γ² it would be at γ².
    """
    dynamics = Dynamics(lambda b: b.obs, lambda s, a, k: (a, -jnp.square(a[..., 0]), jnp.ones(len(a))), lambda s: s)
    problem = Problem(dynamics, around(0.0, 1.0), lambda obs, action: 2.0 * obs[..., 0], 0.6)
    plan = jax.jit(lambda key: cem.plan(problem, start([0.0]), key, Config(horizon=1, iterations=8)))(key)
    np.testing.assert_allclose(np.tanh(plan.mean[0]), 0.6, atol=0.03)


def test_particles_average_the_noise_of_the_model(key):
    lqr = scalar_lqr(noise=0.5)
    problem = Problem(lqr.oracle, around(0.0, 1.0), lambda obs, action: obs[..., 0], 1.0)
    same = jnp.zeros((400, 3, 1))
    once, often = (np.asarray(cem.evaluate(problem, start([1.0]), same, key, n)) for n in (1, 16))
    assert once.shape == often.shape == (400,)
    np.testing.assert_allclose(often.std() / once.std(), 0.25, rtol=0.25)
    np.testing.assert_allclose(often.mean(), once.mean(), atol=4 * once.std() / 20)


def test_every_candidate_keeps_its_particles_together(key):
    """Candidates, not particles, are told apart: the mean is over a candidate's own rollouts."""
    problem = Problem(COUNTER, around(0.0, 1.0), lambda obs, action: 0.0 * obs[..., 0], 1.0)
    sequences = jnp.array([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]])[..., None]
    np.testing.assert_allclose(cem.evaluate(problem, start([0.0]), sequences, key, 4), [1.1, 1.2, 1.3], rtol=1e-6)


@pytest.fixture(scope="module", params=["mage", "svg"])
def planned(request):
    agent, state = module(request.param), ready(request.param)
    return agent, state, jax.jit(lambda state, obs, key: cem.act(agent, state, obs, key, FEW))


def test_actions_are_bounded_and_follow_from_the_key(planned, key):
    _, state, act = planned
    obs = transitions(1).obs[0]
    action = act(state, obs, key)
    assert action.shape == (ACTION,)
    assert float(jnp.abs(act(state, 100.0 * obs, key)).max()) <= 1.0
    np.testing.assert_array_equal(action, act(state, obs, jax.random.key(0)))
    assert (action != act(state, obs, jax.random.key(1))).any()


def test_vmap_over_environments_equals_a_loop(planned, key):
    _, state, act = planned
    obs, keys = transitions(4).obs, jax.random.split(key, 4)
    together = jax.vmap(act, (None, 0, 0))(state, obs, keys)
    for i in range(4):
        np.testing.assert_allclose(together[i], act(state, obs[i], keys[i]), atol=1e-5)


def test_vmap_over_seeds_equals_a_loop(planned, key):
    agent, _, act = planned
    name, obs = agent.__name__.rpartition(".")[2], transitions(1).obs[0]
    states = [ready(name, seed=i) for i in range(2)]
    together = jax.vmap(act, (0, None, None))(jax.tree.map(lambda *x: jnp.stack(x), *states), obs, key)
    assert (together[0] != together[1]).any()
    for one, state in zip(together, states, strict=True):
        np.testing.assert_allclose(one, act(state, obs, key), atol=1e-5)


def test_no_key_is_used_twice(planned):
    agent, state, _ = planned
    with jax.debug_key_reuse(True):
        jax.jit(lambda key: cem.act(agent, state, jnp.ones(OBS), key, FEW))(jax.random.key(0))


def test_no_search_is_the_policy_itself(planned, key):
    agent, state, _ = planned
    obs = transitions(3).obs
    idle = jax.jit(jax.vmap(lambda obs: cem.act(agent, state, obs, key, Config(horizon=1, iterations=0))))
    np.testing.assert_allclose(idle(obs), agent.act(state, obs, key, explore=False), atol=1e-5)


def test_the_search_finds_better_than_the_policy_by_its_own_measure(planned, key):
    """On the true dynamics, which are deterministic, what is found is worth more than the policy's own actions."""
    agent, _, _ = planned
    state = ready(agent.__name__.rpartition(".")[2], oracle=ORACLE)
    problem = Problem(
        ORACLE, partial(agent.distribution, state), partial(agent.value, state), jnp.asarray(state.config.discount)
    )

    @jax.jit
    def worth(obs):
        row = start(obs)
        found = [cem.plan(problem, row, key, Config(horizon=3, iterations=n)).mean for n in (0, 5)]
        return cem.evaluate(problem, row, jnp.tanh(jnp.stack(found)), key, 1)

    for obs in transitions(3).obs:
        before, after = worth(obs)
        assert after > before + 0.01


@pytest.mark.parametrize("name", MODEL_BASED)
def test_what_an_agent_offers_to_plan_with(name, key):
    """The distribution is that of `act`, the value the smallest critic's, the simulator advances what it observes."""
    agent, state, batch = module(name), ready(name, exploration_noise=0.0), transitions(2, 3)
    mean, std = agent.distribution(state, batch.obs)
    np.testing.assert_allclose(jnp.tanh(mean), agent.act(state, batch.obs, key, explore=False), atol=1e-5)
    draws = jax.vmap(lambda k: agent.act(state, batch.obs, k, explore=True))(jax.random.split(key, 4_000))
    quarters = jnp.quantile(jnp.arctanh(draws), jnp.array([0.25, 0.75]), axis=0)  # far draws may round to ±1
    np.testing.assert_allclose((quarters[1] - quarters[0]) / 1.349, 0.0 if std is None else std, rtol=0.09, atol=1e-5)
    value = agent.value(state, batch.obs, batch.action)
    q = agent.networks(state).q(state.ac.critic, batch.obs, batch.action)
    of_two = actor_critic.neighbour_minima(q).mean(0)  # the smaller
    np.testing.assert_allclose(value, of_two, rtol=1e-6)
    dynamics, rows = agent.simulator(state), transitions(5)
    z = dynamics.start(rows)
    np.testing.assert_allclose(dynamics.observe(z), rows.obs, atol=1e-5)
    z, reward, discount = dynamics.step(z, rows.action, key)
    assert dynamics.observe(z).shape == (5, OBS)
    assert reward.shape == discount.shape == (5,)


def test_an_oracle_is_what_plans_where_there_is_one():
    assert all(module(name).simulator(ready(name, oracle=ORACLE)) is ORACLE for name in MODEL_BASED)


@pytest.mark.parametrize("name", ["mage", "svg"])
def test_planning_on_true_dynamics_beats_a_poor_policy(name):
    """Untrained networks swing up the toy pendulum (-1500 to -155) once they plan three quarters of a second ahead."""
    toy, agent = TOYS["Pendulum"], module(name)
    state = agent.init(jax.random.key(0), toy.spec, config(name), oracle=toy.oracle)
    settings = Config(horizon=15, iterations=4, candidates=64, initial_deviation=0.8)

    def episode(key, act):
        def step(at, key):
            after, reward, _ = toy.step(at, act(toy.observe(at), key))
            return after, reward

        reset_key, *keys = jax.random.split(key, 1 + toy.spec.episode_length)
        return jax.lax.scan(step, toy.reset(reset_key), jnp.stack(keys))[1].sum()

    keys = jax.random.split(jax.random.key(3), 2)
    poor, good = (
        jax.jit(jax.vmap(partial(episode, act=act)))(keys)
        for act in (
            partial(agent.act, state, explore=False),
            lambda obs, k: cem.act(agent, state, obs, k, settings),
        )
    )
    assert poor.mean() < -900
    assert good.mean() > -350, (poor, good)


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_an_agent_without_a_model_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} has no model to plan with; leave planning"):
        cem.check(module(name), config(name), Config())


@pytest.mark.parametrize("changes", [{"horizon": 0}, {"actor": "sac"}])
def test_svg_that_trains_no_model_is_refused(changes):
    with pytest.raises(ValueError, match="svg learns no model"):
        cem.check(module("svg"), config("svg", **changes), Config())
    cem.check(module("svg"), config("svg", critic="mve", actor="sac"), Config())  # this one does


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": -1}, r"mpc.horizon: expected a value in \[0, 1000\], got -1"),
        ({"candidates": 5}, "mpc.elite_fraction: expected a share that leaves at least one of 5 candidates, got 0.1"),
        ({"initial_deviation": 1.0}, "mpc.initial_deviation"),
        ({"particles": 0}, "mpc.particles"),
        ({"smoothing": float("nan")}, "mpc.smoothing"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        cem.check(module("mage"), config("mage"), Config(**changes))
