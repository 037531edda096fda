"""What the tests of statistics and fits share."""

from __future__ import annotations

import scipy.stats

from rdquant import stats

EIGHT = stats.FAMILIES[:8]
SCIPY = {
    "gaussian": scipy.stats.norm,
    "uniform": scipy.stats.uniform,
    "cauchy": scipy.stats.cauchy,
    "exponential": scipy.stats.expon,
    "gamma": scipy.stats.gamma,
    "laplace": scipy.stats.laplace,
    "alpha": scipy.stats.alpha,
    "logistic": scipy.stats.logistic,
    "generalized_gaussian": scipy.stats.gennorm,
    "student_t": scipy.stats.t,
}


def row(table: stats.FitTable, family: str, criterion: str = "mle", tensor: str = "") -> stats.Fit:
    """The fit of one family by one criterion to one tensor (by default the whole model)."""
    return next(f for f in table if (f.family, f.criterion, f.tensor) == (family, criterion, tensor))
