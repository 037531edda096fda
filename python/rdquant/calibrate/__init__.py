"""What unlabelled data tell of a network: its inner values, statistics of its layers' inputs, and rounding that uses them."""

from __future__ import annotations

from .layers import Layer, layers_of
from .moments import covariances
from .rounding import LayerRounder, Moments, Rounded
from .sequential import following
from .tap import stream

__all__ = ["Layer", "LayerRounder", "Moments", "Rounded", "covariances", "following", "layers_of", "stream"]
