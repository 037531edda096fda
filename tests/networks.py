"""Small graphs with what fusion looks for, and larger ones in the manner of known networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

import models

Array = NDArray[Any]


class Net:
    """Nodes and tensors in the making; `call` appends a node and gives its output's name."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.random = np.random.default_rng(seed)

    def call(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [f"{name}.y"], name, **attributes))
        return f"{name}.y"

    def tensor(self, values: Any, dtype: Any = np.float32) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = np.asarray(values, dtype)
        return name

    def noise(self, *shape: int, low: float = -0.5, high: float = 0.5) -> str:
        return self.tensor(self.random.uniform(low, high, shape))

    def integers(self, *values: int) -> str:
        return self.tensor(values, np.int64)

    def conv(self, x: str, out: int, into: int, size: int = 3, bias: bool = True, **attributes: Any) -> str:
        groups = attributes.get("group", 1)
        inputs = [x, self.noise(out, into // groups, size, size)] + ([self.noise(out)] if bias else [])
        attributes.setdefault("pads", [size // 2] * 4)
        return self.call("Conv", *inputs, **attributes)

    def norm(self, x: str, channels: int) -> str:
        spread = self.noise(channels, low=0.5, high=2)
        parts = [self.noise(channels) for _ in range(3)]
        return self.call("BatchNormalization", x, parts[0], parts[1], parts[2], spread)

    def model(self, out: str | Sequence[str], shape: Sequence[int | str], opset: int = 17) -> onnx.ModelProto:
        outputs = [out] if isinstance(out, str) else list(out)
        return models.build(self.nodes, self.tensors, {"x": shape}, dict.fromkeys(outputs), opset)


Build = Callable[[Net], str]
IMAGE = (2, 4, 6, 6)


def _hard_swish(n: Net) -> str:
    x = n.conv("x", 5, 4)
    clipped = n.call("Clip", n.call("Add", x, n.tensor(3)), n.tensor(0), n.tensor(6))
    return n.call("Div", n.call("Mul", x, clipped), n.tensor(6))


def _gelu(n: Net, kind: type = np.float64) -> str:
    x = n.conv("x", 5, 4)
    erf = n.call("Erf", n.call("Div", x, n.tensor(kind(np.sqrt(2)))))
    return n.call("Mul", n.call("Mul", x, n.call("Add", erf, n.tensor(1))), n.tensor(0.5))


def _gelu_tanh(n: Net, kind: type = np.float64) -> str:
    x = n.conv("x", 5, 4)
    cubic = n.call("Mul", n.call("Pow", x, n.tensor(3)), n.tensor(kind(0.044715)))
    inner = n.call("Mul", n.call("Add", x, cubic), n.tensor(kind(np.sqrt(2 / np.pi))))
    gate = n.call("Add", n.call("Tanh", inner), n.tensor(1))
    return n.call("Mul", n.call("Mul", n.tensor(0.5), x), gate)


def _silu(n: Net) -> str:
    x = n.conv("x", 5, 4)
    return n.call("Mul", x, n.call("Sigmoid", x))


def _quick_gelu(n: Net) -> str:
    x = n.conv("x", 5, 4)
    return n.call("Mul", x, n.call("Sigmoid", n.call("Mul", x, n.tensor(1.702))))


def _mish(n: Net) -> str:
    x = n.conv("x", 5, 4)
    return n.call("Mul", x, n.call("Tanh", n.call("Softplus", x)))


def _layer_norm(n: Net) -> str:
    d = n.call("Sub", "x", n.call("ReduceMean", "x", axes=[-1]))
    variance = n.call("ReduceMean", n.call("Pow", d, n.tensor(2)), axes=[-1])
    y = n.call("Div", d, n.call("Sqrt", n.call("Add", variance, n.tensor(1e-5))))
    return n.call("Add", n.call("Mul", y, n.noise(6)), n.noise(6))


def _residual(n: Net) -> str:
    return n.call("Relu", n.call("Add", n.conv("x", 4, 4), "x"))


def _two_branches(n: Net) -> str:
    shortcut = n.conv("x", 5, 4, size=1)
    return n.call("Relu", n.call("Add", n.conv(n.call("Relu", n.conv("x", 4, 4)), 5, 4), shortcut))


def _residual_last(n: Net) -> str:
    return n.call("Add", "x", n.call("Relu", n.conv("x", 4, 4)))


def _shared(n: Net) -> str:
    """A convolution read twice keeps its own output; a weight used twice changes in both places."""
    w = n.noise(4, 4, 3, 3)
    a = n.call("Conv", "x", w, pads=[1] * 4)
    return n.call("Add", n.call("Relu", a), n.norm(n.call("Conv", a, w, pads=[1] * 4), 4))


def _product(n: Net) -> str:
    y = n.call("Add", n.call("MatMul", "x", n.noise(6, 7)), n.noise(7))
    return n.call("Relu", n.call("Mul", y, n.noise(7)))


def _product_residual(n: Net) -> str:
    return n.call("Add", n.call("MatMul", "x", n.noise(6, 6)), "x")


def _gemm_norm(n: Net) -> str:
    flat = n.call("Flatten", "x")
    return n.norm(n.call("Gemm", flat, n.noise(5, 144), n.noise(5), transB=1), 5)


def _pad(n: Net) -> str:
    padded = n.call("Pad", "x", n.integers(0, 0, 1, 2, 0, 0, 0, 1))
    return n.conv(padded, 5, 4, pads=[0, 1, 0, 1])


def _pad_of_ones(n: Net) -> str:
    return n.conv(n.call("Pad", "x", n.integers(0, 0, 1, 1, 0, 0, 1, 1), n.tensor(1)), 5, 4, pads=[0] * 4)


def _shapes(n: Net) -> str:
    y = n.call("Transpose", n.call("Transpose", "x", perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
    y = n.call("Reshape", n.call("Reshape", y, n.integers(0, -1)), n.integers(0, 4, 36))
    return n.call("Transpose", y, perm=[0, 2, 1])


def _scaled(n: Net) -> str:
    y = n.call("Div", n.call("Mul", n.conv("x", 5, 4, bias=False), n.noise(5, 1, 1)), n.tensor([2.0]))
    return n.call("Sub", n.noise(1, 5, 1, 1), n.call("Sub", y, n.noise(5, 1, 1)))


def _prelu(n: Net) -> str:
    return n.call("PRelu", n.conv("x", 5, 4), n.noise(5, 1, 1))


def _transposed(n: Net) -> str:
    y = n.call("ConvTranspose", "x", n.noise(4, 3, 2, 2), strides=[2, 2])
    return n.call("LeakyRelu", n.norm(y, 3), alpha=0.2)


def _norm_of_parts(n: Net) -> str:
    """A norm and an activation of channels that two convolutions make go into both."""
    parts = [n.conv("x", 5, 4), n.call("ConvTranspose", "x", n.noise(4, 3, 1, 1))]
    return n.call("HardSwish", n.norm(n.call("Concat", *parts, axis=1), 8))


def _scales_of_parts(n: Net) -> str:
    whole = n.call("Concat", n.conv("x", 5, 4, size=1), n.conv("x", 3, 4, bias=False), axis=1)
    return n.call("Sub", n.noise(8, 1, 1), n.call("Mul", whole, n.tensor(1.5)))


def _rows_of_pixels(n: Net) -> str:
    """An image as rows for a product, with the function in the layer that makes it, and back."""
    rows = n.call("Transpose", n.call("Reshape", n.conv("x", 5, 4), n.integers(0, 0, -1)), perm=[0, 2, 1])
    made = n.call("MatMul", n.call("Relu", rows), n.noise(5, 7))
    image = n.call("Reshape", n.call("Transpose", made, perm=[0, 2, 1]), n.integers(0, 0, 6, 6))
    return n.conv(n.call("Tanh", image), 3, 7)


def _attention(n: Net) -> str:
    """Scores of rows against rows, scaled before and after."""
    scaled = n.call("Mul", n.tensor(0.6), n.call("Relu", "x"))
    keys = n.call("Transpose", n.call("Div", n.call("Relu", "x"), n.tensor(1.5)), perm=[0, 1, 3, 2])
    scores = n.call("Div", n.call("MatMul", scaled, keys), n.tensor([0.75]))
    return n.call("Softmax", scores, axis=-1)


def _shared_scale(n: Net) -> str:
    """What others read too stays; a number by a product is no factor."""
    scaled = n.call("Mul", n.call("Relu", "x"), n.tensor(0.6))
    product = n.call("MatMul", scaled, n.call("Sigmoid", "x"))
    return n.call("Add", n.call("Div", n.tensor(2.0), n.call("Exp", product)), scaled)


def _group_norm(n: Net) -> str:
    """As PyTorch's exporters write it before opset 21, with SiLU."""
    groups = n.call("Reshape", n.conv("x", 6, 4), n.integers(0, 3, -1))
    norm = n.call("InstanceNormalization", groups, n.noise(3), n.noise(3))
    y = n.call("Mul", n.call("Reshape", norm, n.integers(0, 6, 6, 6)), n.noise(6, 1, 1))
    y = n.call("Add", y, n.noise(6, 1, 1))
    return n.call("Mul", y, n.call("Sigmoid", y))


def _norm_of_rows(n: Net) -> str:
    """Rows of images side by side: a channel's scale belongs to no part alone."""
    return n.norm(n.call("Concat", n.conv("x", 4, 4), n.conv("x", 4, 4), axis=2), 4)


def _norm_of_input_parts(n: Net) -> str:
    return n.call("Relu", n.norm(n.call("Concat", n.conv("x", 5, 4), "x", axis=1), 9))


FUSIONS: dict[str, tuple[Build, list[str]]] = {
    "norm after convolution": (lambda n: n.norm(n.conv("x", 5, 4), 5), ["convolution"]),
    "norm after depthwise": (lambda n: n.norm(n.conv("x", 4, 4, bias=False, group=4), 4), ["convolution"]),
    "norm before convolution": (lambda n: n.conv(n.norm("x", 4), 5, 4, size=1), ["convolution"]),
    "norm before pads": (lambda n: n.conv(n.norm("x", 4), 5, 4), ["batch_normalization", "convolution"]),
    "norm and relu": (lambda n: n.call("Relu", n.norm("x", 4)), ["batch_normalization"]),
    "scales": (_scaled, ["convolution"]),
    "norm of parts": (_norm_of_parts, ["convolution", "transposed_convolution", "concat"]),
    "scales of parts": (_scales_of_parts, ["convolution", "convolution", "concat"]),
    "attention": (_attention, ["unary", "unary", "transpose", "matmul", "softmax"]),
    "shared scale": (_shared_scale, ["unary", "binary", "unary", "matmul", "unary", "binary", "binary"]),
    "norm of rows": (_norm_of_rows, ["convolution", "convolution", "concat", "batch_normalization"]),
    "norm with an input's part": (_norm_of_input_parts, ["convolution", "concat", "batch_normalization"]),
    "transposed convolution": (_transposed, ["transposed_convolution"]),
    "product": (_product, ["matmul"]),
    "product and residual": (_product_residual, ["matmul"]),
    "norm after product": (_gemm_norm, ["reshape", "matmul"]),
    "relu": (lambda n: n.call("Relu", n.conv("x", 5, 4)), ["convolution"]),
    "clip": (lambda n: n.call("Clip", n.conv("x", 5, 4), n.tensor(0), n.tensor(6)), ["convolution"]),
    "elu": (lambda n: n.call("Elu", n.conv("x", 5, 4)), ["convolution"]),
    "tanh": (lambda n: n.call("Tanh", n.conv("x", 5, 4)), ["convolution"]),
    "prelu": (_prelu, ["convolution"]),
    "silu": (_silu, ["convolution"]),
    "quick gelu": (_quick_gelu, ["convolution"]),
    "hard-swish": (_hard_swish, ["convolution"]),
    "gelu": (_gelu, ["convolution"]),
    "gelu by tanh": (_gelu_tanh, ["convolution"]),
    "gelu in half": (lambda n: _gelu(n, np.float16), ["convolution"]),
    "gelu by tanh in half": (lambda n: _gelu_tanh(n, np.float16), ["convolution"]),
    "mish": (_mish, ["convolution"]),
    "residual": (_residual, ["convolution"]),
    "residual of two branches": (_two_branches, ["convolution"] * 3),
    "residual after the activation": (_residual_last, ["convolution"]),
    "shared": (_shared, ["convolution", "unary", "convolution"]),
    "group norm": (_group_norm, ["convolution", "group_normalization"]),
    "layer norm": (_layer_norm, ["layer_normalization"]),
    "pad": (_pad, ["convolution"]),
    "pad of ones": (_pad_of_ones, ["pad", "convolution"]),
    "shapes": (_shapes, ["transpose", "reshape"]),
    "rows of pixels": (
        _rows_of_pixels,
        ["convolution", "transpose", "reshape", "matmul", "reshape", "transpose", "convolution"],
    ),
}
"""Name → graph over "x" of shape IMAGE, and the steps that fusion leaves of it."""
