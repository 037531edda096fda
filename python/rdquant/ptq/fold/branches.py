"""Sums of convolutions of one image, and of its batch norm, as one convolution: blocks that train with branches (RepVGG,
MobileOne) are quantized as plain ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import needed
from ...graph import Model
from .rewiring import stored_as, uses_of, without

with needed():
    import onnx

__all__ = ["affine_of", "joined"]

Floats = NDArray[np.float64]


def affine_of(node: onnx.NodeProto, weights: dict[str, NDArray[Any]]) -> tuple[Floats, Floats]:
    """What a batch norm with constant inputs multiplies each channel by, and what it adds, [channels] each."""
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    scale, shift, mean, variance = (weights[name].astype(np.float64) for name in node.input[1:5])
    factor = scale / np.sqrt(variance + epsilon)
    return factor, shift - mean * factor


def joined(model: Model) -> Model:
    """The same function with one convolution for sums of convolutions and batch norms of one value, where the taps of the
    largest hold those of the others; the model itself where there are none."""
    skeleton = onnx.ModelProto.FromString(model.parts()[0])
    branches = _Branches(skeleton.graph, dict(model.weights()))
    branches.join_all()
    gone = [node for node in skeleton.graph.node if node.output[0] in branches.gone]
    made = {name: stored_as(values, onnx.TensorProto.FLOAT) for name, values in branches.made.items()}
    return without(model, skeleton, gone, made)


class _Branches:
    """The graph while sums become convolutions.

    Attributes:
        made: tensors of new convolutions, by name.
        gone: first outputs of nodes that others stand for.
    """

    def __init__(self, graph: onnx.GraphProto, weights: dict[str, NDArray[Any]]) -> None:
        self._nodes = graph.node
        self._weights = weights
        self._uses = uses_of(graph)
        self._makers = {out: node for node in graph.node for out in node.output if out}
        self.made: dict[str, NDArray[np.float32]] = {}
        self.gone: set[str] = set()

    def join_all(self) -> None:
        for node in self._nodes:
            self._join(node)

    def _join(self, node: onnx.NodeProto) -> None:
        if node.op_type != "Add" or node.input[0] == node.input[1]:
            return
        host, guest = (self._branch(name) for name in node.input)
        if host is None or guest is None or host.input[0] != guest.input[0]:
            return
        host, guest = sorted((host, guest), key=self._taps, reverse=True)
        if not self._taps(host):
            return
        shares = self._shares(host, guest)
        if shares is None:
            return
        weight = self._weights[host.input[1]].astype(np.float64) + shares[0]
        bias = self._bias(host) + shares[1]
        names = [f"{node.output[0]}_joined_{part}" for part in ("weight", "bias")]
        if any(name in self._weights or name in self._makers for name in names):
            return
        for name, values in zip(names, (weight, bias), strict=True):
            self.made[name] = self._weights[name] = values.astype(np.float32)
        conv = onnx.helper.make_node("Conv", [host.input[0], *names], list(node.output), node.name)
        conv.attribute.extend(host.attribute)
        node.CopyFrom(conv)
        self.gone.update((host.output[0], guest.output[0]))

    def _branch(self, name: str) -> onnx.NodeProto | None:
        """The convolution or batch norm of constants that makes a value for one reader."""
        node = self._makers.get(name)
        if node is None or self._uses[name] != 1 or node.op_type not in ("Conv", "BatchNormalization"):
            return None
        constant = all(i in self._weights for i in node.input[1:] if i)
        floats = constant and all(self._weights[i].dtype == np.float32 for i in node.input[1:] if i)
        padded = any(a.name == "auto_pad" and a.s not in (b"", b"NOTSET") for a in node.attribute)
        return node if floats and not padded and len(node.output) == 1 else None

    def _taps(self, node: onnx.NodeProto) -> int:
        return self._weights[node.input[1]].size if node.op_type == "Conv" else 0

    def _bias(self, conv: onnx.NodeProto) -> Floats:
        if len(conv.input) > 2 and conv.input[2]:
            return self._weights[conv.input[2]].astype(np.float64)
        return np.zeros(len(self._weights[conv.input[1]]))

    def _shares(self, host: onnx.NodeProto, guest: onnx.NodeProto) -> tuple[Floats, Floats] | None:
        """Weights and bias with which the convolution `host` would do what `guest` does; None where it cannot."""
        like = self._weights[host.input[1]].shape
        outer = _Geometry.of(host, like[2:])
        if guest.op_type == "BatchNormalization":
            factor, shift = affine_of(guest, self._weights)
            point = _Geometry.of(guest, (1,) * len(like[2:]))
            room = outer.room(point)
            if room is None or not len(factor) == like[0] == like[1] * outer.groups:
                return None
            weight = np.zeros(like)
            filters = np.arange(like[0])
            center = (filters, filters % like[1], *(before for before, _ in room))
            weight[center] = factor
            return weight, shift
        weight = self._weights[guest.input[1]].astype(np.float64)
        inner = _Geometry.of(guest, weight.shape[2:])
        room = outer.room(inner) if weight.ndim == len(like) else None
        if room is None or weight.shape[:2] != like[:2] or inner.groups != outer.groups:
            return None
        return np.pad(weight, [(0, 0), (0, 0), *room]), self._bias(guest)


@dataclass(frozen=True)
class _Geometry:
    """Where the taps of a convolution lie."""

    taps: tuple[int, ...]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    groups: int

    @staticmethod
    def of(node: onnx.NodeProto, taps: tuple[int, ...]) -> _Geometry:
        given = {a.name: list(a.ints) for a in node.attribute}
        ones = [1] * len(taps)
        return _Geometry(
            taps,
            given.get("strides", ones),
            given.get("dilations", ones),
            given.get("pads", 2 * [0] * len(taps)),
            next((a.i for a in node.attribute if a.name == "group"), 1),
        )

    def room(self, guest: _Geometry) -> list[tuple[int, int]] | None:
        """Taps before and after those of `guest`, axis by axis; None where both do not lie on one grid."""
        found = []
        axes = len(self.taps)
        for axis, (own, other) in enumerate(zip(self.taps, guest.taps, strict=True)):
            step = self.dilations[axis]
            before, after = (self.pads[i] - guest.pads[i] for i in (axis, axes + axis))
            alike = other == 1 or guest.dilations[axis] == step
            within = min(before, after) >= 0 and before + after == step * (own - other)
            if not alike or not within or before % step or self.strides[axis] != guest.strides[axis]:
                return None
            found.append((before // step, after // step))
        return found
