"""Derivatives of functions of one value: what a node gives to the gradient of its first input, of the same shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import needed
from .tape import Tape, attributes_of

with needed():
    import onnx

__all__ = ["FUNCTIONS", "Elementwise"]

Elementwise = Callable[[Tape, onnx.NodeProto, str], str | None]
"""From a node and the gradient of its output; None where there is no rule for its attributes."""


def _relu(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return tape.emit("Mul", g, tape.above(node.output[0], 0))


def _leaky_relu(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return _sloping(tape, node.input[0], tape.constant(attributes_of(node).get("alpha", 0.01)), g)


def _prelu(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return _sloping(tape, node.input[0], node.input[1], g)


def _sloping(tape: Tape, x: str, slope: str, g: str) -> str:
    """`g` where x > 0, else g·slope."""
    return tape.emit("Mul", g, _mixed(tape, slope, tape.above(x, 0)))


def _mixed(tape: Tape, slope: str, ones: str) -> str:
    """1 where `ones` is, `slope` where that is 0."""
    less = tape.emit("Mul", slope, tape.emit("Sub", tape.constant(1), ones))
    return tape.emit("Add", less, ones)


def _between(tape: Tape, value: str, low: float | None, high: float | None, g: str) -> str:
    """`g` where low < value < high, else 0."""
    if low is not None:
        g = tape.emit("Mul", g, tape.above(value, low))
    return g if high is None else tape.emit("Mul", g, tape.above(value, high, -1.0))


def _clip(tape: Tape, node: onnx.NodeProto, g: str) -> str | None:
    limits: list[float | None] = [None, None]
    for index, name in enumerate(node.input[1:3]):
        value = tape.value(name) if name else None
        if name and (value is None or value.size != 1):
            return None
        limits[index] = None if value is None else float(value.reshape(()))
    return _between(tape, node.output[0], limits[0], limits[1], g)


def _hard_sigmoid(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    slope = tape.constant(attributes_of(node).get("alpha", 0.2))
    return _between(tape, node.output[0], 0.0, 1.0, tape.emit("Mul", g, slope))


def _hard_swish(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    x = node.input[0]
    slope = tape.emit("Add", tape.emit("Mul", x, tape.constant(1 / 3)), tape.constant(0.5))
    inner = tape.emit("Mul", slope, tape.above(x, -3))
    return tape.emit("Mul", g, _mixed(tape, inner, tape.above(x, 3)))


def _sigmoid(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    y = node.output[0]
    return tape.emit("Mul", g, tape.emit("Mul", y, tape.emit("Sub", tape.constant(1), y)))


def _tanh(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    y = node.output[0]
    return tape.emit("Mul", g, tape.emit("Sub", tape.constant(1), tape.emit("Mul", y, y)))


def _softplus(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return tape.emit("Mul", g, tape.emit("Sigmoid", node.input[0]))


def _elu(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    below = tape.emit("Add", node.output[0], tape.constant(attributes_of(node).get("alpha", 1.0)))
    return _sloping(tape, node.input[0], below, g)


def _mish(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    """x·t with t = tanh(softplus(x)): t + x·(1 − t²)·sigmoid(x)."""
    x = node.input[0]
    t = tape.emit("Tanh", tape.emit("Softplus", x))
    bend = tape.emit("Sub", tape.constant(1), tape.emit("Mul", t, t))
    rest = tape.emit("Mul", tape.emit("Mul", x, tape.emit("Sigmoid", x)), bend)
    return tape.emit("Mul", g, tape.emit("Add", t, rest))


def _erf(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    x = node.input[0]
    bell = tape.emit("Exp", tape.emit("Neg", tape.emit("Mul", x, x)))
    return tape.emit("Mul", g, tape.emit("Mul", bell, tape.constant(2 / np.sqrt(np.pi))))


def _gelu(tape: Tape, node: onnx.NodeProto, g: str) -> str | None:
    """x·Φ(x): Φ(x) + x·φ(x)."""
    if attributes_of(node).get("approximate", "none") != "none":
        return None
    x = node.input[0]
    area = tape.emit("Erf", tape.emit("Mul", x, tape.constant(np.sqrt(0.5))))
    below = tape.emit("Add", tape.emit("Mul", area, tape.constant(0.5)), tape.constant(0.5))
    bell = tape.emit("Exp", tape.emit("Mul", tape.emit("Mul", x, x), tape.constant(-0.5)))
    rest = tape.emit("Mul", tape.emit("Mul", x, bell), tape.constant(1 / np.sqrt(2 * np.pi)))
    return tape.emit("Mul", g, tape.emit("Add", below, rest))


def _square_root(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return tape.emit("Div", tape.emit("Mul", g, tape.constant(0.5)), node.output[0])


def _power(tape: Tape, node: onnx.NodeProto, g: str) -> str | None:
    exponent = tape.value(node.input[1])
    if exponent is None or exponent.size != 1 or exponent.ndim > len(tape.shapes[node.input[0]]):
        return None
    power = float(exponent.reshape(()))
    lower = tape.emit("Pow", node.input[0], tape.constant(power - 1))
    return tape.emit("Mul", g, tape.emit("Mul", lower, tape.constant(power)))


FUNCTIONS: dict[str, Elementwise] = {
    "Clip": _clip,
    "Elu": _elu,
    "Erf": _erf,
    "Exp": lambda tape, node, g: tape.emit("Mul", g, node.output[0]),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Mish": _mish,
    "Neg": lambda tape, node, g: tape.emit("Neg", g),
    "PRelu": _prelu,
    "Pow": _power,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
    "Softplus": _softplus,
    "Sqrt": _square_root,
    "Tanh": _tanh,
}
