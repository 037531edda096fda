"""Einsum, GridSample, DeformConv, Col2Im, MaxUnpool and ScatterElements of many shapes, against ONNX Runtime and NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import rdquant as rdq

BACKENDS = ("native", "reference")
EQUATIONS = {
    "bhwc,hkc->bhwk": [(2, 3, 4, 5), (3, 6, 5)],
    "bhwc,wkc->bhwk": [(2, 3, 4, 5), (4, 6, 5)],
    "bnqd,bnkd->bnqk": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bhij,bjhd->bihd": [(2, 3, 4, 4), (2, 4, 3, 5)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 5)],
    "ij,jk": [(2, 3), (3, 4)],
    "ji": [(2, 3)],
    "iij->j": [(3, 3, 4)],
    "ii,i": [(3, 3), (3,)],
    "i,j->ji": [(2,), (3,)],
    "ij,ij->ij": [(2, 3), (2, 3)],
    "ijk->": [(2, 3, 4)],
    "...ij,...jk->...ik": [(2, 1, 3, 4), (5, 4, 6)],
    "...ij,kj": [(2, 3, 4), (5, 4)],
    "a...b,b...->...a": [(2, 3, 4, 5), (5, 3, 4)],
    "ab,cb,c->ac": [(2, 3), (4, 3), (4,)],
    "kij, kjl -> lki": [(2, 3, 4), (2, 4, 5)],
    "ij,kl->": [(2, 3), (4, 5)],
    "...,...": [(), (3, 2)],
}


def alone(
    node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]], inputs: list[str]
) -> onnx.ModelProto:
    """A model of one node; `inputs` are float32, of sizes to be seen."""
    ranks = {"x": 4, "grid": 4, "data": 3, "updates": 3, "columns": 3}
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["?"] * ranks[n] if n in ranks else None)
        for n in inputs
    ]
    rank = 3 if node.op_type == "ScatterElements" else 4
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["?"] * rank)
    tensors = [numpy_helper.from_array(v, n) for n, v in constants.items()]
    graph = helper.make_graph([node], "alone", ports, [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def agree(model: onnx.ModelProto, feeds: dict[str, NDArray[np.float32]]) -> None:
    import onnxruntime

    for port in model.graph.input:
        del port.type.tensor_type.shape.dim[:]
        for size in feeds[port.name].shape:
            port.type.tensor_type.shape.dim.add().dim_value = size
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    for backend in BACKENDS:
        found = rdq.Session(model, backend=backend).run(feeds)["y"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str) -> None:
    random = np.random.default_rng(len(equation))
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in EQUATIONS[equation]]
    names = [f"x{i}" for i in range(len(arrays))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape)
        for n, a in zip(names, arrays, strict=True)
    ]
    wanted = np.einsum(equation, *arrays)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, wanted.shape)
    graph = helper.make_graph([node], "einsum", ports, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for backend in BACKENDS:
        found = rdq.Session(model, backend=backend).run(dict(zip(names, arrays, strict=True)))["y"]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (4, 5)]),
        ("ij->ik", [(2, 3)]),
        ("ij,jk->ik", [(2, 3)]),
        ("i->i", [(2, 3)]),
        ("i1->i", [(2, 3)]),
    ],
)
def test_equations_that_do_not_fit_are_refused(equation: str, shapes: list[tuple[int, ...]]) -> None:
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)
    ]
    graph = helper.make_graph(
        [node], "einsum", ports, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    )
    from rdquant._core import runtime
    from rdquant.graph import build_graph

    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = runtime.Session(build_graph("einsum", model, {}), "reference", 1, 0)
    with pytest.raises(rdq.errors.InvalidArgument, match="Einsum"):
        session.run([np.zeros(shape, np.float32) for shape in shapes])


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(mode: str) -> None:
    """Points inside, near the edges, and far outside, where reflection goes to and fro."""
    random = np.random.default_rng(3)
    for padding, corners in product(("zeros", "border", "reflection"), (0, 1)):
        x = random.standard_normal((2, 3, 5, 7)).astype(np.float32)
        grid = random.uniform(-1.6, 1.6, (2, 6, 11, 2)).astype(np.float32)
        grid[:, 0] *= 6
        node = helper.make_node(
            "GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=corners
        )
        agree(alone(node, {}, ["x", "grid"]), {"x": x, "grid": grid})


def test_grid_sample_of_a_point_that_is_no_number() -> None:
    node = helper.make_node("GridSample", ["x", "grid"], ["y"])
    x = np.ones((1, 1, 2, 2), np.float32)
    grid = np.array([[[[0, 0], [np.nan, 0], [np.inf, 0], [0, -np.inf]]]], np.float32)
    for backend in BACKENDS:
        found = rdq.Session(alone(node, {}, ["x", "grid"]), backend=backend).run({"x": x, "grid": grid})["y"]
        np.testing.assert_array_equal(found.ravel(), [1, np.nan, 0, 0])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("options", "group", "parts"),
    [
        ({}, 1, 1),
        ({"strides": [2, 1], "pads": [1, 0, 2, 3]}, 2, 4),
        ({"dilations": [2, 3], "pads": [2, 2, 2, 2]}, 4, 2),
    ],
)
def test_deform_conv(options: dict[str, list[int]], group: int, parts: int, masked: bool) -> None:
    random = np.random.default_rng(2)
    kernel, strides = np.array([3, 2]), np.array(options.get("strides", [1, 1]))
    pads, reach = (
        np.array(options.get("pads", [0] * 4)),
        np.array(options.get("dilations", [1, 1])) * (kernel - 1) + 1,
    )
    sizes = [int(v) for v in (np.array([13, 11]) + pads[:2] + pads[2:] - reach) // strides + 1]
    feeds = {"x": random.standard_normal((2, 8, 13, 11)), "w": random.standard_normal((12, 8 // group, 3, 2))}
    feeds["offsets"] = 2 * random.standard_normal((2, parts * 12, *sizes))
    feeds["b"] = random.standard_normal(12)
    if masked:
        feeds["mask"] = random.random((2, parts * 6, *sizes))
    node = helper.make_node("DeformConv", list(feeds), ["y"], group=group, offset_group=parts, **options)
    agree(alone(node, {}, list(feeds)), {name: v.astype(np.float32) for name, v in feeds.items()})


@pytest.mark.parametrize(("pads", "size"), [([0, 0, 0, 0], (9, 8)), ([1, 0, 0, 1], (8, 7))])
def test_max_unpool_brings_maxima_back(pads: list[int], size: tuple[int, int]) -> None:
    x = np.random.default_rng(4).random((2, 3, *size)).astype(np.float32)
    window = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": pads}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m", "i"], **window),
        helper.make_node("MaxUnpool", ["m", "i"], ["y"], **window),
    ]
    model = alone(nodes[0], {}, ["x"])
    model.graph.node.append(nodes[1])
    agree(model, {"x": x})


@pytest.mark.parametrize(
    "options", [{}, {"strides": [2, 2]}, {"strides": [3, 2], "pads": [1, 0, 2, 1]}, {"dilations": [2, 1]}]
)
def test_col2im(options: dict[str, list[int]]) -> None:
    image, block = np.array([8, 6]), np.array([3, 2])
    strides, pads = np.array(options.get("strides", [1, 1])), np.array(options.get("pads", [0, 0, 0, 0]))
    reach = np.array(options.get("dilations", [1, 1])) * (block - 1) + 1
    blocks = int(np.prod((image + pads[:2] + pads[2:] - reach) // strides + 1))
    node = helper.make_node("Col2Im", ["columns", "image", "block"], ["y"], **options)
    columns = np.random.default_rng(1).standard_normal((2, 5 * 6, blocks)).astype(np.float32)
    agree(alone(node, {"image": image, "block": block}, ["columns"]), {"columns": columns})


def test_col2im_of_blocks_side_by_side_moves_them_only() -> None:
    constants = {"image": np.array([6, 8]), "block": np.array([3, 2])}
    node = helper.make_node("Col2Im", ["columns", "image", "block"], ["y"], strides=[3, 2])
    columns = np.random.default_rng(2).standard_normal((2, 4 * 6, 8)).astype(np.float32)
    model = alone(node, constants, ["columns"])
    agree(model, {"columns": columns})
    assert "transposed_convolution" not in {
        row["op"] for row in rdq.Session(model, backend="native").plan({"columns": columns})
    }


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter_elements(reduction: str) -> None:
    random = np.random.default_rng(4)
    for axis in (0, 1, -1):
        data = random.standard_normal((4, 5, 6)).astype(np.float32)
        shape = [3, 4, 2]
        indices = random.integers(-data.shape[axis], data.shape[axis], shape)
        if reduction == "none":  # of several updates of one element the last one counts: ONNX leaves it open
            shape[axis] = 1
            indices = indices.take([0], axis)
        updates = random.standard_normal(indices.shape).astype(np.float32)
        node = helper.make_node(
            "ScatterElements", ["data", "indices", "updates"], ["y"], axis=axis, reduction=reduction
        )
        agree(alone(node, {"indices": indices}, ["data", "updates"]), {"data": data, "updates": updates})
