"""Channels that change places in blocks, which the parts of concatenations and splits do not fill: native against reference."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import networks
import rdquant as rdq


def agree(net: networks.Net, out: str | list[str], batch: int, channels: int, threads: int = 2) -> list[str]:
    """Both backends agree on the network; gives the kernels' names."""
    model = onnx.shape_inference.infer_shapes(net.model(out, [batch, channels, 5, 6]))
    x = np.random.default_rng(1).normal(size=(batch, channels, 5, 6)).astype(np.float32)
    session = rdq.Session(model, backend="native", threads=threads)
    found, want = session.run({"x": x}), rdq.Session(model, backend="reference").run({"x": x})
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-4)
    return [str(row["kernel"]).split()[0] for row in session.plan()]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "sizes", [[5, 7, 3], [16, 3, 20], [24, 8, 32, 5], [32, 16, 3], [1] * 19, [17, 1, 15], [2, 30, 33]]
)
def test_parts_that_do_not_fill_blocks(sizes: list[int], batch: int) -> None:
    net, count = networks.Net(), sum(sizes)
    wide = net.conv("x", count, 4)
    parts = [f"part{i}" for i in range(len(sizes))]
    net.nodes.append(onnx.helper.make_node("Split", [wide, net.integers(*sizes)], parts, axis=1))
    made = [
        net.call("Relu", net.conv(p, n, n, size=1 + 2 * (i % 2)))
        for i, (p, n) in enumerate(zip(parts, sizes, strict=True))
    ]
    kernels = agree(net, net.conv(net.call("Concat", *made, axis=1), 4, count), batch, 4)
    if any(size % 8 != 0 for size in sizes[:-1]):  # blocks are of 8 or 16
        assert "channels" in kernels
    assert "plain" not in kernels[1:-1]


def test_parts_that_others_read() -> None:
    """A part that a later layer reads too, an input among the parts, and one part twice."""
    net = networks.Net()
    a, b = net.conv("x", 21, 5), net.conv("x", 38, 5)
    whole = net.call("Concat", a, "x", b, a, axis=1)
    after = net.conv(whole, 21, 85)
    agree(net, [net.call("Add", after, a), net.conv(net.call("Concat", b, after, axis=1), 3, 59)], 2, 5)


@pytest.mark.parametrize(("channels", "times"), [(1, 3), (5, 2), (8, 2), (19, 3), (3, 20), (40, 4)])
def test_several_filters_for_each_channel(channels: int, times: int) -> None:
    net = networks.Net()
    wide = net.conv("x", channels, 4)
    out = net.conv(wide, channels * times, channels, group=channels)
    agree(net, out, 2, 4)


@pytest.mark.parametrize("channels", [1, 5, 16, 20, 72])
def test_pixels_and_blocks(channels: int) -> None:
    """Images whose pixels become rows for a product, and come back."""
    net = networks.Net()
    wide = net.conv("x", channels, 4)
    rows = net.call("Transpose", net.call("Reshape", wide, net.integers(0, 0, -1)), perm=[0, 2, 1])
    made = net.call("MatMul", net.call("Relu", rows), net.noise(channels, channels))
    image = net.call("Reshape", net.call("Transpose", made, perm=[0, 2, 1]), net.integers(0, 0, 5, 6))
    pixels = net.call("Transpose", net.conv(image, channels, channels, group=channels), perm=[0, 2, 3, 1])
    kernels = agree(net, [net.call("Softmax", pixels), net.conv(image, 3, channels)], 2, 4)
    assert kernels.count("pixels") == (2 if channels > 1 else 0)
    assert kernels.count("blocks") == (1 if channels > 1 else 0)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2"])
@pytest.mark.parametrize("channels", [5, 16, 20])
def test_reduced_images(op: str, channels: int) -> None:
    net = networks.Net()
    wide = net.conv("x", channels, 4)
    spatial = [net.integers(2, 3)] if op == "ReduceSum" else []
    attributes = {} if spatial else {"axes": [2, 3]}
    out = net.call(op, wide, *spatial, keepdims=len(spatial), **attributes)
    kernels = agree(net, [out], 2, 4)
    assert "lanes" in kernels
