"""Dependence of neighbouring weights: the part of rdquant.stats that answers thesis section 3.2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_floats, tensors_of
from .._core import stats as _core
from ..errors import InvalidArgument, called, count, flag, needed

if TYPE_CHECKING:
    import pandas as pd

_PAIRS_PER_CELL = 10  # of the joint histogram: with fewer the corrected mutual information is still too high


def _lines(tensor: NDArray[Any], axis: int | None) -> tuple[int, int, int]:
    if axis is not None:
        axis = count("axis", axis, -(1 << 30), 1 << 30)
    if axis is None:
        return 1, tensor.size, 1
    if not -tensor.ndim <= axis < tensor.ndim:
        raise InvalidArgument(f"axis: a tensor of shape {tensor.shape} has no axis {axis}")
    axis %= tensor.ndim
    return math.prod(tensor.shape[:axis]), tensor.shape[axis], math.prod(tensor.shape[axis + 1 :])


def autocovariance(
    tensor: ArrayLike, axis: int | None = None, lags: int | None = None, normalised: bool = False
) -> NDArray[np.float64]:
    """Autocovariance of a tensor along an axis, or along the flattened tensor, by FFT.

    Lag k is the mean of (x_t - m)(x_{t+k} - m) over all pairs at distance k on one line along the axis, m
    the mean of the tensor: thesis 004, section 3.2, for all lags instead of a few.

    Args:
        tensor: numbers of any shape.
        axis: number; None: along the flattened tensor.
        lags: below the axis' length; default the smaller of length - 1 and 64.
        normalised: divided by lag 0 (all 0 where the values are equal).

    Returns:
        float64 [lags + 1], lag 0 first, in the square of the values' unit. Under independence a normalised value at
        lag >= 1 has a standard deviation of about 1 / sqrt(pairs).

    Raises InvalidArgument where the axis does not exist, for lags outside that, no values, NaN and infinity.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    array = as_floats(tensor, "tensor")
    lines = _lines(array, axis)
    if lags is None:
        lags = max(0, min(lines[1] - 1, 64))
    lags = count("lags", lags, 0, max(0, lines[1] - 1))
    flag("normalised", normalised)
    with called("values", "tensor"):
        result = _core.autocovariance(array, lines, lags)
    if normalised:
        return result / result[0] if result[0] > 0 else np.zeros_like(result)
    return result


def mutual_information(
    tensor: ArrayLike, axis: int | None = None, bins: int = 16, corrected: bool = True
) -> float:
    """Mutual information, in bits, of a value and the next along an axis.

    Args:
        tensor: numbers of any shape.
        axis: number; None: along the flattened tensor.
        bins: both values are put in one of so many bins (2..1024) of nearly equal probability.
        corrected: less the bias of the plug-in estimate (Miller and Madow, 1955); then independent values give about 0,
            slightly negative at times. That holds from about 10 pairs per pair of bins, 10 · bins²; with fewer the estimate
            is too high.

    Raises InvalidArgument where the axis does not exist or has fewer than 2 values, and for NaN and infinity.
    """
    array = as_floats(tensor, "tensor")
    bins, corrected = count("bins", bins, 2, 1024), flag("corrected", corrected)
    lines = _lines(array, axis)
    if lines[1] < 2:
        raise InvalidArgument(f"tensor: expected an axis of at least 2 values, got shape {array.shape}")
    with called("values", "tensor"):
        bits, plain, _, _ = _core.mutual_information(array, lines, bins)
    return bits if corrected else plain


def dependence(weights: Any, bins: int = 16) -> pd.DataFrame:
    """Are the weights memoryless? One row for every tensor and every axis of at least 2 values.

    Columns: tensor; axis; length (of the axis); pairs (neighbours); correlation at lag 1 (-1..1); bound,
    1.96 / sqrt(pairs), which |correlation| exceeds for 5 % of independent tensors; mutual_information in
    bits, corrected; information_bound, which independent tensors of 30 pairs and more exceed 5 to 10 % of
    the time (normal approximation to chi-square); memoryless: neither is exceeded.

    Args:
        weights: as `values` of `moments`.
        bins: at most so many; fewer where there are not 10 pairs per pair of bins, and at least 2.

    Raises InvalidArgument for NaN and infinity, naming the tensor.
    """
    with needed():
        import pandas as pd

    tensors = tensors_of(weights, "weights")
    bins = count("bins", bins, 2, 1024)
    rows = []
    for name, values in tensors.items():
        array = as_floats(values, f"tensor '{name}'")
        for axis, length in enumerate(array.shape):
            if length < 2 or array.size == 0:
                continue
            lines = _lines(array, axis)
            try:
                covariance = _core.autocovariance(array, lines, 1)
                used = max(2, min(bins, math.isqrt(array.size * (length - 1) // length // _PAIRS_PER_CELL)))
                bits, _, pairs, levels = _core.mutual_information(array, lines, used)
            except InvalidArgument as error:
                raise InvalidArgument(f"tensor '{name}', axis {axis}: {error}") from None
            correlation = covariance[1] / covariance[0] if covariance[0] > 0 else 0.0
            bound = 1.96 / math.sqrt(pairs)
            spread = math.sqrt(2) * (levels - 1)  # of chi-square with (levels - 1)² degrees of freedom
            information_bound = 1.645 * spread / (2 * pairs * math.log(2))
            rows.append(
                {
                    "tensor": name,
                    "axis": axis,
                    "length": length,
                    "pairs": pairs,
                    "correlation": float(correlation),
                    "bound": bound,
                    "mutual_information": bits,
                    "information_bound": information_bound,
                    "memoryless": bool(abs(correlation) <= bound and bits <= information_bound),
                }
            )
    columns = ["tensor", "axis", "length", "pairs", "correlation", "bound"]
    frame: pd.DataFrame = pd.DataFrame(
        rows, columns=[*columns, "mutual_information", "information_bound", "memoryless"]
    )
    return frame
