"""Densities of the stored fits, for drawing: a family's name and parameters to SciPy's distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["density"]

# family -> (SciPy's name, its shape parameters); every family also has loc and scale.
_SCIPY: dict[str, tuple[str, tuple[str, ...]]] = {
    "gaussian": ("norm", ()),
    "uniform": ("uniform", ()),
    "cauchy": ("cauchy", ()),
    "exponential": ("expon", ()),
    "gamma": ("gamma", ("a",)),
    "laplace": ("laplace", ()),
    "alpha": ("alpha", ("a",)),
    "logistic": ("logistic", ()),
    "generalized_gaussian": ("gennorm", ("beta",)),
    "student_t": ("t", ("df",)),
    "spike_laplace": ("laplace", ()),
    "spike_gaussian": ("norm", ()),
}


def density(family: str, parameters: Mapping[str, float], x: Any) -> Any:
    """Density of `family` at `x`, float64 like `x`; None for a family or parameters that are not known here.

    A family with a spike at zero (parameter `zero`, the share of zeros) gives its continuous part.
    """
    name, shapes = _SCIPY.get(family, ("", ()))
    if not name or any(key not in parameters for key in (*shapes, "loc", "scale")):
        return None
    law = getattr(stats, name)(*(parameters[key] for key in shapes), parameters["loc"], parameters["scale"])
    with np.errstate(all="ignore"):
        return np.nan_to_num((1 - parameters.get("zero", 0.0)) * law.pdf(x), posinf=0.0)
