"""Small networks of levels, of every kind that has an integer form, with the steps of their programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from networks import Net


def pair(net: Net, x: str, low: float, high: float, kind: str = "u8") -> str:
    """`x` through Quantize and Dequantize, with levels for numbers from `low` to `high`."""
    scale = net.tensor(np.float32((high - low) / 255))
    first = 0 if kind == "u8" else -128
    zero = net.tensor(round(first - low / ((high - low) / 255)), np.uint8 if kind == "u8" else np.int8)
    return net.call("DequantizeLinear", net.call("QuantizeLinear", x, scale, zero), scale, zero)


def weights(net: Net, out: int, into: int, size: int, unsigned: bool = False) -> str:
    """Levels of a filter with a scale each, as numbers."""
    scale = net.noise(out, low=0.002, high=0.01)
    if unsigned:
        levels = net.tensor(net.random.integers(1, 255, (out, into, size, size)), np.uint8)
        zero = net.tensor(np.full(out, 128), np.uint8)
    else:
        levels = net.tensor(net.random.integers(-127, 128, (out, into, size, size)), np.int8)
        zero = net.tensor(np.zeros(out), np.int8)
    return net.call("DequantizeLinear", levels, scale, zero, axis=0)


def layer(net: Net, x: str, out: int, into: int, size: int = 3, **attributes: Any) -> str:
    unsigned = attributes.pop("unsigned", False)
    groups = attributes.get("group", 1)
    attributes.setdefault("pads", [size // 2] * 4)
    w = weights(net, out, into // groups, size, unsigned)
    return net.call("Conv", x, w, net.noise(out), **attributes)


def _plain(n: Net, x: str, kind: str) -> str:
    y = pair(n, n.call("Relu", layer(n, x, 20, 3)), 0, 6, kind)
    y = pair(n, n.call("Clip", layer(n, y, 20, 20, group=20), n.tensor(0.0), n.tensor(6.0)), 0, 6, kind)
    return pair(n, layer(n, y, 7, 20, size=1, unsigned=True), -8, 8, kind)


def _residual(n: Net, x: str, kind: str) -> str:
    a = pair(n, n.call("Relu", layer(n, x, 8, 3)), 0, 5, kind)
    b = pair(n, layer(n, a, 8, 8), -6, 7, kind)
    return pair(n, n.call("Relu", n.call("Add", b, a)), 0, 9, kind)


def _silu(n: Net, x: str, kind: str) -> str:
    a = pair(n, layer(n, x, 12, 3, strides=[2, 2]), -7, 6, kind)
    s = pair(n, n.call("Sigmoid", a), 0, 1, kind)
    return pair(n, n.call("Mul", a, s), -0.3, 6, kind)


def _silu_between(n: Net, x: str, kind: str) -> str:
    a = layer(n, x, 12, 3)
    return pair(n, n.call("Mul", a, n.call("Sigmoid", a)), -0.3, 6, kind)


def _parts(n: Net, x: str, kind: str) -> str:
    a, b = (pair(n, n.call("Relu", layer(n, x, c, 3)), 0, 5, kind) for c in (5, 8))
    joined = n.call("Concat", a, b, n.call("MaxPool", a, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), axis=1)
    large = n.call("Resize", joined, "", n.tensor([1.0, 1.0, 2.0, 2.0]), mode="nearest",
                   coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    halves = [f"{large}.{i}" for i in range(2)]
    n.nodes.append(helper.make_node("Split", [large, n.integers(10, 8)], halves, "split", axis=1))
    y = layer(n, halves[0], 4, 10, size=1)
    z = layer(n, halves[1], 4, 8, size=1)
    return pair(n, n.call("Add", pair(n, y, -4, 4, kind), pair(n, z, -6, 6, kind)), -9, 9, kind)


def _other_grids(n: Net, x: str, kind: str) -> str:
    a, b = (pair(n, n.call("Relu", layer(n, x, c, 3)), 0, top, kind) for c, top in ((4, 3), (8, 6)))
    return pair(n, n.call("Concat", a, b, axis=1), 0, 5, kind)


def _pools(n: Net, x: str, kind: str) -> str:
    a = pair(n, layer(n, x, 10, 3), -5, 5, kind)
    b = pair(n, n.call("AveragePool", a, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), -4, 4, kind)
    c = pair(
        n, n.call("AveragePool", b, kernel_shape=[2, 2], count_include_pad=1, pads=[1, 0, 0, 1]), -4, 4, kind
    )
    return pair(n, n.call("GlobalAveragePool", c), -2, 2, kind)


def _classifier(n: Net, x: str, kind: str) -> str:
    a = pair(n, n.call("Relu", layer(n, x, 6, 3, strides=[2, 2])), 0, 6, kind)
    flat = n.call("Flatten", pair(n, n.call("GlobalAveragePool", a), 0, 4, kind))
    levels = n.tensor(n.random.integers(-127, 128, (6, 5)), np.int8)
    w = n.call(
        "DequantizeLinear", levels, n.noise(5, low=0.002, high=0.01), n.tensor(np.zeros(5), np.int8), axis=1
    )
    return n.call("Gemm", flat, w, n.noise(5))


def _gates(n: Net, x: str, kind: str) -> str:
    a = pair(n, n.call("Relu", layer(n, x, 8, 3)), 0, 6, kind)
    g = pair(n, layer(n, pair(n, n.call("GlobalAveragePool", a), 0, 6, kind), 8, 8, size=1), -6, 6, kind)
    return pair(n, n.call("Mul", a, pair(n, n.call("HardSigmoid", g), 0, 1, kind)), 0, 6, kind)


def _attention(n: Net, x: str, kind: str) -> str:
    """Of places, by one level a pixel, then of channels, by levels that come from rows."""
    a = pair(n, n.call("Relu", layer(n, x, 6, 3)), 0, 6, kind)
    place = pair(n, n.call("HardSigmoid", pair(n, layer(n, a, 1, 6), -6, 6, kind)), 0, 1, kind)
    b = pair(n, n.call("Mul", a, place), 0, 6, kind)
    row = n.call("HardSigmoid", n.call("Flatten", n.call("GlobalMaxPool", b)))
    row = pair(n, row, 0, 1, kind)
    return pair(n, n.call("Mul", n.call("Unsqueeze", row, n.integers(2, 3)), b), 0, 9, kind)


def _focus(n: Net, x: str, kind: str) -> str:
    """Every second row and column, four ways, as YOLOX begins."""

    def every_second(y: str, axis: int, start: int) -> str:
        return n.call("Slice", y, n.integers(start), n.integers(99), n.integers(axis), n.integers(2))

    rows = [every_second(x, 2, start) for start in range(2)]
    parts = [every_second(row, 3, start) for start in range(2) for row in rows]
    return pair(n, layer(n, n.call("Concat", *parts, axis=1), 8, 12), -8, 8, kind)


def _numbers(n: Net, kind: str, *shape: int) -> str:
    """Constant levels with one scale, as numbers."""
    unsigned = kind == "u8"
    dtype: Any = np.uint8 if unsigned else np.int8
    levels = n.random.integers(0, 256, shape) - (0 if unsigned else 128)
    zero = n.tensor(117 if unsigned else -5, dtype)
    return n.call("DequantizeLinear", n.tensor(levels, dtype), n.tensor(np.float32(0.02)), zero)


def _differences(n: Net, x: str, kind: str) -> str:
    a, b = (pair(n, layer(n, x, 6, 3), -top, top, kind) for top in (3, 4))
    less = pair(n, n.call("Relu", n.call("Sub", a, b)), 0, 5, kind)
    most = pair(n, n.call("Mul", less, _numbers(n, kind, 1, 6, 1, 1)), -9, 9, kind)
    return pair(n, n.call("Sub", _numbers(n, kind, 6, 16, 1), most), -9, 9, kind)


def _reductions(n: Net, x: str, kind: str) -> str:
    a = pair(n, layer(n, x, 8, 3), -4, 4, kind)
    parts = [
        pair(n, n.call("ReduceMean", a, axes=axes), -2, 2.03, kind)
        for axes in ([1], [2], [3], [1, 3], [1, 2, 3])
    ]
    flat = n.call("Reshape", a, n.integers(0, 0, -1))
    over = n.call("ReduceMean", n.call("Transpose", flat, perm=[0, 2, 1]), axes=[1], keepdims=0)
    parts.append(n.call("Reshape", pair(n, over, -2, 2.03, kind), n.integers(0, -1, 1, 1)))
    lines = pair(n, n.call("ReduceMean", flat, axes=[2], keepdims=0), -2, 2.03, kind)
    parts.append(n.call("Reshape", lines, n.integers(0, -1, 1, 1)))
    parts.append(pair(n, n.call("ReduceSum", a, n.integers(2)), -15, 14.1, kind))
    parts += [n.call("ReduceMax", a, axes=axes) for axes in ([1], [-1])]
    for part in parts:
        a = pair(n, n.call("Add", a, part), -8.1, 8, kind)
    return a


def _frames(n: Net, x: str, kind: str) -> str:
    a = pair(n, layer(n, x, 5, 3), -4, 4, kind)
    a = pair(n, n.call("Pad", a, n.integers(0, 0, 1, 2, 0, 0, 0, 1), n.tensor(np.float32(1.7))), -4, 4, kind)
    a = pair(
        n, n.call("Pad", a, n.integers(0, 1, 0, 0, 0, 0, 1, 0), n.tensor(np.float32(-np.inf))), -5, 2, kind
    )
    a = n.call("Pad", a, n.integers(0, 0, 2, 3, 0, 0, 1, -1), mode="reflect")
    return n.call("Pad", a, n.integers(0, 0, -1, 3, 0, 0, 2, 1), mode="edge")


def _blocks(n: Net, x: str, kind: str) -> str:
    a = pair(n, layer(n, x, 8, 3), -4, 4, kind)
    a = n.call("Concat", *(n.call("DepthToSpace", a, blocksize=2, mode=m) for m in ("DCR", "CRD")), axis=1)
    b = pair(n, layer(n, n.call("SpaceToDepth", a, blocksize=4), 6, 64, size=1), -6, 6, kind)
    b = pair(n, n.call("Softmax", b, axis=1), 0, 1, kind)
    row = n.call("Gather", b, n.tensor(-2, np.int64), axis=2)
    return n.call("Gather", n.call("Unsqueeze", row, n.integers(2)), n.integers(5, 3, 1), axis=1)


NETS = {
    "plain": (_plain, ["quantize", *["int8_convolution"] * 3, "dequantize"]),
    "residual": (_residual, ["quantize", *["int8_convolution"] * 2, "dequantize"]),
    "silu": (_silu, ["quantize", "int8_convolution", "dequantize"]),
    "silu between": (_silu_between, ["quantize", "int8_convolution", "dequantize"]),
    "parts": (
        _parts,
        ["quantize", *["int8_convolution"] * 2, "pool", "concat", "resize", "split",
         *["int8_convolution"] * 2, "dequantize"],
    ),
    "focus": (_focus, ["quantize", *["slice"] * 6, "concat", "int8_convolution", "dequantize"]),
    "other grids": (
        _other_grids,
        ["quantize", *["int8_convolution"] * 2, "concat", "dequantize"],
    ),
    "pools": (_pools, ["quantize", "int8_convolution", *["int8_pool"] * 3, "dequantize"]),
    "classifier": (
        _classifier,
        ["quantize", "int8_convolution", "int8_pool", "reshape", "reshape", "int8_convolution", "reshape"],
    ),
    "gates": (
        _gates,
        ["quantize", "int8_convolution", "int8_pool", "int8_convolution", "int8_binary", "dequantize"],
    ),
    "attention": (
        _attention,
        ["quantize", "int8_convolution", "int8_convolution", "int8_binary", "pool", "reshape", "lookup", "reshape",
         "int8_binary", "dequantize"],
    ),
    "differences": (
        _differences,
        ["quantize", *["int8_convolution"] * 2, *["int8_binary"] * 2, "dequantize"],
    ),
    "reductions": (
        _reductions,
        ["quantize", "int8_convolution", "transpose", "reshape", "int8_pool", "reshape", "int8_pool", "int8_pool",
         *["transpose", "reshape", "int8_pool", "reshape"] * 2, "reshape", "transpose", "transpose",
         "reshape", "int8_pool", "reshape", *["reshape"] * 2, "int8_pool", *["reshape"] * 2, "int8_pool",
         "transpose", "reshape", "pool", "reshape", "pool", *["int8_binary"] * 10, "dequantize"],
    ),
    "frames": (_frames, ["quantize", "int8_convolution", "pad", "lookup", *["pad"] * 3, "dequantize"]),
    "blocks": (
        _blocks,
        ["quantize", "int8_convolution", "depth_to_space", "depth_to_space", "concat", "space_to_depth",
         "int8_convolution", "dequantize", "softmax", "quantize", "gather", "reshape", "gather", "dequantize"],
    ),
}  # fmt: skip
