"""Post-training quantization: networks of 8 bits from trained ones and a few images without labels."""

from __future__ import annotations

from .damage import Damage
from .dynamic import quantize_dynamic
from .grids import KINDS, Grid, grid_of
from .options import ROUNDINGS
from .ranges import METHODS, range_of
from .report import DynamicLayer, DynamicReport, LayerReport, QuantizedModel, Report, StepReport
from .static import quantize_static

__all__ = [
    "KINDS",
    "METHODS",
    "ROUNDINGS",
    "Damage",
    "DynamicLayer",
    "DynamicReport",
    "Grid",
    "LayerReport",
    "QuantizedModel",
    "Report",
    "StepReport",
    "grid_of",
    "quantize_dynamic",
    "quantize_static",
    "range_of",
]
