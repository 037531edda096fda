"""Quantization of models in float16."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import rdquant as rdq


def masked() -> rdq.Model:
    """softmax(x·w + mask) in float16, whose mask nodes make of constants."""
    random = np.random.default_rng(0)
    constants = {
        "w": random.standard_normal((16, 16)).astype(np.float16),
        "upper": np.triu(np.ones((16, 16), bool), 1),
        "least": np.array(-65504, np.float16),
        "zero": np.array(0, np.float16),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"], "product"),
        helper.make_node("Where", ["upper", "least", "zero"], ["mask"], "where"),
        helper.make_node("Add", ["s", "mask"], ["m"], "hide"),
        helper.make_node("Softmax", ["m"], ["y"], "softmax", axis=-1),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["N", 16, 16]) for n in ("x", "y")]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "masked", ports[:1], ports[1:], tensors)
    return rdq.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_masks_of_float16_are_no_weights_of_float32() -> None:
    model = masked()
    assert [p.name for p in model.parameters] == ["w"]
    quantized = rdq.quantize_dynamic(model)
    assert [layer.node for layer in quantized.report.layers] == ["product"]
    x = np.random.default_rng(1).standard_normal((2, 16, 16)).astype(np.float16)
    found, wanted = (rdq.Session(m).run({"x": x})["y"] for m in (quantized, model))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, wanted, atol=0.05)
