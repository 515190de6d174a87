"""Every agent still computes what it computed when the numbers were recorded (`recording.py`)."""

import json

import jax.numpy as jnp
import pytest
import recording
from recording import HERE, VARIANTS, differences, numbers

CASES = [(name, variant) for name, variants in VARIANTS.items() for variant in variants]


def recorded(name):
    return json.loads((HERE / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_numbers_are_the_recorded_ones(x64, name, variant):
    assert differences(recorded(name)[variant], numbers(name, variant)) == []


def test_every_recording_is_compared():
    assert sorted(VARIANTS) == sorted(path.stem for path in HERE.glob("*.json"))
    assert all(recorded(name).keys() == VARIANTS[name].keys() for name in VARIANTS)


def test_two_terms_of_a_loss_that_are_swapped_are_noticed(x64, monkeypatch):
    """λ on the gradient's term and 1 on the TD error's, and in another agent reward and value in the target."""
    swapped = {"default": {"lam": 1.0, "gradient_weight": 0.2}}
    monkeypatch.setitem(recording.VARIANTS, "mage", swapped)
    assert any(
        "/last/critic/loss" in line for line in differences(recorded("mage")["default"], numbers("mage", "default"))
    )

    monkeypatch.setattr(
        "pbrl.agents.td3.td_target", lambda reward, discount, value, gamma: value + gamma * discount * reward
    )
    found = differences(recorded("td3")["default"], numbers("td3", "default"))
    assert any("/first/critic/loss" in line for line in found) and any("/state/ac.critic" in line for line in found)


def test_a_part_in_a_million_is_noticed():
    assert differences({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 * (1 + 1e-6)]}) == [
        "/x: recorded [1.0, 2.0], found [1.0, 2.000002]"
    ]
    assert differences({"x": 1.0}, {"x": float(jnp.nan)}) and differences({"x": 1.0}, {"y": 1.0})
