"""What unlabelled data tell of a network: its inner values, statistics of its layers' inputs, and rounding that uses them."""

from __future__ import annotations

from .layers import Layer, layers_of
from .moments import covariances
from .rounding import LayerRounder, Rounded
from .tap import stream

__all__ = ["Layer", "LayerRounder", "Rounded", "covariances", "layers_of", "stream"]
