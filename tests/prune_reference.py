"""The operator of paper 002 in NumPy: the definition that reads in a minute, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK, LANES = 4096, 16


def total(values: NDArray[np.float64]) -> float:
    """Sum in the order that cpp/include/rdquant/train/prune.hpp states."""
    blocks = -(-values.size // BLOCK)
    padded = np.zeros(blocks * BLOCK)
    padded[: values.size] = values
    rows = padded.reshape(blocks, BLOCK // LANES, LANES)
    lanes = np.zeros((blocks, LANES))
    for row in range(rows.shape[1]):
        lanes += rows[:, row]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    result = 0.0
    for block in lanes[:, 0]:
        result += float(block)
    return result


def deviation(w: NDArray[Any]) -> float:
    d = w.ravel().astype(np.float64) - np.float64(w.flat[0])
    return float(np.sqrt(max(0.0, (total(d * d) - total(d) ** 2 / d.size) / d.size)))


def prune_quantize(w: NDArray[Any], gamma: float, bits: int) -> NDArray[Any]:
    """Equations 1 to 4."""
    if w.size == 0:
        return w.copy()
    kind = w.dtype.type
    with np.errstate(over="ignore"):  # β beyond float32 is infinite: nothing survives
        beta = kind(gamma * deviation(w))
    h = np.where(np.abs(w) >= beta, w, kind(0))
    most = float(np.abs(w).max())
    q = kind((most - float(beta)) / (2.0 ** (bits - 1) - 1)) if most > float(beta) and bits < 32 else kind(0)
    return (q * np.rint(h / q) if q > 0 else h) + kind(0)
