"""Static quantization around weights that are levels already: activations get levels of 8 bits, weights keep theirs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..calibrate import Layer
from ..data import Data
from ..errors import InvalidArgument, Unsupported, count, flag
from ..graph import Model
from .export import LayerLevels
from .options import Options
from .report import QuantizedModel, Report, StepReport
from .static import Images, Static, calibration_of
from .weights import check_finite

__all__ = ["quantize_given"]

_LOST = (
    1e-4  # of a row's largest weight: what steps in float32 may miss of what batch normalization made of them
)


def quantize_given(
    model: Model,
    calibration: Data,
    weights: Mapping[str, LayerLevels],
    *,
    images: int = 128,
    activations: str = "u8",
    ranges: str = "mse",
    correct_bias: bool = True,
    threads: int | None = None,
    progress: bool = False,
) -> QuantizedModel[Report]:
    """`model` with activations of 8 bits and the weights' levels as they are, as ONNX in the form QDQ.

    Args:
        model: a network in float32 whose weights are `weights`' levels times their scales.
        calibration, images, activations, ranges, correct_bias, threads, progress: as for `quantize_static`.
        weights: by the weight's name; layers that it leaves out stay in float.

    Raises as `quantize_static`; Unsupported where batch normalization leaves a weight no multiple of one step.
    """
    options = Options(
        activations, False, True, ranges, 99.999, 0.0, "nearest", correct_bias, 0.1, 0.012, threads
    )
    count("images", images)
    flag("progress", progress)
    check_finite(model)
    chosen = Images(calibration_of(calibration, model, images))
    return _Given(model, chosen, options, progress, weights).run()


class _Given(Static):
    def __init__(
        self,
        model: Model,
        images: Images,
        options: Options,
        progress: bool,
        weights: Mapping[str, LayerLevels],
    ) -> None:
        super().__init__(model, images, options, progress)
        values = self._network.model.weights()
        self._levels: dict[str, LayerLevels] = {}
        for layer in self._network.layers.values():
            if layer.weight in weights:
                bias = None if layer.bias is None else np.asarray(values[layer.bias], np.float32)
                self._levels[layer.weight] = _folded(
                    layer, weights[layer.weight], np.asarray(values[layer.weight], np.float32), bias
                )
        self._nodes = [i for i, layer in self._network.layers.items() if layer.weight in self._levels]
        if not self._nodes:
            raise InvalidArgument(f"{model.name}: no layer has weights of 8 bits or fewer")

    def run(self) -> QuantizedModel[Report]:
        self._observed = self._observe()
        model, damage = self._written(self._nodes, self._levels)
        self._steps.append(StepReport("levels", damage))
        alone = self._rank(self._levels)
        if self._options.correct_bias:
            model, damage = self._balance(model, damage, self._nodes, self._levels)
        kept = {i: "weights of more than 8 bits" for i in self._all if i not in self._nodes}
        report = Report(
            self._images.count,
            self._few.count,
            tuple(self._steps),
            self._layer_reports(model, alone, kept),
            damage,
            self._limit,
            damage.score <= self._limit,
        )
        return QuantizedModel(model, report, self._file_bytes)


def _folded(layer: Layer, given: LayerLevels, weight: np.ndarray, bias: np.ndarray | None) -> LayerLevels:
    """The same levels with the steps that batch normalization, taken into the weight, leaves; turned where it is negative."""
    rows, levels = layer.matrix(weight).astype(np.float64), layer.matrix(given.levels).astype(np.float64)
    scales = np.broadcast_to(given.scales, len(rows)).astype(np.float64)
    if not np.array_equal((levels * scales[:, np.newaxis]).astype(np.float32), rows.astype(np.float32)):
        square = np.square(levels).sum(axis=1)
        scales = np.where(square > 0, (levels * rows).sum(axis=1) / np.maximum(square, 1), scales)
        missed = np.abs(rows - levels * scales[:, np.newaxis]).max(axis=1)
        if (missed > _LOST * np.abs(rows).max(axis=1)).any():
            raise Unsupported(
                f"tensor {layer.weight!r}: its values are no multiples of a step for each output"
            )
    turned = np.where(scales[:, np.newaxis] < 0, -levels, levels)
    steps = np.where(scales == 0, 1.0, np.abs(scales)).astype(np.float32)
    return LayerLevels(layer.tensor(turned.astype(np.int8)), steps, bias)
