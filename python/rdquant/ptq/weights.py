"""Weights of layers as levels: to the nearest, or so that the layers' outputs stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer, RowRounder, mean_outputs
from ..errors import InvalidArgument
from ..graph import Model
from .export import LayerLevels, RecurrentLevels
from .recurrent import Recurrent

__all__ = ["check_finite", "feedback", "nearest", "recurrent_levels"]

LARGEST = 127  # levels are symmetric
_LEAST_BIAS = 2.0**-29  # levels of a bias stay within int32
_SMALLEST = 2.0**-100


def nearest(
    layer: Layer,
    weights: Mapping[str, NDArray[Any]],
    input_scale: float,
    per_channel: bool,
    mean: NDArray[np.float64] | None = None,
) -> LayerLevels:
    """Each weight to its nearest level.

    input_scale: of the levels that the layer reads. mean: of its inputs, [groups, inputs]; the bias then makes up for
    the mean error of the outputs.
    """
    matrix = layer.matrix(np.asarray(weights[layer.weight], np.float32))
    bias = None if layer.bias is None else np.asarray(weights[layer.bias], np.float64)
    scales = _scales(matrix, bias, input_scale, per_channel)
    rows = scales[:, np.newaxis]
    levels = np.clip(np.rint(matrix / rows), -LARGEST, LARGEST)
    if bias is not None and mean is not None:
        bias = bias + mean_outputs(matrix - rows * levels, mean)
    return _found(layer, layer.tensor(levels.astype(np.int8)), scales, bias, per_channel)


def recurrent_levels(
    layer: Recurrent, weights: Mapping[str, NDArray[Any]], per_channel: bool
) -> RecurrentLevels:
    """Each weight to its nearest level; R too, where it is a float32 weight of the layer's own."""
    known = layer.states if layer.states and weights[layer.states.weight].dtype == np.float32 else None
    states = None if known is None else nearest(known, weights, math.inf, per_channel)
    found = nearest(layer, weights, math.inf, per_channel)
    return RecurrentLevels(found.levels, found.scales, None, states)


def check_finite(model: Model) -> None:
    """Raise InvalidArgument, naming the tensor, where a weight is NaN or infinite."""
    for name, values in model.weights().items():
        finite = np.isfinite(values).reshape(-1)
        if not finite.all():
            place = int(np.argmin(finite))
            found = "NaN" if np.isnan(values.reshape(-1)[place]) else "infinite"
            raise InvalidArgument(
                f"tensor {name!r}: value at index {place} is {found}; quantizers take finite numbers"
            )


def feedback(
    layer: Layer,
    rounder: RowRounder,
    bias: NDArray[np.floating] | None,
    input_scale: float,
    per_channel: bool,
    correct: bool,
) -> LayerLevels:
    """Levels that keep the layer's outputs: what rounding one weight does to them, later weights make up for.

    bias: what the layer has. correct: whether it takes up the mean error that is left.
    """
    scales = _scales(rounder.matrix, bias, input_scale, per_channel)
    levels, corrected = rounder.round_rows(scales, LARGEST)
    kept = corrected if correct and corrected is not None else bias
    return _found(layer, levels.astype(np.int8), scales, kept, per_channel)


def _found(
    layer: Layer,
    levels: NDArray[np.int8],
    scales: NDArray[np.float32],
    bias: NDArray[np.floating] | None,
    per_channel: bool,
) -> LayerLevels:
    kept = None if bias is None else bias.astype(np.float32)
    return LayerLevels(levels, scales if per_channel else scales[:1], kept)


def _scales(
    matrix: NDArray[np.float32], bias: NDArray[np.floating] | None, input_scale: float, per_channel: bool
) -> NDArray[np.float32]:
    """[rows]: the largest weight of a row, or of all, becomes the last level."""
    most = np.abs(matrix).max(axis=1).astype(np.float64) / LARGEST
    if bias is not None:
        most = np.maximum(most, np.abs(bias) * (_LEAST_BIAS / input_scale))
    if not per_channel:
        most = np.full_like(most, most.max())
    return np.where(most > _SMALLEST, most, 1.0).astype(np.float32)
