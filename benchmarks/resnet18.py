"""ResNet-18 with random weights, for what depends on shapes and not on what a network knows."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["images", "resnet18"]

_SIZE = 224
_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block


class _Builder:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[TensorProto] = []

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def normal(self, name: str, shape: tuple[int, ...], deviation: float) -> str:
        values = self._rng.normal(0, deviation, shape).astype(np.float32)
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def convolution(self, x: str, name: str, into: int, out: int, kernel: int, stride: int) -> str:
        """With a bias: batch normalization is folded."""
        weight = self.normal(f"{name}.weight", (out, into, kernel, kernel), (2 / (into * kernel**2)) ** 0.5)
        bias = self.normal(f"{name}.bias", (out,), 0.05)
        pads, strides = [kernel // 2] * 4, [stride, stride]
        return self.node("Conv", [x, weight, bias], name, pads=pads, strides=strides)


def resnet18(seed: int = 0) -> onnx.ModelProto:
    """The network: [n, 3, 224, 224] to [n, 1000]."""
    b = _Builder(seed)
    x = b.node("Relu", [b.convolution("x", "stem", 3, 64, 7, 2)], "stem.relu")
    x = b.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (out, first) in enumerate(_STAGES):
        for block in range(2):
            name, stride = f"stage{stage}.{block}", first if block == 0 else 1
            y = b.convolution(x, f"{name}.first", channels, out, 3, stride)
            y = b.convolution(b.node("Relu", [y], f"{name}.relu"), f"{name}.second", out, out, 3, 1)
            if channels != out:
                x = b.convolution(x, f"{name}.shortcut", channels, out, 1, stride)
            x = b.node("Relu", [b.node("Add", [y, x], f"{name}.sum")], name)
            channels = out
    flat = b.node("Flatten", [b.node("GlobalAveragePool", [x], "mean")], "flat")
    weights = [b.normal("head.weight", (1000, 512), 0.3 / 512**0.5), b.normal("head.bias", (1000,), 0.01)]
    b.node("Gemm", [flat, *weights], "y", transB=1)
    ports = [("x", ["n", 3, _SIZE, _SIZE]), ("y", ["n", 1000])]
    inputs, outputs = (
        [helper.make_tensor_value_info(port, TensorProto.FLOAT, shape)] for port, shape in ports
    )
    graph = helper.make_graph(b.nodes, "resnet18", inputs, outputs, b.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Noise that is smooth over 8 × 8 pixels, with a little that is not."""
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.normal(size=(count, 3, _SIZE // 8, _SIZE // 8)), np.ones((8, 8)))
    return (smooth + 0.1 * rng.normal(size=(count, 3, _SIZE, _SIZE))).astype(np.float32)
