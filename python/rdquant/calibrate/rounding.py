"""Weights of a layer to levels that keep its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._core.calibrate import Feedback
from .._core.codec import LevelRates
from .._tables import Brief, short
from ..codec import ColumnQuantizer, Optimised
from ..errors import InvalidArgument
from ..quant import Deadzone
from .gradients import Sensitivity
from .layers import Layer, mean_outputs

__all__ = ["LayerRounder", "Moments", "Rounded", "RowRounder"]

_LARGEST = 2.0**30  # levels stay within int32
_FINEST = 2.0**24  # levels of a bias, either way: float32 holds no more
_UNVARIED = 1e-9  # of the second moments of inputs: less variance is rounding of float32
_FLOOR = 0.3  # of the mean of a diagonal: what the moments of gradients miss on other images
_TRELLIS_MOST = (
    2000  # the largest scalar level of weights that may go along a trellis: targets have room to grow
)


class Moments(Protocol):
    """Moments of a layer's inputs, as `covariances` gives them."""

    def matrix(self, centred: bool, threads: int) -> NDArray[np.float64]:
        """float64 [groups, inputs, inputs], about the mean where `centred`.

        threads: up to this many threads; 0: all cores.
        """

    def mean(self) -> NDArray[np.float64]:
        """float64 [groups, inputs]."""


@dataclass(frozen=True, repr=False)
class Rounded(Brief):
    """A layer's weights, and its bias where it has one, as levels.

    Attributes:
        weight: levels in the shape of the weight.
        bias: of the bias, which makes up for the mean error that rounding the weights gives; None without one.
        loss: Σ over outputs of the expected squared error, in the square of the outputs' unit.
    """

    weight: Optimised
    bias: Optimised | None
    loss: float


class RowRounder:
    """Rounds the rows of one layer's weights with error feedback, each at a step of its own.

    Args:
        weight: floats, in the layer's shape.
        bias: floats [rows], or None. It takes up the mean error, and the moments are taken about the mean.
        layer: the layer; needed with moments.
        moments: of the layer's inputs; None for a weight whose inputs were not observed: each is rounded to nearest.
            Inputs that do not vary are treated as independent.
        threads: up to this many threads; 0: all cores.

    Raises InvalidArgument where a weight is not finite.
    """

    def __init__(
        self,
        weight: NDArray[np.floating],
        bias: NDArray[np.floating] | None = None,
        layer: Layer | None = None,
        moments: Moments | None = None,
        threads: int = 0,
    ) -> None:
        self._factorise(weight, bias, layer, moments, threads)

    def __repr__(self) -> str:
        known = "with" if self._feedback is not None else "without"
        return short(self, f"{list(self._weight.shape)}, {known} moments of its inputs")

    def _factorise(
        self,
        weight: NDArray[np.floating],
        bias: NDArray[np.floating] | None,
        layer: Layer | None,
        moments: Moments | None,
        threads: int,
    ) -> tuple[NDArray[np.float64], bool] | None:
        """The covariance of the inputs, and whether they vary; None without moments."""
        self._layer = layer if moments is not None else None
        self._threads = threads
        self._weight = np.ascontiguousarray(weight, np.float32)
        if not np.isfinite(self._weight).all():
            raise InvalidArgument("weights: expected finite numbers, got NaN or infinity")
        self._feedback: Feedback | None = None
        self._bias: NDArray[np.float64] | None = None
        self._mean: NDArray[np.float64] | None = None
        if self._layer is None or moments is None:
            self._matrix = self._weight.reshape(1, -1)
            return None
        self._matrix = self._layer.matrix(self._weight)
        self._bias = None if bias is None else np.asarray(bias, np.float64)
        covariance, mean = moments.matrix(self._bias is not None, threads), moments.mean()
        self._mean = None if bias is None else mean
        varied = _vary(covariance, mean)
        if not varied:
            covariance = np.repeat(np.eye(mean.shape[1])[np.newaxis], len(mean), axis=0)
        self._feedback = Feedback(covariance, threads)
        return covariance, varied

    @property
    def size(self) -> int:
        """Number of weights."""
        return self._matrix.size

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The weights as float32 [rows, inputs]; [1, size] without moments."""
        return self._matrix

    def round_rows(
        self, scales: NDArray[np.float32], largest: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        """(levels in the weight's shape, bias) at steps of their own.

        scales: float32 [rows], steps of the rows, above 0. largest: of the levels' magnitudes. bias: as it was, and the
        mean error that rounding gives taken out of it; None where there is none.

        Raises InvalidArgument without moments.
        """
        if self._feedback is None or self._layer is None:
            raise InvalidArgument("steps of rows: expected moments of the layer's inputs, got none")
        levels = np.empty(self._matrix.shape, np.int32)
        # The loss of a row at step s is s² times that of the row over s at step 1.
        over = self._matrix / scales[:, np.newaxis]
        apart = self._layer.strides_in_tensor
        self._feedback.round(over, 1.0, 0.0, None, *apart, levels, self._threads, largest)
        shift = self._shift(self._matrix - scales[:, np.newaxis] * levels)
        bias = None if shift is None or self._bias is None else (self._bias + shift).astype(np.float32)
        return self._layer.tensor(levels), bias

    def _shift(self, error: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """What an error of the weights takes from the outputs, on average: [rows]; None without a bias."""
        return None if self._mean is None else mean_outputs(error, self._mean)


class LayerRounder(RowRounder):
    """Rounds the weights of one layer with error feedback, at any step.

    Args:
        weight, bias: floats, in the layer's shape, and [rows] or None.
        layer, moments, threads: as for `RowRounder`; errors as there.
        trellis: states of a trellis that the levels may follow down the columns, 8 or 32, where the layer has one group and
            its weights are stored row by row; 0: scalar levels.
        sensitivity: of the network to the layer's outputs: errors are then fed from output to output too, where no more
            outputs than images were seen, and a bias takes up the mean error where outputs matter.

    Source: GPTQ (Frantar et al., 2022), with rates added.
    """

    def __init__(
        self,
        weight: NDArray[np.floating],
        bias: NDArray[np.floating] | None = None,
        layer: Layer | None = None,
        moments: Moments | None = None,
        threads: int = 0,
        trellis: int = 0,
        sensitivity: Sensitivity | None = None,
    ) -> None:
        known = self._factorise(weight, bias, layer, moments, threads)
        self._states = trellis
        self._outputs: Feedback | None = None
        self._leaning: NDArray[np.float64] | None = None
        if known is None or self._feedback is None:
            self.energy = float(np.square(self._matrix, dtype=np.float64).sum())
            self.noise = float(self._matrix.size)
            return
        covariance, varied = known
        # A bias is a weight whose input is 1: at a step its error costs so many times what a weight's does. Where
        # inputs do not vary, it is all that outputs depend on.
        self._bias_scale = float(np.sqrt(self._feedback.mean_weight)) if varied else 0.0
        self._outputs = None if sensitivity is None else _outputs(sensitivity, threads)
        grouped = self._matrix.astype(np.float64).reshape(len(covariance), -1, self._matrix.shape[1])
        lean = sensitivity.lean if sensitivity is not None and bias is not None and varied else 0.0
        self._leaning = _leaning(grouped, covariance, lean) if lean else None
        self.energy = float(np.einsum("gri,gij,grj->", grouped, covariance, grouped, optimize=True))
        """Variance of the outputs (second moment without a bias), summed over rows."""
        self.noise = self._matrix.size * self._feedback.mean_weight
        """What an error of 1 in every weight, after feedback, adds to it."""

    def round(self, step: float, rate: float = 0.0, rounds: int = 1) -> Rounded:
        """Levels at `step`.

        rate: λ of entropy-aware rounding: a bit is worth rate·Δ²·(mean weight of an error); 0: none; 0.1155 is the
        slope of an entropy-coded uniform quantizer at high rates. rounds: how often the rates are taken anew from
        the levels.
        """
        if self._feedback is None or self._layer is None:
            scaled = np.clip(np.rint(self._weight / step), -_LARGEST, _LARGEST)
            coded = Optimised(scaled.astype(np.int32), Deadzone(step, 0.5))
            error = float(np.square(self._weight.astype(np.float64) - coded.dequantize()).sum())
            return Rounded(coded, None, error)
        matrix = np.empty(self._matrix.shape, np.int32)
        apart = self._layer.strides_in_tensor
        loss = self._feedback.round(
            self._matrix, step, 0.0, None, *apart, matrix, self._threads, outputs=self._outputs
        )
        first = levels = self._layer.tensor(matrix)
        for _ in range(rounds if rate > 0 else 0):
            if levels.min() == levels.max():
                break
            rates = LevelRates(levels, list(levels.shape))
            loss = self._feedback.round(
                self._matrix, step, rate, rates, *apart, matrix, self._threads, outputs=self._outputs
            )
            levels = self._layer.tensor(matrix)
        scalar = self._with_bias(step, Optimised(levels, Deadzone(step, 0.5)), loss)
        path = self._on_trellis(step, rate, first)
        if path is None:
            return scalar
        price = rate * step * step * self._feedback.mean_weight
        return min((path, scalar), key=lambda found: found.loss + price * 8 * len(found.weight.encode()))

    def _on_trellis(self, step: float, rate: float, first: NDArray[np.int32]) -> Rounded | None:
        """Levels along the paths of a trellis; None for a layer that has none."""
        if self._feedback is None or self._layer is None or not self._states:
            return None
        if self._layer.groups > 1 or self._layer.transposed or np.abs(first).max() > _TRELLIS_MOST:
            return None
        columns = ColumnQuantizer(2 * first, self._states, self._outputs is not None)
        if (columns.rows, columns.columns) != self._matrix.shape:
            return None
        matrix = np.empty(self._matrix.shape, np.int32)
        # Of the step between neighbouring levels, odd and even ones.
        loss = self._feedback.round_on_trellis(
            self._matrix, step / 2, 4 * rate, columns.core, matrix, self._threads, self._outputs
        )
        levels = Optimised(
            matrix.reshape(first.shape), Deadzone(step / 2, 0.5), columns.states, columns.chains
        )
        return self._with_bias(step, levels, loss)

    def _with_bias(self, step: float, weight: Optimised, loss: float) -> Rounded:
        if self._bias is None or self._mean is None or self._layer is None:
            return Rounded(weight, None, loss)
        error = self._matrix.astype(np.float64) - self._layer.matrix(weight.dequantize())
        shift = self._shift(error)
        assert shift is not None
        if self._leaning is not None:
            shift = shift + np.einsum("ri,ri->r", error, self._leaning)
        bias = self._bias + shift
        least = (float(np.abs(bias).max()) or 1.0) / _FINEST
        bias_step = max(step * self._bias_scale, least)
        wanted = np.rint(bias / bias_step)
        return Rounded(weight, Optimised(wanted.astype(np.int32), Deadzone(bias_step, 0.5)), loss)


def _vary(covariance: NDArray[np.float64], mean: NDArray[np.float64]) -> bool:
    """Whether inputs do, so that errors depend on them; others refuse what is not finite."""
    variance = float(np.einsum("gii->", covariance)) / mean.size
    power = variance + float(np.square(mean).mean())
    return not variance <= max(_UNVARIED * power, 1e-30)


def _outputs(sensitivity: Sensitivity, threads: int) -> Feedback | None:
    """None where so few images tell nothing of pairs of outputs."""
    moments = sensitivity.moments
    if moments.shape[1] > sensitivity.images:
        return None
    diagonal = np.einsum("gii->gi", moments).mean()
    if not (np.isfinite(moments).all() and diagonal > 0):
        return None
    return Feedback(moments / diagonal + _FLOOR * np.eye(moments.shape[1]), threads)


def _leaning(rows: NDArray[np.float64], covariance: NDArray[np.float64], lean: float) -> NDArray[np.float64]:
    """[outputs, inputs]: how far inputs lie from their mean, on average, where an output is `lean` standard deviations
    above its own, as regression has it.
    """
    together = np.einsum("gri,gij->grj", rows, covariance, optimize=True)
    deviation = np.sqrt(np.maximum(np.einsum("gri,gri->gr", together, rows), 1e-30))
    return (lean * together / deviation[..., np.newaxis]).reshape(-1, rows.shape[2])
