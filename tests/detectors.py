"""Networks whose detections are given, for the tests of detectors."""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

SIZE = (64, 96)
ANCHORS = 8 * 12 + 4 * 6 + 2 * 3


def detector(answer: NDArray[np.float32], size: tuple[int, int] = SIZE) -> onnx.ModelProto:
    """A network that gives `answer` [1, …] whatever it is shown."""
    constant = onnx.numpy_helper.from_array(answer, "answer")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Add", ["answer", "zero"], ["o"]),
    ]
    ports = [helper.make_tensor_value_info("x", 1, [1, 3, *size])]
    out = [helper.make_tensor_value_info("o", 1, list(answer.shape))]
    graph = helper.make_graph(nodes, "detector", ports, out, [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def right_on_the_last() -> NDArray[np.float32]:
    """YOLOX's output that sees class 1 over the whole of an image of 64 × 96."""
    output = np.zeros((1, ANCHORS, 5 + 3), np.float32)
    row = ANCHORS - 5  # stride 32, the map's second cell of its first row: (32, 0)
    output[0, row, :5] = [0.5, 1, math.log(3), math.log(2), 0.9]
    output[0, row, 6] = 1
    return output
