"""Loop and Scan whose trips follow from constants and shapes, and Ifs that known values decide on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rdquant as rdq

ort = pytest.importorskip("onnxruntime")

W = np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)


def port(name: str, shape: list[Any] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[onnx.NodeProto], sizes: list[Any], **tensors: np.ndarray) -> onnx.ModelProto:
    """Of input x and output y; `tensors` beside the weight w."""
    end = ["a", "b", "c"] if nodes[-1].op_type == "Concat" else ["a", "b"]
    kept = [numpy_helper.from_array(np.asarray(a), name) for name, a in {"w": W, **tensors}.items()]
    graph = helper.make_graph(nodes, "control", [port("x", sizes)], [port("y", end)], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def looping(
    condition: str = "yes", trips: str = "trips", after: list[onnx.NodeProto] | None = None
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """h = tanh(h w + bias of the trip), with h of every trip as the second output."""
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["bias", "i"], ["own"], name="pick"),
            helper.make_node("MatMul", ["h", "w"], ["turned"], name="turn"),
            helper.make_node("Mul", ["own", "half"], ["small"]),
            helper.make_node("Add", ["turned", "small"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["next"]),
            helper.make_node("Identity", ["next"], ["row"]),
            *(after or [helper.make_node("Identity", ["go"], ["goes"])]),
        ],
        "body",
        [port("i", [], TensorProto.INT64), port("go", [], TensorProto.BOOL), port("h", None)],
        [port("goes", [], TensorProto.BOOL), port("next", None), port("row", None)],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["trips"], axis=0),
        helper.make_node("Loop", [trips, condition, "x"], ["last", "rows"], name="loop", body=body),
        helper.make_node("Unsqueeze", ["last", "first"], ["wide"]),
        helper.make_node("Concat", ["rows", "wide"], ["y"], axis=0),
    ]
    bias = np.arange(3000, dtype=np.float32).reshape(1000, 3) / 1000
    return nodes, {"bias": bias, "yes": np.array(True), "zero": np.array(0), "first": np.array([0])}


def check(given: onnx.ModelProto, x: np.ndarray) -> rdq.Session:
    wanted = ort.InferenceSession(given.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    session = rdq.Session(given, backend="native")
    assert not {"If", "Loop", "Scan"} & set(rdq.load(given).summary()["operators"])
    np.testing.assert_allclose(session.run({"x": x})["y"], wanted[0], rtol=1e-5, atol=1e-6)
    return session


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("condition", ["yes", ""])
def test_a_loop_of_trips_from_a_shape(condition: str) -> None:
    nodes, tensors = looping(condition)
    check(model(nodes, [4, 3], **tensors), noise(4, 3))


def test_a_loop_whose_condition_follows_from_the_trip() -> None:
    after = [helper.make_node("Less", ["i", "three"], ["goes"])]
    nodes, tensors = looping("yes", "", after)
    check(model(nodes, [4, 3], three=np.array(3), **tensors), noise(4, 3))


def test_loops_that_data_decide_on_or_too_long_ones_are_refused() -> None:
    nodes, tensors = looping()
    with pytest.raises(rdq.errors.Unsupported, match=r"Loop node 'loop'.*is a graph within"):
        rdq.Session(model(nodes, ["n", 3], **tensors), backend="native")
    with pytest.raises(rdq.errors.Unsupported, match="more than 2048 nodes"):
        rdq.Session(model(nodes, [900, 3], **tensors), backend="native")


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("size", [5, "n"])
def test_a_scan_over_known_rows(recurrent: bool, size: Any) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Sub", ["s", "r"], ["apart"]),
            helper.make_node("ReduceSumSquare", ["apart", "one"], ["d"], keepdims=0),
            helper.make_node("Identity", ["apart" if recurrent else "s"], ["kept"]),
        ],
        "body",
        [port("s", ["", ""]), port("r", [""])],
        [port("kept", None), port("d", None)],
        [numpy_helper.from_array(np.array([1]), "one")],
    )
    nodes = [helper.make_node("Scan", ["x", "w"], ["end", "y"], body=body, num_scan_inputs=1)]
    check(model(nodes, [size, 3]), noise(5, 3))


def test_nested_ifs_with_captured_values_and_names_used_twice() -> None:
    def branch(nodes: list[onnx.NodeProto], out: str) -> onnx.GraphProto:
        return helper.make_graph(nodes, "branch", [], [port(out, None)])

    inner = helper.make_node(
        "If",
        ["wide"],
        ["found"],
        then_branch=branch([helper.make_node("Mul", ["scaled", "x"], ["p"])], "p"),
        else_branch=branch([helper.make_node("Neg", ["scaled"], ["p"])], "p"),
    )
    outer = branch([helper.make_node("MatMul", ["x", "w"], ["scaled"]), inner], "found")
    other = branch([helper.make_node("Abs", ["x"], ["scaled"])], "scaled")
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["size"], axis=0),
        helper.make_node("Greater", ["size", "one"], ["wide"]),
        helper.make_node("If", ["wide"], ["a"], then_branch=outer, else_branch=other),
        helper.make_node("If", ["wide"], ["b"], then_branch=outer, else_branch=other),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    check(model(nodes, ["n", 3], one=np.array(1)), noise(2, 3))
