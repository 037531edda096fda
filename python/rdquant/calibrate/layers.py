"""The layers of a network whose weights multiply inputs that data can describe: convolutions and products with a matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief
from ..errors import Unsupported, needed
from ..graph import Model

with needed():
    import onnx

__all__ = ["WIDEST", "Layer", "by_input", "closing", "layers_of", "mean_outputs", "portions"]

_Item = TypeVar("_Item")

WIDEST = 4608
"""Inputs of a layer (512 channels under 3 × 3) beyond which covariances of them take too long."""


_PLANES = 8  # of the outputs of one volume that calibration sees, at most


@dataclass(frozen=True)
class Depth:
    """A convolution's window along the first of three axes.

    Attributes:
        taps, stride, dilation: of the window.
        pads: planes before the first and behind the last; None where the output is to have the input's size.
        later: whether an odd plane of the padding comes last.
    """

    taps: int
    stride: int
    dilation: int
    pads: tuple[int, int] | None
    later: bool

    def covered(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of volumes [n, channels, depth, height, width], what some planes of the output read: [n · planes, channels · taps,
        height, width].
        """
        reach = (self.taps - 1) * self.dilation + 1
        front, back = self._padding(x.shape[2], reach)
        padded = np.pad(x, ((0, 0), (0, 0), (front, back), (0, 0), (0, 0)))
        count = (padded.shape[2] - reach) // self.stride + 1
        shown = np.unique(np.linspace(0, count - 1, min(count, _PLANES)).astype(np.int64)) * self.stride
        planes = shown[:, np.newaxis] + np.arange(self.taps) * self.dilation
        found = padded[:, :, planes].transpose(0, 2, 1, 3, 4, 5)
        return np.ascontiguousarray(found.reshape(-1, x.shape[1] * self.taps, *x.shape[3:]))

    def _padding(self, size: int, reach: int) -> tuple[int, int]:
        if self.pads is not None:
            return self.pads
        total = max(0, (-(-size // self.stride) - 1) * self.stride + reach - size)
        return (total // 2, total - total // 2) if self.later else (total - total // 2, total // 2)


@dataclass(frozen=True, repr=False)
class Layer(Brief):
    """A node with a weight of its own: rows of the weight's matrix give outputs, its columns meet inputs.

    A fully connected layer is a convolution with a 1 × 1 kernel; a one-dimensional one has a height of 1.

    Attributes:
        weight, bias: names of learned tensors; no bias: None.
        input: the value that the node reads, which may be the network's own input.
        node: the node's name in the graph.
        shape: of the weight.
        kind: "convolution", or "product" (Gemm, MatMul).
        groups, kernel, strides, dilations: of the convolution.
        pads: top, left, bottom, right; None where the node wants its output as large as its input ("SAME_UPPER",
            "SAME_LOWER" in `auto_pad`).
        depth: of a convolution over three axes, which reads several planes together as channels of one image; else None.
        transposed: whether the weight is stored [inputs, rows].
    """

    weight: str
    bias: str | None
    input: str
    node: str
    shape: tuple[int, ...]
    kind: str
    groups: int = 1
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    auto_pad: str = field(default="NOTSET")
    depth: Depth | None = None
    transposed: bool = False

    @property
    def rows(self) -> int:
        """Outputs of the layer at one position."""
        return self.shape[1] if self.transposed else self.shape[0]

    @property
    def inputs(self) -> int:
        """Inputs of one output."""
        return int(np.prod(self.shape, dtype=np.int64)) // self.rows

    @property
    def taps(self) -> int:
        """Places of the kernel."""
        return int(np.prod(self.kernel)) * (1 if self.depth is None else self.depth.taps)

    @property
    def strides_in_tensor(self) -> tuple[int, int]:
        """Elements of the tensor between neighbouring rows, and between neighbouring columns, of the matrix."""
        return (1, self.rows) if self.transposed else (self.inputs, 1)

    @property
    def geometry(self) -> tuple[Any, ...]:
        """Equal for layers that see the same patches of the same value."""
        return (
            self.input,
            self.kind,
            self.groups,
            self.kernel,
            self.strides,
            self.dilations,
            self.pads,
            self.auto_pad,
            self.depth,
        )

    def matrix(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """`tensor`, of the weight's shape and any dtype, as a contiguous [rows, inputs] of that dtype."""
        return np.ascontiguousarray(tensor.T if self.transposed else tensor.reshape(self.rows, self.inputs))

    def tensor(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """`matrix`, [rows, inputs] of any dtype, in the weight's shape; contiguous."""
        return np.ascontiguousarray(matrix.T if self.transposed else matrix).reshape(self.shape)

    def images(self, value: NDArray[Any]) -> NDArray[np.float32]:
        """What the node reads, `value`, as float32 [n, channels, height, width]; of volumes, several planes for each.

        Raises Unsupported for a rank that the layer's kind does not have.
        """
        x = np.asarray(value, np.float32)
        if self.depth is not None and x.ndim == 5:
            return self.depth.covered(x)
        if x.ndim in (3, 4) if self.kind == "convolution" else x.ndim >= 2 and x.shape[-1] == self.inputs:
            return self.places(x)
        raise Unsupported(f"node {self.node!r}: an input of shape {list(x.shape)} is not calibrated")

    def places(self, value: NDArray[np.float32]) -> NDArray[np.float32]:
        """`value`, inputs or outputs of the node, as float32 [n, channels, height, width].

        What a product has between its first axis and its last is the height.
        """
        if self.kind == "convolution":
            return np.ascontiguousarray(value.reshape(*value.shape[:2], -1, value.shape[-1]))
        rows = value.reshape(len(value), -1, value.shape[-1])
        return np.ascontiguousarray(rows.transpose(0, 2, 1)[..., np.newaxis])

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right zeros, in pixels, for an input of `height` × `width` pixels."""
        if self.pads is not None:
            return self.pads
        total = []
        for size, kernel, stride, dilation in zip(
            (height, width), self.kernel, self.strides, self.dilations, strict=True
        ):
            outputs = -(-size // stride)
            total.append(max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size))
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        first, last = (less, more) if self.auto_pad == "SAME_UPPER" else (more, less)
        return first[0], first[1], last[0], last[1]


def by_input(layers: Iterable[Layer]) -> list[list[Layer]]:
    """`layers` that read the same value together; groups in the order of their first layers."""
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.input, []).append(layer)
    return list(groups.values())


def closing(model: Model, layers: Iterable[Layer]) -> set[str]:
    """Weights of those of `layers` that none of the others follows in the graph of `model`: nothing can make up for
    their errors.
    """
    weights = {layer.weight for layer in layers}
    followed: set[str] = set()  # values that a layer reads, directly or through other nodes
    last = set()
    for node in reversed(model.skeleton.graph.node):
        own = weights & set(node.input)
        after = followed & set(node.output)
        if own and not after:
            last |= own
        if own or after:
            followed |= set(node.input)
    return last


def mean_outputs(rows: NDArray[np.floating], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [outputs]: what weights give on average for inputs of a `mean`, float64 [groups, inputs].

    rows: floats [outputs, inputs], or as many in groups, [groups, outputs of one, inputs].
    """
    grouped = rows.reshape(len(mean), -1, mean.shape[1])
    return np.einsum("gri,gi->gr", grouped, mean).reshape(-1)


def portions(items: Iterable[_Item], size: Callable[[_Item], int], limit: int) -> Iterator[list[_Item]]:
    """`items` in order, cut into portions whose sizes add up to `limit` at most; a larger item is one alone.

    size: gives the size of an item, in the unit of `limit`.
    """
    portion: list[_Item] = []
    taken = 0
    for item in items:
        if portion and taken + size(item) > limit:
            yield portion
            portion, taken = [], 0
        portion.append(item)
        taken += size(item)
    if portion:
        yield portion


def layers_of(model: Model, volumes: bool = False) -> list[Layer]:
    """The layers of `model` in graph order; with `volumes`, convolutions over three axes too.

    Left out: weights that several nodes use, or that reach their node through others; transposed convolutions and
    recurrent layers; products of which the weight is the left factor.
    """
    graph = model.skeleton.graph
    roles = {p.name: p for p in model.parameters}
    uses = Counter(name for node in graph.node for name in node.input)
    layers = []
    for node in graph.node:
        if len(node.input) < 2 or node.input[0] in roles or uses[node.input[1]] != 1:
            continue
        parameter = roles.get(node.input[1])
        if parameter is None or parameter.role != "weight" or node.domain not in ("", "ai.onnx"):
            continue
        bias = node.input[2] if len(node.input) > 2 else ""
        named = bias if bias in roles and uses[bias] == 1 and roles[bias].role == "bias" else None
        layer = _layer(node, parameter.shape, named)
        if layer is not None and (volumes or layer.depth is None):
            layers.append(layer)
    return layers


def _layer(node: onnx.NodeProto, shape: tuple[int, ...], bias: str | None) -> Layer | None:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    known = {"weight": node.input[1], "input": node.input[0], "node": node.name, "shape": shape}
    if node.op_type == "Conv" and len(shape) in (3, 4, 5):
        return _convolution(attributes, known, bias)
    if node.op_type == "MatMul" and len(shape) == 2:
        return Layer(**known, bias=None, kind="product", transposed=True)
    if node.op_type != "Gemm" or len(shape) != 2 or attributes.get("transA", 0):
        return None
    # Scaled products keep their layer; a scaled bias is not what a correction could be added to.
    scaled = attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0
    transposed = not attributes.get("transB", 0)
    return Layer(**known, bias=None if scaled else bias, kind="product", transposed=transposed)


def _convolution(attributes: dict[str, Any], known: dict[str, Any], bias: str | None) -> Layer:
    taps = known["shape"][2:]
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    depth = _depth(attributes, taps[0], auto) if len(taps) == 3 else None
    if depth is not None:
        attributes = _without_depth(attributes)
        taps = taps[1:]

    def pair(name: str) -> tuple[int, int]:
        values = list(attributes.get(name, [1] * len(taps)))
        return (1, values[0]) if len(taps) == 1 else (values[0], values[1])

    pads: tuple[int, int, int, int] | None = None
    if not auto.startswith("SAME"):
        given = (
            list(attributes.get("pads", [0] * (2 * len(taps)))) if auto == "NOTSET" else [0] * (2 * len(taps))
        )
        pads = (0, given[0], 0, given[1]) if len(taps) == 1 else (given[0], given[1], given[2], given[3])
    return Layer(
        **known,
        bias=bias,
        kind="convolution",
        groups=attributes.get("group", 1),
        kernel=(1, taps[0]) if len(taps) == 1 else (taps[0], taps[1]),
        strides=pair("strides"),
        dilations=pair("dilations"),
        pads=pads,
        auto_pad=auto,
        depth=depth,
    )


def _depth(attributes: dict[str, Any], taps: int, auto: str) -> Depth:
    """Of the first of three axes."""
    pads: tuple[int, int] | None = None
    if not auto.startswith("SAME"):
        given = attributes.get("pads", [0] * 6) if auto == "NOTSET" else [0] * 6
        pads = (given[0], given[3])
    stride, dilation = (attributes.get(name, [1])[0] for name in ("strides", "dilations"))
    return Depth(taps, stride, dilation, pads, auto != "SAME_LOWER")


def _without_depth(attributes: dict[str, Any]) -> dict[str, Any]:
    """Those of the other two axes."""
    rest = dict(attributes)
    for name in ("strides", "dilations", "kernel_shape"):
        if name in rest:
            rest[name] = rest[name][1:]
    if "pads" in rest:
        rest["pads"] = [*rest["pads"][1:3], *rest["pads"][4:]]
    return rest
