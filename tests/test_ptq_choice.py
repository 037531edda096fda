"""Static quantization: what equalization is chosen by, by how much biases are balanced, and where images become levels."""

from __future__ import annotations

import numpy as np
import pytest

import models
import rdquant as rdq
from networks import Net
from rdquant.ptq import balance
from rdquant.ptq.choice import pays
from rdquant.ptq.fold import folded
from rdquant.ptq.network import Network
from rdquant.ptq.options import Options
from rdquant.ptq.placement import place


def test_channels_are_not_scaled_beyond_what_unseen_images_show() -> None:
    rng = np.random.default_rng(5)
    net = Net()
    clips = [net.tensor(0.0), net.tensor(6.0)]
    weights = np.diag([1.0, 1.0, 0.001]).astype(np.float32).reshape(3, 3, 1, 1)
    clipped = net.call("Clip", net.call("Conv", "x", net.tensor(weights)), *clips)
    mixed = net.call("Conv", clipped, net.tensor(np.diag([1, 1, 1000.0]).reshape(3, 3, 1, 1)))
    sizes = ["N", 3, 8, 8]
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": sizes}, {mixed: sizes}))
    network = Network(model)
    placement = place(network, network.layers)
    options = Options("u8", False, True, "minmax", 100.0, 1.0, "feedback", True, 0.1, 0.1, None)
    seen, unseen = (rng.uniform(0, 6, (4, 3, 8, 8)).astype(np.float32) for _ in range(2))
    assert pays(network, placement, (lambda: [seen], lambda: [unseen]), options)
    unseen[:, 2] *= 200
    assert not pays(network, placement, (lambda: [seen], lambda: [unseen]), options)


def test_a_shift_restores_the_mean_behind_a_clip() -> None:
    sample = np.random.default_rng(6).normal(-1, 2, (3, 1000)).astype(np.float32)
    missing = np.array([0.2, -0.1, 0.0])
    moved = np.clip(sample + balance._shift(missing, sample, (0.0, 6.0))[:, None], 0, 6)
    assert np.allclose(moved.mean(axis=1) - np.clip(sample, 0, 6).mean(axis=1), missing, atol=1e-4)
    assert np.array_equal(balance._shift(missing, sample, balance.EVERYWHERE), missing)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_images_resized_first_become_levels_behind_that(mode: str) -> None:
    net = Net(3)
    small = net.call("Resize", "x", "", net.tensor(np.array([1, 1, 0.5, 0.5], np.float32)), mode=mode)
    y = net.call("Relu", net.conv(small, 4, 3))
    inner = net.call("Resize", y, "", net.tensor(np.array([1, 1, 2, 2], np.float32)), mode=mode)
    out = net.conv(inner, 4, 4)
    sizes = {"x": ["N", 3, 8, 8]}, {out: ["N", 4, 8, 8]}
    network = Network(rdq.load(models.build(net.nodes, net.tensors, *sizes)))
    roots = set(place(network, network.layers).roots)
    assert {small, y, inner} <= roots
    assert ("x" in roots) == (mode == "nearest")


@pytest.mark.parametrize("images", [1, 4, 6])
def test_products_of_rows_that_depend_on_the_batch_are_quantized(images: int) -> None:
    """Tokens first, as sequences lie in PyTorch: axis 1 is the batch, not the channels."""
    net = Net(5)
    tokens = net.call("Reshape", net.conv("x", 16, 3), net.integers(0, 16, -1))
    rows = net.call("Transpose", tokens, perm=[2, 0, 1])
    inner = net.call("Relu", net.call("Add", net.call("MatMul", rows, net.noise(16, 16)), net.noise(16)))
    out = net.call("ReduceMean", net.call("MatMul", inner, net.noise(16, 10)), axes=[0], keepdims=0)
    model = rdq.load(models.build(net.nodes, net.tensors, {"x": ["N", 3, 8, 8]}, {out: ["N", 10]}))
    x = np.random.default_rng(6).normal(size=(images, 3, 8, 8)).astype(np.float32)
    made = rdq.quantize_static(model, (x, np.zeros(images, np.int64)))
    assert made.report.damage.noise < 0.012


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", [["Mul", "Add"], ["Add", "Mul", "Add"], ["Mul"]])
def test_products_and_sums_with_constants_of_channels_are_folded(order: list[str], bias: bool) -> None:
    """As detectors have the frozen norms of their backbones."""
    net = Net(8)
    y = net.conv("x", 6, 3, bias=bias)
    for i, op in enumerate(order):
        constant = net.noise(1, 6, 1, 1, low=0.5, high=1.5)
        y = net.call(op, constant, y) if i % 2 else net.call(op, y, constant)
    kept = net.call("Mul", y, net.noise(1, 6, 8, 8))  # a number for each pixel stays
    out = net.conv(net.call("Add", kept, y), 4, 6)
    sizes = {"x": ["N", 3, 8, 8]}, {out: ["N", 4, 8, 8]}
    model = rdq.load(models.build(net.nodes, net.tensors, *sizes))
    made = folded(model)
    assert [node.op_type for node in made.skeleton.graph.node] == ["Conv", "Mul", "Add", "Conv"]
    x = np.random.default_rng(9).normal(size=(2, 3, 8, 8)).astype(np.float32)
    want, found = (rdq.Session(m).run({"x": x})[out] for m in (model, made))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
