"""Means of int8 values over images so large that int32 does not hold their sums, and maxima over any axes."""

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


@pytest.mark.parametrize("backend", [name for name, reason in engine_backends().items() if not reason])
@pytest.mark.parametrize("axes", [[1], [2], [3], [2, 3], [0, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_maxima_of_levels(backend: str, axes: list[int], keepdims: int) -> None:
    """So many that the list of values grows while they are written."""
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 5, 6)).astype(np.uint8)
    nodes, outputs, tensors = [], [], [numpy_helper.from_array(np.uint8(9), "zero")]
    shape = x.max(axis=tuple(axes), keepdims=bool(keepdims)).shape
    for i in range(20):
        grid = [f"scale{i}", "zero"]  # another for each, so that none is computed once for all
        tensors.append(numpy_helper.from_array(np.float32(0.5 + i), grid[0]))
        nodes += [
            helper.make_node("DequantizeLinear", ["x", *grid], [f"r{i}"]),
            helper.make_node("ReduceMax", [f"r{i}"], [f"m{i}"], axes=axes, keepdims=keepdims),
            helper.make_node("QuantizeLinear", [f"m{i}", *grid], [f"y{i}"]),
        ]
        outputs.append(helper.make_tensor_value_info(f"y{i}", TensorProto.UINT8, shape))
    graph = helper.make_graph(
        nodes,
        "maxima",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        outputs,
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for found in rdq.Session(model, backend=backend).run({"x": x}).values():
        np.testing.assert_array_equal(found, x.max(axis=tuple(axes), keepdims=bool(keepdims)))
