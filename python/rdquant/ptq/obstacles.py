"""Nodes that multiply by weights, and why some of them have no form of integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer, layers_of
from ..errors import needed
from ..graph import Model
from .recurrent import RECURRENT, Recurrent, recurrent_of

with needed():
    import onnx

__all__ = ["nothing_left", "of_levels", "unchanging", "weighted"]

_WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul")) | RECURRENT

_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)

_LEVELS = frozenset(("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"))
"""Operators that only a quantized network has."""


def of_levels(nodes: Iterable[onnx.NodeProto]) -> str | None:
    """The first operator of `nodes` that only a quantized network has."""
    return next((n.op_type for n in nodes if n.op_type in _LEVELS), None)


def unchanging(graph: onnx.GraphProto, constants: Iterable[str]) -> set[str]:
    """Values that are the same whatever numbers the inputs hold: made of `constants`, initializers and shapes alone.

    Engines compute them once, ahead; some (OpenVINO) refuse levels on the way to them.
    """
    fixed = {*constants, *(t.name for t in graph.initializer)}
    for node in graph.node:
        plain = node.domain in ("", "ai.onnx") and node.op_type not in _RANDOM
        plain = plain and not any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)
        if plain and (node.op_type in ("Shape", "Size") or all(name in fixed for name in node.input if name)):
            fixed.update(node.output)
    return fixed


def weighted(model: Model) -> Iterator[tuple[int, Layer | None, str]]:
    """Nodes that multiply by constants: place in the graph, layer, and what keeps it in float ("" where nothing does)."""
    nodes = model.skeleton.graph.node
    weights = model.weights()
    by_weight = {layer.weight: layer for layer in (*layers_of(model, volumes=True), *recurrent_of(model))}
    shapes = {name: tensor.dims for name, tensor in model.parts()[1].items()}
    uses = Counter(name for node in nodes for name in node.input)
    fixed = unchanging(model.skeleton.graph, shapes)
    for i, node in enumerate(nodes):
        if fixed.issuperset(node.output):
            continue
        if node.op_type in _WEIGHTED and any(name in fixed for name in node.input[:2]):
            layer = by_weight.get(node.input[1])
            if node.op_type == "ConvTranspose":
                yield i, layer, "ONNX has no transposed convolution of integers"
            elif layer is None:
                yield i, layer, _unfit(node, fixed, shapes, uses)
            else:
                yield i, layer, _obstacle(node, layer, weights)


def _unfit(
    node: onnx.NodeProto, fixed: set[str], shapes: Mapping[str, tuple[int, ...]], uses: Mapping[str, int]
) -> str:
    """Why a node with a constant factor is no layer."""
    weight = node.input[1]
    if weight not in fixed:
        product = node.op_type in ("Gemm", "MatMul")
        return (
            "its weight is the left factor of a product" if product else "its weight is computed from inputs"
        )
    if weight not in shapes:
        return "its weight is computed"
    if node.op_type == "Conv" and len(shapes[weight]) > 5:
        return f"its weight has {len(shapes[weight])} dimensions; convolutions of integers have 3 to 5"
    if node.op_type in ("Gemm", "MatMul") and len(shapes[weight]) != 2:
        return f"its weight has {len(shapes[weight])} dimensions; products of integers have 2"
    if uses[weight] > 1:
        return "its weight is shared with another node"
    return "its left factor is transposed" if node.op_type == "Gemm" else "its weight is computed"


def _obstacle(node: onnx.NodeProto, layer: Layer, weights: Mapping[str, NDArray[Any]]) -> str:
    """What keeps a layer in float."""
    dtype = weights[layer.weight].dtype
    if dtype != np.float32:
        return f"its weight is {dtype}; levels are made of float32"
    biased = not isinstance(layer, Recurrent) and len(node.input) > 2 and node.input[2]
    return "its bias is computed" if biased and node.input[2] not in weights else ""


def nothing_left(model: Model, kept: Sequence[tuple[str, str]] | None = None) -> str:
    """Why `model`, in which no layer was found, cannot be quantized.

    Args:
        kept: names of nodes and why they stay in float; by default those of `weighted`.
    """
    nodes = model.skeleton.graph.node
    found = of_levels(nodes)
    if found is not None:
        return f"is quantized already ({found})"
    if kept is None:
        kept = [(nodes[i].name or nodes[i].output[0], reason) for i, _, reason in weighted(model) if reason]
    if not kept and any(a.type in (a.GRAPH, a.GRAPHS) for node in nodes for a in node.attribute):
        kept = [("If, Loop and Scan", "what lies within them stays as it is")]
    shown = f" ({'; '.join(f'{name}: {reason}' for name, reason in kept[:3])})" if kept else ""
    return f"no convolution or product with weights of its own to quantize{shown}"
