"""SVG's gradients, taken from `update` itself, against central differences in float64.

Adam's first moment after one update from fresh is a tenth of the gradient: the whole path from `update` is under test.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_agents import ORACLE, jitted, momentum, ready, transitions, unchanged
from test_mage_gradients import difference, dot, double, loss_of, random_directions

from pbrl.equations import expansion
from pbrl.types import Dynamics

BATCH, KEY, PARTS = 12, jax.random.key(11), ("actor", "critic", "target_critic")
FLAVOURS = {
    "sac": ("sac", {}),
    "svg": ("svg", {}),
    "ensemble": ("svg", {"dynamics": "ensemble"}),
    "oracle": ("svg", {"oracle": ORACLE, "horizon": 4}),
    "mve": ("svg", {"critic": "mve", "actor": "sac"}),
    "normalised critics": ("svg", {"critic_norm": "layer"}),
}


def off_kinks(state):
    """Biases away from zero: where a row leaves a whole layer dead, the next stands exactly on every kink of relu."""

    rng = np.random.default_rng(11)

    def shift(path, x):
        return x + 0.1 * rng.normal(size=x.shape) if path[-1].key == "bias" else x

    ac = replace(state.ac, **{n: jax.tree_util.tree_map_with_path(shift, getattr(state.ac, n)) for n in PARTS})
    return replace(state, ac=ac)


def moved(state, batch, part, name):
    """The gradient of one network, read off its optimiser."""
    after, _ = jitted(name, "update")(state, batch, KEY)
    return jax.tree.map(lambda mu: 10.0 * np.asarray(mu), momentum(getattr(after.ac, f"{part}_opt")))


@pytest.mark.parametrize("part", ["actor", "critic"])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_gradient(x64, flavour, part):
    """With still critics (rate 0) the actor's loss depends on its own parameters alone."""
    name, changes = FLAVOURS[flavour]
    state, batch = off_kinks(double(ready(name, critic_lr=0.0, **changes))), double(transitions(BATCH, seed=2))
    # targets hold the current actor: only the part under test moves, and the critic's loss holds targets still
    gradient, loss = moved(state, batch, part, name), loss_of(state, batch, part, name)
    for direction in random_directions(getattr(state.ac, part), 3):
        change = difference(loss, getattr(state.ac, part), direction)
        np.testing.assert_allclose(dot(gradient, direction), change, rtol=1e-5, atol=1e-9)


def test_termination_and_hidden_state_carry_gradient(x64):
    """The last latent state's reward sees the first action through the hidden state, and going on sees it at all."""
    from pbrl.agents.svg import simulator

    state, batch = double(ready("svg")), double(transitions(BATCH))
    still = replace(state, config=replace(state.config, termination_gradient=False))

    @jax.jit
    def look(action):
        dynamics, stopped = simulator(state), simulator(still)

        def first(model, i, action):
            return model.step(model.start(batch), action, KEY)[i].sum()

        def second(action, blind):
            (x, hidden), _, _ = dynamics.step(dynamics.start(batch), action, KEY)
            latent = (jax.lax.stop_gradient(x), jax.lax.stop_gradient(hidden) if blind else hidden)
            return dynamics.step(latent, batch.action, KEY)[0][0].sum()

        steps = [model.step(model.start(batch), action, KEY) for model in (dynamics, stopped)]
        ends = [jax.grad(partial(first, model, 2))(action) for model in (dynamics, stopped)]
        return steps, ends, jax.grad(partial(first, stopped, 1))(action), [jax.grad(second)(action, b) for b in (0, 1)]

    (step, same), (slope, no_slope), reward_slope, (through_hidden, nothing) = look(batch.action)
    assert ((step[2] > 0) & (step[2] < 1)).all() and unchanged(same, step)
    assert np.abs(slope).max() > 1e-6 and not no_slope.any() and reward_slope.any()
    assert np.abs(through_hidden).max() > 1e-6 and not nothing.any()


def test_temperature_gradient(x64):
    """α (entropy - target): the rate at which log α moves, from Adam's first moment."""
    state, batch = double(ready("svg", initial_entropy=-1.0)), double(transitions(BATCH))
    after, metrics = jitted("svg", "update")(state, batch, KEY)
    expected = state.ac.alpha * (metrics["actor/entropy"] + 1.0)
    np.testing.assert_allclose(10.0 * momentum(after.ac.alpha_opt), expected, rtol=1e-9)
    assert np.sign(after.ac.log_alpha - state.ac.log_alpha) == -np.sign(expected)


def test_linear_quadratic_closed_form(x64):
    """On x' = a x + b u with reward -(q x² + u²) and u = k x, three steps' value and slope in k, worked by hand."""
    a, b, q, gamma, k = 0.9, 0.5, 2.0, 0.95, -0.4
    from pbrl.equations.expansion import rollout

    linear = Dynamics(
        start=lambda batch: batch.obs,
        step=lambda x, u, key: (a * x + b * u, -(q * x**2 + u**2)[:, 0], jnp.ones(x.shape[0])),
        observe=lambda x: x,
    )
    x0 = double(transitions(BATCH)).obs[:, :1]

    def value(k):
        path = rollout(linear, lambda x, key: (k * x, jnp.zeros(x.shape[0])), x0, KEY, 3)
        nothing = jnp.zeros((4, BATCH))
        return expansion.soft_value_expansion(path.reward, path.discount, nothing, jnp.zeros(BATCH), 0.0, gamma).sum()

    closed = lambda k: -(x0**2).sum() * (q + k**2) * sum((gamma * (a + b * k) ** 2) ** t for t in range(3))  # noqa: E731
    found, slope = jax.jit(jax.value_and_grad(value))(k)
    np.testing.assert_allclose(found, closed(k), rtol=1e-12)
    np.testing.assert_allclose(slope, (closed(k + 1e-6) - closed(k - 1e-6)) / 2e-6, rtol=1e-7)


def test_update_moves_only_what_it_trains(x64):
    """The actor's gradient leaks into neither dynamics nor heads, and the dynamics' fit leaves all else alone."""
    state, batch = ready("svg"), transitions(BATCH)
    after, _ = jitted("svg", "update")(state, batch, KEY)
    assert unchanged(state.world.dynamics, after.world.dynamics) and not unchanged(state.world, after.world)
    still = replace(state, config=replace(state.config, head_lr=jnp.zeros_like(state.config.head_lr)))
    same, _ = jitted("svg", "update")(still, batch, KEY)
    assert unchanged(state.world.reward, same.world.reward)
    fitted, _ = jitted("svg", "update_model")(state, transitions(2, 16), KEY)
    assert unchanged((state.ac, state.stats, state.world.reward), (fitted.ac, fitted.stats, fitted.world.reward))
