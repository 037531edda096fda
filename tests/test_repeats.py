"""Tiles, nearest resizes, running sums and maxima of large arrays: our kernels against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import models
import rdquant as rdq
from networks import Net


def agree(net: Net, y: str, x: NDArray[Any], op: str, *, tolerance: float = 0, threads: int = 1) -> str:
    """Compares both engines; names the kernel of the operation."""
    axes = [f"d{i}" for i in range(x.ndim)]
    model = models.build(net.nodes, net.tensors, {"x": x.shape}, {y: axes}, opset=17)
    native = rdq.Session(model, backend="native", threads=threads)
    expected = rdq.Session(model, backend="reference").run({"x": x})
    np.testing.assert_allclose(native.run({"x": x})[y], expected[y], atol=tolerance)
    [kernel] = [row["kernel"] for row in native.plan({"x": x}) if row["op"] == op]
    return str(kernel)


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "repeats", [(1, 1, 2, 2), (3, 1, 1, 1), (1, 1, 1, 5), (2, 3, 1, 2), (1, 4, 1, 1), (2, 2, 2, 2)]
)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 7), (1, 16, 20, 33)])
def test_tiles(shape: tuple[int, ...], repeats: tuple[int, ...], threads: int) -> None:
    net = Net()
    x = noise(*shape)
    assert agree(net, net.call("Tile", "x", net.integers(*repeats)), x, "tile", threads=threads) == "tile"


@pytest.mark.parametrize("scales", [(0.5, 0.5), (2.0, 3.0), (0.3, 1.7)])
@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_nearest_resizes(scales: tuple[float, float], channels: int, in_blocks: bool) -> None:
    net = Net()
    y = net.conv("x", channels, channels) if in_blocks else "x"
    y = net.call("Resize", y, "", net.tensor([1, 1, *scales]), mode="nearest")
    assert agree(net, y, noise(2, channels, 13, 21), "resize", tolerance=1e-4) == "nearest"


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("columns", [1, 5, 16, 40, 64, 100, 121, 250, 513])
def test_running_sums_of_columns(columns: int, exclusive: int) -> None:
    net = Net()
    y = net.call("CumSum", "x", net.tensor(0, np.int64), exclusive=exclusive)
    kernel = agree(net, y, noise(17, columns), "cumulative_sum", tolerance=1e-5)
    assert kernel.startswith("cumulative")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(5, 1, 2), (3, 2, 1), (3, 3, 0), (2, 2, 0), (4, 1, 1)]
)
@pytest.mark.parametrize("shape", [(2, 3, 7, 7), (1, 5, 56, 56), (1, 2, 20, 90), (1, 40, 9, 17)])
@pytest.mark.parametrize("holes", [0, 1, 30])
def test_maxima_with_and_without_nan(
    shape: tuple[int, ...], kernel: int, stride: int, padding: int, holes: int, threads: int
) -> None:
    net = Net()
    y = net.call("MaxPool", "x", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)
    x = noise(*shape)
    x.reshape(-1)[np.random.default_rng(2).integers(0, x.size, holes)] = np.nan
    x[0, 0, 0, :2] = np.inf, -np.inf
    assert agree(net, y, x, "pool", threads=threads).startswith("plain pool")
