"""What `pbrl export` writes acts as the policy does, in programs that have neither pbrl nor JAX."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from small_agents import AGENTS, OBS, ORACLE, UNKNOWN, config, has_model, module, ready

from pbrl.errors import RunError
from pbrl.nn.layers import of_actor
from pbrl.runs.layout import Layout
from pbrl.runs.run import Run
from pbrl.runs.schedule import Schedule
from pbrl.train import acting
from pbrl.trained import export
from pbrl.trained.policy import Policy
from pbrl.trained.restore import Acting

LAYOUT = Layout(OBS, 2, 50, (-1.0, 0.0), (3.0, 0.5))


@pytest.fixture(autouse=True)
def _few_calls(monkeypatch):
    monkeypatch.setattr(export, "CALLS", 5)
    monkeypatch.setattr(export.latency, "__defaults__", (5,))


def policy_of(name, n=1, **changes):
    oracle = ORACLE if has_model(name) else None  # no policy depends on a model, whose programs take long to compile
    states = [ready(name, UNKNOWN, seed, oracle, **changes) for seed in range(n)]
    state = jax.tree.map(lambda *xs: np.stack(xs), *states)
    run = Run(name, "Some-v0", tuple(range(n)), config(name, **changes), Schedule(), Path("nowhere"))
    return Policy(run, Acting(acting.part_of(module(name), state, OBS), LAYOUT, np.full(n, 7), {}))


def observations(*shape):
    return np.random.default_rng(1).normal(size=(*shape, OBS)).astype(np.float32)


@pytest.mark.parametrize("name", AGENTS)
def test_numpy_acts_as_every_agents_policy(name, tmp_path):
    policy = policy_of(name)
    (written,) = export.write(policy, tmp_path / "out", ["numpy"])
    assert written.files == ("policy.npz", "policy.json", "policy.py") and written.difference < 1e-5
    assert 0 < written.median <= written.p99
    layers = export.layers_of(policy)
    assert layers.weights[-1][1].shape == (2,) and len(layers.weights) == 3


def test_batch_norms_are_folded_into_the_layers(tmp_path):
    """XQC's actor, in whose file are no norms: everywhere the same action, wherever its observations lie."""
    policy = policy_of("sac", critic="categorical", normalize_obs=False)
    (written,) = export.write(policy, tmp_path / "out", ["numpy"])
    assert written.difference < 1e-5 and len(export.layers_of(policy).weights) == 3
    scaled = export.write(policy_of("sac", critic="categorical"), tmp_path / "scaled", ["numpy"])
    assert scaled[0].difference < 1e-5


@pytest.mark.parametrize("activation", ["swish", "relu", "tanh"])
def test_the_activation_goes_along(activation, tmp_path):
    export.write(policy_of("td3", activation=activation), tmp_path, ["numpy"])
    assert json.loads((tmp_path / "policy.json").read_text())["activation"] == activation


def test_the_runner_needs_numpy_alone(tmp_path):
    policy = policy_of("sac")
    export.write(policy, tmp_path / "out", ["numpy"])
    program = """
import sys
from policy import Policy
act = Policy()
print(act([[[0.1, 0.2, 0.3]] * 4] * 5).shape, *act([0.1, 0.2, 0.3]), act.about["env"])
try:
    act([1.0])
except ValueError as error:
    print(error)
heavy = {"pbrl", "jax", "flax", "gymnasium", "onnx"} & sys.modules.keys()
assert not heavy, heavy
"""
    folder = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("(5, 4, 2) ") and first.endswith(" Some-v0")
    np.testing.assert_allclose([float(x) for x in first.split()[3:5]], policy([0.1, 0.2, 0.3]), atol=1e-5)
    assert second == "expected observations [..., 3], got [1]"
    line = [sys.executable, str(folder / "policy.py"), "0.1", "0.2", "0.3"]
    said = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    assert said == first.split()[3:5]


@pytest.mark.parametrize("name", ["mage", "sac"])
@pytest.mark.skipif(bool(export.missing("stablehlo")), reason="flatbuffers is not installed")
def test_stablehlo_takes_any_number_of_rows_on_any_platform(name, tmp_path):
    policy = policy_of(name)
    (written,) = export.write(policy, tmp_path, ["stablehlo"])
    assert written.difference < 1e-5
    again = jax.export.deserialize(bytearray((tmp_path / "policy.stablehlo").read_bytes()))
    assert again.platforms == ("cpu", "cuda", "tpu")
    for rows in (1, 7):
        np.testing.assert_allclose(again.call(observations(rows)), policy(observations(rows)), atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"name": "td3", "activation": a} for a in ("swish", "relu", "tanh")] + [{"name": "sac"}]
)
@pytest.mark.skipif(bool(export.missing("onnx")), reason="onnx or onnxruntime is not installed")
def test_onnx_takes_any_number_of_rows(changes, tmp_path):
    import onnx
    import onnxruntime

    policy = policy_of(**changes)
    (written,) = export.write(policy, tmp_path, ["onnx"])
    assert written.difference < 1e-5
    onnx.checker.check_model(str(tmp_path / "policy.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"), providers=["CPUExecutionProvider"])
    for rows in (1, 7):
        (action,) = session.run(["action"], {"obs": observations(rows)})
        np.testing.assert_allclose(action, policy(observations(rows)), atol=1e-5)
    large = session.run(None, {"obs": 1e4 * observations(50)})[0]
    assert (large >= policy.low).all() and (large <= policy.high).all()


def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(RunError, match=r"one policy at a time: got those of seeds \[0, 1\]"):
        export.write(policy_of("td3", 2), tmp_path, ["numpy"])
    policy = policy_of("td3")
    with pytest.raises(RunError, match="there is no format 'torch'; expected some of numpy, stablehlo, onnx"):
        export.write(policy, tmp_path, ["torch"])
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"onnx needs onnx and onnxruntime: pip install 'pbrl\[export\]'"):
        export.write(policy, tmp_path, ["onnx"])
    monkeypatch.setattr(export, "agent_module", lambda name: SimpleNamespace())
    with pytest.raises(RunError, match="td3 does not say its policy as layers"):
        export.write(policy, tmp_path, ["numpy"])
    assert not list(tmp_path.iterdir())


def test_what_differs_from_the_policy_is_an_error(tmp_path, monkeypatch):
    policy = policy_of("td3")
    right = export.layers_of(policy)
    wrong = right._replace(weights=tuple((kernel, bias + 0.1) for kernel, bias in right.weights))
    monkeypatch.setattr(export, "layers_of", lambda policy: wrong)
    with pytest.raises(RunError, match="numpy differs from the policy by"):
        export.write(policy, tmp_path, ["numpy"])


def test_layers_of_raw_observations():
    params = {"MLP_0": {f"Dense_{i}": {"kernel": np.full((3, 4), i), "bias": np.zeros(4)} for i in range(11)}}
    layers = of_actor(params, None, 3, 2, "relu")
    np.testing.assert_array_equal([layers.mean, layers.std], [[0, 0, 0], [1, 1, 1]])
    assert [kernel.shape for kernel, _ in layers.weights] == [(3, 4)] * 10 + [(3, 2)]
    assert layers.weights[10][0][0, 0] == 10  # in order, not as words are sorted
