"""Gradients of operators that move a window over an image: convolutions and pooling, with any number of axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import needed
from .tape import Shape, Tape, attributes_of

with needed():
    import onnx

__all__ = ["average_pool", "convolution", "global_average", "global_maximum", "maximum_pool"]

_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class _Window:
    """Along each axis: taps, their distance, the window's step, zeros before and after the image, as large as the
    outputs need. `trailing`: values that no window reaches, behind the last. `image`, `outputs`: sizes.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]
    trailing: list[int]
    image: list[int]
    outputs: list[int]

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

    def counts(self, asked: list[int] | None) -> NDArray[np.float32]:
        """Values under the window at each output: [1, 1, …]. `asked`: zeros before and after that count too."""
        total = np.ones((1, 1), np.float32)
        axes = len(self.image)
        for i, size in enumerate(self.image):
            first, last = (0, size) if asked is None else (-asked[i], size + asked[axes + i])
            starts = np.arange(self.outputs[i]) * self.strides[i] - self.before[i]
            places = starts[:, np.newaxis] + np.arange(self.kernel[i]) * self.dilations[i]
            total = total[..., np.newaxis] * ((places >= first) & (places < last)).sum(axis=1)
        return total.astype(np.float32)


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
    return _Window(list(kernel), strides, dilations, before, after, trailing, sizes, made)


def _sizes(shape: Shape) -> list[int] | None:
    found = [d for d in shape[2:] if d is not None]
    return found if len(found) == len(shape) - 2 and all(found) else None


def convolution(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """Conv with respect to its images."""
    attributes = attributes_of(node)
    weight = tape.value(node.input[1]) if index == 0 else None
    x, y = tape.shapes[node.input[0]], tape.shapes[node.output[0]]
    window = None if weight is None else _window(attributes, list(weight.shape[2:]), x, y)
    (gradient,) = given
    if weight is None or window is None or gradient is None:
        return None
    return _back(tape, gradient, weight, attributes.get("group", 1), window)


def _back(tape: Tape, gradient: str, weight: NDArray[np.float32], group: int, window: _Window) -> str:
    """What ConvTranspose does, by convolutions with a stride of 1, for which backends have fast loops.

    With steps s, outputs o and p = s·u + r for a place in the padded image, Σ w[t]·g[o] over s·o + t = p is one
    convolution for every phase r, with the taps t = s·j + r, at the places u = o + j.
    """
    axes = range(len(window.kernel))
    strides, dilations, taps = window.strides, window.dilations, window.kernel
    if max(strides) > 1:
        weight = _with_holes(weight, dilations)
        dilations = [1] * len(taps)
        taps = [-(-k // s) for k, s in zip(weight.shape[2:], strides, strict=True)]
    reach = [(taps[i] - 1) * dilations[i] for i in axes]
    cut = [min(window.before[i] // strides[i], reach[i]) for i in axes]
    places = [-(-(window.image[i] + window.before[i]) // strides[i]) for i in axes]
    after = [places[i] - window.outputs[i] for i in axes]
    if min(after) < 0:  # windows that lie in the padding alone
        return tape.emit("ConvTranspose", gradient, tape.constant(weight), group=group, **window.attributes)
    pads = [*(reach[i] - cut[i] for i in axes), *after]
    phases = _phases(weight, group, strides, taps)
    if group == 1:
        phases = [np.concatenate(phases)]
    known = {"group": group, "dilations": dilations, "pads": pads}
    parts = [tape.emit("Conv", gradient, tape.constant(w), **known) for w in phases]
    made = parts[0] if len(parts) == 1 else tape.emit("Concat", *parts, axis=1)
    sizes = [places[i] - cut[i] for i in axes]
    if max(strides) > 1:
        made = _woven(tape, made, weight.shape[1] * group, strides, sizes)
        sizes = [size * s for size, s in zip(sizes, strides, strict=True)]
    starts = [window.before[i] - strides[i] * cut[i] for i in axes]
    if not any(starts) and sizes == window.image:
        return made
    bounds = (starts, [starts[i] + window.image[i] for i in axes], [2 + i for i in axes])
    return tape.emit("Slice", made, *(tape.constant(b, np.int64) for b in bounds))


def _with_holes(weight: NDArray[np.float32], dilations: list[int]) -> NDArray[np.float32]:
    """A kernel with the zeros between its taps that dilations mean."""
    sizes = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    wide = np.zeros((*weight.shape[:2], *sizes), np.float32)
    wide[_places(slice(None, None, d) for d in dilations)] = weight
    return wide


def _places(along: Iterable[slice]) -> tuple[slice, ...]:
    """An index of a kernel: these places along its axes, all outputs and inputs."""
    return (slice(None), slice(None), *along)


def _phases(
    weight: NDArray[np.float32], group: int, strides: list[int], taps: list[int]
) -> list[NDArray[np.float32]]:
    """The taps of each phase with inputs and outputs exchanged and in reverse order."""
    rows = weight.reshape(group, -1, *weight.shape[1:]).swapaxes(1, 2)
    turned = rows.reshape(-1, *rows.shape[2:])
    flipped = _places(slice(None, None, -1) for _ in strides)
    found = []
    for phase in itertools.product(*(range(s) for s in strides)):
        kept = turned[_places(slice(r, None, s) for r, s in zip(phase, strides, strict=True))]
        whole = np.zeros((*turned.shape[:2], *taps), np.float32)
        whole[tuple(slice(n) for n in kept.shape)] = kept
        found.append(whole[flipped])
    return found


def _woven(tape: Tape, value: str, channels: int, strides: list[int], sizes: list[int]) -> str:
    """Phases [n, strides, channels, sizes] as images [n, channels, sizes × strides]."""
    axes = len(strides)
    apart = tape.reshape(value, [None, *strides, channels, *sizes])
    pairs = (axis for i in range(axes) for axis in (2 + axes + i, 1 + i))
    turned = tape.emit("Transpose", apart, perm=[0, 1 + axes, *pairs])
    return tape.reshape(turned, [None, channels, *(n * s for n, s in zip(sizes, strides, strict=True))])


def maximum_pool(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """MaxPool: all of the gradient to the largest value under the window, equal shares to those that are equal.

    Every channel is an image of its own. A convolution with one kernel per tap lays the values under the window side
    by side, a transposed one takes the shares back.
    """
    attributes = attributes_of(node)
    x, y = tape.shapes[node.input[0]], tape.shapes[node.output[0]]
    window = _window(attributes, attributes["kernel_shape"], x, y)
    if window is None or given[0] is None or any(given[1:]):
        return None
    taps = int(np.prod(window.kernel))
    kernels = np.eye(taps, dtype=np.float32).reshape(taps, 1, *window.kernel)
    image = window.padded(tape, tape.reshape(node.input[0], [None, 1, *window.image]), _LOWEST)
    known = {"strides": window.strides, "dilations": window.dilations}
    spread = tape.emit("Conv", image, tape.constant(kernels), **known)
    best = tape.reshape(node.output[0], [None, 1, *window.outputs])
    lacking = tape.emit("Sub", best, spread)
    chosen = tape.emit("HardSigmoid", lacking, alpha=-(2.0**100), beta=1.0)  # 1 where nothing lacks, else 0
    number = tape.emit("ReduceSum", chosen, tape.constant([1], np.int64), keepdims=1)
    share = tape.emit("Div", tape.reshape(given[0], [None, 1, *window.outputs]), number)
    return tape.reshape(_back(tape, tape.emit("Mul", chosen, share), kernels, 1, window), x)


def average_pool(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """AveragePool: equal shares to all values under the window."""
    attributes = attributes_of(node)
    x, y = tape.shapes[node.input[0]], tape.shapes[node.output[0]]
    window = _window(attributes, attributes["kernel_shape"], x, y)
    (gradient,) = given
    if window is None or gradient is None:
        return None
    asked = None
    if attributes.get("count_include_pad", 0):
        same = attributes.get("auto_pad", "NOTSET") != "NOTSET"
        pads = [*window.before, *window.after]
        asked = pads if same else list(attributes.get("pads", [0] * len(pads)))
    shares = tape.emit("Mul", gradient, tape.constant(1 / window.counts(asked)))
    alone = tape.reshape(shares, [None, 1, *window.outputs])
    return tape.reshape(_back(tape, alone, np.ones((1, 1, *window.kernel), np.float32), 1, window), x)


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
