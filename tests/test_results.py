"""What runs give: results that stay as they are, and none for no rows."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest

import rdquant
from rdquant.runtime.engine import engine_backends

ENGINE = [name for name, reason in engine_backends().items() if not reason]


@pytest.mark.parametrize("backend", ENGINE)
def test_a_result_stays_as_it_is_while_somebody_holds_it(backend: str) -> None:
    """Memory of large results serves later runs, of which a view keeps it."""
    shape = [1, 3, 128, 128]
    value = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=shape)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Neg", ["x"], ["y"])], "negate", [value("x")], [value("y")]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = rdquant.Session(rdquant.load(model), backend=backend, threads=1)
    x = np.random.default_rng(0).random(shape, np.float32)
    rows, whole = session.run({"x": x})["y"][0, 1], session.run({"x": x + 1})["y"]
    for i in range(20):
        np.testing.assert_array_equal(session.run({"x": x * i})["y"], -(x * i))
    np.testing.assert_array_equal(rows, -x[0, 1])
    np.testing.assert_array_equal(whole, -(x + 1))
    del session
    np.testing.assert_array_equal(whole, -(x + 1))


@pytest.mark.parametrize("backend", ENGINE)
@pytest.mark.parametrize("size", [1, 3])
def test_no_rows_give_no_rows(backend: str, size: int) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])],
        "convolution",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 16, 20, 20])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 16, None, None])],
        [onnx.numpy_helper.from_array(np.ones((16, 16, size, size), np.float32), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = rdquant.Session(rdquant.load(model), backend=backend, threads=1)
    y = session.run({"x": np.zeros((0, 16, 20, 20), np.float32)})["y"]
    assert y.shape == (0, 16, 21 - size, 21 - size)
