"""The layers of a network at every width: levels, a step per output channel, and biases that take up mean errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief
from ..calibrate import WIDEST, Layer, Moments, RowRounder, covariances, portions
from ..codec.plan import Plain
from ..graph import Model
from ..quant import Midtread

__all__ = ["ALLOWED", "ROUNDINGS", "Rows", "Unrounded", "round_layers"]

ALLOWED = (2, 3, 4, 5, 6, 8, 16)
"""Widths that an allocation may give a component, in bits."""
ROUNDINGS = ("feedback", "nearest")
"""Ways to round weights: error feedback by the layer's inputs, mean errors taken up by the bias; or to the nearest level."""

_FACTORS = (
    1.0,
    0.85,
    0.93,
    1.08,
    1.18,
)  # of the step of least squared error of the weights: feedback may want another
_MOMENTS_BYTES = 1 << 29  # of covariances at a time
_WIDE = 8  # bits beyond which steps are not searched


@dataclass(frozen=True, repr=False)
class Rows(Brief):
    """A layer at one width, or its rows at several.

    Attributes:
        levels: integers [rows, inputs]: int8, or int16 beyond 8 bits; magnitudes up to 2^(bits − 1) − 1.
        scales: float32 [rows], the steps.
        bias: float32 [rows]; None where the layer has none or it stays as it is.
        loss: float64 [rows], expected squared error of the outputs (of the weights where no inputs were seen).
        square: float64 [rows], squared error of the weights.
    """

    levels: NDArray[Any]
    scales: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    loss: NDArray[np.float64]
    square: NDArray[np.float64]

    def chosen(self, layer: Layer) -> Plain:
        """As levels of the layer's weight with their quantizer, which files hold."""
        axis = 1 if layer.transposed else 0
        steps = tuple(float(s) for s in self.scales)
        return Plain(layer.tensor(self.levels.astype(np.int32)), Midtread(steps, axis=axis))

    def tensors(self, layer: Layer) -> dict[str, NDArray[np.float32]]:
        """What the network computes with, by the names of its tensors: as a file gives them back."""
        plain = self.chosen(layer)
        found = {layer.weight: plain.quantizer.dequantize(plain.levels).astype(np.float32, copy=False)}
        if self.bias is not None and layer.bias is not None:
            found[layer.bias] = self.bias
        return found

    @staticmethod
    def mixed(wide: Sequence[Rows], choice: NDArray[np.integer]) -> Rows:
        """Rows at widths of their own: row r as in `wide[choice[r]]`, integers [rows]."""
        every = np.arange(len(choice))

        def pick(name: str) -> NDArray[Any]:
            return np.stack([getattr(rows, name) for rows in wide])[choice, every]

        levels = np.stack([rows.levels.astype(np.int16) for rows in wide])[choice, every]
        bias = None if wide[0].bias is None else pick("bias")
        return Rows(levels, pick("scales"), bias, pick("loss"), pick("square"))


@dataclass(frozen=True, repr=False)
class Unrounded(Brief):
    """A layer in float, in place of `Rows`.

    Attributes:
        weights: by the names of the network's tensors.
    """

    weights: Mapping[str, NDArray[Any]]

    def tensors(self, layer: Layer) -> dict[str, NDArray[Any]]:
        """What the network computes with, by the names of its tensors."""
        names = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        return {name: self.weights[name] for name in names}


def round_layers(
    model: Model,
    layers: Sequence[Layer],
    images: Callable[[], Iterable[NDArray[np.float32]]],
    widths: Sequence[int] = ALLOWED,
    rounding: str = "feedback",
    threads: int = 0,
    done: Callable[[int], None] | None = None,
) -> tuple[list[dict[int, Rows]], list[float]]:
    """Every layer at every width, each as if all others stayed in float; and the traces of second moments of their inputs.

    images: gives batches of the network's input, the same ones each time. rounding: one of `ROUNDINGS`. done: called after
    each layer with their number. Layers of more than `WIDEST` inputs are rounded to the nearest.
    """
    weights = model.weights()
    found: list[dict[int, Rows]] = []
    traces: list[float] = []
    for some in portions(
        layers, lambda layer: 8 * layer.groups * min(layer.inputs, WIDEST) ** 2, _MOMENTS_BYTES
    ):
        seen = [layer for layer in some if layer.inputs <= WIDEST]
        moments: Mapping[str, Any] = (
            covariances(model, images(), seen, threads=threads or None) if seen else {}
        )
        for layer in some:
            known = moments.get(layer.weight)
            bias = None if layer.bias is None else weights[layer.bias]
            tool = _Widths(
                weights[layer.weight], bias, layer, known if rounding == "feedback" else None, threads
            )
            found.append({bits: tool.at(bits) for bits in widths})
            whole = None if known is None else known.matrix(False, threads)
            traces.append(float("nan") if whole is None else float(np.einsum("gii->", whole)))
            if done is not None:
                done(len(found))
    return found, traces


class _Widths:
    """One layer, to be rounded at any width."""

    def __init__(
        self,
        weight: NDArray[np.floating],
        bias: NDArray[np.floating] | None,
        layer: Layer,
        moments: Moments | None,
        threads: int,
    ) -> None:
        self._layer = layer
        self._rows = layer.matrix(weight).astype(np.float32)
        self._rounder = self._covariance = None
        if moments is not None:
            self._rounder = RowRounder(weight, bias, layer, moments, threads)
            self._covariance = moments.matrix(bias is not None, threads)

    def at(self, bits: int) -> Rows:
        """With the steps, a row each, of least expected error."""
        largest = 2 ** (bits - 1) - 1
        scales = least_squares_steps(self._rows, largest)
        if self._rounder is None:
            levels = np.clip(np.rint(self._rows / scales[:, np.newaxis]), -largest, largest)
            return self._rated(levels, scales, None, bits)
        best = self._fed_back(scales, largest, bits)
        for factor in _FACTORS[1:] if bits <= _WIDE else ():
            best = _better(best, self._fed_back((scales * factor).astype(np.float32), largest, bits))
        return best

    def _fed_back(self, scales: NDArray[np.float32], largest: int, bits: int) -> Rows:
        assert self._rounder is not None
        levels, bias = self._rounder.round_rows(scales, largest)
        return self._rated(self._layer.matrix(levels), scales, bias, bits)

    def _rated(
        self, levels: NDArray[Any], scales: NDArray[np.float32], bias: NDArray[np.float32] | None, bits: int
    ) -> Rows:
        error = self._rows.astype(np.float64) - levels * scales[:, np.newaxis].astype(np.float64)
        square = np.square(error).sum(axis=1)
        loss = square
        if self._covariance is not None:
            grouped = error.reshape(len(self._covariance), -1, error.shape[1])
            loss = np.einsum("gri,gij,grj->gr", grouped, self._covariance, grouped, optimize=True).reshape(-1)
        return Rows(levels.astype(np.int8 if bits <= _WIDE else np.int16), scales, bias, loss, square)


def _better(one: Rows, two: Rows) -> Rows:
    """Of each row the one with less error."""
    return Rows.mixed((one, two), (two.loss < one.loss).astype(np.int64))


def least_squares_steps(rows: NDArray[np.float32], largest: int) -> NDArray[np.float32]:
    """float32 [rows]: of each row the step of least squared error, levels up to ±`largest`, rounded to the nearest."""
    peak = np.maximum(np.abs(rows).max(axis=1), 1e-12)
    best, least = peak / largest, np.full(len(rows), np.inf)
    for factor in np.linspace(0.35, 1.0, 40) if largest < 1 << _WIDE else (1.0,):
        step = peak / largest * factor
        levels = np.clip(np.rint(rows / step[:, np.newaxis]), -largest, largest)
        loss = np.square(rows - levels * step[:, np.newaxis]).sum(axis=1)
        best, least = np.where(loss < least, step, best), np.minimum(loss, least)
    return best.astype(np.float32)
