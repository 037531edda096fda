"""What unlabelled data show of a network: its inner values, statistics of its layers' inputs, and rounding that uses them.

Steps of `rdquant.compress_within` and `rdquant.quantize_static`, for those who build on them: they take what other functions of
the package give, and check no more than their docstrings say.
"""

from __future__ import annotations

from .gradients import Sensitivity, sensitivities
from .layers import WIDEST, Layer, by_input, closing, layers_of, mean_outputs, portions
from .moments import covariances
from .rounding import LayerRounder, Moments, Rounded, RowRounder
from .sequential import following
from .tap import stream

__all__ = [
    "WIDEST",
    "Layer",
    "LayerRounder",
    "Moments",
    "Rounded",
    "RowRounder",
    "Sensitivity",
    "by_input",
    "closing",
    "covariances",
    "following",
    "layers_of",
    "mean_outputs",
    "portions",
    "sensitivities",
    "stream",
]
