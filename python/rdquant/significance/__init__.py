"""Which bits matter for which classes: significance maps of classifiers, and widths allocated by them."""

from __future__ import annotations

from .. import _call_by_name
from .allocation import METHODS, Allocation, allocate
from .classes import confused_groups
from .comparing import Comparison, compare
from .effects import MEASURES, VARIANTS, Effect
from .losses import LOSSES
from .making import open_map, significance
from .map import SignificanceMap
from .refit import Refit, refit
from .widths import ALLOWED, ROUNDINGS

__all__ = [
    "ALLOWED",
    "LOSSES",
    "MEASURES",
    "METHODS",
    "ROUNDINGS",
    "VARIANTS",
    "Allocation",
    "Comparison",
    "Effect",
    "Refit",
    "SignificanceMap",
    "allocate",
    "compare",
    "confused_groups",
    "open_map",
    "refit",
    "significance",
]

_call_by_name(__name__)
