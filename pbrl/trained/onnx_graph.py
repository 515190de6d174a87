"""A policy as an ONNX graph, written node by node: it needs the package `onnx`, and no converter."""

from typing import Any

import numpy as np

from pbrl.nn.layers import Layers

OPSET, IR = 17, 8
"""Old enough for runtimes since 2022."""


def graph(layers: Layers, low: np.ndarray, high: np.ndarray) -> bytes:
    """Return the serialised model: "obs" `[batch, S]` to "action" `[batch, A]` within `low` and `high` `[A]`."""
    from onnx import TensorProto, helper, numpy_helper

    dtype = layers.mean.dtype
    kind = TensorProto.DOUBLE if dtype == np.float64 else TensorProto.FLOAT
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def node(operator: str, *inputs: str, out: str = "") -> str:
        out = out or f"x{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [out]))
        return out

    def activate(x: str) -> str:
        if layers.activation == "swish":
            return node("Mul", x, node("Sigmoid", x))
        return node({"relu": "Relu", "tanh": "Tanh"}[layers.activation], x)

    x = node("Div", node("Sub", "obs", constant("mean", layers.mean)), constant("std", layers.std))
    for i, (kernel, bias) in enumerate(layers.weights):
        x = node("Gemm", x, constant(f"kernel{i}", kernel), constant(f"bias{i}", bias))
        x = activate(x) if i < len(layers.weights) - 1 else node("Tanh", x)
    lowest, highest = constant("low", low), constant("high", high)
    x = node("Mul", node("Add", x, constant("one", [1.0])), constant("half_width", 0.5 * (high - low)))
    x = node("Max", node("Add", x, lowest), lowest)
    node("Min", x, highest, out="action")
    obs = helper.make_tensor_value_info("obs", kind, ["batch", len(layers.mean)])
    action = helper.make_tensor_value_info("action", kind, ["batch", len(low)])
    body = helper.make_graph(nodes, "policy", [obs], [action], constants)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(body, opset_imports=[opset], ir_version=IR, producer_name="pbrl").SerializeToString()
