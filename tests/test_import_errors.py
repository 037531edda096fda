"""What the fuzzer found (tests/fuzz_import.py): models that killed, hung or filled the memory of the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import rdquant
from rdquant._core import runtime as core_runtime
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError
from rdquant.graph import build_graph

HUGE = 2**31 - 1


def one_node(
    op: str,
    shapes: dict[str, Sequence[int]],
    integers: dict[str, Sequence[int]],
    opset: int = 17,
    **rest: Any,
) -> onnx.ModelProto:
    """A node "n" over float32 inputs of the given shapes, then constant vectors of integers."""
    constants = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in integers.items()]
    ports = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in shapes.items()]
    node = helper.make_node(op, [*shapes, *integers], ["y"], "n", **rest)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a"])
    graph = helper.make_graph([node], "g", ports, [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


# name: (model, error, words of its message)
REFUSED_BY_LOAD = {
    # onnx's shape inference dies of the next three
    "GatherND's batch before the first axis": (
        one_node("GatherND", {"x": [2, 2, 2]}, {"i": [1]}, batch_dims=-5),
        CorruptFile,
        "GatherND node 'n', field batch_dims: -5 counts no axes",
    ),
    "axis beyond 32 bits": (
        one_node("LayerNormalization", {"x": [2, 3], "s": [3]}, {}, axis=2**31),
        CorruptFile,
        "LayerNormalization node 'n', field axis: 2147483648 counts no axes",
    ),
    "size beyond 2^31": (
        one_node("Relu", {"x": [2**63 - 1]}, {}),
        CorruptFile,
        "field input: 'x' has a size of 9223372036854775807",
    ),
    # … and makes a list of so many numbers
    "Split into more than it gives": (
        one_node("Split", {"x": [4, 4]}, {}, opset=18, num_outputs=2**40),
        CorruptFile,
        "Split node 'n', field num_outputs is 1099511627776, but it has 1 outputs",
    ),
    # onnxslim computes it, whatever its size
    "huge constant": (
        one_node("ConstantOfShape", {}, {"s": [HUGE]}),
        InvalidArgument,
        "ConstantOfShape node 'n' would make a constant of shape [2147483647]",
    ),
}


@pytest.mark.parametrize("name", REFUSED_BY_LOAD)
def test_load_refuses_what_tools_would_die_of(name: str) -> None:
    model, kind, words = REFUSED_BY_LOAD[name]
    with pytest.raises(kind) as caught:
        rdquant.load(model)
    assert words in str(caught.value)


def test_a_negative_size_is_an_open_one() -> None:
    model = rdquant.load(one_node("Relu", {"x": [-1, 3]}, {}))
    assert [p.shape for p in model.inputs] == [(None, 3)]


# name: (model, words of the message); inputs are ones of the shapes in the model
REFUSED_BY_THE_ENGINE = {
    "constant of 8 TiB": (one_node("ConstantOfShape", {}, {"s": [1024, HUGE]}), "is too large"),
    "constant of 8 GiB": (
        one_node("ConstantOfShape", {}, {"s": [HUGE]}),
        "ConstantOfShape node 'n': a constant of float32 and shape [2147483647] would take 8589934588 bytes",
    ),
    "expanded": (
        one_node("Expand", {"x": [3, 1]}, {"s": [3, HUGE]}),
        "output of node 'n', float32 of shape [3, 2147483647]",
    ),
    "edges continued": (
        one_node("Pad", {"x": [1, 3]}, {"p": [0, 0, 0, 2**30]}, mode="edge"),
        "output of node 'n', float32 of shape [1, 1073741827]",
    ),
    "pads": (
        one_node("AveragePool", {"x": [1, 1, 5, 5]}, {}, kernel_shape=[3, 3], pads=[0, 0, 2**29, 0]),
        "output of node 'n'",
    ),
    "pads beyond the least integer": (
        one_node("MaxPool", {"x": [1, 1, 5, 5]}, {}, kernel_shape=[3, 3], pads=[-(2**63), 0, 0, 0]),
        "MaxPool node 'n': pads may be 0 to 2^30",
    ),
    "padded image": (
        one_node(
            "Conv",
            {"x": [1, 1, 5, 5], "w": [1, 1, 1, 1]},
            {},
            pads=[2**20, 2**20, 2**20, 2**20],
            strides=[2**20, 2**20],
        ),
        "would be padded to",
    ),
    "pieces that overflow": (
        one_node("Split", {"x": [4]}, {"s": [2**63 - 1]}),
        "Split node 'n': pieces of [9223372036854775807] do not make up axis 0 of [4]",
    ),
    "diagonal without a number": (one_node("Trilu", {"x": [3, 3]}, {"k": []}), "k must be one number"),
    "groups that overflow": (
        one_node("Conv", {"x": [1, 2, 3], "w": [2, 2, 1]}, {}, group=2**63 - 1),
        "do not fit 9223372036854775807 groups",
    ),
}


@pytest.mark.parametrize("name", REFUSED_BY_THE_ENGINE)
def test_the_engine_refuses_before_it_allocates(name: str) -> None:
    model, words = REFUSED_BY_THE_ENGINE[name]
    session = core_runtime.Session(build_graph("g", model, {}), "reference", 1, 1 << 30)
    feeds = [
        np.ones([d.dim_value for d in p.type.tensor_type.shape.dim], np.float32) for p in model.graph.input
    ]
    with pytest.raises(InvalidArgument) as caught:
        session.run(feeds)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        ("Concat", [(2, 2, 2), (2, 4, 2)]),
        ("MatMul", [(4, 4), (4, 4)]),
        ("Gemm", [(4, 4), (4, 4), (4,)]),
        ("Conv", [(1, 2, 5, 5), (2, 2, 3, 3), (2,)]),
        ("ConvTranspose", [(1, 2, 5, 5), (2, 2, 3, 3), (2,)]),
        ("Where", [(4,), (4,), (4,)]),
    ],
)
@pytest.mark.parametrize("backend", [name for name, reason in core_runtime.backends().items() if not reason])
def test_inputs_of_mixed_types_are_refused(op: str, shapes: list[tuple[int, ...]], backend: str) -> None:
    """A concatenation took all inputs for as wide as the first and read past the end of a float16."""
    options = {"axis": 1} if op == "Concat" else {}
    model = one_node(op, {f"x{i}": shape for i, shape in enumerate(shapes)}, {}, **options)
    model.graph.input[-1].type.tensor_type.elem_type = TensorProto.FLOAT16
    feeds = [np.ones(shape, np.float32) for shape in shapes]
    feeds[-1] = feeds[-1].astype(np.float16)
    if op == "Where":
        model.graph.input[0].type.tensor_type.elem_type = TensorProto.BOOL
        feeds[0] = feeds[0].astype(np.bool_)
    with pytest.raises(InvalidArgument, match=f"{op} node 'n'.*float32 and float16"):
        core_runtime.Session(build_graph("g", model, {}), backend, 1, 0).run(feeds)


@pytest.mark.parametrize("backend", [name for name, reason in core_runtime.backends().items() if not reason])
def test_limits_that_do_not_broadcast_are_refused(backend: str) -> None:
    """They were read under the shape of what they limit, past their end."""
    model = one_node("Clip", {"x": [2, 70], "low": [1, 4], "high": [7, 4]}, {})
    feeds = [np.zeros(shape, np.float32) for shape in ((2, 70), (1, 4), (7, 4))]
    with pytest.raises(InvalidArgument, match=r"Clip node 'n'.*\[1, 4\] does not broadcast to \[2, 70\]"):
        core_runtime.Session(build_graph("g", model, {}), backend, 1, 0).run(feeds)


@pytest.mark.parametrize("backend", [name for name, reason in core_runtime.backends().items() if not reason])
def test_nothing_is_convolved_to_zeros(backend: str) -> None:
    model = one_node(
        "ConvTranspose", {"x": [1, 1, 0, 3], "w": [1, 2, 3, 3]}, {}, output_shape=[10, 8], strides=[3, 2]
    )
    feeds = [np.zeros((1, 1, 0, 3), np.float32), np.ones((1, 2, 3, 3), np.float32)]
    [y] = core_runtime.Session(build_graph("g", model, {}), backend, 1, 0).run(feeds)
    np.testing.assert_array_equal(y, np.zeros((1, 2, 10, 8), np.float32))


@pytest.mark.parametrize("backend", [name for name, reason in core_runtime.backends().items() if not reason])
@pytest.mark.parametrize("sizes", [[1, 1, 3, 0], [1, 1, 0, 3], [1, 1, 0, 0]])
def test_images_resized_to_nothing(backend: str, sizes: list[int]) -> None:
    """oneDNN's path divided by the length of a line."""
    model = one_node("Resize", {"x": [1, 1, 2, 4]}, {"sizes": sizes}, opset=19, mode="nearest")
    model.graph.node[0].input[:] = ["x", "", "", "sizes"]
    [y] = core_runtime.Session(build_graph("g", model, {}), backend, 1, 0).run(
        [np.ones((1, 1, 2, 4), np.float32)]
    )
    assert y.shape == tuple(sizes)


def test_strings_must_fill_their_shape() -> None:
    model = one_node("Equal", {"x": [2]}, {})
    model.graph.node[0].input.append("s")
    text = onnx.TensorProto(name="s", data_type=TensorProto.STRING, string_data=[b"a", b"b"])
    model.graph.initializer.append(text)
    with pytest.raises(CorruptFile, match=r"'s': shape .* of STRING, but string_data has 2 entries"):
        rdquant.load(model)


@pytest.mark.parametrize("backend", [name for name, reason in core_runtime.backends().items() if not reason])
def test_more_axes_than_arrays_have(backend: str) -> None:
    model = one_node("Expand", {"x": [1]}, {"shape": [1] * 65})
    session = core_runtime.Session(build_graph("g", model, {}), backend, 1, 0)
    with pytest.raises(InvalidArgument, match="'y' has 65 axes; 64 are the most"):
        session.run([np.ones(1, np.float32)])


def test_constants_of_huge_tensors_are_not_folded() -> None:
    """Their masks would fill the memory before anybody asked for a run."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, HUGE, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"])
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("ConstantOfShape", ["s"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = rdquant.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert "constants were not folded" in model.summary()["fold_note"]


def test_a_constant_that_nobody_can_use_is_refused_or_ignored() -> None:
    model = one_node("Relu", {"x": [2]}, {})
    constant = helper.make_node("Constant", [], [], value=numpy_helper.from_array(np.ones(2, np.float32)))
    model.graph.node.append(constant)
    with pytest.raises(RdquantError):
        rdquant.load(model)


def test_an_empty_tensor_of_impossible_sides_is_refused() -> None:
    model = one_node("Add", {"x": [1]}, {"e": []})
    model.graph.initializer[0].dims[:] = [0, 2**62, 64]
    with pytest.raises(CorruptFile, match=r"'e': field dims is .* more than any memory holds"):
        rdquant.load(model)


@pytest.mark.parametrize("backend", [name for name, reason in core_runtime.backends().items() if not reason])
def test_filters_may_be_an_input(backend: str) -> None:
    """oneDNN's filters are packed before any run, which read what was not there yet."""
    model = one_node("Conv", {"x": [1, 1, 5, 5], "w": [1, 1, 3, 3]}, {})
    feeds = [np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5), np.ones((1, 1, 3, 3), np.float32)]
    [y] = core_runtime.Session(build_graph("g", model, {}), backend, 1, 0).run(feeds)
    centres = np.arange(25, dtype=np.float32).reshape(5, 5)[1:4, 1:4]
    np.testing.assert_allclose(y[0, 0], 9 * centres, rtol=1e-6)


def test_sequences_at_the_ends_of_their_type() -> None:
    model = one_node("Range", {}, {}, opset=17)
    limits = {"start": -(2**63), "limit": 2**63 - 1, "delta": 2**62}
    model.graph.node[0].input.extend(limits)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(v, np.int64), k) for k, v in limits.items()
    )
    [y] = core_runtime.Session(build_graph("g", model, {}), "reference", 1, 0).run([])
    np.testing.assert_array_equal(y, np.array([-(2**63), -(2**62), 0, 2**62], np.int64))


def test_windows_wider_than_the_image_end_soon() -> None:
    kernel, pads = [2**20, 2**20], [2**19, 2**19, 2**19, 2**19]
    model = one_node("AveragePool", {"x": [1, 1, 5, 5]}, {}, kernel_shape=kernel, pads=pads)
    [y] = core_runtime.Session(build_graph("g", model, {}), "reference", 1, 0).run(
        [np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)]
    )
    np.testing.assert_allclose(y, np.full((1, 1, 6, 6), 12.0))
