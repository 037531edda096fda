"""Products and convolutions of levels beside what fuses into them: residual sums, and scales of batch norms."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import models
import rdquant as rdq
from int8_networks import pair
from networks import Net
from rdquant._core import program, runtime
from rdquant.graph import native_graph
from test_int8_programs import operations

ROWS = (2, 5, 24)
IMAGE = (2, 6, 7, 5)


def agree(net: Net, out: str, shape: tuple[int, ...], sizes: list[int]) -> list[str]:
    """Checks backends, threads and the program before fusions against each other; gives the fused program's steps."""
    proto: onnx.ModelProto = models.build(net.nodes, net.tensors, {"x": shape}, {out: sizes})
    graph = native_graph(rdq.load(proto))
    x: NDArray[Any] = np.random.default_rng(4).uniform(-2, 2, shape).astype(np.float32)
    plain = runtime.run_once(graph, "reference", [x], fuse=False)[0]
    fused = runtime.run_once(graph, "reference", [x])[0]
    np.testing.assert_allclose(fused, plain, rtol=2e-5, atol=2e-5 * np.ptp(plain))
    if "native" in runtime.backends():
        for threads in (1, 2):
            (native,) = rdq.Session(proto, backend="native", threads=threads).run({"x": x}).values()
            np.testing.assert_allclose(native, fused, rtol=2e-5, atol=2e-5 * np.ptp(plain))
    return operations(program.dump(graph, {"x": shape}))


def matrix(net: Net, depth: int, filters: int) -> str:
    """Levels of a matrix with a scale for each column, as numbers."""
    levels = net.tensor(net.random.integers(-127, 128, (depth, filters)), np.int8)
    scale = net.noise(filters, low=0.002, high=0.01)
    return net.call("DequantizeLinear", levels, scale, net.tensor(np.zeros(filters), np.int8), axis=1)


def norm(net: Net, x: str, channels: int) -> str:
    """A batch norm, one of whose channels is off, and one negative."""
    scale = net.random.uniform(0.5, 2, channels)
    scale[1], scale[2] = 0, -1.5
    numbers = [
        net.tensor(v)
        for v in (scale, *net.random.normal(size=(2, channels)), net.random.uniform(0.5, 2, channels))
    ]
    return net.call("BatchNormalization", x, *numbers)


@pytest.mark.parametrize("function", ["", "Relu", "Tanh"])
@pytest.mark.parametrize("first", [True, False])
def test_products_with_a_residual(function: str, first: bool) -> None:
    """An activation before the sum, or behind it."""
    net = Net(3)
    x = pair(net, "x", -2, 2)
    product = net.call("Add", net.call("MatMul", x, matrix(net, 24, 24)), net.noise(24))
    if function and first:
        product = net.call(function, product)
    out = net.call("Add", x, product)
    if function and not first:
        out = net.call(function, out)
    steps = agree(net, out, ROWS, list(ROWS))
    assert "int8_convolution" in steps
    assert not {"matmul", "binary"} & set(steps)


def test_dynamic_products_with_a_residual() -> None:
    net = Net(5)
    levels, scale, zero = "d.y", "d.s", "d.z"
    net.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", ["x"], [levels, scale, zero]))
    numbers = net.call("DequantizeLinear", levels, scale, zero)
    product = net.call("Add", net.call("MatMul", numbers, matrix(net, 24, 24)), net.noise(24))
    steps = agree(net, net.call("Add", product, "x"), ROWS, list(ROWS))
    assert "int8_convolution" in steps
    assert not {"matmul", "binary"} & set(steps)


@pytest.mark.parametrize("function", ["", "HardSwish"])
def test_products_before_batch_norms_of_rows(function: str) -> None:
    """As LeViT has them: the rows of all images are one batch."""
    net = Net(7)
    x = pair(net, "x", -2, 2)
    rows = net.call("Flatten", net.call("MatMul", x, matrix(net, 24, 24)), axis=2)
    y = net.call("Reshape", norm(net, rows, 24), net.integers(*ROWS))
    if function:
        y = net.call(function, y)
    steps = agree(net, y, ROWS, list(ROWS))
    assert "int8_convolution" in steps
    assert not {"matmul", "batch_normalization", "unary"} & set(steps)


@pytest.mark.parametrize("group", [1, 2, 6])
@pytest.mark.parametrize("after", [True, False])
def test_convolutions_before_batch_norms(group: int, after: bool) -> None:
    """Files of other tools may leave the norm behind the weights' levels; with and without levels behind it."""
    net = Net(9)
    levels = net.tensor(net.random.integers(-127, 128, (12, 6 // group, 3, 3)), np.int8)
    scale = net.noise(12, low=0.002, high=0.01)
    weights = net.call("DequantizeLinear", levels, scale, net.tensor(np.zeros(12), np.int8), axis=0)
    y = norm(net, net.call("Conv", pair(net, "x", -2, 2), weights, group=group, pads=[1, 1, 1, 1]), 12)
    if after:
        y = pair(net, net.call("Relu", y), 0, 20)
    steps = agree(net, y, IMAGE, [2, 12, 7, 5])
    assert "int8_convolution" in steps
    assert not {"convolution", "batch_normalization"} & set(steps)
