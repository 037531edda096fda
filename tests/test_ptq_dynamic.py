"""Dynamic quantization: the nodes that come of it, what stays in float, answers here and in ONNX Runtime."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from typer.testing import CliRunner

import models
import rdquant as rdq
from classifier import classifier
from networks import Net
from rdquant import InvalidArgument, quantize_dynamic
from rdquant.cli import app
from rdquant.graph import open_for_engine
from rdquant.ptq.fold import folded
from rdquant.runtime.engine import engine_backends
from test_ptq import wrecked

Array = NDArray[Any]
BACKENDS = [name for name, reason in engine_backends().items() if not reason]
IMAGES = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)


def network() -> rdq.Model:
    """Two readers of one value, batch normalization, groups, channels apart, padding, two kinds of products."""
    net = Net(1)
    stem = net.call("Relu", net.norm(net.conv("x", 8, 3, bias=False), 8))
    left = net.conv(stem, 8, 8, group=8)
    right = net.conv(stem, 8, 8, size=1, bias=False)
    total = net.call("Relu", net.call("Add", left, right))
    last = net.conv(total, 6, 8, group=2, strides=[2, 2], auto_pad="SAME_UPPER", pads=None)
    flat = net.call("Flatten", last)
    inner = net.call("MatMul", flat, net.noise(96, 12))
    y = net.call("Gemm", inner, net.noise(5, 12), net.noise(5), transB=1, alpha=0.5, beta=2.0)
    return rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 3, 8, 8]}, {y: ["N", 5]}))


def operators(model: rdq.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.proto.graph.node)


def first(outputs: dict[str, Array]) -> Array:
    return next(iter(outputs.values()))


@pytest.mark.parametrize("per_channel", [True, False])
def test_layers_become_sums_of_products_of_levels(per_channel: bool) -> None:
    model = network()
    quantized = quantize_dynamic(model, per_channel=per_channel)
    onnx.checker.check_model(quantized.proto, full_check=True)
    found = operators(quantized)
    assert found["ConvInteger"] == 4
    assert found["MatMulInteger"] == 2
    assert not {"Conv", "Gemm", "MatMul", "BatchNormalization"} & set(found)
    assert found["DynamicQuantizeLinear"] == 5, "two layers read the same value"
    tensors = {t.name: numpy_helper.to_array(t) for t in quantized.proto.graph.initializer}
    names = {name: node for node in quantized.proto.graph.node for name in node.input}
    levels = [t for name, t in tensors.items() if names[name].op_type in ("ConvInteger", "MatMulInteger")]
    assert all(t.dtype == np.int8 and np.abs(t.astype(int)).max() == 127 for t in levels)
    scales = sorted(t.shape for name, t in tensors.items() if name.endswith("_scale"))
    expected = [(5,), (6, 1, 1), (8, 1, 1), (8, 1, 1), (8, 1, 1), (12,)] if per_channel else [()] * 6
    assert scales == sorted(expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_answers_here_and_in_onnxruntime(per_channel: bool, backend: str) -> None:
    pytest.importorskip("onnxruntime")
    model = network()
    quantized = quantize_dynamic(model, per_channel=per_channel)
    expected = first(rdq.Session(model, backend="reference").run({"x": IMAGES}))
    found = first(rdq.Session(quantized, backend=backend).run({"x": IMAGES}))
    peer = first(rdq.Session(quantized, backend="onnxruntime").run({"x": IMAGES}))
    spread = np.abs(expected).max()
    assert np.abs(found - peer).max() <= 1e-5 * spread
    error = np.abs(found - expected).max() / spread
    assert 1e-5 < error < (0.03 if per_channel else 0.05)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [(), (6,), (1, 6)])
@pytest.mark.parametrize("scaled", [False, True])
def test_folding_into_a_gemm_changes_nothing(transposed: int, bias: tuple[int, ...], scaled: bool) -> None:
    net = Net(3)
    weight = net.noise(6, 4) if transposed else net.noise(4, 6)
    scales = {"alpha": 0.5, "beta": 2.0} if scaled else {}
    product = net.call(
        "Gemm", "x", weight, *([net.noise(*bias)] if bias else []), transB=transposed, **scales
    )
    y = net.call("Relu", net.norm(product, 6))
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 4]}, {y: ["N", 6]}))
    flat = folded(model)
    kinds = [n.op_type for n in flat.proto.graph.node]
    assert kinds.count("BatchNormalization") == (1 if scaled or len(bias) > 1 else 0)
    onnx.checker.check_model(flat.proto, full_check=True)
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        rdq.Session(flat).run({"x": x})[y], rdq.Session(model).run({"x": x})[y], atol=1e-5
    )


@pytest.mark.parametrize("channels", [16, 20, 21])
@pytest.mark.parametrize("filters", [7, 32, 40])
def test_products_over_positions_make_no_image(channels: int, filters: int) -> None:
    net = Net(2)
    y = net.call("MatMul", net.call("Relu", "x"), net.noise(channels, filters))
    shape = [2, 5, 9]
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": [*shape, channels]}, {y: [*shape, filters]}))
    x = np.random.default_rng(1).standard_normal((*shape, channels)).astype(np.float32)
    quantized = quantize_dynamic(model)
    session = rdq.Session(quantized, backend="native")
    expected = first(rdq.Session(quantized, backend="reference").run({"x": x}))
    np.testing.assert_array_equal(first(session.run({"x": x})), expected)
    (row,) = [row for row in session.plan() if row["op"] == "dynamic_quantize"]
    assert row["layout"] == "plain"


def test_ranges_are_those_of_the_batch() -> None:
    quantized = quantize_dynamic(network())
    session = rdq.Session(quantized, backend="reference")
    alone = first(session.run({"x": IMAGES[:1]}))
    beside = first(session.run({"x": np.concatenate([IMAGES[:1], 3 * IMAGES[1:]])}))[:1]
    assert 0 < np.abs(alone - beside).max() < 0.2 * np.abs(alone).max()
    zeros = first(session.run({"x": np.zeros((1, 3, 8, 8), np.float32)}))
    assert np.isfinite(zeros).all()


def test_the_file_is_the_model(tmp_path: Path) -> None:
    quantized = quantize_dynamic(network())
    quantized.save(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 60_000
    assert open_for_engine(tmp_path / "m.onnx") is not None
    again = rdq.Session(tmp_path / "m.onnx", backend="reference").run({"x": IMAGES})
    np.testing.assert_array_equal(
        first(again), first(rdq.Session(quantized, backend="reference").run({"x": IMAGES}))
    )


# --- what stays in float ---------------------------------------------------------------------------


def test_layers_stay_in_float_where_asked_for() -> None:
    model = network()
    every = quantize_dynamic(model).report
    assert every.damage is None
    assert every.met is None
    assert "unknown" in str(every)
    assert all(layer.weight_sqnr_db is not None and layer.weight_sqnr_db > 30 for layer in every.layers)
    chosen = [every.layers[1].node, every.layers[-1].node]
    quantized = quantize_dynamic(model, keep=chosen)
    assert [(k.node, k.reason) for k in quantized.report.kept] == [(name, "requested") for name in chosen]
    assert quantized.report.to_dict()["kept"] == chosen
    assert operators(quantized)["ConvInteger"] == 3
    with pytest.raises(InvalidArgument, match=rf"'{chosen[0]}x'; did you mean '{chosen[0]}'"):
        quantize_dynamic(model, keep=[f"{chosen[0]}x"])


def test_layers_that_have_no_int8_form_are_named() -> None:
    net = Net(2)
    up = net.call("ConvTranspose", "x", net.noise(3, 4, 2, 2), strides=[2, 2])
    mixed = net.call("MatMul", net.noise(12, 12), up)
    y = net.conv(mixed, 2, 4)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 3, 6, 6]}, {y: ["N", 2, 12, 12]}))
    quantized = quantize_dynamic(model)
    reasons = {layer.op: layer.reason for layer in quantized.report.kept}
    assert "transposed" in reasons["ConvTranspose"]
    assert "left factor" in reasons["MatMul"]
    assert len(quantized.report.kept) == 2
    counts = {"ConvTranspose": 1, "MatMul": 1, "ConvInteger": 1, "DynamicQuantizeLinear": 1}
    assert operators(quantized) == Counter({**counts, "Cast": 1, "Mul": 2, "Add": 1})


@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_layers_that_share_weights_or_compute_them_are_quantized(how: str) -> None:
    net = Net(2)
    shared = net.noise(16, 16, 3, 3)
    x = net.conv("x", 16, 3)
    for _ in range(3):
        x = net.call("Relu", net.call("Conv", x, shared, pads=[1, 1, 1, 1]))
    direction = net.noise(8, 16, 1, 1)  # a normalized weight: its direction, and a length for each filter
    unit = net.call("Div", direction, net.call("ReduceL2", direction, axes=[1, 2, 3]))
    y = net.call("Conv", x, net.call("Mul", unit, net.noise(8, 1, 1, 1)))
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 3, 8, 8]}, {y: ["N", 8, 6, 6]}))
    if how == "dynamic":
        quantized = quantize_dynamic(model)
        assert operators(quantized)["ConvInteger"] == 5
        assert sum(dims == (16, 16, 3, 3) for dims, _ in _dims(quantized)) == 1  # stored once
    else:
        quantized = rdq.quantize_static(model, IMAGES)
    assert not quantized.report.kept
    assert not {"Div", "ReduceL2"} & set(operators(quantized))
    wanted = rdq.Session(model).run({"x": IMAGES})[y]
    for backend in ("native", "reference"):
        found = rdq.Session(quantized, backend=backend).run({"x": IMAGES})[y]
        assert np.abs(found - wanted).mean() <= 0.02 * np.ptp(wanted)


def _dims(model: rdq.Model) -> list[tuple[tuple[int, ...], int]]:
    return [(tensor.dims, tensor.data_type) for tensor in model.parts()[1].values()]


def test_with_images_what_wrecks_the_outputs_stays_in_float() -> None:
    model = wrecked()
    loose = quantize_dynamic(model, calibration=IMAGES, max_kl=10).report
    assert loose.met
    assert loose.images == 4
    assert not loose.kept
    assert loose.damage is not None
    quantized = quantize_dynamic(model, calibration=IMAGES, max_kl=loose.damage.score / 2)
    report = quantized.report
    assert report.met
    assert report.damage is not None
    assert report.damage.score <= loose.damage.score / 2
    assert [layer.node for layer in report.kept] == ["conv3"]
    assert "quantized alone it costs KL" in report.kept[0].reason
    assert "kept in float: conv3 (Conv)" in str(report)
    everything = quantize_dynamic(model, calibration=IMAGES, max_kl=1e-12)
    assert len(everything.report.kept) == 3
    assert "ConvInteger" not in operators(everything)


def test_what_cannot_be_quantized_is_refused() -> None:
    add = models.build([helper.make_node("Relu", ["x"], ["y"])], {}, {"x": ["N", 4]}, {"y": ["N", 4]})
    with pytest.raises(InvalidArgument, match="no convolution or product"):
        quantize_dynamic(add)
    with pytest.raises(InvalidArgument, match="max_noise"):
        quantize_dynamic(network(), max_noise=0)
    for wrong in (np.zeros((0, 3, 8, 8), np.float32), np.array(["a"])):
        with pytest.raises(InvalidArgument, match="calibration: expected"):
            quantize_dynamic(network(), calibration=wrong)


def test_a_classifier_keeps_its_answers() -> None:
    model, data = classifier(), rdq.Digits("test").take(np.arange(200))
    quantized = quantize_dynamic(model, calibration=rdq.Digits("train").calibration(16))
    before, after = (rdq.evaluate(m, data, metrics=["top1"])["top1"] for m in (model, quantized))
    assert abs(before - after) <= 0.01
    assert quantized.report.damage is not None
    assert quantized.report.damage.score < 1e-2


# --- the command ---------------------------------------------------------------------------------


def command(tmp_path: Path, *options: Any) -> Any:
    path = tmp_path / "digits.onnx"
    classifier().save(path)
    words = ["quantize", path, "--mode", "dynamic", "-o", tmp_path / "out.onnx", *options]
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_needs_no_data(tmp_path: Path) -> None:
    run = command(tmp_path, "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["bytes"] == (tmp_path / "out.onnx").stat().st_size
    assert found["damage"] is None
    assert [layer["node"] for layer in found["layers"]] == ["conv", "gemm"]
    run = command(tmp_path, "--calibration", "digits", "--images", 10, "--keep", "gemm")
    assert run.exit_code == 0, run.output
    assert "requested" in run.output
    assert "10 images" in run.output
    assert operators(rdq.load(tmp_path / "out.onnx"))["ConvInteger"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ranges", "kl"], "--ranges"),
        (["--symmetric"], "--symmetric"),
        (["--mode", "half"], "half"),
        (["--mode", "static"], "--calibration"),
        (["--mode", "static", "--calibration", "digits", "--keep", "gemm"], "--keep"),
    ],
)
def test_options_of_the_other_mode_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    run = command(tmp_path, *options)
    assert run.exit_code == 2
    assert message in run.output
    assert not (tmp_path / "out.onnx").exists()


def test_a_trained_network_answers_as_in_onnxruntime(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    quantized = quantize_dynamic(shared_data / "models" / "squeezenet1.1-7.onnx")
    quantized.save(tmp_path / "m.onnx")
    data = rdq.ImageFolder(shared_data / "images" / "imagenet-sample", preprocess="imagenet").take(
        np.arange(3)
    )
    ((x, _),) = list(data)
    float_session = rdq.Session(shared_data / "models" / "squeezenet1.1-7.onnx")
    ours, theirs = rdq.Session(tmp_path / "m.onnx"), rdq.Session(quantized, backend="onnxruntime")
    (port,) = ours.inputs
    for image in x:
        feeds = {port.name: image[np.newaxis]}
        found, peer, wanted = (first(s.run(feeds)) for s in (ours, theirs, float_session))
        assert np.abs(found - peer).max() <= 1e-4 * np.abs(peer).max()
        assert np.square(found - wanted).mean() <= 0.01 * wanted.var()


def test_what_is_quantized_already_is_said_to_be() -> None:
    with pytest.raises(InvalidArgument, match=r"quantized already \(DynamicQuantizeLinear\)"):
        quantize_dynamic(quantize_dynamic(network()))
    static = rdq.quantize_static(network(), IMAGES)
    for quantize in (quantize_dynamic, lambda model: rdq.quantize_static(model, IMAGES)):
        with pytest.raises(InvalidArgument, match=r"quantized already \(QuantizeLinear\)"):
            quantize(static)


def test_what_is_quantized_in_part_is_said_to_be() -> None:
    kept = quantize_dynamic(network()).report.layers[-1].node
    with pytest.warns(UserWarning, match=r"is quantized already, at least in part \(DynamicQuantizeLinear\)"):
        quantize_dynamic(quantize_dynamic(network(), keep=[kept]))


def test_a_folder_that_is_not_there_is_noticed_first(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network().save(path)
    output = tmp_path / "none" / "net.int8.onnx"
    found = CliRunner().invoke(app, ["quantize", str(path), "--mode", "dynamic", "-o", str(output)])
    assert found.exit_code == 2
    assert "there is no folder" in found.output


@pytest.mark.parametrize("scale_first", [True, False])
def test_quick_gelu_stays_in_the_kernels_of_its_layer(scale_first: bool) -> None:
    """x · sigmoid(1.702 x), as encoders of text have it: no step falls back to its definition."""
    random = np.random.default_rng(0)
    tensors = {
        "w1": random.standard_normal((32, 64)).astype(np.float32),
        "w2": random.standard_normal((64, 32)).astype(np.float32),
        "k": np.float32(1.702),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Mul", ["k", "a"] if scale_first else ["a", "k"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["g"]),
        helper.make_node("MatMul", ["g", "w2"], ["y"]),
    ]
    model = models.build(nodes, tensors, {"x": (1, 7, 32)}, {"y": (1, 7, 32)}, opset=17)
    with rdq.Session(rdq.quantize_dynamic(model), backend="native") as session:
        assert {row["supplier"] for row in session.plan()} == {"native"}


def test_a_network_of_transposed_convolutions_says_why_nothing_is_quantized() -> None:
    weight = np.ones((2, 3, 2, 2), np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2])
    model = models.build([node], {"w": weight}, {"x": (1, 2, 3, 3)}, {"y": (1, 3, 6, 6)}, opset=17)
    with pytest.raises(InvalidArgument, match="up: ONNX has no transposed convolution of integers"):
        rdq.quantize_dynamic(model)
