"""How weights are distributed: moments, histograms, fitted densities, dependence of neighbours."""

from __future__ import annotations

from .fitting import CRITERIA, FAMILIES, Distribution, Fit, FitTable, distances, fit
from .histograms import Histogram, Moments, moments
from .neighbours import autocovariance, dependence, mutual_information

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
