"""Files that ONNX Runtime's optimizer has written, run by our engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import rdquant as rdq
from networks import Net
from test_microsoft import noise

onnxruntime = pytest.importorskip("onnxruntime")


def convolutions(net: Net) -> tuple[str, tuple[int, ...]]:
    x = net.call("Relu", net.conv("x", 8, 4, pads=[1] * 4))
    y = net.call("Add", net.conv(x, 8, 8, pads=[1] * 4), x)
    return net.call("LeakyRelu", net.conv(net.call("Relu", y), 8, 8), alpha=0.2), (2, 4, 9, 9)


def block(net: Net) -> tuple[str, tuple[int, ...]]:
    """Of a transformer: products that are scaled and transposed, sums that are normalized, GELU."""

    def norm(x: str) -> str:
        return net.call("LayerNormalization", x, net.noise(24), net.noise(24), axis=-1)

    def heads(x: str) -> str:
        sizes = net.integers(2, 5, 3, 8)
        return net.call("Transpose", net.call("Reshape", x, sizes), perm=[0, 2, 1, 3])

    x = norm("x")
    q, k, v = (heads(net.call("MatMul", x, net.noise(24, 24))) for _ in range(3))
    turned = net.call("Transpose", k, perm=[0, 1, 3, 2])
    scores = net.call("Mul", net.call("MatMul", q, turned), net.tensor(np.float32(0.35)))
    mixed = net.call("MatMul", net.call("Softmax", scores, axis=-1), v)
    flat = net.integers(2, 5, 24)
    joined = net.call("Reshape", net.call("Transpose", mixed, perm=[0, 2, 1, 3]), flat)
    x = net.call("Add", net.call("MatMul", joined, net.noise(24, 24)), x)
    wide = net.call("Add", net.call("MatMul", norm(x), net.noise(24, 48)), net.noise(48))
    erf = net.call(
        "Add", net.call("Erf", net.call("Div", wide, net.tensor(np.float32(np.sqrt(2))))), net.tensor(1.0)
    )
    bent = net.call("Mul", net.call("Mul", wide, erf), net.tensor(0.5))
    x = net.call("Add", net.call("MatMul", bent, net.noise(48, 24)), x)
    return norm(x), (2, 5, 24)


@pytest.mark.parametrize(
    ("build", "opset", "written"),
    [
        (convolutions, 13, {"FusedConv"}),
        (convolutions, 17, {"FusedConv"}),
        (block, 17, {"FusedMatMul", "SkipLayerNormalization"}),
    ],
)
def test_files_of_the_optimizer(
    build: Callable[[Net], tuple[str, tuple[int, ...]]], opset: int, written: set[str], tmp_path: Path
) -> None:
    net = Net()
    out, shape = build(net)
    feeds = {"x": noise(*shape)}
    path = tmp_path / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    plain = net.model(out, shape, opset)
    plain.graph.output[0].ClearField("type")
    peer = onnxruntime.InferenceSession(
        plain.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (expected,) = peer.run(None, feeds)
    assert written <= {node.op_type for node in onnx.load(path).graph.node}
    for session in (rdq.Session(path, "native"), rdq.Session(rdq.load(path), "native")):
        (found,) = session.run(feeds).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert "reference" not in {row["supplier"] for row in session.plan(feeds)}
