"""`pbrl gradcheck` on dynamics whose gradients are right, wrong, infinite or absent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbrl.cli import main
from pbrl.diagnose import gradcheck
from pbrl.envs import oracles

ENV = "pbrl/ToyPointMass-v0"


def told(monkeypatch, bend, horizons=(1, 3)):
    """What is said of the point mass whose step's derivative is bent: `bend(value) -> value`."""
    true = oracles.oracle(ENV)

    def step(z, action, key):
        z, reward, discount = true.step(z, action, key)
        return bend(z), bend(reward), discount

    monkeypatch.setattr(oracles, "oracle", lambda env_id: true._replace(step=step))
    rows = gradcheck.measure(ENV, horizons, 6, 0).rows
    return rows, " ".join(gradcheck.advice(rows))


def test_right_gradients_are_called_right(monkeypatch, x64):
    rows, said = told(monkeypatch, lambda x: x)
    for row in rows:
        assert row.finite == 1 and row.error[1] < 1e-6 and row.cosine[1] > 1 - 1e-9 and row.reward_norm > 0
    assert rows[1].norm[0] > rows[0].norm[0] > 0
    assert "at every horizon" in said and "no slope" not in said
    worse = [rows[0], rows[1]._replace(error=(0.5, 0.5)), rows[1]._replace(horizon=5)]
    assert "up to H = 1: go no further" in gradcheck.advice(worse)[0]


def test_wrong_gradients_are_called_wrong(monkeypatch, x64):
    def halved(x):
        return jax.lax.stop_gradient(0.5 * x) + 0.5 * x

    rows, said = told(monkeypatch, halved)
    np.testing.assert_allclose(rows[0].error[0], 0.5, atol=0.1)
    assert rows[0].cosine[0] > 0.9 and "do not agree with differences at H = 1, the shortest" in said


def test_infinite_ones_are_counted_and_missing_slopes_named(monkeypatch, x64):
    def broken(x):
        return x + 0.0 * jnp.sqrt(jnp.where(x > 0, 0.0 * x, 1.0))  # NaN backwards wherever x is positive

    rows, said = told(monkeypatch, broken)
    assert 0 <= rows[-1].finite < 1 and "not finite in" in said
    rows, said = told(monkeypatch, jax.lax.stop_gradient, horizons=(1,))
    assert rows[0].reward_norm == 0 and "no slope" in said and "do not agree" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Humanoid-v5"], "has no differentiable twin"),
        (["NoSuchEnv-v0"], "there is no environment"),
        (["Pendulum-v1", "--horizons", "0"], "--horizons: expected an integer from 1 to 10000, got 0"),
        (["Pendulum-v1", "--out", "nowhere/at/all.json"], "--out: there is no folder nowhere/at"),
        (["Pendulum-v1", "--states", "0"], "--states: expected an integer from 1 to 100000, got 0"),
        (["Pendulum-v1", "--seed", "-1"], "--seed: expected an integer from 0 to 4294967295, got -1"),
    ],
)
def test_bad_input_gets_a_sentence(words, said, capsys, x64):
    assert main.guarded(lambda: main.run(["gradcheck", *words])) == 2
    assert said in capsys.readouterr().err


def test_the_command_prints_a_table_and_writes_it(tmp_path, capsys, x64):
    out = tmp_path / "x.json"
    main.run(["gradcheck", ENV, "--horizons", "2", "1", "--states", "4", "--out", str(out)])
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[2:4]] == ["1", "2"] and "agree with differences" in text
    assert '"horizon": 2' in out.read_text()
