"""What every agent must keep to, whatever it computes."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from glossary import unexplained
from small_agents import AGENTS, OBS, ORACLE, SPEC, UNKNOWN, VARIANTS, config, jitted, module, ready, transitions

KEY = jax.random.key(9)
MODEL_BATCH = transitions(4, 16)
BATCH = replace(transitions(32), extras={"log_prob": jnp.linspace(-3.0, 0.0, 32)})  # for agents that remember it


@pytest.fixture(params=(*AGENTS, *VARIANTS))
def name(request):
    return request.param


PHASES = {"update": (BATCH, KEY), "update_model": (MODEL_BATCH, KEY), "observe": (BATCH,)}


@cache
def donating(name, phase, spec):
    """One program of a phase that takes its state's memory, and a list with an entry for each of its traces."""
    traces = []

    def counted(*args):
        traces.append(1)
        return getattr(module(name), phase)(*args)

    return jax.jit(counted, donate_argnums=0), traces


def call(name, phase, spec, state):
    """What a phase makes of a state, whose memory it takes, and its metrics."""
    result = donating(name, phase, spec)[0](state, *PHASES[phase])
    return (result, {}) if phase == "observe" else result


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("spec", [SPEC, UNKNOWN], ids=["known", "learned"])
def test_state_keeps_its_structure_shapes_and_types(name, phase, spec):
    state = ready(name, spec)
    new, metrics = call(name, phase, spec, state)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    assert shapes(new) == shapes(state)
    assert all(v.shape == () and np.isfinite(v) for v in metrics.values()), metrics
    assert not unexplained(metrics), "docs/reference/metrics.md lacks them"


@pytest.mark.parametrize("phase", PHASES)
def test_one_trace_in_three_calls_that_donate(name, phase):
    """Neither a weak type nor a Python float of a fresh state costs a trace; no two of its leaves are one buffer.

    Aliased leaves (targets, for one) would make donation fail or corrupt its input.
    """
    state = module(name).init(KEY, SPEC, config(name))
    for _ in range(3):
        state, _ = call(name, phase, SPEC, state)
    assert len(donating(name, phase, SPEC)[1]) == 1


def test_same_input_same_output_and_input_untouched(name):
    state, update = ready(name), jitted(name, "update")
    before = jax.tree.map(np.array, state)
    first, second = (update(state, BATCH, KEY) for _ in range(2))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    other, _ = update(state, BATCH, jax.random.key(10))
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first[0]), jax.tree.leaves(other), strict=True))


def test_jit_changes_nothing_but_rounding(name):
    state = ready(name)
    compiled, plain = jitted(name, "update")(state, BATCH, KEY)[1], module(name).update(state, BATCH, KEY)[1]
    for metric, value in plain.items():
        np.testing.assert_allclose(compiled[metric], value, rtol=1e-4, atol=1e-6)


def test_vmap_over_seeds_and_a_hyperparameter_equals_a_loop(name):
    """A population in one program: learning rates are leaves."""
    rates, keys = (1e-4, 1e-2, 1e-3), jax.random.split(KEY, 3)
    states = [ready(name, seed=seed, critic_lr=rate) for seed, rate in enumerate(rates)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
    together, _ = jax.jit(jax.vmap(module(name).update, in_axes=(0, None, 0)))(stacked, BATCH, keys)
    for i, state in enumerate(states):
        alone, _ = jitted(name, "update")(state, BATCH, keys[i])
        for a, b in zip(jax.tree.leaves(together.ac), jax.tree.leaves(alone.ac), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=2e-4, atol=1e-6)
    critics = zip(*(jax.tree.leaves(s.ac.critic) for s in (together, stacked)), strict=True)
    moved = [np.abs(np.asarray(a) - b).max() for a, b in critics]
    assert max(moved) > 1e-3


def test_no_key_is_used_twice(name):
    agent = module(name)

    @jax.jit
    def everything(*keys):
        state = agent.init(keys[0], SPEC, config(name))
        state, _ = agent.update_model(state, MODEL_BATCH, keys[1])
        state, _ = agent.update(state, BATCH, keys[2])
        return agent.act(state, BATCH.obs, keys[3], explore=True)

    with jax.debug_key_reuse(True):
        everything(*(jax.random.key(i) for i in range(4)))


SHAPES = [(), (5,), (2, 3)]


@cache
def actions(name):
    """What an agent does in states of every leading shape, by one program: its mode under two keys, and with noise."""
    act, state = module(name).act, ready(name, exploration_noise=3.0)

    @jax.jit
    def everything(state, key, other):
        places = {shape: 2.0 * jax.random.normal(key, (*shape, OBS)) for shape in SHAPES}
        ways = ((key, False), (other, False), (key, True))
        return {shape: [act(state, obs, k, explore=e) for k, e in ways] for shape, obs in places.items()}

    return everything(state, KEY, jax.random.key(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_act_takes_any_leading_axes_and_stays_in_bounds(name, shape):
    mode, again, noisy = actions(name)[shape]
    assert mode.shape == noisy.shape == (*shape, 2)
    assert np.abs(noisy).max() <= 1.0 and not np.allclose(mode, noisy)
    np.testing.assert_array_equal(mode, again)


def test_whether_to_explore_may_be_traced(name):
    """So that `jax.jit(agent.act)` is all that a loop needs."""
    act, state = jax.jit(module(name).act), ready(name)
    for explore in (False, True):
        expected = module(name).act(state, BATCH.obs, KEY, explore=explore)
        np.testing.assert_allclose(act(state, BATCH.obs, KEY, explore=explore), expected, atol=1e-6)


@pytest.mark.parametrize("function", ["observe", "update_model", "update", "act"])
def test_another_shape_is_told_in_one_sentence(name, function):
    agent, state = module(name), ready(name)
    if function == "act":
        with pytest.raises(ValueError, match=r"obs: expected shape \[..., 3\], .* got \[8, 4\]"):
            agent.act(state, np.zeros((8, 4)), KEY, explore=False)
        return
    if function == "update_model" and not agent.abilities(state.config).has_model:
        return
    key = () if function == "observe" else (KEY,)
    column = replace(BATCH, reward=BATCH.reward[:, None])
    for batch in (column, replace(BATCH, action=BATCH.obs), jax.tree.map(lambda x: x[0], BATCH)):
        with pytest.raises(
            ValueError, match=r"expected transitions \[B\], such as obs \[B, 3\], action \[B, 2\], .* got"
        ):
            jax.eval_shape(getattr(agent, function), state, batch, *key)


def test_the_config_of_another_agent_is_refused(name):
    agent, other = module(name), module("mage" if name != "mage" else "sac")
    for given in (other.Config(), agent.Config):
        with pytest.raises(ValueError, match=rf"config: expected {agent.__name__}.Config\(...\), got "):
            agent.init(KEY, SPEC, given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discount": 1.5}, r"config.discount: expected a value in \[0, 1\], got 1.5"),
        ({"critic_lr": -1.0}, "config.critic_lr"),
        ({"tau": float("nan")}, "config.tau"),
        ({"actor_hidden": (8, 0)}, "config.actor_hidden"),
        ({"critics": 0}, "config.critics"),
        ({"policy_delay": 0}, "config.policy_delay"),
        ({"activation": "swich"}, "did you mean 'swish'"),
        ({"precision": "low"}, "config.precision"),
        ({"td_loss": "mse"}, "config.td_loss: got 'mse'; known names: huber, squared"),
        ({"critic_norm": "batch"}, "config.critic_norm: got 'batch'; known names: layer, none"),
        ({"ensemble_size": 0}, "config.ensemble_size"),
        ({"horizon": -1}, "config.horizon"),
        ({"actor": "scg"}, "did you mean 'svg'"),
        ({"critic": "mvs"}, "did you mean 'mve'|known names: categorical, squared"),
        ({"dynamics": "gru"}, "known names: ensemble, recurrent"),
        ({"entropy_steps": 0.0}, "config.entropy_steps"),
        ({"initial_temperature": -0.1}, "config.initial_temperature"),
    ],
)
def test_values_that_cannot_work_are_refused(name, changes, message):
    if not changes.keys() <= module(name).Config.__dataclass_fields__.keys():
        pytest.skip(f"{name} has no such field")
    with pytest.raises(ValueError, match=message):
        module(name).init(KEY, SPEC, config(name, **changes))


def test_mage_refuses_an_activation_without_second_derivative():
    with pytest.raises(ValueError, match="second derivative"):
        module("mage").init(KEY, SPEC, config("mage", activation="relu"))


@pytest.mark.parametrize("free", ["td3", "sac"])
def test_model_free_agents_refuse_an_oracle(free):
    with pytest.raises(ValueError, match="no use for an oracle"):
        module(free).init(KEY, SPEC, oracle=ORACLE)
