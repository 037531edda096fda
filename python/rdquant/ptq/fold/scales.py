"""Numbers that multiply what layers read, taken into the layers' weights: between two layers of levels there is no room for
them (networks without norms scale what each block reads and makes)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calibrate import Layer, layers_of
from ...errors import needed
from ...graph import Model
from .rewiring import Readers, readers_of, skip, stored_as, without

with needed():
    import onnx
    from onnx import numpy_helper

__all__ = ["small_constants", "without_scales"]

_LINEAR = frozenset(("AveragePool", "GlobalAveragePool", "MaxPool", "Relu"))  # of positive factors


def small_constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Floats that the graph holds itself, by name: single numbers, as exporters write them."""
    found = (t for t in graph.initializer if not t.external_data and t.data_type == onnx.TensorProto.FLOAT)
    return {t.name: numpy_helper.to_array(t) for t in found}


def without_scales(model: Model) -> Model:
    """The same function without products with one positive number whose outcome layers alone read, at once or behind pools
    and ReLUs; the model itself where there are none."""
    graph, stored = model.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    weights = model.weights()
    numbers = small_constants(skeleton.graph) | {n: w for n, w in weights.items() if w.size == 1}
    readers = readers_of(skeleton.graph)
    outputs = {o.name for o in skeleton.graph.output}
    layers = {layer.weight: layer for layer in layers_of(model, volumes=True)}
    makers = {name: node for node in skeleton.graph.node for name in node.output}
    factors: dict[str, float] = defaultdict(lambda: 1.0)
    gone: list[onnx.NodeProto] = []
    for node in skeleton.graph.node:
        factor = _factor(node, numbers)
        reached = _layers_behind(node.output[0], readers, layers, outputs) if factor is not None else None
        if factor is None or not reached:
            continue
        value = next(name for name in node.input if name not in numbers)
        if _is_within_activation(value, makers):
            continue
        for layer in reached:
            factors[layer.weight] *= factor
        skip(node, value, readers)
        gone.append(node)
    changed = {
        name: stored_as(
            (weights[name].astype(np.float64) * by).astype(weights[name].dtype), stored[name].data_type
        )
        for name, by in factors.items()
    }
    return without(model, skeleton, gone, changed)


def _factor(node: onnx.NodeProto, numbers: dict[str, NDArray[Any]]) -> float | None:
    """The positive number that `node` multiplies a value by; None where it does anything else."""
    if node.op_type != "Mul" or sum(name in numbers for name in node.input) != 1:
        return None
    number = next(numbers[name] for name in node.input if name in numbers)
    fits = number.size == 1 and number.ndim <= 2 and np.isfinite(number).all() and number.min() > 0
    return float(number.reshape(-1)[0]) if fits else None


def _is_within_activation(value: str, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a number may belong to a function written out before it (the half of GELU, the sixth of hard-swish), which
    engines know as a whole; x·sigmoid(x) is whole without one."""
    made = makers.get(value)
    if made is None or made.op_type not in ("Div", "Mul"):
        return False
    before = (makers.get(name) for name in made.input)
    return not any(node is not None and node.op_type == "Sigmoid" for node in before)


def _layers_behind(
    value: str,
    readers: Readers,
    layers: dict[str, Layer],
    outputs: set[str],
) -> list[Layer] | None:
    """The layers that read `value`, at once or behind what a factor passes through; None where others do too."""
    if value in outputs:
        return None
    found: list[Layer] = []
    for node in readers[value]:
        layer = layers.get(node.input[1]) if len(node.input) > 1 else None
        if layer is not None and layer.input == value and node.op_type != "Gemm":
            found.append(layer)
            continue
        passes = node.op_type in _LINEAR and len([o for o in node.output if o]) == 1
        behind = _layers_behind(node.output[0], readers, layers, outputs) if passes else None
        if not behind:
            return None
        found += behind
    return found
