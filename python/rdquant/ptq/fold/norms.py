"""Batch normalization, and products and sums with constants of channels, taken into the convolution or Gemm before them:
in levels there is no room between the two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calibrate import Layer, layers_of
from ...errors import needed
from ...graph import Model
from ...graph.tensors import Stored
from .branches import affine_of
from .rewiring import stored_as, uses_of, without
from .scales import small_constants

with needed():
    import onnx

__all__ = ["without_norms"]

Floats = NDArray[np.float64]
_READ = {"BatchNormalization": 1, "Mul": 2, "Add": 2}  # inputs that may be the layer's output


def without_norms(model: Model) -> Model:
    """The same function without the batch normalizations, and the products and sums with constants of channels, that alone
    read a layer; the model itself where there are none.

    With y = γ·(x − µ)/√(σ² + ε) + β: weights are multiplied by γ/√(σ² + ε) for each output, biases become
    (b − µ)·γ/√(σ² + ε) + β. Frozen norms of detectors are a product and a sum with constants.
    """
    layers = {layer.weight: layer for layer in layers_of(model, volumes=True)}
    graph, stored = model.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    tensors, weights = dict(stored), small_constants(skeleton.graph) | dict(model.weights())
    uses = uses_of(skeleton.graph)
    makers = {node.output[0]: node for node in skeleton.graph.node if _takes_affine(node)}
    gone: list[onnx.NodeProto] = []
    for node in skeleton.graph.node:
        given = next((name for name in node.input[: _READ.get(node.op_type, 0)] if name in makers), "")
        before = makers.get(given)
        layer = layers.get(before.input[1]) if before is not None and uses[given] == 1 else None
        change = _change(node, given, layer, weights) if layer is not None else None
        if before is None or layer is None or change is None:
            continue
        if len(before.input) > 2 and before.input[2] and layer.bias is None:
            continue  # a bias that other layers use
        if layer.bias is not None and weights[layer.bias].shape != (layer.rows,):
            continue  # a Gemm's may have other shapes
        layers[layer.weight] = _fold(before, node.output[0], layer, change, weights, tensors)
        before.output[0] = node.output[0]
        makers[node.output[0]] = before
        gone.append(node)
    return without(model, skeleton, gone, tensors)


def _takes_affine(node: onnx.NodeProto) -> bool:
    """Convolutions, and Gemms that scale neither product nor bias."""
    scales = [a.f for a in node.attribute if a.name in ("alpha", "beta")]
    return node.op_type == "Conv" or (node.op_type == "Gemm" and all(scale == 1 for scale in scales))


def _change(
    node: onnx.NodeProto, given: str, layer: Layer, weights: dict[str, NDArray[Any]]
) -> tuple[Floats, Floats] | None:
    """What `node` multiplies each channel of `given` by, and what it adds ([channels] each); None where it does else."""
    constants = [name for name in node.input if name != given]
    if not all(name in weights for name in constants):
        return None
    if node.op_type == "BatchNormalization":
        return affine_of(node, weights)
    numbers = [weights[name].astype(np.float64) for name in constants]
    shape = (1, layer.rows) + (1,) * (weights[layer.weight].ndim - 2)
    if len(numbers) != 1 or numbers[0].ndim > len(shape):
        return None
    if any(n not in (1, whole) for n, whole in zip(numbers[0].shape[::-1], shape[::-1], strict=False)):
        return None
    constant = np.broadcast_to(numbers[0], shape).reshape(-1)
    ones, zeros = np.ones(layer.rows), np.zeros(layer.rows)
    return (constant, zeros) if node.op_type == "Mul" else (ones, constant)


def _fold(
    before: onnx.NodeProto,
    output: str,
    layer: Layer,
    change: tuple[Floats, Floats],
    weights: dict[str, NDArray[Any]],
    tensors: dict[str, Stored],
) -> Layer:
    """Puts the change into the layer's tensors; gives the layer, which has a bias then."""
    factor, shift = change
    weight = weights[layer.weight]
    bias = weights[layer.bias].astype(np.float64) if layer.bias is not None else np.zeros(layer.rows)
    shape = (1, -1) if layer.transposed else (-1,) + (1,) * (weight.ndim - 1)
    name = layer.bias or f"{output}_folded_bias"
    while layer.bias is None and name in tensors:
        name += "_"
    if len(before.input) < 3:
        before.input.append(name)
    before.input[2] = name
    for key, values in ((layer.weight, weight * factor.reshape(shape)), (name, bias * factor + shift)):
        weights[key] = values.astype(weight.dtype)
        tensors[key] = stored_as(weights[key], tensors[layer.weight].data_type)
    return replace(layer, bias=name)
