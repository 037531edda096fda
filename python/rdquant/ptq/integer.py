"""Networks with integer layers as ONNX files: DynamicQuantizeLinear, then ConvInteger or MatMulInteger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..errors import needed
from ..graph import Model
from ..graph.model import Origin
from ..graph.tensors import Stored, parameters_of
from ..graph.writer import referring
from .export import LayerLevels, RecurrentLevels

with needed():
    import onnx
    from onnx import TensorProto, helper

__all__ = ["write_integer"]

_TYPES = {"int8": TensorProto.INT8, "float32": TensorProto.FLOAT}


def write_integer(
    model: Model, layers: Mapping[int, Layer], weights: Mapping[int, LayerLevels], name: str
) -> Model:
    """`model` with `layers` as sums of products of levels.

    A layer y = x∗w + b becomes y = (q_x − z_x)∗q_w · (s_x·s_w) + b: q_x, s_x and z_x are found when the network runs,
    once for each value that layers read; q_w and s_w are stored. The sums are int32, all that follows is float32. Recurrent
    nodes, of which ONNX has none of integers, read x and w as numbers that DequantizeLinear makes of these levels.

    Args:
        model: a float network whose biases of `layers` are known.
        layers: index of a node → layer.
        weights: index of a node → its levels; a layer's scales differ along its axis of outputs.
        name: of the network that is returned.
    """
    return _Writer(model, layers, weights).write(name)


class _Writer:
    def __init__(self, model: Model, layers: Mapping[int, Layer], weights: Mapping[int, LayerLevels]) -> None:
        graph, tensors = model.parts()
        self._layers, self._weights = layers, weights
        self._known = model.weights()
        self._skeleton = onnx.ModelProto.FromString(graph)
        self._tensors = dict(tensors)
        self._taken = set(self._tensors) | {t.name for t in self._skeleton.graph.initializer}
        self._taken |= {port.name for port in self._skeleton.graph.input}
        for node in self._skeleton.graph.node:
            self._taken.update((*node.input, *node.output))
        self._levels: dict[str, tuple[str, str, str]] = {}
        self._numbers: dict[str, str] = {}  # what recurrent nodes read in a value's place

    def write(self, name: str) -> Model:
        graph = self._skeleton.graph
        nodes: list[onnx.NodeProto] = []
        for i, given in enumerate(graph.node):
            node = onnx.NodeProto()
            node.CopyFrom(given)
            nodes += self._layer(node, self._layers[i], self._weights[i]) if i in self._layers else [node]
        del graph.node[:]
        graph.node.extend(nodes)
        used = {n for node in nodes for n in node.input} | {o.name for o in graph.output}
        tensors = {n: t for n, t in self._tensors.items() if n in used}
        complete = referring(self._skeleton, tensors, "weights")
        size = len(complete.SerializeToString()) + sum(t.data.nbytes for t in tensors.values())
        opset = next(o.version for o in self._skeleton.opset_import if o.domain in ("", "ai.onnx"))
        origin = Origin("<quantize_dynamic>", name, size, opset, len(nodes))
        return Model(self._skeleton, tensors, parameters_of(complete, tensors, name), origin)

    def _layer(self, node: onnx.NodeProto, layer: Layer, found: LayerLevels) -> Iterator[onnx.NodeProto]:
        if isinstance(found, RecurrentLevels):
            yield from self._recurrent(node, layer, found)
            return
        label = node.name or node.output[0]
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        convolves = layer.kind == "convolution"
        # Outputs of a convolution lie along axis 1, those of a product along the last.
        column = (-1,) + (1,) * (len(layer.shape) - 2 if convolves else 0)
        if layer.input not in self._levels:
            yield self._quantizer(layer.input)
        values, scale, zero = self._levels[layer.input]
        levels = found.levels if convolves or layer.transposed else found.levels.T
        weight = self._stored(f"{layer.weight}_levels", levels)
        sums, numbers, both = (self._free(f"{label}_{what}") for what in ("sums", "numbers", "scale"))
        op, kept = ("ConvInteger", settings) if convolves else ("MatMulInteger", {})
        yield helper.make_node(op, [values, weight, zero], [sums], label, **kept)
        yield helper.make_node("Cast", [sums], [numbers], f"{label}_cast", to=TensorProto.FLOAT)
        scales = found.scales * np.float32(1 if convolves else settings.get("alpha", 1))
        stored = self._stored(f"{layer.weight}_scale", scales.reshape(column if scales.size > 1 else ()))
        yield helper.make_node("Mul", [scale, stored], [both], f"{label}_scales")
        bias = node.input[2] if len(node.input) > 2 else ""
        product = self._free(f"{label}_product") if bias else node.output[0]
        yield helper.make_node("Mul", [numbers, both], [product], f"{label}_scaled")
        if bias:
            added = self._known[bias] * np.float32(1 if convolves else settings.get("beta", 1))
            added = added.reshape(column) if convolves else added
            inputs = [product, self._stored(f"{bias}_added", added)]
            yield helper.make_node("Add", inputs, [node.output[0]], f"{label}_bias")

    def _recurrent(
        self, node: onnx.NodeProto, layer: Layer, found: RecurrentLevels
    ) -> Iterator[onnx.NodeProto]:
        if layer.input not in self._levels:
            yield self._quantizer(layer.input)
        if layer.input not in self._numbers:
            self._numbers[layer.input] = self._free(f"{layer.input}_float")
            inputs, output = list(self._levels[layer.input]), self._numbers[layer.input]
            yield helper.make_node("DequantizeLinear", inputs, [output], f"{layer.input}_dequantize")
        node.input[0] = self._numbers[layer.input]
        weights = [(1, found)] if found.states is None else [(1, found), (2, found.states)]
        for place, levels in weights:
            yield self._dequantized(node, place, levels)
        yield node

    def _dequantized(self, node: onnx.NodeProto, place: int, found: LayerLevels) -> onnx.NodeProto:
        """The node that makes numbers of the weight at an input of a recurrent `node`, which then reads them."""
        name, scales = node.input[place], found.scales.reshape(-1 if found.scales.size > 1 else ())
        stored = [self._stored(f"{name}_levels", found.levels), self._stored(f"{name}_scale", scales)]
        node.input[place] = self._free(f"{name}_float")
        options = {"axis": 1} if scales.size > 1 else {}
        return helper.make_node(
            "DequantizeLinear", stored, [node.input[place]], f"{name}_dequantize", **options
        )

    def _quantizer(self, value: str) -> onnx.NodeProto:
        """The node that makes levels of `value`, for all layers that read it."""
        names = tuple(self._free(f"{value}_{what}") for what in ("levels", "scale", "zero"))
        self._levels[value] = (names[0], names[1], names[2])
        return helper.make_node("DynamicQuantizeLinear", [value], names, f"{value}_quantize")

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def _stored(self, wanted: str, values: NDArray[Any]) -> str:
        name = self._free(wanted)
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._tensors[name] = Stored(_TYPES[values.dtype.name], values.shape, data)
        return name
