"""The derivative of each operator: what a node gives to the gradients of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import needed
from .gradient_functions import FUNCTIONS, Elementwise
from .gradient_windows import average_pool, convolution, global_average, global_maximum, maximum_pool
from .tape import Rule, Shape, Tape, attributes_of

with needed():
    import onnx

__all__ = ["RULES"]


def _unary(derivative: Elementwise) -> Rule:
    def rule(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
        return derivative(tape, node, given[0]) if index == 0 and given[0] and not any(given[1:]) else None

    return rule


def _normalisation(tape: Tape, node: onnx.NodeProto, g: str) -> str | None:
    scale, variance = (tape.value(node.input[i]) for i in (1, 4))
    if scale is None or variance is None or attributes_of(node).get("training_mode", 0):
        return None
    factor = scale / np.sqrt(variance + attributes_of(node).get("epsilon", 1e-5))
    spatial = [1] * (len(tape.shapes[node.input[0]]) - 2)
    return tape.emit("Mul", g, tape.constant(factor.reshape(-1, *spatial)))


def _passed(tape: Tape, node: onnx.NodeProto, g: str) -> str | None:
    training = tape.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    return g if training is not None and not training.any() else None


def _reshaped(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return tape.reshape(g, tape.shapes[node.input[0]])


def _transposed(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    rank = len(tape.shapes[node.input[0]])
    order = attributes_of(node).get("perm", list(reversed(range(rank))))
    return tape.emit("Transpose", g, perm=[int(i) for i in np.argsort(order)])


def _summed_to(tape: Tape, g: str, given: Shape, wanted: Shape) -> str:
    """A gradient of shape `given`, of a value of shape `wanted` that was broadcast to it."""
    padded = (1,) * (len(given) - len(wanted)) + wanted
    axes = [i for i, (a, b) in enumerate(zip(given, padded, strict=True)) if a != b]
    if axes:
        g = tape.emit("ReduceSum", g, tape.constant(axes, np.int64), keepdims=1)
    return tape.reshape(g, wanted) if len(given) != len(wanted) else g


def _arithmetic(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """Add, Sub, Mul, Div, Sum."""
    g, op = given[0], node.op_type
    if g is None or (op != "Sum" and node.input[1 - index] not in tape.shapes):
        return None
    if op == "Mul":
        g = tape.emit("Mul", g, node.input[1 - index])
    elif op == "Div":  # to the divisor: −g·y/divisor
        g = tape.emit("Div", g if index == 0 else tape.emit("Mul", g, node.output[0]), node.input[1])
    if op in ("Sub", "Div") and index == 1:
        g = tape.emit("Neg", g)
    return _summed_to(tape, g, tape.shapes[node.output[0]], tape.shapes[node.input[index]])


def _matrix_product(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """MatMul of two values of at least two axes."""
    shapes = [tape.shapes.get(name) for name in node.input]
    g, (a, b) = given[0], shapes
    if g is None or a is None or b is None or len(a) < 2 or len(b) < 2:
        return None
    other = len(b) if index == 0 else len(a)
    order = [*range(other - 2), other - 1, other - 2]
    turned = tape.emit("Transpose", node.input[1 - index], perm=order)
    product = tape.emit("MatMul", *((g, turned) if index == 0 else (turned, g)))
    own = a if index == 0 else b
    out = tape.shapes[node.output[0]]
    return _summed_to(tape, product, (*out[:-2], *own[-2:]), own)


def _gemm(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    attributes = attributes_of(node)
    if index != 0 or attributes.get("transA", 0) or given[0] is None:
        return None
    turned = 1 - attributes.get("transB", 0)
    return tape.emit("Gemm", given[0], node.input[1], alpha=attributes.get("alpha", 1.0), transB=turned)


def _softmax(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    """y ⊙ (g − Σ g·y) along the axis."""
    y = node.output[0]
    axis = tape.constant([attributes_of(node).get("axis", -1)], np.int64)
    total = tape.emit("ReduceSum", tape.emit("Mul", g, y), axis, keepdims=1)
    return tape.emit("Mul", y, tape.emit("Sub", g, total))


def _layer_normalisation(tape: Tape, node: onnx.NodeProto, g: str) -> str | None:
    """With x̂ = (x − mean)/σ and h = g ⊙ scale: (h − mean(h) − x̂·mean(h·x̂))/σ."""
    shape, attributes = tape.shapes[node.input[0]], attributes_of(node)
    sizes = shape[attributes.get("axis", -1) % len(shape) :]
    count = np.prod([d or 0 for d in sizes])
    if not count:
        return None
    axes = tape.constant(range(len(shape) - len(sizes), len(shape)), np.int64)

    def mean(value: str) -> str:
        return tape.emit("Mul", tape.emit("ReduceSum", value, axes, keepdims=1), tape.constant(1 / count))

    centred = tape.emit("Sub", node.input[0], mean(node.input[0]))
    variance = mean(tape.emit("Mul", centred, centred))
    epsilon = tape.constant(attributes.get("epsilon", 1e-5))
    deviation = tape.emit("Sqrt", tape.emit("Add", variance, epsilon))
    unit = tape.emit("Div", centred, deviation)
    scaled = tape.emit("Mul", g, node.input[1])
    part = tape.emit("Mul", unit, mean(tape.emit("Mul", scaled, unit)))
    rest = tape.emit("Sub", tape.emit("Sub", scaled, mean(scaled)), part)
    return tape.emit("Div", rest, deviation)


def _gathered(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """Gather of one place along an axis, such as a transformer's first token."""
    place = tape.value(node.input[1]) if index == 0 else None
    shape = tape.shapes[node.input[0]]
    axis = attributes_of(node).get("axis", 0) % len(shape)
    size = shape[axis]
    if given[0] is None or place is None or place.size != 1 or size is None:
        return None
    at = int(place.reshape(())) % size
    alone = tape.reshape(given[0], [*shape[:axis], 1, *shape[axis + 1 :]])
    return _refitted(tape, alone, shape, {axis: (at, size - 1 - at)})


def _expanded(tape: Tape, node: onnx.NodeProto, g: str) -> str:
    return _summed_to(tape, g, tape.shapes[node.output[0]], tape.shapes[node.input[0]])


def _mean(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """ReduceMean and ReduceSum, over axes whose sizes are known."""
    axes = _axes(tape, node)
    shape = tape.shapes[node.input[0]]
    if index != 0 or given[0] is None or axes is None or any(shape[axis] is None for axis in axes):
        return None
    sizes = [shape[axis] if axis in axes else 1 for axis in range(len(shape))]
    kept = [1 if axis in axes else d for axis, d in enumerate(shape)]
    share = 1.0 if node.op_type == "ReduceSum" else 1 / np.prod([s for s in sizes if s is not None])
    return tape.emit("Mul", tape.reshape(given[0], kept), tape.constant(np.full(sizes, share)))


def _axes(tape: Tape, node: onnx.NodeProto) -> list[int] | None:
    rank = len(tape.shapes[node.input[0]])
    axes: NDArray[Any] | Sequence[int] | None = attributes_of(node).get("axes")
    if len(node.input) > 1 and node.input[1]:
        axes = tape.value(node.input[1])
        if axes is None:
            return None
    if axes is None or not len(axes):
        return [] if attributes_of(node).get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(axis) % rank for axis in axes)


def _concatenated(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    rank = len(tape.shapes[node.output[0]])
    axis = attributes_of(node)["axis"] % rank
    sizes = [tape.shapes[name][axis] if name in tape.shapes else None for name in node.input[: index + 1]]
    known = [s for s in sizes if s is not None]
    if given[0] is None or len(known) < len(sizes):
        return None
    return _sliced(tape, given[0], [axis], [sum(known[:-1])], [sum(known)])


def _sliced(tape: Tape, g: str, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> str:
    return tape.emit("Slice", g, *(tape.constant(list(v), np.int64) for v in (starts, ends, axes)))


def _split(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    if index != 0 or any(name not in tape.shapes for name in node.output):
        return None
    axis = attributes_of(node).get("axis", 0) % len(tape.shapes[node.input[0]])
    zero = tape.constant(0)
    pieces = [g or tape.emit("Mul", out, zero) for g, out in zip(given, node.output, strict=True)]
    return tape.emit("Concat", *pieces, axis=axis)


def _padded(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """Pad with a constant."""
    shape = tape.shapes[node.input[0]]
    pads = tape.value(node.input[1]) if index == 0 and len(node.input) > 1 else None
    if given[0] is None or pads is None or attributes_of(node).get("mode", "constant") != "constant":
        return None
    axes = list(range(len(shape)))
    if len(node.input) > 3 and node.input[3]:
        chosen = tape.value(node.input[3])
        if chosen is None:
            return None
        axes = [int(axis) % len(shape) for axis in chosen]
    given_pads = {axis: (int(pads[i]), int(pads[len(axes) + i])) for i, axis in enumerate(axes)}
    return _refitted(tape, given[0], shape, {a: (-b, -e) for a, (b, e) in given_pads.items()})


def _refitted(tape: Tape, g: str, shape: Shape, changes: dict[int, tuple[int, int]]) -> str | None:
    """`g` with values cut off (< 0) or zeros put on (> 0) before and after along each axis, which gives `shape`."""
    changes = {axis: change for axis, change in changes.items() if any(change)}
    sizes = {axis: shape[axis] for axis in changes}
    if any(size is None for size in sizes.values()):
        return None
    if any(min(change) < 0 for change in changes.values()):
        starts = [max(0, -first) for first, _ in changes.values()]
        ends = [-max(0, -last) or np.iinfo(np.int64).max for _, last in changes.values()]
        g = _sliced(tape, g, list(changes), starts, ends)
    if any(max(change) > 0 for change in changes.values()):
        both = np.zeros((2, len(shape)), np.int64)
        for axis, change in changes.items():
            both[:, axis] = np.maximum(0, change)
        g = tape.emit("Pad", g, tape.constant(both.reshape(-1), np.int64))
    return g


def _slice(tape: Tape, node: onnx.NodeProto, given: list[str | None], index: int) -> str | None:
    """Slice with steps > 0: zeros between the values of the gradient and around them."""
    given_values = [tape.value(name) if name else None for name in node.input[1:]]
    if index != 0 or given[0] is None or len(given_values) < 2:
        return None
    if any(v is None for v, name in zip(given_values, node.input[1:], strict=True) if name):
        return None
    starts, _, axes, steps = [*given_values, None, None][:4]
    assert starts is not None
    shape, made = tape.shapes[node.input[0]], list(tape.shapes[node.output[0]])
    g, changes = given[0], {}
    for i, start in enumerate(starts.tolist()):
        axis = i if axes is None else int(axes[i]) % len(shape)
        step = 1 if steps is None else int(steps[i])
        size, kept = shape[axis], made[axis]
        if size is None or kept is None:
            if size is kept and (start, step) == (0, 1):
                continue  # every image stays
            return None
        if step < 1 or kept == 0:
            return None
        first = int(np.clip(start + size if start < 0 else start, 0, size))
        if step > 1:
            g = _spread(tape, g, made, axis, step)
            made[axis] = kept = kept * step
        changes[axis] = (first, size - first - kept)
    return _refitted(tape, g, shape, changes)


def _spread(tape: Tape, g: str, shape: Sequence[int | None], axis: int, step: int) -> str:
    """Every value along an axis with step − 1 zeros behind it."""
    apart = tape.reshape(g, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
    pads = np.zeros((2, len(shape) + 1), np.int64)
    pads[1, axis + 1] = step - 1
    filled = tape.emit("Pad", apart, tape.constant(pads.reshape(-1), np.int64))
    size = shape[axis]
    assert size is not None
    return tape.reshape(filled, [*shape[:axis], size * step, *shape[axis + 1 :]])


RULES: dict[str, Rule] = {
    **{op: _unary(function) for op, function in FUNCTIONS.items()},
    "Add": _arithmetic,
    "AveragePool": average_pool,
    "BatchNormalization": _unary(_normalisation),
    "Cast": _unary(lambda tape, node, g: g),  # both values are float32, or have no shape here
    "Concat": _concatenated,
    "Conv": convolution,
    "Div": _arithmetic,
    "Dropout": _unary(_passed),
    "Expand": _unary(_expanded),
    "Flatten": _unary(_reshaped),
    "Gather": _gathered,
    "Gemm": _gemm,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_maximum,
    "Identity": _unary(lambda tape, node, g: g),
    "LayerNormalization": _unary(_layer_normalisation),
    "MatMul": _matrix_product,
    "MaxPool": maximum_pool,
    "Mul": _arithmetic,
    "Pad": _padded,
    "ReduceMean": _mean,
    "ReduceSum": _mean,
    "Reshape": _unary(_reshaped),
    "Slice": _slice,
    "Softmax": _unary(_softmax),
    "Split": _split,
    "Squeeze": _unary(_reshaped),
    "Sub": _arithmetic,
    "Sum": _arithmetic,
    "Transpose": _unary(_transposed),
    "Unsqueeze": _unary(_reshaped),
}
