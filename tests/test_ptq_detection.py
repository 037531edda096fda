"""Static quantization of detectors: SiLU's input, the last convolutions, damage to boxes, nothing that collapses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import models
import networks
import rdquant as rdq
from rdquant.ptq import Damage, grid_of, quantize_static, range_of
from rdquant.ptq.curves import curve_of
from rdquant.ptq.damage import Judge, output_bytes
from rdquant.ptq.network import Network
from rdquant.ptq.observed import Observed
from rdquant.ptq.placement import place

SIZE = (32, 64)
CLASSES = 3
STRIDES = (8, 16, 32)
IMAGES = np.random.default_rng(7).random((6, 3, *SIZE)).astype(np.float32)


class Net:
    """A graph made node by node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(3)

    def call(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def tensor(self, values: NDArray[np.generic]) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, rows: int, inputs: int, kernel: int = 3, stride: int = 1, bias: float = 0.0
    ) -> str:
        weight = self.random.standard_normal((rows, inputs, kernel, kernel)) * (inputs * kernel**2) ** -0.5
        shift = np.full(rows, bias)
        tensors = [self.tensor(v.astype(np.float32)) for v in (weight, shift)]
        pads = [kernel // 2] * 4
        return self.call("Conv", x, *tensors, strides=[stride] * 2, pads=pads, kernel_shape=[kernel] * 2)

    def silu(self, x: str) -> str:
        return self.call("Mul", x, self.call("Sigmoid", x))


def yolox_like() -> rdq.Model:
    """Three maps of strides 8, 16 and 32, each with boxes, objectness and classes, as YOLOX joins them."""
    net = Net()
    x = "x"
    for rows, inputs in ((8, 3), (8, 8), (8, 8)):
        x = net.silu(net.conv(x, rows, inputs, stride=2))
    maps = []
    for i, _ in enumerate(STRIDES):
        x = net.silu(net.conv(x, 8, 8, stride=2)) if i else x
        box, sure, kind = (
            net.conv(x, rows, 8, 1, bias=b) for rows, b in ((4, 0.0), (1, -2.0), (CLASSES, -1.0))
        )
        whole = net.call("Concat", box, net.call("Sigmoid", sure), net.call("Sigmoid", kind), axis=1)
        shape = net.tensor(np.array([0, 5 + CLASSES, -1], np.int64))
        maps.append(net.call("Reshape", whole, shape))
    out = net.call("Transpose", net.call("Concat", *maps, axis=2), perm=[0, 2, 1])
    anchors = sum(SIZE[0] // s * (SIZE[1] // s) for s in STRIDES)
    ports = [helper.make_tensor_value_info("x", 1, ["n", 3, *SIZE])]
    given = [helper.make_tensor_value_info(out, 1, ["n", anchors, 5 + CLASSES])]
    graph = helper.make_graph(net.nodes, "yolox-like", ports, given, net.tensors)
    return rdq.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


# --- curves ----------------------------------------------------------------------------------------


def test_silu_is_known_by_its_two_nodes() -> None:
    network = Network(yolox_like())
    first = network.nodes[0].output[0]
    found = curve_of(network, first)
    assert found is not None
    curve, result = found
    assert network.nodes[network.maker(result) or 0].op_type == "Mul"
    x = np.linspace(-9, 9, 19)
    np.testing.assert_allclose(curve(x), x / (1 + np.exp(-x)))
    assert curve_of(network, result) is None  # a convolution reads it
    sure = next(
        n.input[0] for n in network.nodes if n.op_type == "Sigmoid" and n.output[0] in concat_inputs(network)
    )
    found = curve_of(network, sure)
    assert found is not None
    np.testing.assert_allclose(found[0](x), 1 / (1 + np.exp(-x)))


def concat_inputs(network: Network) -> set[str]:
    return {name for n in network.nodes if n.op_type == "Concat" for name in n.input}


def test_what_silu_flattens_takes_no_levels() -> None:
    x = np.concatenate([np.linspace(-80, 0, 5000), np.linspace(0, 6, 5000)]).astype(np.float32)
    seen = Observed("x")
    seen.add(x.reshape(1, 1, -1))

    def silu(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return v / (1 + np.exp(-v))

    plain, curved = range_of(seen, "mse"), range_of(seen, "mse", curve=silu)
    assert plain[0] < -40
    assert -12 < curved[0] < -3
    assert curved[1] == pytest.approx(6, rel=0.05)
    errors = []
    for low, high in (plain, curved):
        grid = grid_of(low, high)
        errors.append(
            np.mean(
                np.square(silu(grid.values(grid.levels(x)).astype(np.float64)) - silu(x.astype(np.float64)))
            )
        )
    assert errors[1] < errors[0] / 20


# --- placement -------------------------------------------------------------------------------------


def test_the_last_convolutions_of_a_detector_give_numbers() -> None:
    network = Network(yolox_like())
    last = [
        i for i in network.layers if "Concat" in readers(network, i) or "Sigmoid" in readers(network, i)[:1]
    ]
    heads = {network.given(i)[0] for i in last if network.layers[i].shape[2] == 1}
    assert len(heads) == 9
    assert heads <= set(place(network, network.layers).roots)
    assert not heads & set(place(network, network.layers, exact=True).roots)
    inner = set(place(network, network.layers).roots) - heads
    assert inner == set(place(network, network.layers, exact=True).roots)


def readers(network: Network, i: int) -> list[str]:
    return [network.nodes[user].op_type for user in network.users(network.given(i)[0])]


def test_beside_a_layer_in_float_nothing_is_rounded_twice() -> None:
    network = Network(yolox_like())
    first, second, *_ = network.layers
    without = place(network, [i for i in network.layers if i != second], exact=True)
    assert first in without.nodes
    assert network.given(first)[0] not in without.roots


# --- damage ----------------------------------------------------------------------------------------


def changed(model: rdq.Model, factor: float, first: int, last: int) -> rdq.Model:
    """`model` whose outputs' channels first … last are multiplied."""
    proto = model.proto
    scale = np.ones((1, 1, 5 + CLASSES), np.float32)
    scale[..., first : last + 1] = factor
    proto.graph.initializer.append(numpy_helper.from_array(scale, "scale_of_outputs"))
    node, name = proto.graph.node[-1], proto.graph.output[0].name
    node.output[0] = "unscaled"
    proto.graph.node.append(helper.make_node("Mul", ["unscaled", "scale_of_outputs"], [name]))
    return rdq.load(proto)


def test_damage_of_a_detector_is_what_happens_to_boxes_and_confidences() -> None:
    model = yolox_like()
    judge = Judge(model, lambda: [IMAGES])
    assert judge.detects
    assert not judge.classifies
    assert judge.damage(model) == Damage(None, None, 0.0)
    assert judge.damage(changed(model, 0.0, 4, 4)).noise == pytest.approx(
        0.5
    )  # no confidences, boxes as they were
    assert judge.damage(changed(model, 0.9, 4, 4)).noise == pytest.approx(0.1**2 / 2, rel=1e-3)
    moved = judge.damage(changed(model, 3.0, 0, 1)).noise
    assert 0 < moved < 0.5  # confidences as they were
    assert output_bytes(model, lambda: [IMAGES]) == 4 * 42 * (5 + CLASSES)


# --- from end to end -------------------------------------------------------------------------------


def test_a_small_detector_keeps_its_boxes(tmp_path: Path) -> None:
    model = yolox_like()
    quantized = quantize_static(model, IMAGES)
    assert quantized.report.met
    assert quantized.report.damage.kl is None
    assert quantized.report.damage.noise < 0.05
    (name,) = (o.name for o in model.outputs)
    before, after = (rdq.Session(m).run({"x": IMAGES})[name] for m in (model, quantized))
    assert np.corrcoef(before[..., 4:].ravel(), after[..., 4:].ravel())[0, 1] > 0.99
    quantized.save(tmp_path / "q.onnx")
    theirs = rdq.Session(tmp_path / "q.onnx", backend="onnxruntime").run({"x": IMAGES})[name]
    assert np.abs(theirs - after).max() < 0.1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_yolox_nano_keeps_its_precision(shared_data: Path) -> None:
    # On 128 photos a few detections in another order move mAP50: on the same file both engines differ by up to a point.
    data = rdq.CocoFolder(shared_data / "images" / "coco-val2017", "yolox").held(1 << 29)
    model = rdq.load(shared_data / "models" / "yolox_nano.onnx")
    quantized = quantize_static(model, data.take(np.arange(0, 128, 2)))
    assert quantized.report.met
    kept = [layer.node for layer in quantized.report.kept]
    assert "Conv_44" in kept  # the depthwise one behind the stem: its channels reach to 105 and to 0.5
    assert len(kept) <= 20
    before = rdq.evaluate(model, data, metrics="map50")["map50"]
    found = [rdq.evaluate(quantized, data, b, metrics="map50")["map50"] for b in ("auto", "onnxruntime")]
    assert before - np.mean(found) <= 0.015


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_scores_of_yolov8_do_not_collapse(shared_data: Path) -> None:
    data = rdq.CocoFolder(shared_data / "images" / "coco-val2017", "yolov8")
    model = rdq.load(shared_data / "models" / "yolov8n_random.onnx")
    quantized = quantize_static(model, data.take(np.arange(8)))
    assert quantized.report.met
    x, _ = data.get([8, 9])
    (port,), (output,) = model.inputs, model.outputs
    before, after = (rdq.Session(m).run({port.name: x})[output.name][:, 4:] for m in (model, quantized))
    assert (after > 0).all()
    np.testing.assert_allclose(after.mean(), before.mean(), rtol=0.05)


def test_a_network_of_one_image_takes_every_step() -> None:
    net = networks.Net()
    stem = net.call("Relu", net.conv("x", 8, 3))
    inner = net.conv(net.call("Relu", net.conv(stem, 8, 8)), 8, 8)
    last = net.conv(net.call("Relu", net.call("Add", inner, stem)), 4, 8, size=1)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": [1, 3, 8, 8]}, {last: [1, 4, 8, 8]}))
    images = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    quantized = quantize_static(model, images, rounding="order", max_noise=1)
    assert [step.step for step in quantized.report.steps][-1] == "balance"
    assert next(iter(rdq.Session(quantized).run({"x": images[:1]}).values())).shape == (1, 4, 8, 8)
