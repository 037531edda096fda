"""How weights are distributed: moments, histograms, fitted densities, dependence of neighbours."""

from __future__ import annotations

from ._dependence import autocovariance, dependence, mutual_information
from ._fitting import CRITERIA, FAMILIES, Distribution, Fit, FitTable, distances, fit
from ._histograms import Histogram, Moments, moments

__all__ = [
    "CRITERIA",
    "FAMILIES",
    "Distribution",
    "Fit",
    "FitTable",
    "Histogram",
    "Moments",
    "autocovariance",
    "dependence",
    "distances",
    "fit",
    "moments",
    "mutual_information",
]
