"""Allocations as ONNX files with levels: for the weights alone, and with activations of 8 bits for integer engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..calibrate import Layer
from ..data import Data
from ..errors import InvalidArgument, Unsupported, count, needed
from ..graph import Model, load
from ..graph.model import Origin
from ..graph.qdq import INT4_OPSET, put_levels
from ..graph.tensors import parameters_of
from ..graph.writer import referring
from ..ptq.export import LayerLevels
from ..ptq.given import quantize_given
from ..ptq.report import QuantizedModel, Report
from .widths import Rows

with needed():
    import onnx
    import onnx.version_converter

__all__ = ["integer", "with_levels"]

_LARGEST_LEVEL = 127
_INT4_IR = 10  # version of ONNX's file format that has int4


def with_levels(model: Model, layers: Sequence[tuple[Layer, Rows]], opset: int | None) -> Model:
    """`model`, whose weights are rounded as `layers` say, with levels and DequantizeLinear nodes instead of weights.

    Raises InvalidArgument for an opset before the model's or beyond what ONNX knows, Unsupported where ONNX cannot convert.
    """
    raised = _at_opset(model, opset)
    graph, tensors = raised.parts()
    skeleton = onnx.ModelProto.FromString(graph)
    kept = dict(tensors)
    for layer, rows in reversed(layers):
        axis = 1 if layer.transposed else 0
        found = put_levels(skeleton, layer.weight, layer.tensor(rows.levels), list(rows.scales), axis)
        if found is not None:
            del kept[layer.weight]
            kept |= found
    complete = referring(skeleton, kept, "weights")
    size = len(complete.SerializeToString()) + sum(t.data.nbytes for t in kept.values())
    origin = Origin("<allocation>", raised.name, size, _opset(skeleton), len(skeleton.graph.node))
    return Model(skeleton, kept, parameters_of(complete, kept, raised.name), origin)


def integer(
    model: Model, layers: Sequence[tuple[Layer, Rows]], calibration: Data, **options: Any
) -> QuantizedModel[Report]:
    """`model` with activations of 8 bits, by `quantize_given`; layers of more than 8 bits stay in float."""
    weights = {
        layer.weight: LayerLevels(layer.tensor(rows.levels).astype(np.int8), rows.scales, None)
        for layer, rows in layers
        if np.abs(rows.levels).max() <= _LARGEST_LEVEL
    }
    return quantize_given(model, calibration, weights, **options)


def _opset(skeleton: onnx.ModelProto) -> int:
    return next(int(o.version) for o in skeleton.opset_import if o.domain in ("", "ai.onnx"))


def _at_opset(model: Model, opset: int | None) -> Model:
    """`model` with its operators in version `opset`; None: as it is."""
    now, last = _opset(model.skeleton), onnx.defs.onnx_opset_version()
    if opset is None or count("opset", opset) == now:
        return model
    if not now <= opset <= last:
        raise InvalidArgument(f"opset: expected {now}, that of {model.name}, to {last}, got {opset}")
    try:
        proto = onnx.version_converter.convert_version(model.proto, opset)
    except Exception as error:  # RuntimeError, and others from its C++ side
        reason = " ".join(str(error).split())[:200]
        raise Unsupported(
            f"opset: ONNX cannot convert {model.name} from {now} to {opset}: {reason}"
        ) from None
    if opset >= INT4_OPSET:
        proto.ir_version = max(proto.ir_version, _INT4_IR)
    found = load(proto)
    missing = set(model.weights()) - set(found.weights())
    if missing:
        raise Unsupported(f"opset: ONNX's conversion of {model.name} to {opset} loses {sorted(missing)[0]!r}")
    return found
