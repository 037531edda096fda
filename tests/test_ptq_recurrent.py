"""Recurrent layers with weights of 8 bits: what `quantize_dynamic` makes of them, answers here and in ONNX Runtime."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import onnx
import pytest

import models
import rdquant as rdq
from networks import Net
from rdquant import quantize_dynamic
from rdquant.ptq.export import LayerLevels
from rdquant.ptq.given import quantize_given
from test_ptq_dynamic import BACKENDS, first


def recurrent(op: str, **options: Any) -> rdq.Model:
    """A recurrent layer between products, of which the second reads the states of all steps."""
    net = Net(4)
    gates, ways = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 2 if options.get("direction") else 1
    x = net.call("MatMul", "x", net.noise(10, 24))
    w, r = (net.noise(ways, gates * 16, size, low=-0.3, high=0.3) for size in (24, 16))
    states = net.call(op, x, w, r, net.noise(ways, gates * 32), hidden_size=16, **options)
    axes = net.integers(2 if options.get("layout") else 1)
    last = states if ways == 2 else net.call("Squeeze", states, axes)
    y = net.call("MatMul", last, net.noise(16, 5))
    shape = [7, 3, 5] if ways == 1 else [7, 2, 3, 5]
    return rdq.load(models.build(net.nodes, net.tensors, {"x": [7, 3, 10]}, {y: shape}))


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("options", [{}, {"layout": 1}, {"direction": "bidirectional"}])
@pytest.mark.parametrize("per_channel", [True, False])
def test_recurrent_layers_multiply_their_inputs_as_levels(
    op: str, options: dict[str, Any], per_channel: bool
) -> None:
    model = recurrent(op, **options)
    x = np.random.default_rng(5).standard_normal((7, 3, 10)).astype(np.float32)
    quantized = quantize_dynamic(model, per_channel=per_channel)
    onnx.checker.check_model(quantized.proto, full_check=True)
    assert [layer.op for layer in quantized.report.layers] == ["MatMul", op, "MatMul"]
    assert not quantized.report.kept
    assert all(layer.weight_sqnr_db > 30 for layer in quantized.report.layers)
    expected = first(rdq.Session(model, backend="reference").run({"x": x}))
    spread = np.abs(expected).max()
    for backend in BACKENDS:
        session = rdq.Session(quantized, backend=backend)
        rows = [row for row in session.plan() if row["op"] in ("int8_convolution", "matmul")]
        assert [row["op"] for row in rows] == ["int8_convolution"] * (3 + ("direction" in options))
        found = first(session.run({"x": x}))
        assert 1e-5 < np.abs(found - expected).max() / spread < 0.04
        if importlib.util.find_spec("onnxruntime") and not options.get("layout"):
            peer = first(rdq.Session(quantized, backend="onnxruntime").run({"x": x}))
            # a state may lie between two levels
            assert np.abs(found - peer).max() <= 5e-3 * spread


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("how", ["dynamic", "static"])
def test_recurrent_layers_that_share_weights_are_quantized(op: str, how: str) -> None:
    """Both directions by the same weights, of which the ones for states serve for inputs too."""
    net = Net(4)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    w, bias = net.noise(1, gates * 32, 32, low=-0.3, high=0.3), net.noise(1, gates * 64)
    ways = [net.call(op, "x", w, w, bias, hidden_size=32, direction=way) for way in ("forward", "reverse")]
    y = net.call("Concat", *ways, axis=3)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": [7, 3, 32]}, {y: [7, 1, 3, 64]}))
    x = np.random.default_rng(5).standard_normal((7, 3, 32)).astype(np.float32)
    quantized = quantize_dynamic(model) if how == "dynamic" else rdq.quantize_static(model, x)
    assert [(layer.op, layer.kept) for layer in quantized.report.layers] == [(op, False)] * 2
    sizes = [tensor.dims for tensor in quantized.parts()[1].values()]
    assert how == "static" or sizes.count((1, gates * 32, 32)) == 1  # stored once
    expected = first(rdq.Session(model).run({"x": x}))
    for backend in BACKENDS:
        found = first(rdq.Session(quantized, backend=backend).run({"x": x}))
        assert 1e-5 < np.abs(found - expected).max() < 0.06 * np.abs(expected).max()


def test_weights_that_the_graph_puts_together_become_levels() -> None:
    """PyTorch's newer exporter writes gates in its own order, and nodes that bring them to ONNX's."""
    net = Net(8)
    w, r = (net.call("Concat", net.noise(1, 16, size), net.noise(1, 32, size), axis=1) for size in (10, 16))
    y = net.call("GRU", "x", w, r, hidden_size=16)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": [7, 3, 10]}, {y: [7, 1, 3, 16]}))
    quantized = quantize_dynamic(model)
    assert [(layer.op, layer.kept) for layer in quantized.report.layers] == [("GRU", False)]
    rows = [row["kernel"] for row in rdq.Session(quantized).plan() if row["op"] == "recurrence"]
    assert rows[0].startswith("recurrence of levels")
    x = np.random.default_rng(5).standard_normal((7, 3, 10)).astype(np.float32)
    expected = first(rdq.Session(model).run({"x": x}))
    assert np.abs(first(rdq.Session(quantized).run({"x": x})) - expected).max() < 0.03


def over_images(op: str, ways: int, closed: bool) -> rdq.Model:
    """Rows of an image one after the other through a recurrent layer and, where `closed`, a product with what it gives."""
    net = Net(6)
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    x = net.call("Transpose", net.call("Relu", net.conv("x", 4, 2)), perm=[2, 0, 1, 3])
    rows = net.call("Reshape", x, net.integers(8, -1, 24))
    weights = [net.noise(ways, gates * 12, size, low=-0.3, high=0.3) for size in (24, 12)]
    direction = "bidirectional" if ways == 2 else "reverse"
    states = net.call(op, rows, *weights, net.noise(ways, gates * 24), hidden_size=12, direction=direction)
    y = net.call("Transpose", states, perm=[2, 0, 1, 3])
    if closed:
        y = net.call(
            "MatMul", net.call("Reshape", y, net.integers(-1, 8, ways * 12)), net.noise(ways * 12, 5)
        )
    shape = ["N", 8, 5] if closed else ["N", 8, ways, 12]
    return rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 2, 8, 6]}, {y: shape}))


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize(
    ("ways", "closed", "options"),
    [
        (1, True, {}),
        (2, True, {"rounding": "order"}),
        (2, False, {"rounding": "nearest", "per_channel": False}),
    ],
)
def test_recurrent_layers_are_quantized_statically(
    op: str, ways: int, closed: bool, options: dict[str, Any]
) -> None:
    model = over_images(op, ways, closed)
    images = np.random.default_rng(7).standard_normal((24, 2, 8, 6)).astype(np.float32)
    quantized = rdq.quantize_static(model, images, max_noise=1.0, **options)
    onnx.checker.check_model(quantized.proto, full_check=True)
    assert {layer.op for layer in quantized.report.layers} == {"Conv", op} | ({"MatMul"} if closed else set())
    assert not quantized.report.kept
    expected = first(rdq.Session(model, backend="reference").run({"x": images[:3]}))
    spread = np.abs(expected).max()
    for backend in BACKENDS:
        session = rdq.Session(quantized, backend=backend)
        found = first(session.run({"x": images[:3]}))
        rows = [row["op"] for row in session.plan({"x": images[:3]})]
        assert "matmul" not in rows
        assert rows.count("int8_convolution") == 1 + ways + closed
        assert 1e-5 < np.abs(found - expected).max() / spread < 0.06
        if importlib.util.find_spec("onnxruntime"):
            peer = first(rdq.Session(quantized, backend="onnxruntime").run({"x": images[:3]}))
            assert np.abs(found - peer).mean() <= 5e-3 * spread


def test_recurrent_layers_stay_in_float_where_they_cost_too_much() -> None:
    images = np.random.default_rng(7).standard_normal((24, 2, 8, 6)).astype(np.float32)
    quantized = rdq.quantize_static(over_images("LSTM", 1, True), images, max_noise=1e-12)
    assert {layer.op for layer in quantized.report.kept} == {"Conv", "LSTM", "MatMul"}
    assert "DequantizeLinear" not in {node.op_type for node in quantized.proto.graph.node}


def test_given_levels_leave_recurrent_layers_in_float() -> None:
    model = over_images("GRU", 1, True)
    images = np.random.default_rng(7).standard_normal((8, 2, 8, 6)).astype(np.float32)
    weights = model.weights(["weight"])
    (name,) = (name for name, w in weights.items() if w.shape == (12, 5))
    levels = LayerLevels(np.rint(weights[name] * 127).astype(np.int8), np.full(5, 1 / 127, np.float32), None)
    rounded = model.replace_weights({name: levels.levels * levels.scales})
    report = quantize_given(rounded, images, {name: levels}).report
    assert {layer.op for layer in report.kept} == {"Conv", "GRU"}
