"""What every agent must keep to, whatever it computes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import AGENTS, OBS, SPEC, UNKNOWN, config, module, ready, transitions

KEY = jax.random.key(9)
BATCH, MODEL_BATCH = transitions(32), transitions(4, 16)


@pytest.fixture(params=AGENTS)
def name(request):
    return request.param


def phases(name):
    agent = module(name)
    return {
        "update": (agent.update, BATCH),
        "update_model": (agent.update_model, MODEL_BATCH),
        "observe": (lambda state, batch, key: (agent.observe(state, batch), {}), BATCH),
    }


@pytest.mark.parametrize("phase", ["update", "update_model", "observe"])
@pytest.mark.parametrize("spec", [SPEC, UNKNOWN], ids=["known", "learned"])
def test_state_keeps_its_structure_shapes_and_types(name, phase, spec):
    function, batch = phases(name)[phase]
    state = ready(name, spec)
    new, metrics = jax.jit(function)(state, batch, KEY)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    assert shapes(new) == shapes(state)
    assert all(v.shape == () and np.isfinite(v) for v in metrics.values()), metrics


@pytest.mark.parametrize("phase", ["update", "update_model", "observe"])
def test_one_trace_in_three_calls(name, phase):
    function, batch = phases(name)[phase]
    traces = []

    @jax.jit
    def counted(state, batch, key):
        traces.append(1)
        return function(state, batch, key)

    state = module(name).init(KEY, SPEC, config(name))  # straight from init: no weak types, no Python floats
    for i in range(3):
        state, _ = counted(state, batch, jax.random.key(i))
    assert len(traces) == 1


def test_same_input_same_output_and_input_untouched(name):
    state = ready(name)
    before = jax.tree.map(np.array, state)
    first, second = (jax.jit(module(name).update)(state, BATCH, KEY) for _ in range(2))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)
    other, _ = jax.jit(module(name).update)(state, BATCH, jax.random.key(10))
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(first[0]), jax.tree.leaves(other), strict=True))


def test_jit_changes_nothing_but_rounding(name):
    state = ready(name)
    compiled, plain = jax.jit(module(name).update)(state, BATCH, KEY)[1], module(name).update(state, BATCH, KEY)[1]
    for metric, value in plain.items():
        np.testing.assert_allclose(compiled[metric], value, rtol=1e-4, atol=1e-6)


def test_vmap_over_seeds_equals_a_loop(name):
    agent = module(name)
    keys = jax.random.split(KEY, 3)

    def run(key):
        return agent.update(agent.init(key, SPEC, config(name)), BATCH, key)[0]

    together, alone_at = jax.jit(jax.vmap(run))(keys), jax.jit(run)
    for i in range(3):
        alone = alone_at(keys[i])
        for a, b in zip(jax.tree.leaves(together.ac), jax.tree.leaves(alone.ac), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=2e-4, atol=1e-6)


def test_vmap_over_a_hyperparameter_equals_separate_runs(name):
    """A population in one program: learning rates are leaves."""
    agent, rates = module(name), jnp.array([1e-4, 1e-2])

    def run(rate):
        return agent.update(agent.init(KEY, SPEC, replace(config(name), critic_lr=rate)), BATCH, KEY)[0]

    together = jax.jit(jax.vmap(run))(rates)
    for i, rate in enumerate((1e-4, 1e-2)):
        alone = jax.jit(lambda rate=rate: run(rate))()
        for a, b in zip(jax.tree.leaves(together.ac.critic), jax.tree.leaves(alone.ac.critic), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("phase", ["update", "update_model"])
def test_donation_leaves_no_alias(name, phase):
    """Aliased leaves (targets, for one) would make donation fail or corrupt its input."""
    function, batch = phases(name)[phase]
    donated = jax.jit(function, donate_argnums=0)
    expected, _ = jax.jit(function)(ready(name), batch, KEY)
    new, _ = donated(ready(name), batch, KEY)
    new, _ = donated(new, batch, KEY)
    assert jax.tree.structure(new) == jax.tree.structure(expected)


def test_no_key_is_used_twice(name):
    agent = module(name)
    with jax.debug_key_reuse(True):
        state = jax.jit(lambda key: agent.init(key, SPEC, config(name)))(jax.random.key(0))
        state, _ = jax.jit(agent.update_model)(state, MODEL_BATCH, jax.random.key(1))
        state, _ = jax.jit(agent.update)(state, BATCH, jax.random.key(2))
        agent.act(state, BATCH.obs, jax.random.key(3), explore=True)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_act_takes_any_leading_axes_and_stays_in_bounds(name, shape):
    state = ready(name, exploration_noise=3.0)
    obs = 2.0 * jax.random.normal(KEY, (*shape, OBS))
    act = module(name).act
    mode, noisy = (act(state, obs, KEY, explore=e) for e in (False, True))
    assert mode.shape == noisy.shape == (*shape, 2)
    assert float(jnp.abs(noisy).max()) <= 1.0 and not np.allclose(mode, noisy)
    np.testing.assert_array_equal(mode, act(state, obs, jax.random.key(1), explore=False))


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
        ({"ensemble_size": 0}, "config.ensemble_size"),
        ({"horizon": -1}, "config.horizon"),
        ({"actor": "scg"}, "did you mean 'svg'"),
        ({"critic": "mvs"}, "did you mean 'mve'"),
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
    from small import ORACLE

    with pytest.raises(ValueError, match="no use for an oracle"):
        module(free).init(KEY, SPEC, oracle=ORACLE)
