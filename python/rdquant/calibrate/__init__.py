"""What unlabelled data tell of a network: its inner values, statistics of its layers' inputs, and rounding that uses them."""

from __future__ import annotations

from .gradients import output_moments
from .layers import Layer, by_input, layers_of, mean_outputs, portions
from .moments import covariances
from .rounding import LayerRounder, Moments, Rounded
from .sequential import following
from .tap import stream

__all__ = [
    "Layer",
    "LayerRounder",
    "Moments",
    "Rounded",
    "by_input",
    "covariances",
    "following",
    "layers_of",
    "mean_outputs",
    "output_moments",
    "portions",
    "stream",
]
