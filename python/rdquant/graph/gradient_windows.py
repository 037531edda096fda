"""Gradients of operators that move a window over an image: convolutions and pooling, with any number of axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from .gradient import Shape, Tape, attributes_of

__all__ = ["average_pool", "convolution", "global_average", "global_maximum", "maximum_pool"]

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class _Window:
    """Along each axis: taps, their distance, the window's step, zeros before and after the image, as large as the
    outputs need. `trailing`: values that no window reaches, behind the last.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    trailing: list[int]

    @property
    def attributes(self) -> dict[str, list[int]]:
        """Of the transposed convolution that takes outputs back to the image."""
        return {
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": [*self.before, *self.after],
            "output_padding": self.trailing,
        }

    def padded(self, tape: Tape, image: str, value: float) -> str:
        """The image with `value` where the window reaches beyond it."""
        if not any(self.before) and not any(self.after):
            return image
        pads = tape.constant([0, 0, *self.before, 0, 0, *self.after], np.int64)
        return tape.emit("Pad", image, pads, tape.constant(value))

    def counts(self, image: list[int], asked: list[int] | None) -> NDArray[np.float32]:
        """Values under the window at each output: [1, 1, …]. `asked`: zeros before and after that count too."""
        total = np.ones((1, 1), np.float32)
        for axis, size in enumerate(image):
            outputs = (size + self.before[axis] + self.after[axis] - self._reach(axis)) // self.strides[
                axis
            ] + 1
            first, last = (0, size) if asked is None else (-asked[axis], size + asked[len(image) + axis])
            places = (
                np.arange(outputs)[:, None] * self.strides[axis]
                - self.before[axis]
                + np.arange(self.kernel[axis]) * self.dilations[axis]
            )
            inside = ((places >= first) & (places < last)).sum(axis=1).astype(np.float32)
            total = total[..., None] * inside
        return total

    def _reach(self, axis: int) -> int:
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1


def _window(attributes: dict[str, Any], kernel: list[int], image: Shape, output: Shape) -> _Window | None:
    """The window of a node from images to outputs; None where a size of these is unknown."""
    axes = len(kernel)
    sizes, made = _sizes(image), _sizes(output)
    if sizes is None or made is None or len(sizes) != axes or len(made) != axes:
        return None
    strides = list(attributes.get("strides", [1] * axes))
    dilations = list(attributes.get("dilations", [1] * axes))
    automatic = attributes.get("auto_pad", "NOTSET")
    pads = list(attributes.get("pads", [0] * (2 * axes))) if automatic == "NOTSET" else [0] * (2 * axes)
    before, after, trailing = pads[:axes], [], []
    for axis in range(axes):
        span = (made[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        if automatic.startswith("SAME"):
            total = max(0, span - sizes[axis])
            before[axis] = total // 2 if automatic == "SAME_UPPER" else total - total // 2
        beyond = span - before[axis] - sizes[axis]
        after.append(max(0, beyond))
        trailing.append(max(0, -beyond))
    if min(pads, default=0) < 0:
        return None
    return _Window(list(kernel), strides, dilations, before, after, trailing)


def _sizes(shape: Shape) -> list[int] | None:
    found = [d for d in shape[2:] if d is not None]
    return found if len(found) == len(shape) - 2 and all(found) else None


def convolution(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """Conv with respect to its images."""
    weight = tape.shapes.get(node.input[1]) if index == 0 else None
    (gradient,) = given
    if weight is None or gradient is None:
        return None
    attributes = attributes_of(node)
    kernel = _sizes(weight)
    x, y = tape.shapes[node.input[0]], tape.shapes[node.output[0]]
    window = None if kernel is None else _window(attributes, kernel, x, y)
    if window is None:
        return None
    group = attributes.get("group", 1)
    return tape.emit("ConvTranspose", gradient, node.input[1], group=group, **window.attributes)


def maximum_pool(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """MaxPool: all of the gradient to the largest value under the window, equal shares to those that are equal.

    Every channel is an image of its own. A convolution with one kernel per tap lays the values under the window side
    by side, the transposed one takes the shares back.
    """
    attributes = attributes_of(node)
    x, y = tape.shapes[node.input[0]], tape.shapes[node.output[0]]
    window = _window(attributes, attributes["kernel_shape"], x, y)
    sizes = _sizes(y)
    if window is None or sizes is None or given[0] is None or any(given[1:]):
        return None
    taps = int(np.prod(window.kernel))
    kernels = tape.constant(np.eye(taps).reshape(taps, 1, *window.kernel))
    alone: list[int | None] = [None, 1]
    image = window.padded(tape, tape.reshape(node.input[0], [*alone, *x[2:]]), _LOWEST)
    spread = tape.emit("Conv", image, kernels, strides=window.strides, dilations=window.dilations)
    best = tape.reshape(node.output[0], [*alone, *sizes])
    chosen = tape.emit("Cast", tape.emit("Equal", spread, best), to=onnx.TensorProto.FLOAT)
    number = tape.emit("ReduceSum", chosen, tape.constant([1], np.int64), keepdims=1)
    share = tape.emit("Div", tape.reshape(given[0], [*alone, *sizes]), number)
    back = tape.emit("ConvTranspose", tape.emit("Mul", chosen, share), kernels, **window.attributes)
    return tape.reshape(back, x)


def average_pool(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """AveragePool: equal shares to all values under the window."""
    attributes = attributes_of(node)
    x, y = tape.shapes[node.input[0]], tape.shapes[node.output[0]]
    window = _window(attributes, attributes["kernel_shape"], x, y)
    image, sizes = _sizes(x), _sizes(y)
    (gradient,) = given
    if window is None or image is None or sizes is None or gradient is None:
        return None
    asked = None
    if attributes.get("count_include_pad", 0):
        same = attributes.get("auto_pad", "NOTSET") != "NOTSET"
        pads = [*window.before, *window.after]
        asked = pads if same else list(attributes.get("pads", [0] * len(pads)))
    shares = tape.emit("Mul", gradient, tape.constant(1 / window.counts(image, asked)))
    ones = tape.constant(np.ones((1, 1, *window.kernel)))
    back = tape.emit("ConvTranspose", tape.reshape(shares, [None, 1, *sizes]), ones, **window.attributes)
    return tape.reshape(back, x)


def global_average(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """GlobalAveragePool."""
    sizes = _sizes(tape.shapes[node.input[0]])
    if sizes is None or given[0] is None:
        return None
    return tape.emit("Mul", given[0], tape.constant(np.full((1, 1, *sizes), 1 / np.prod(sizes))))


def global_maximum(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """GlobalMaxPool: equal shares to the values that are equal to the largest."""
    sizes = _sizes(tape.shapes[node.input[0]])
    if sizes is None or given[0] is None:
        return None
    equal = tape.emit("Equal", node.input[0], node.output[0])
    chosen = tape.emit("Cast", equal, to=onnx.TensorProto.FLOAT)
    axes = tape.constant(range(2, 2 + len(sizes)), np.int64)
    share = tape.emit("Div", given[0], tape.emit("ReduceSum", chosen, axes, keepdims=1))
    return tape.emit("Mul", chosen, share)
