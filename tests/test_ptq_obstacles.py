"""Networks that are quantized in part, by others, or not at all: what becomes of them, and what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import models
import rdquant as rdq
from networks import Net
from rdquant import InvalidArgument, quantize_dynamic
from test_ptq_dynamic import IMAGES, first, network


@pytest.mark.parametrize("opset", [13, 19])
def test_levels_of_weights_alone_are_quantized(opset: int) -> None:
    """As `decompress(levels=True)` writes them: float activations, and weights that DequantizeLinear makes."""
    weight = np.random.default_rng(1).integers(-100, 100, (4, 3, 3, 3)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["levels", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    tensors = {"levels": weight, "scales": np.array([0.01, 0.02, 0.03, 0.04], np.float32)}
    tensors["zeros"] = np.array([0, 3, -2, 0], np.int8)
    model = models.build(nodes, tensors, {"x": ["N", 3, 8, 8]}, {"y": ["N", 4, 6, 6]}, opset=opset)
    wanted = first(rdq.Session(model).run({"x": IMAGES}))
    for quantized in (quantize_dynamic(model), rdq.quantize_static(model, IMAGES)):
        assert not quantized.report.kept
        found = first(rdq.Session(quantized).run({"x": IMAGES}))
        assert np.abs(found - wanted).mean() <= 0.01 * np.ptp(wanted)


@pytest.mark.parametrize(
    ("op", "dims", "shape", "reason"),
    [
        ("Conv", (2, 3, 1, 1, 1, 1), [1, 3, 4, 4, 4, 4], "its weight has 6 dimensions"),
        ("MatMul", (1, 4, 5), [1, 3, 4], "its weight has 3 dimensions"),
    ],
)
def test_the_reason_is_that_of_the_layer(
    op: str, dims: tuple[int, ...], shape: list[int], reason: str
) -> None:
    node = helper.make_node(op, ["x", "w"], ["y"], name="odd")
    answer = [1, 2, 4, 4, 4, 4] if op == "Conv" else [1, 3, 5]
    model = models.build([node], {"w": np.ones(dims, np.float32)}, {"x": shape}, {"y": answer}, opset=17)
    with pytest.raises(InvalidArgument, match=f"odd: {reason}"):
        quantize_dynamic(model)
    with pytest.raises(InvalidArgument, match=f"odd: {reason}"):
        rdq.quantize_static(model, np.ones(shape, np.float32))


def test_images_for_several_inputs_are_refused() -> None:
    node = helper.make_node("Add", ["x", "z"], ["y"])
    model = models.build([node], {}, {"x": [1, 4], "z": [1, 4]}, {"y": [1, 4]})
    with pytest.raises(rdq.Unsupported, match=r"found 2 \(x, z\); quantize_dynamic"):
        rdq.quantize_static(model, np.ones((1, 4), np.float32))


def test_products_within_branches_stay_as_they_are() -> None:
    def branch(name: str) -> onnx.GraphProto:
        y = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4])
        return helper.make_graph([helper.make_node("MatMul", ["x", "w"], [name])], name, [], [y])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Cast", ["top"], ["positive"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    model = models.build(nodes, {"w": np.eye(4, dtype=np.float32)}, {"x": [1, 4]}, {"y": [1, 4]}, opset=17)
    with pytest.raises(InvalidArgument, match="If, Loop and Scan: what lies within"):
        quantize_dynamic(model)


def test_images_without_labels_are_all_that_calibration_asks_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "z.npz", z=IMAGES)
    with pytest.raises(InvalidArgument, match="expected an array x, or images; found z"):
        rdq.quantize_static(network(), tmp_path / "z.npz")


def test_layers_that_no_data_reach_stay_in_float() -> None:
    """Codes of places, made of shapes and constants: engines compute them once, and OpenVINO refuses levels on the way."""
    net = Net(11)
    sizes = net.call("Shape", "x")
    grid = net.call(
        "Expand", net.noise(1, 6, 8, 8), net.call("Slice", sizes, *(net.integers(i) for i in (0, 1)))
    )
    places = net.call("Conv", grid, net.noise(4, 6, 1, 1))
    added = net.call("Add", net.conv("x", 4, 3), places)
    out = net.conv(added, 5, 4)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": [1, 3, 8, 8]}, {out: [1, 5, 8, 8]}))
    weight = next(node.input[1] for node in model.skeleton.graph.node if places in node.output)
    x = np.random.default_rng(12).normal(size=(1, 3, 8, 8)).astype(np.float32)
    wanted = rdq.Session(model).run({"x": x})[out]
    for quantized in (rdq.quantize_static(model, x), quantize_dynamic(model)):
        assert sum(not layer.kept for layer in quantized.report.layers) == 2
        assert quantized.weights()[weight].dtype == np.float32
        found = rdq.Session(quantized).run({"x": x})[out]
        assert np.abs(found - wanted).mean() <= 0.02 * np.ptp(wanted)


def test_one_bad_output_is_not_averaged_away() -> None:
    """Eight outputs, of which a layer whose levels are coarse spoils one."""
    net = Net(13)
    y = net.conv("x", 8, 3)
    wide = net.call("Mul", y, net.tensor(np.logspace(0, 4, 8, dtype=np.float32).reshape(1, 8, 1, 1)))
    outputs = [net.conv(y, 4, 8) for _ in range(7)] + [
        net.call("Sqrt", net.call("Abs", net.conv(wide, 4, 8)))
    ]
    shapes = {out: ["N", 4, 8, 8] for out in outputs}
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 3, 8, 8]}, shapes))
    x = np.random.default_rng(14).normal(size=(8, 3, 8, 8)).astype(np.float32)
    made = rdq.quantize_static(model, x, max_noise=1)
    wanted, found = (rdq.Session(m).run({"x": x}) for m in (model, made))
    noise = [
        float(np.mean(np.square(wanted[o] - found[o]).sum((0, 2, 3)) / np.square(wanted[o]).sum((0, 2, 3))))
        for o in outputs
    ]
    assert max(noise) > 2 * np.mean(noise)
    assert made.report.damage.noise == pytest.approx(max(noise), rel=1e-3)


def test_outputs_may_be_single_numbers() -> None:
    net = Net(15)
    y = net.conv(net.conv("x", 8, 3), 4, 8)
    total = net.call("ReduceMean", y, keepdims=0)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": [1, 3, 8, 8]}, {y: [1, 4, 8, 8], total: []}))
    x = np.random.default_rng(16).normal(size=(4, 3, 8, 8)).astype(np.float32)
    made = rdq.quantize_static(model, x)
    assert made.report.damage.noise < 0.012
    assert rdq.Session(made).run({"x": x[:1]})[total].shape == ()
