"""A policy written for programs without pbrl: NumPy, StableHLO by `jax.export`, ONNX. Nothing is pickled.

Each is read back from its files, and held against the policy on random observations, before it counts as written.
"""

import importlib.util
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pbrl import __version__
from pbrl.errors import RunError
from pbrl.nn.layers import Layers
from pbrl.runs import files
from pbrl.runs.run import agent_module
from pbrl.trained import numpy_policy, onnx_graph
from pbrl.trained.policy import Policy
from pbrl.types import width

FORMATS = {"numpy": (), "stablehlo": ("flatbuffers",), "onnx": ("onnx", "onnxruntime")}
"""What can be written, and the packages of `pbrl[export]` that it needs."""
PLATFORMS = ("cpu", "cuda", "tpu")
ROWS, CALLS = 64, 1_000
TOLERANCE = 1e-4
"""Of the width of the actions' bounds: rounding is far below it, a layer gone wrong far above."""

Act = Callable[[np.ndarray], np.ndarray]


class Written(NamedTuple):
    """A format that was written and holds: its files, and the largest difference to the policy.

    `median` and `p99` are seconds of a call with one row: the median, and the 99th percentile.
    """

    format: str
    files: tuple[str, ...]
    difference: float
    median: float
    p99: float


def missing(name: str) -> list[str]:
    """Return the packages that a format needs and that are not installed."""
    return [package for package in FORMATS[name] if importlib.util.find_spec(package) is None]


def write(policy: Policy, out: Path, formats: Sequence[str]) -> list[Written]:
    """Write a policy of one seed into a folder, made where there is none; files of the same names are replaced.

    Raises `RunError` for several seeds, for an unknown format or a package that is missing, for an agent whose policy
    is no stack of layers, and where what was written acts otherwise than the policy.
    """
    if policy.several:
        raise RunError(f"one policy at a time: got those of seeds {list(policy.seeds)}; name one")
    for name in formats:
        if name not in FORMATS:
            raise RunError(f"there is no format {name!r}; expected some of {', '.join(FORMATS)}")
        if lacking := missing(name):
            raise RunError(f"{name} needs {' and '.join(lacking)}: pip install 'pbrl[export]'")
    layers = layers_of(policy)
    files.folder(out)
    files.write(out / "policy.json", json.dumps(_about(policy, layers, formats), indent=1) + "\n")
    writers = {"numpy": _numpy, "stablehlo": _stablehlo, "onnx": _onnx}
    obs = _observations(layers)
    written = []
    for name in formats:
        names, act = writers[name](policy, layers, out)
        difference = max(float(np.abs(act(rows) - policy(rows)).max()) for rows in (obs, obs[:1]))
        if not difference <= TOLERANCE * float((policy.high - policy.low).min()):
            raise RunError(f"{out}: {name} differs from the policy by {difference:g}; do not use it, and report this")
        written.append(Written(name, names, difference, *latency(lambda act=act: act(obs[:1]))))
    return written


def layers_of(policy: Policy) -> Layers:
    """Return a policy's layers. Raises `RunError` where its agent does not say them."""
    agent, state = agent_module(policy.run.agent), jax.tree.map(lambda x: x[0], policy.state)
    networks = getattr(agent, "networks", None)
    if networks is None or not hasattr(networks(state), "layers"):
        raise RunError(f"{policy.run.agent} does not say its policy as layers (`networks(state).layers`): add that")
    return networks(state).layers(state.ac.actor)


def latency(call: Callable[[], Any], calls: int = CALLS) -> tuple[float, float]:
    """Return the median and the 99th percentile of a call's seconds."""
    seconds = []
    for _ in range(calls + 20):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[20:])), float(np.quantile(seconds[20:], 0.99))


def _observations(layers: Layers) -> np.ndarray:
    """Draw observations `[ROWS, S]` as wide as those of training, and three times as wide."""
    rows = np.random.default_rng(0).normal(size=(ROWS, len(layers.mean)))
    rows[ROWS // 2 :] *= 3.0
    return (layers.mean + layers.std * rows).astype(width())


def _about(policy: Policy, layers: Layers, formats: Sequence[str]) -> dict[str, Any]:
    run, spec = policy.run, policy.spec
    return {
        **{"agent": run.agent, "env": run.env, "seed": policy.seeds[0], "step": policy.step},
        **{"obs_size": spec.obs_size, "action_size": spec.action_size, "episode_length": spec.episode_length},
        **{"low": policy.low.tolist(), "high": policy.high.tolist()},
        **{"activation": layers.activation, "layers": len(layers.weights)},
        **{"formats": list(formats), "pbrl": __version__, "jax": jax.__version__},
    }


def _numpy(policy: Policy, layers: Layers, out: Path) -> tuple[tuple[str, ...], Act]:
    arrays = {"mean": layers.mean, "std": layers.std, "low": policy.low, "high": policy.high}
    for i, (kernel, bias) in enumerate(layers.weights):
        arrays |= {f"kernel{i}": kernel, f"bias{i}": bias}
    content = io.BytesIO()
    np.savez(content, **arrays)  # pyright: ignore[reportArgumentType]
    files.write(out / "policy.npz", content.getvalue())
    files.write(out / "policy.py", Path(numpy_policy.__file__).read_bytes())
    return ("policy.npz", "policy.json", "policy.py"), numpy_policy.Policy(out)


def _stablehlo(policy: Policy, layers: Layers, out: Path) -> tuple[tuple[str, ...], Act]:
    """Write the compiled program's source for all platforms, for any number of rows."""
    from jax import export

    (batch,) = export.symbolic_shape("batch")
    rows = jax.ShapeDtypeStruct((batch, len(layers.mean)), width())
    name = "policy.stablehlo"
    exported = export.export(jax.jit(policy), platforms=PLATFORMS)(rows)
    files.write(out / name, bytes(exported.serialize()))
    again = jax.jit(export.deserialize(bytearray((out / name).read_bytes())).call)
    return (name,), lambda obs: np.asarray(again(obs))


def _onnx(policy: Policy, layers: Layers, out: Path) -> tuple[tuple[str, ...], Act]:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    files.write(out / "policy.onnx", onnx_graph.graph(layers, policy.low, policy.high))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # networks of this size are slower on several
    session = onnxruntime.InferenceSession(str(out / "policy.onnx"), options, providers=["CPUExecutionProvider"])
    return ("policy.onnx",), lambda obs: np.asarray(session.run(None, {"obs": obs})[0])
