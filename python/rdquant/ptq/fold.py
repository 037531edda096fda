"""Batch normalization taken into the convolution or Gemm before it: in levels there is no room between the two."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer, layers_of
from ..errors import needed
from ..graph import Model
from ..graph.tensors import Stored
from .own import remade, with_own_weights

with needed():
    import onnx

__all__ = ["folded"]


def folded(model: Model) -> Model:
    """The same function without the batch normalizations that alone read a convolution, and with a weight of its own
    for each layer; the model itself where that is so already.

    With y = γ·(x − µ)/√(σ² + ε) + β: weights are multiplied by γ/√(σ² + ε) for each output, biases become
    (b − µ)·γ/√(σ² + ε) + β.
    """
    model = with_own_weights(model)
    layers = {layer.weight: layer for layer in layers_of(model, volumes=True)}
    graph, stored = model.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    tensors, weights = dict(stored), model.weights()
    uses = Counter(name for node in skeleton.graph.node for name in node.input)
    uses.update(o.name for o in skeleton.graph.output)
    makers = {node.output[0]: node for node in skeleton.graph.node if _takes_affine(node)}
    gone: list[onnx.NodeProto] = []
    for node in skeleton.graph.node:
        before = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        layer = layers.get(before.input[1]) if before is not None and uses[node.input[0]] == 1 else None
        if before is None or layer is None or not all(name in weights for name in node.input[1:5]):
            continue
        if len(before.input) > 2 and before.input[2] and layer.bias is None:
            continue  # a bias that other layers use
        if layer.bias is not None and weights[layer.bias].shape != (layer.rows,):
            continue  # a Gemm's may have other shapes
        _fold(before, node, layer, weights, tensors)
        before.output[0] = node.output[0]
        gone.append(node)
    if not gone:
        return model
    for node in gone:
        skeleton.graph.node.remove(node)
    return remade(model, skeleton, tensors)


def _takes_affine(node: onnx.NodeProto) -> bool:
    """Convolutions, and Gemms that scale neither product nor bias."""
    scales = [a.f for a in node.attribute if a.name in ("alpha", "beta")]
    return node.op_type == "Conv" or (node.op_type == "Gemm" and all(scale == 1 for scale in scales))


def _fold(
    before: onnx.NodeProto,
    norm: onnx.NodeProto,
    layer: Layer,
    weights: dict[str, NDArray[Any]],
    tensors: dict[str, Stored],
) -> None:
    epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
    scale, shift, mean, variance = (weights[name].astype(np.float64) for name in norm.input[1:5])
    factor = scale / np.sqrt(variance + epsilon)
    weight = weights[layer.weight]
    bias = weights[layer.bias].astype(np.float64) if layer.bias is not None else np.zeros(layer.rows)
    shape = (1, -1) if layer.transposed else (-1,) + (1,) * (weight.ndim - 1)
    name = layer.bias or f"{norm.output[0]}_folded_bias"
    while layer.bias is None and name in tensors:
        name += "_"
    if len(before.input) < 3:
        before.input.append(name)
    before.input[2] = name
    for key, values in (
        (layer.weight, weight * factor.reshape(shape)),
        (name, (bias - mean) * factor + shift),
    ):
        data = np.ascontiguousarray(values, weight.dtype)
        like = tensors[layer.weight].data_type
        tensors[key] = Stored(like, data.shape, data.reshape(-1).view(np.uint8))
