"""Means of int8 values over images so large that int32 does not hold their sums."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import rdquant as rdq
from rdquant.runtime.engine import engine_backends

SIDE = 2930  # 255 · SIDE² is above 2³¹


@pytest.mark.parametrize("backend", [name for name, reason in engine_backends().items() if not reason])
def test_means_of_more_pixels_than_int32_holds_the_sum_of(backend: str) -> None:
    grid, out_grid = ["scale", "zero"], ["out_scale", "zero"]
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["x", *grid], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["m"]),
            helper.make_node("QuantizeLinear", ["m", *out_grid], ["y"]),
        ],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 1, 1, 1])],
        [
            numpy_helper.from_array(np.float32(0.5), "scale"),
            numpy_helper.from_array(np.uint8(0), "zero"),
            numpy_helper.from_array(np.float32(1.25), "out_scale"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    x = np.full((1, 1, SIDE, SIDE), 255, np.uint8)
    (found,) = rdq.Session(model, backend=backend).run({"x": x}).values()
    assert found.item() == 102
