"""What rewards are divided by, against NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.nn import return_scale
from pbrl.types import Transition

GAMMA = 0.9


def episodes(*lengths, terminated=True):
    """Transitions of episodes, one after the other; each begins elsewhere than the one before ended."""
    rng, rows = np.random.default_rng(3), []
    for length in lengths:
        obs = rng.normal(size=(length + 1, 2))
        discount = np.ones(length)
        discount[-1] = float(not terminated)
        rows.append((obs[:-1], rng.normal(size=(length, 1)), rng.normal(size=length), discount, obs[1:]))
    return Transition(*(jnp.asarray(np.concatenate(x), jnp.float32) for x in zip(*rows, strict=True)))


def by_hand(reward, lengths):
    """G of every step: within an episode r + γ G of the step before."""
    g, start = [], 0
    for length in lengths:
        carried = 0.0
        for r in np.asarray(reward)[start : start + length]:
            carried = r + GAMMA * carried
            g.append(carried)
        start += length
    return np.array(g)


@pytest.mark.parametrize("terminated", [True, False], ids=["terminated", "cut by a time limit"])
@pytest.mark.parametrize("at_once", [1, 4, 12])
def test_scale_is_the_deviation_of_the_running_discounted_return(at_once, terminated):
    """Row by row as a run collects them, or many at once as a dataset gives them."""
    lengths = (5, 4, 3)
    rows, state = episodes(*lengths, terminated=terminated), return_scale.init(2)
    for i in range(0, 12, at_once):
        state = return_scale.update(state, jax.tree.map(lambda x, i=i: x[i : i + at_once], rows), GAMMA)
    expected = by_hand(rows.reward, lengths)
    np.testing.assert_allclose(state.scale, expected.std(), rtol=1e-5)
    np.testing.assert_allclose(state.moments.mean, expected.mean(), rtol=1e-4, atol=1e-6)


def test_rows_in_no_order_give_the_rewards_deviation():
    rows = episodes(12)
    shuffled = jax.tree.map(lambda x: x[np.array([3, 0, 7, 5, 2, 11, 9, 1, 6, 4, 10, 8])], rows)
    np.testing.assert_allclose(return_scale.update(return_scale.init(2), shuffled, GAMMA).scale, np.std(rows.reward))


def test_without_rewards_that_differ_nothing_is_divided():
    rows = episodes(1, 1, 1)
    state = return_scale.init(2)
    assert float(state.scale) == 1.0
    assert float(return_scale.update(state, replace(rows, reward=jnp.zeros(3)), GAMMA).scale) == 1.0
