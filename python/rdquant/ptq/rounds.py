"""Levels of all weights of a network, by each of the ways to round them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..calibrate import WIDEST, Layer, Moments, RowRounder, by_input, covariances, following, portions
from ..graph import Model
from .export import LayerLevels
from .options import Options
from .weights import feedback, nearest

__all__ = ["Rounding"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
Levels = dict[str, LayerLevels]
_MOMENT_BYTES = 1 << 27  # of covariances at a time
_MOST_JOINT = 1280  # inputs of a layer that is rounded to what those before it give; else alone


class Rounding:
    """Rounds the weights of `layers`, of `model` in float.

    scales: of the levels that each layer reads, by the name of the weight. images: gives batches of the input, the
    same ones each time.
    """

    def __init__(
        self,
        model: Model,
        layers: list[Layer],
        scales: Mapping[str, float],
        images: Images,
        options: Options,
        done: Callable[[int], None],
    ) -> None:
        self._model, self._layers, self._scales = model, layers, scales
        self._images, self._options, self._done = images, options, done
        self._weights = model.weights()

    def nearest(self) -> Levels:
        """Each weight to its nearest level, biases as they are."""
        per_channel = self._options.per_channel
        return {
            layer.weight: nearest(layer, self._weights, self._scales[layer.weight], per_channel)
            for layer in self._layers
        }

    def alone(self) -> tuple[Levels, Levels]:
        """Each layer as if all before it stayed in float: with biases as they are, and with biases that take up mean
        errors, where the options want that. Both have the same levels of weights.
        """
        wide = [layer for layer in self._layers if layer.inputs > WIDEST]
        scales, per_channel = self._scales, self._options.per_channel
        plain = {w.weight: nearest(w, self._weights, scales[w.weight], per_channel) for w in wide}
        corrected = dict(plain)
        self._done(len(wide))
        fitted = [layer for layer in self._layers if layer.inputs <= WIDEST]
        for portion in portions(fitted, _moment_bytes, _MOMENT_BYTES):
            moments = covariances(self._model, self._images(), portion, threads=self._options.threads)
            for layer in portion:
                name = layer.weight
                plain[name], corrected[name] = self._rounded(layer, moments[name])
            self._done(len(portion))
        return plain, corrected

    def _rounded(self, layer: Layer, moments: Moments) -> tuple[LayerLevels, LayerLevels]:
        scale, options = self._scales[layer.weight], self._options
        if options.rounding == "nearest":
            known = nearest(layer, self._weights, scale, options.per_channel)
            mean = moments.mean()
            return known, nearest(layer, self._weights, scale, options.per_channel, mean)
        bias = None if layer.bias is None else self._weights[layer.bias]
        # Errors of the mean do not count for a layer whose bias will take them up.
        taken = bias if options.correct_bias else None
        rounder = RowRounder(self._weights[layer.weight], taken, layer, moments, self._options.threads or 0)
        found = self._feedback(layer, rounder, options.correct_bias)
        return (found if bias is None else replace(found, bias=bias.astype(np.float32))), found

    def in_order(self, before: Levels, written: Callable[[Levels], Model]) -> Levels:
        """Each layer to what makes up for the levels of all before it.

        before: levels of all layers. written: the network with given levels.
        """
        found = dict(before)
        (port,) = self._model.inputs
        for layers in by_input(self._layers):
            small = [layer for layer in layers if layer.inputs <= _MOST_JOINT]
            if small and small[0].input != port.name:
                rounders = following(
                    self._model,
                    written(found),
                    small,
                    self._images,
                    threads=self._options.threads or 0,
                )
                for layer, rounder in rounders:
                    found[layer.weight] = self._feedback(layer, rounder, True)
            self._done(len(layers))
        return found

    def _feedback(self, layer: Layer, rounder: RowRounder, correct: bool) -> LayerLevels:
        bias = None if layer.bias is None else self._weights[layer.bias]
        return feedback(layer, rounder, bias, self._scales[layer.weight], self._options.per_channel, correct)


def _moment_bytes(layer: Layer) -> int:
    """Of the covariances of a layer's inputs."""
    return 8 * layer.groups * layer.inputs**2
