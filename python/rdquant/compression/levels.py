"""Levels of all weights of a network at given steps, fitted to unlabelled images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..calibrate import (
    WIDEST,
    Layer,
    LayerRounder,
    Rounded,
    Sensitivity,
    by_input,
    closing,
    covariances,
    following,
    layers_of,
    sensitivities,
)
from ..codec import Optimised
from ..data import Dataset
from ..errors import InvalidArgument
from ..graph import Model

__all__ = ["RATE", "Levels", "Network", "bar", "bytes_of", "values_of"]

RATE = 0.08  # λ of entropy-aware rounding, see LayerRounder.round
_ORDERED = 400  # images, views of them among these, that convolutions are rounded one after the other with
_POSITIONS = 128  # of a convolution in each of these

Levels = dict[str, Optimised]


class _Inputs:
    """The images of a data set as batches, anew each time."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        return (x for x, _ in self._data)


class Network:
    """A model's weights and what rounds them.

    model: with one input. names: of weights to round; biases: whether those beside them are rounded too, and take up
    mean errors. fit: images, labels unused. trellis: states, as for `LayerRounder`.

    Attributes:
        weights: all learned tensors by name.
        layers: by the name of the weight, those rounded to what their inputs look like; weights of more than `WIDEST`
            inputs, whose covariances take too long, are not among them.
        rounders: of all `names`.
        closing: weights whose layers no other layer follows.
    """

    def __init__(
        self,
        model: Model,
        names: list[str],
        biases: bool,
        fit: Dataset,
        trellis: int,
        threads: int,
        progress: bool,
    ) -> None:
        self._model, self._biases, self._trellis, self._threads = model, biases, trellis, threads
        self._fit, self._ordered = fit, fit.take(np.arange(min(_ORDERED, len(fit))))
        self.weights = model.weights()
        every = layers_of(model)
        self.layers: dict[str, Layer] = {
            layer.weight: layer for layer in every if layer.weight in names and layer.inputs <= WIDEST
        }
        self.closing = closing(model, every)
        fitted = list(self.layers.values())
        with _counter("calibration", progress) as done:
            moments = covariances(model, _Inputs(fit)(), fitted, threads=threads or None, done=done)
        with _counter("gradients", progress) as done:
            self._sensitivities: dict[str, Sensitivity] = sensitivities(
                model, _Inputs(fit)(), fitted, threads=threads or None, done=done
            )
        self.rounders: dict[str, LayerRounder] = {}
        for name in names:
            layer = self.layers.get(name)
            bias = layer.bias if layer is not None and biases else None
            try:
                self.rounders[name] = LayerRounder(
                    self.weights[name],
                    None if bias is None else self.weights[bias],
                    layer,
                    moments.pop(name, None),
                    threads,
                    trellis,
                    self._sensitivities.get(name),
                )
            except InvalidArgument as failure:
                cause = " (of the images to fit to)" if "covariance" in str(failure) else ""
                raise InvalidArgument(f"tensor {name!r}: {failure}{cause}") from None

    def alone(self, steps: Mapping[str, float]) -> Levels:
        """Levels of all weights, each layer rounded as if all others stayed in float."""
        levels: Levels = {}
        for name, step in steps.items():
            levels |= self.tensors(name, self.rounders[name].round(step, RATE))
        return levels

    def in_order(self, steps: Mapping[str, float]) -> Levels:
        """Levels of all weights, each layer rounded to make up for the errors of those before it."""
        levels = self.alone({name: step for name, step in steps.items() if name not in self.layers})
        (port,) = self._model.inputs
        for layers in by_input(self.layers.values()):
            rounders = [(layer, self.rounders[layer.weight]) for layer in layers]
            if layers[0].input != port.name:
                before = self._model.replace_weights(values_of(levels))
                # a product sees few positions of an image, often one
                few = all(layer.kind == "product" for layer in layers)
                images = _Inputs(self._fit if few else self._ordered)
                rounders = list(
                    following(
                        self._model,
                        before,
                        layers,
                        images,
                        self._biases,
                        _POSITIONS,
                        threads=self._threads,
                        trellis=self._trellis,
                        sensitivities=self._sensitivities,
                    )
                )
            for layer, rounder in rounders:
                levels |= self.tensors(layer.weight, rounder.round(steps[layer.weight], RATE))
        return levels

    def tensors(self, name: str, rounded: Rounded) -> Levels:
        """Levels by the names of the tensors that rounding one weight gives."""
        out = {name: rounded.weight}
        if rounded.bias is not None:
            bias = self.layers[name].bias
            assert bias is not None
            out[bias] = rounded.bias
        return out


def values_of(levels: Levels) -> dict[str, NDArray[np.float32]]:
    """What the levels stand for, by the names of the tensors."""
    return {name: tensor.dequantize() for name, tensor in levels.items()}


def bytes_of(levels: Levels, effort: str) -> int:
    """Bytes of all of them, coded."""
    return sum(len(tensor.encode(effort)) for tensor in levels.values())


@contextlib.contextmanager
def _counter(title: str, progress: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar over the images seen."""
    with contextlib.closing(bar(None, title, "image", progress)) as shown:
        yield lambda count: shown.update(count - shown.n)


def bar(items: Any, title: str, unit: str, progress: bool) -> Any:
    """A progress bar."""
    return tqdm(items, desc=title, unit=unit, disable=not progress, leave=False)
