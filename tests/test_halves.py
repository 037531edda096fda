"""Models in float16 and bfloat16: computed in float32, ports as declared, quantized and compressed like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import models
import rdquant as rdq
from rdquant.graph.halves import widened

HALVES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
ROUNDING = {"float16": 2**-10, "bfloat16": 2**-7}
DTYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def halved(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """`model` with every float32 as half precision."""
    new = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in new.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(DTYPES[name])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for port in (*new.graph.input, *new.graph.output):
        if port.type.tensor_type.elem_type == TensorProto.FLOAT:
            port.type.tensor_type.elem_type = HALVES[name]
    return new


def weights_only(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """`model` with its weights in half precision and a Cast behind each."""
    new = halved(model, name)
    for port in (*new.graph.input, *new.graph.output):
        port.type.tensor_type.elem_type = TensorProto.FLOAT
    half = {t.name for t in new.graph.initializer if t.data_type == HALVES[name]}
    nodes = [helper.make_node("Cast", [n], [f"{n}_wide"], to=TensorProto.FLOAT) for n in sorted(half)]
    for node in new.graph.node:
        node.input[:] = [f"{n}_wide" if n in half else n for n in node.input]
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in new.graph.node]
    del new.graph.node[:]
    new.graph.node.extend(nodes)
    return new


@pytest.fixture
def network() -> onnx.ModelProto:
    """Convolution, batch norm, residual, softmax; weights and all values are exact in neither half type."""
    random = np.random.default_rng(5)

    def weight(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["d", "g", "b", "m", "v"], ["n"]),
        helper.make_node("Add", ["n", "r"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    weights = {
        "w1": weight(8, 3, 3, 3),
        "b1": weight(8, 1).reshape(8),
        "w2": weight(8, 8, 3, 3),
        **{name: 1 + 0.1 * np.abs(weight(8, 1).reshape(8)) for name in "gbmv"},
        "w3": weight(10, 8),
        "b3": weight(10, 1).reshape(10),
    }
    return models.build(nodes, weights, {"x": ("n", 3, 9, 9)}, {"y": ("n", 10)}, opset=17)


def wide_answer(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[np.float32]:
    """Of the same weights in float32."""
    new = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in new.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype.name in HALVES:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    for port in (*new.graph.input, *new.graph.output):
        port.type.tensor_type.elem_type = TensorProto.FLOAT
    return rdq.Session(new, backend="reference").run({"x": x.astype(np.float32)})["y"]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("from_file", [True, False])
def test_computed_in_float32(
    network: onnx.ModelProto, name: str, backend: str, from_file: bool, tmp_path: Path
) -> None:
    model = halved(network, name)
    path = tmp_path / "half.onnx"
    onnx.save(model, path)
    x = np.random.default_rng(1).standard_normal((2, 3, 9, 9)).astype(DTYPES[name])
    with rdq.Session(path if from_file else model, backend=backend) as session:
        assert [p.dtype.name for p in (*session.inputs, *session.outputs)] == [name, name]
        found = session.run({"x": x})["y"]
        steps = {row["op"] for row in session.plan({"x": x})}
    assert found.dtype.name == name
    wanted = wide_answer(model, x)
    # one rounding, of the output alone
    limit = 0.51 * ROUNDING[name] * np.abs(wanted) + 1e-6
    assert np.all(np.abs(found.astype(np.float32) - wanted) <= limit)
    assert "batch_normalization" not in steps, "fused as in float32"


def test_onnxruntime_agrees_within_float16(network: onnx.ModelProto) -> None:
    model = halved(network, "float16")
    x = np.random.default_rng(2).standard_normal((3, 3, 9, 9)).astype(np.float16)
    ours, theirs = (rdq.Session(model, backend=b).run({"x": x})["y"] for b in ("native", "onnxruntime"))
    assert theirs.dtype == np.float16
    np.testing.assert_allclose(ours, theirs, atol=4 * 2**-10 * np.abs(theirs).max())


@pytest.mark.parametrize("name", HALVES)
def test_weights_alone_make_no_difference_at_run_time(network: onnx.ModelProto, name: str) -> None:
    model = weights_only(network, name)
    x = np.random.default_rng(3).standard_normal((1, 3, 9, 9)).astype(np.float32)
    with rdq.Session(model, backend="native") as session, rdq.Session(network, backend="native") as plain:
        assert [r["op"] for r in session.plan({"x": x})] == [r["op"] for r in plain.plan({"x": x})]
        np.testing.assert_allclose(
            session.run({"x": x})["y"], wide_answer(halved(network, name), x), atol=1e-6
        )


@pytest.mark.parametrize("name", HALVES)
def test_weights_can_be_replaced(network: onnx.ModelProto, name: str) -> None:
    model = rdq.load(halved(network, name))
    x = np.random.default_rng(4).standard_normal((1, 3, 9, 9)).astype(DTYPES[name])
    other = {n: 2 * a.astype(np.float32) for n, a in model.weights().items()}
    with rdq.Session(model, backend="native") as session:
        session.run({"x": x})
        session.set_weights(other)
        found = session.run({"x": x})["y"]
    assert model.weights()["w1"].dtype.name == name
    again = rdq.Session(model.replace_weights(other), backend="native").run({"x": x})["y"]
    np.testing.assert_array_equal(found, again)


def test_conversions_inside_round_nothing() -> None:
    """float32 to float16 and back leaves values as they are; at an output they are rounded."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["w", "w"], ["y"]),
    ]
    model = models.build(nodes, {}, {"x": (3,)}, {"y": (3,), "h": (3,)}, opset=17)
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT16
    x = np.array([1 + 2**-20, 1e6, -3], np.float32)
    found = rdq.Session(model, backend="native").run({"x": x})
    np.testing.assert_array_equal(found["y"], 2 * x)
    np.testing.assert_array_equal(found["h"], np.array([1, np.inf, -3], np.float16))


@pytest.mark.parametrize("form", [halved, weights_only])
@pytest.mark.parametrize("name", HALVES)
def test_quantized(network: onnx.ModelProto, name: str, form: Any) -> None:
    model = form(network, name)
    x = np.random.default_rng(6).standard_normal((8, 3, 9, 9)).astype(np.float32)
    wanted = rdq.Session(model, backend="native").run({"x": x})["y"].astype(np.float32)
    for found in (rdq.quantize_dynamic(model), rdq.quantize_static(model, x, max_noise=1, max_kl=1)):
        assert not any(layer.kept for layer in found.report.layers)
        declared = name if form is halved else "float32"
        assert [p.dtype.name for p in (*found.inputs, *found.outputs)] == [declared, declared]
        given = rdq.Session(found, backend="native").run({"x": x})["y"]
        assert given.dtype.name == declared
        assert np.abs(given.astype(np.float32) - wanted).max() < 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("name", HALVES)
def test_compressed(network: onnx.ModelProto, name: str, tmp_path: Path) -> None:
    model = halved(network, name)
    path = tmp_path / "half.rdq"
    rdq.compress(model, path, bits=8)
    x = np.random.default_rng(7).standard_normal((1, 3, 9, 9)).astype(DTYPES[name])
    back = rdq.decompress(path)
    assert {a.dtype.name for a in back.weights().values()} == {name}
    assert back.weights()["b1"].tobytes() == rdq.load(model).weights()["b1"].tobytes(), (
        "biases stay as they are"
    )
    direct = rdq.Session(path, backend="native").run({"x": x})["y"]
    np.testing.assert_array_equal(direct, rdq.Session(back, backend="native").run({"x": x})["y"])
    wanted = rdq.Session(model, backend="native").run({"x": x})["y"].astype(np.float32)
    assert np.abs(direct.astype(np.float32) - wanted).max() < 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("name", HALVES)
def test_limits_in_half_precision_go_into_the_layer_before(name: str) -> None:
    tensors = {"w": np.ones((4, 2, 1, 1), np.float32), "low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["y"]),
    ]
    model = halved(models.build(nodes, tensors, {"x": (1, 2, 5, 5)}, {"y": (1, 4, 5, 5)}, opset=17), name)
    steps = [row["op"] for row in rdq.Session(model, backend="native").plan()]
    assert [step for step in steps if step != "reorder"] == ["cast", "convolution", "cast"]


def test_what_has_no_halves_stays(network: onnx.ModelProto) -> None:
    model = rdq.load(network)
    assert widened(model) is model
