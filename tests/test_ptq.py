"""Static quantization: placement, equalization, rounding, what stays in float, and the files that come of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper
from typer.testing import CliRunner

import models
import rdquant as rdq
from classifier import classifier
from networks import Net
from rdquant import InvalidArgument, Unsupported
from rdquant.cli import app
from rdquant.ptq import balance, grid_of, quantize_static
from rdquant.ptq.equalize import equalized
from rdquant.ptq.export import write
from rdquant.ptq.fold import folded
from rdquant.ptq.network import Network
from rdquant.ptq.observe import observe
from rdquant.ptq.placement import place
from rdquant.ptq.weights import nearest

Array = NDArray[Any]


def levels_of(model: rdq.Model) -> set[str]:
    """Values that become levels."""
    return {n.input[0] for n in model.proto.graph.node if n.op_type == "QuantizeLinear"}


def network_of(net: Net, out: str, *sizes: int | str) -> rdq.Model:
    """The network whose input is [N, 3, 8, 8], and whose output `out` has these sizes."""
    return rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 3, 8, 8]}, {out: ["N", *sizes]}))


def on_onnxruntime(model: rdq.Model, x: Array) -> dict[str, Array]:
    pytest.importorskip("onnxruntime")
    return rdq.Session(model, backend="onnxruntime").run({"x": x})


# --- placement -----------------------------------------------------------------------------------


def residual() -> rdq.Model:
    """A residual sum, a concatenation of two convolutions, a pool, a classifier with softmax."""
    net = Net()
    stem = net.call("Relu", net.conv("x", 8, 3))
    inner = net.conv(net.call("Relu", net.conv(stem, 8, 8)), 8, 8)
    total = net.call("Relu", net.call("Add", inner, stem))
    left, right = (net.call("Relu", net.conv(total, 4, 8, size=k)) for k in (1, 3))
    joined = net.call("Concat", left, right, axis=1)
    pooled = net.call("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2])
    last = net.conv(pooled, 10, 8, size=1)
    flat = net.call("Flatten", net.call("GlobalAveragePool", last))
    return network_of(net, net.call("Softmax", flat, axis=1), 10)


def test_levels_stand_where_int8_can_compute() -> None:
    network = Network(residual())
    placement = place(network, network.layers)
    names = {network.nodes[i].op_type: network.given(i)[0] for i in range(len(network.nodes))}
    by_op = {
        op: [network.given(i)[0] for i, n in enumerate(network.nodes) if n.op_type == op] for op in names
    }
    relus, convs = by_op["Relu"], by_op["Conv"]
    wanted = {"x", *relus, convs[2], names["Concat"], names["MaxPool"], convs[5]}
    assert set(placement.roots) == wanted, (
        "convolutions before a Relu, and what follows the last layer, stay as they are"
    )
    joined = names["Concat"]
    assert {v for v, root in placement.roots.items() if root == joined} == {
        relus[3],
        relus[4],
        joined,
        names["MaxPool"],
    }, "the parts of a concatenation and what is moved on share its range"
    alone = place(network, [list(network.layers)[1]])
    assert set(alone.roots) == {relus[0], relus[1]}
    assert place(network, []).roots == {}


def test_parts_that_others_read_keep_their_range() -> None:
    net = Net()
    left = net.call("Relu", net.conv("x", 4, 3))
    right = net.call("Relu", net.conv(left, 4, 4))
    joined = net.call("Concat", left, right, axis=1)
    out = net.conv(joined, 4, 8)
    network = Network(network_of(net, out, 4, 8, 8))
    roots = place(network, network.layers).roots
    assert roots[left] == left
    assert roots[right] == joined


def test_scores_of_a_product_stay_exact() -> None:
    model = classifier()
    network = Network(model)
    assert set(place(network, network.layers).roots) == {"x", "r", "m", "f"}


@pytest.mark.parametrize("softmax", [False, True])
def test_scores_of_a_convolution_stay_exact(softmax: bool) -> None:
    net = Net()
    pooled = net.call("GlobalAveragePool", net.call("Relu", net.conv("x", 8, 3)))
    scores = net.conv(pooled, 10, 8, size=1)
    out = net.call("Flatten", scores)
    network = Network(network_of(net, net.call("Softmax", out, axis=1) if softmax else out, 10))
    roots = place(network, network.layers).roots
    assert pooled in roots
    assert scores not in roots


@pytest.mark.parametrize(
    ("inputs", "opset", "message"),
    [({"x": ["N", 16], "z": ["N", 16]}, 13, "one input"), ({"x": ["N", 16]}, 13, "no convolution")],
)
def test_networks_that_cannot_be_quantized(inputs: dict[str, Any], opset: int, message: str) -> None:
    nodes = [helper.make_node("Add", [*inputs, "x"][:2], ["y"], "sum")]
    model = rdq.load(models.build(nodes, {}, inputs, {"y": ["N", 16]}, opset))
    with pytest.raises((InvalidArgument, Unsupported), match=message):
        quantize_static(model, np.ones((2, 16), np.float32))


# --- steps ---------------------------------------------------------------------------------------


def test_folding_a_batch_norm_changes_nothing() -> None:
    model = rdq.load(models.cnn())
    flat = folded(model)
    assert [n.op_type for n in flat.proto.graph.node].count("BatchNormalization") == 0
    onnx.checker.check_model(flat.proto, full_check=True)
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(
        rdq.Session(flat).run({"x": x})["y"], rdq.Session(model).run({"x": x})["y"], atol=1e-5
    )
    assert folded(flat) is flat


def uneven(clip: bool) -> rdq.Model:
    """Channels of very different ranges before a depthwise and a plain convolution, through a clip, a concatenation and
    a sum.
    """
    net = Net(3)
    spread = np.geomspace(1, 1 / 200, 12).astype(np.float32)
    first = net.random.uniform(-1, 1, (12, 3, 3, 3)) * spread[:, None, None, None] * (2 if clip else 1)
    made = net.call("Conv", "x", net.tensor(first), net.tensor(np.zeros(12)), pads=[1] * 4)
    bounds = [net.tensor(np.float32(0)), net.tensor(np.float32(6))] if clip else []
    made = net.call("Clip" if clip else "Relu", made, *bounds)
    deep = net.conv(made, 12, 12, group=12)
    total = net.call("Add", net.conv(made, 12, 12, size=1), deep)
    joined = net.call(
        "Concat", net.call("Relu", total), net.call("MaxPool", made, kernel_shape=[1, 1]), axis=1
    )
    last = net.call("GlobalAveragePool", net.conv(joined, 5, 24, size=1))
    return network_of(net, net.call("Flatten", last), 5)


@pytest.mark.parametrize("clip", [False, True], ids=["relu", "clip"])
def test_equalization_keeps_the_function_and_evens_channels(clip: bool) -> None:
    model = uneven(clip)
    x = np.random.default_rng(0).uniform(-1, 1, (6, 3, 8, 8)).astype(np.float32)
    network = Network(model)
    values = list(place(network, network.layers).roots)
    seen = observe(model, lambda: [x], values)
    even, count = equalized(network, seen, values, 1.0)
    assert count > 0
    np.testing.assert_allclose(
        rdq.Session(even).run({"x": x}).popitem()[1], rdq.Session(model).run({"x": x}).popitem()[1], atol=2e-5
    )
    again = observe(even, lambda: [x], values)

    def least(found: Any, value: str) -> float:
        return float(found[value].channel_high.min() / found[value].channel_high.max())

    first = network.given(1)[0]
    assert least(seen, first) < 0.05
    assert least(again, first) > 5 * least(seen, first)
    assert equalized(network, seen, values, 0.0)[1] == 0


def test_balancing_restores_the_means_behind_the_clip_of_every_layer() -> None:
    model = residual()
    network = Network(model)
    placement = place(network, network.layers)
    seen = observe(model, lambda: [IMAGES], placement.values)
    # Coarse levels that clip a quarter of each range.
    grids = {v: replace(grid_of(0.0, 0.75 * s.high), scale=s.high / 40) for v, s in seen.items()}
    levels = {layer.weight: nearest(layer, model.weights(), 1.0, True) for layer in network.layers.values()}
    layers = []
    for i, layer in network.layers.items():
        reader = network.next_activation(network.given(i)[0])
        bounds = balance.EVERYWHERE if reader is None else network.bounds(reader)
        layers.append(balance.Balanced(network.given(i)[0], layer, bounds))
    assert {one.bounds for one in layers} == {(0.0, np.inf), balance.EVERYWHERE}
    done: list[int] = []

    def written(known: dict[str, Any]) -> rdq.Model:
        return write(network, placement, grids, known)

    def missed(known: dict[str, Any]) -> list[float]:
        """Largest error of a channel's mean, for each layer, over the spread of its outputs."""
        quantized, found = written(known), []
        for one in layers:
            output, name = one.output, balance.source(quantized, one.output)
            given = rdq.Session(quantized.with_outputs([name]), backend="reference").run({"x": IMAGES})[name]
            wanted = rdq.Session(model.with_outputs([output]), backend="reference").run({"x": IMAGES})[output]
            apart = np.clip(given, *one.bounds) - np.clip(wanted, *one.bounds)
            found.append(float(np.abs(apart.mean(axis=(0, 2, 3))).max() / wanted.std()))
        return found

    even = balance.balanced(model, layers, levels, written, lambda: [IMAGES], done=done.append)
    before, after = missed(levels), missed(even)
    assert max(before) > 0.02
    assert max(after) < 0.1 * max(before)
    assert sum(done) == len(layers)
    for layer in network.layers.values():
        assert np.array_equal(even[layer.weight].levels, levels[layer.weight].levels)


IMAGES = np.random.default_rng(5).uniform(-1, 1, (24, 3, 8, 8)).astype(np.float32)


def errors(model: rdq.Model, **options: Any) -> tuple[float, rdq.QuantizedModel]:
    quantized = quantize_static(model, IMAGES, max_kl=10, **options)
    x = np.random.default_rng(6).uniform(-1, 1, (64, 3, 8, 8)).astype(np.float32)
    wanted = rdq.Session(model).run({"x": x}).popitem()[1]
    given = rdq.Session(quantized).run({"x": x}).popitem()[1]
    return float(np.square(given - wanted).mean()), quantized


def test_every_step_lessens_the_error() -> None:
    model = uneven(False)
    plain, report = errors(model, equalize=0, rounding="nearest", correct_bias=False)
    assert [s.step for s in report.report.steps] == ["levels"]
    even, _ = errors(model, equalize=0.5, rounding="nearest", correct_bias=False)
    ordered, found = errors(model, rounding="order")
    assert even < 0.5 * plain
    assert ordered < even
    assert [s.step for s in found.report.steps] == [
        "levels",
        "equalize",
        "rounding",
        "bias",
        "order",
        "balance",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activations": "s8"},
        {"symmetric": True},
        {"activations": "s8", "symmetric": True},
        {"per_channel": False, "rounding": "order"},
        {"ranges": "minmax", "rounding": "feedback"},
        {"ranges": "kl", "rounding": "nearest"},
        {"ranges": "average", "correct_bias": False},
        {"ranges": "percentile", "percentile": 99.9},
    ],
    ids=str,
)
def test_files_are_valid_and_run_alike_everywhere(options: dict[str, Any]) -> None:
    model = residual()
    quantized = quantize_static(model, IMAGES, max_kl=1.0, **options)
    onnx.checker.check_model(quantized.proto, full_check=True)
    ours = rdq.Session(quantized, backend="reference").run({"x": IMAGES})
    (name,) = ours
    np.testing.assert_allclose(rdq.Session(quantized).run({"x": IMAGES})[name], ours[name], atol=5e-3)
    np.testing.assert_allclose(on_onnxruntime(quantized, IMAGES)[name], ours[name], atol=5e-3)
    wanted = rdq.Session(model).run({"x": IMAGES})[name]
    assert np.abs(ours[name] - wanted).max() < 0.1
    for layer in quantized.report.layers:
        assert layer.sqnr_db is None or layer.sqnr_db > 10


def test_the_file_holds_levels_in_place_of_weights(tmp_path: Any) -> None:
    model = residual()
    quantized = quantize_static(model, IMAGES, max_kl=1.0)
    assert isinstance(quantized, rdq.Model)
    tensors = {t.name: t for t in quantized.proto.graph.initializer}
    weights = list(Network(model).layers.values())
    for layer in weights:
        assert layer.weight not in tensors
        levels = onnx.numpy_helper.to_array(tensors[f"{layer.weight}_levels"])
        assert levels.dtype == np.int8
        assert levels.shape == layer.shape
        assert np.abs(levels.astype(int)).max() == 127
        assert onnx.numpy_helper.to_array(tensors[f"{layer.bias}_levels"]).dtype == np.int32
        scales = onnx.numpy_helper.to_array(tensors[f"{layer.weight}_scale"])
        assert scales.shape == (layer.rows,)
    quantized.save(tmp_path / "m.onnx")
    again = rdq.Session(tmp_path / "m.onnx").run({"x": IMAGES})
    for name, values in rdq.Session(quantized).run({"x": IMAGES}).items():
        np.testing.assert_allclose(again[name], values, atol=1e-5)
    kept = rdq.load(tmp_path / "m.onnx")
    assert sum(n.op_type == "QuantizeLinear" for n in kept.proto.graph.node) == len(levels_of(quantized))


def wrecked() -> rdq.Model:
    """A classifier in which one convolution's input has a range that no 8 bits can hold."""
    net = Net(1)
    made = net.call("Relu", net.conv("x", 6, 3))
    huge = net.call("Mul", made, net.tensor(np.geomspace(1, 1e5, 6).reshape(1, 6, 1, 1)))
    weight = net.random.uniform(-1, 1, (8, 6, 1, 1)) / np.geomspace(1, 1e5, 6).reshape(1, 6, 1, 1)
    mixed = net.call("Relu", net.call("Conv", huge, net.tensor(weight), net.tensor(np.zeros(8))))
    last = net.call("GlobalAveragePool", net.conv(mixed, 5, 8))
    return network_of(net, net.call("Flatten", last), 5)


def test_what_wrecks_the_outputs_stays_in_float_and_is_named() -> None:
    model = wrecked()
    quantized = quantize_static(model, IMAGES, max_kl=2e-4, per_channel=False)
    report = quantized.report
    assert report.met
    assert report.damage.kl is not None
    assert report.damage.kl <= 2e-4
    worst = report.layers[0]
    assert worst.node == "conv3"
    assert worst.kept
    assert "quantized alone it costs KL" in worst.reason
    assert [layer.node for layer in report.kept] == report.to_dict()["kept"]
    assert "kept in float: conv3 (Conv)" in str(report)
    assert len(report.kept) < len(report.layers)
    assert "huge" not in levels_of(quantized)
    everything = quantize_static(model, IMAGES, max_kl=1e-12)
    assert len(everything.report.kept) == 3
    assert not levels_of(everything)


def test_calibration_is_checked() -> None:
    model = classifier()
    for wrong in (np.zeros((0, 1, 8, 8), np.float32), np.array(["a"])):
        with pytest.raises(InvalidArgument, match="calibration"):
            quantize_static(model, wrong)
    for name, value in (
        ("activations", "i4"),
        ("ranges", "all"),
        ("rounding", "up"),
        ("equalize", 2),
        ("max_kl", 0),
    ):
        with pytest.raises(InvalidArgument, match=name):
            quantize_static(model, np.zeros((1, 1, 8, 8), np.float32), **{name: value})


def test_a_classifier_keeps_its_answers() -> None:
    model, data = classifier(), rdq.Digits("test")
    quantized = quantize_static(model, rdq.Digits("train").calibration(100))
    float_score, score = (rdq.evaluate(m, data, metrics=["top1"])["top1"] for m in (model, quantized))
    assert abs(float_score - score) < 0.01
    assert quantized.report.damage.kl is not None
    assert quantized.report.damage.kl < 1e-3
    assert quantized.report.images == 100


def test_layers_too_wide_for_covariances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rdquant.ptq.rounds.WIDEST", 0)
    assert (quantize_static(classifier(), rdq.Digits("train").calibration(50)).report.damage.kl or 1.0) < 1e-2


# --- the command ---------------------------------------------------------------------------------


def test_the_command_writes_a_file_and_says_what_it_costs(tmp_path: Path) -> None:
    path, out = tmp_path / "digits.onnx", tmp_path / "digits.int8.onnx"
    classifier().save(path)
    words = ["quantize", path, "--calibration", "digits", "-o", out, "--images", 50, "--json"]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["bytes"] == out.stat().st_size
    assert found["images"] == 50
    assert found["damage"]["kl"] < 1e-3
    assert {layer["node"] for layer in found["layers"]} == {"conv", "gemm"}
    data = rdq.Digits("test").take(np.arange(100))
    assert rdq.evaluate(out, data, metrics=["top1"])["top1"] > 0.8


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rounding", "up"), ("--ranges", "all"), ("--activations", "u4"), ("--calibration", "nowhere")],
)
def test_wrong_options_are_named(tmp_path: Path, option: str, value: str) -> None:
    path = tmp_path / "digits.onnx"
    classifier().save(path)
    words = ["quantize", str(path), "--calibration", "digits", "-o", str(tmp_path / "o.onnx"), option, value]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 2
    assert value in run.output
    assert not (tmp_path / "o.onnx").exists()
