"""Quantized networks as ONNX files of the form QDQ: QuantizeLinear and DequantizeLinear around float operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..errors import needed
from ..graph import Model
from ..graph.model import Origin
from ..graph.tensors import Stored, parameters_of
from ..graph.writer import referring
from .grids import Grid
from .network import Network
from .placement import Placement
from .recurrent import Recurrent

with needed():
    import onnx
    from onnx import TensorProto, helper

__all__ = ["LayerLevels", "RecurrentLevels", "write"]

_TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "int32": TensorProto.INT32}
_LARGEST_BIAS = 2**31 - 1


@dataclass(frozen=True)
class LayerLevels:
    """A layer's weight as levels, and its bias as it shall be.

    Attributes:
        levels: int8, −127 … 127, in the weight's shape.
        scales: float32 [rows], or [1] for the whole tensor.
        bias: float32 [rows]; None: the layer has none.
    """

    levels: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32] | None


@dataclass(frozen=True)
class RecurrentLevels(LayerLevels):
    """A recurrent layer's W as levels.

    Attributes:
        states: R likewise; None where it stays as it is.
    """

    states: LayerLevels | None = None


def write(
    network: Network,
    placement: Placement,
    grids: Mapping[str, Grid],
    weights: Mapping[str, LayerLevels],
    name: str | None = None,
) -> Model:
    """The network with levels at `placement`.

    grids: by value, for all of `placement.values`. weights: by the weight's name, for the layers of the placement; those
    that it leaves out keep their numbers, and only what they read and give becomes levels. A weight's scales differ along
    its axis of outputs, and its bias becomes int32 at the scale of the sums, s_x·s_w.
    """
    return _Writer(network, placement, grids).write(weights, name or f"{network.model.name}.int8")


class _Writer:
    def __init__(self, network: Network, placement: Placement, grids: Mapping[str, Grid]) -> None:
        graph, tensors = network.model.parts()
        self._network, self._placement, self._grids = network, placement, grids
        self._skeleton = onnx.ModelProto.FromString(graph)
        self._tensors = dict(tensors)
        self._taken = set(self._tensors) | {t.name for t in self._skeleton.graph.initializer}
        for node in self._skeleton.graph.node:
            self._taken.update((*node.input, *node.output))
        self._taken.add(network.input)
        self._names: dict[str, str] = {}

    def write(self, weights: Mapping[str, LayerLevels], name: str) -> Model:
        graph = self._skeleton.graph
        nodes: list[onnx.NodeProto] = []
        rewired: dict[str, str] = {}
        if self._network.input in self._placement.roots:
            value = self._network.input
            rewired[value] = self._free(f"{value}_dequantized")
            nodes += self._pair(value, value, rewired[value])
        inside = set(self._placement.nodes)
        for i, given in enumerate(graph.node):
            node = onnx.NodeProto()
            node.CopyFrom(given)
            if i in inside:
                node.input[:] = [rewired.get(n, n) for n in node.input]
            if i in inside and i in self._network.layers:
                nodes += self._layer(node, self._network.layers[i], weights)
            if i in inside and i in self._network.recurrent:
                nodes += self._recurrent(node, self._network.recurrent[i], weights)
            after: list[onnx.NodeProto] = []
            for k, value in enumerate(given.output):
                if value in self._placement.roots:
                    node.output[k] = self._free(f"{value}_float")
                    after += self._pair(value, node.output[k], value)
            nodes += [node, *after]
        del graph.node[:]
        graph.node.extend(nodes)
        used = {n for node in nodes for n in node.input}
        tensors = {n: t for n, t in self._tensors.items() if n in used}
        complete = referring(self._skeleton, tensors, "weights")
        size = len(complete.SerializeToString()) + sum(t.data.nbytes for t in tensors.values())
        origin = Origin("<quantize_static>", name, size, self._opset(), len(nodes))
        return Model(self._skeleton, tensors, parameters_of(complete, tensors, name), origin)

    def _opset(self) -> int:
        return next(o.version for o in self._skeleton.opset_import if o.domain in ("", "ai.onnx"))

    def _pair(self, value: str, source: str, result: str) -> Iterator[onnx.NodeProto]:
        """Nodes that make levels of `source` and numbers, `result`, of them."""
        root = self._placement.roots[value]
        grid = self._grids[root]
        scale = self._shared(f"{root}_scale", np.array(grid.scale, np.float32))
        zero = self._shared(f"{root}_zero", np.array(grid.zero, grid.dtype))
        levels = self._free(f"{value}_levels")
        yield helper.make_node("QuantizeLinear", [source, scale, zero], [levels], f"{value}_quantize")
        yield helper.make_node("DequantizeLinear", [levels, scale, zero], [result], f"{value}_dequantize")

    def _layer(
        self, node: onnx.NodeProto, layer: Layer, weights: Mapping[str, LayerLevels]
    ) -> Iterator[onnx.NodeProto]:
        found = weights.get(layer.weight)
        if found is None:
            return
        axis = 1 if layer.transposed else 0
        scales = found.scales
        grid = self._grids[self._placement.roots[layer.input]]
        self._tensors.pop(layer.weight, None)
        yield self._dequantized(layer.weight, found.levels, scales, axis)
        if found.bias is None:
            return
        sums = np.float64(grid.scale) * scales.astype(np.float64)
        sums = np.broadcast_to(sums, found.bias.shape).astype(np.float32)
        bias = layer.bias or self._free(f"{layer.weight}_bias")
        self._tensors.pop(bias, None)
        exact = np.rint(found.bias.astype(np.float64) / sums)
        levels = np.clip(exact, -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
        if len(node.input) < 3:
            node.input.append(bias)
        node.input[2] = bias
        yield self._dequantized(bias, levels, sums, 0)

    def _recurrent(
        self, node: onnx.NodeProto, layer: Recurrent, weights: Mapping[str, LayerLevels]
    ) -> Iterator[onnx.NodeProto]:
        found = weights.get(layer.weight)
        states = found.states if isinstance(found, RecurrentLevels) else None
        for place, levels in ((1, found), (2, states)):
            if levels is not None:
                self._tensors.pop(node.input[place], None)
                yield self._dequantized(node.input[place], levels.levels, levels.scales, 1)

    def _dequantized(
        self, name: str, levels: NDArray[np.signedinteger], scales: NDArray[np.float32], axis: int
    ) -> onnx.NodeProto:
        """The node that makes `name` of levels; their zero point is 0."""
        single = scales.size == 1
        shaped = scales.reshape(()) if single else scales
        inputs = [
            self._stored(f"{name}_levels", levels),
            self._stored(f"{name}_scale", shaped),
            self._stored(f"{name}_zero", np.zeros(shaped.shape, levels.dtype)),
        ]
        options = {} if single else {"axis": axis}
        return helper.make_node("DequantizeLinear", inputs, [name], f"{name}_dequantize", **options)

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _stored(self, wanted: str, values: NDArray[np.generic]) -> str:
        name = self._free(wanted)
        self._put(name, values)
        return name

    def _shared(self, wanted: str, values: NDArray[np.generic]) -> str:
        """One tensor for all values of a root."""
        if wanted not in self._names:
            self._names[wanted] = self._stored(wanted, values)
        return self._names[wanted]

    def _put(self, name: str, values: NDArray[np.generic]) -> None:
        kind = _TYPES.get(values.dtype.name, TensorProto.FLOAT)
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._tensors[name] = Stored(kind, values.shape, data)
