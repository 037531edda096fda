"""The exact choice of one option for every component under budgets: a mixed-integer linear programme."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import needed

with needed():
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import csr_matrix, identity, kron

from .stray import without_stray_lines

__all__ = ["choose", "least_load"]

Floats = NDArray[np.float64]

_EXACT = 400  # components beyond which a gap is left
_GAP = 1e-4  # of the optimum, for many components
_SECONDS = 60.0
_TIE = 1e-9  # of the largest cost: among equal ones the smaller load


def choose(
    costs: Floats, loads: Floats, most: float, limits: Sequence[tuple[Floats, float]] = ()
) -> NDArray[np.int64] | None:
    """int64 [components]: the option of each with the least sum of costs, or None where no choice keeps to the budget.

    costs, loads: float64 [components, options]; the loads add up to `most` at most, in their own unit. limits: further
    such budgets, (float64 [components, options], largest sum). Exact up to 400 components (HiGHS through SciPy), within
    0.01 % of the optimum beyond.
    """
    components, options = costs.shape
    scale = max(float(np.abs(costs).max()), 1e-300)
    objective = (costs / scale + _TIE * loads / max(float(loads.max()), 1e-300)).ravel()
    each = csr_matrix(kron(identity(components), np.ones((1, options))))
    constraints = [LinearConstraint(each, 1, 1)]
    for table, largest in [(loads, most), *limits]:
        unit = max(abs(largest), float(np.abs(table).max()) * 1e-6, 1e-300)
        constraints.append(LinearConstraint(table.ravel()[np.newaxis] / unit, -np.inf, largest / unit + 1e-9))
    gap = 0.0 if components <= _EXACT else _GAP
    with without_stray_lines():
        found = milp(
            objective,
            constraints=constraints,
            integrality=np.ones(objective.size),
            bounds=(0, 1),
            options={"mip_rel_gap": gap, "time_limit": _SECONDS},
        )
    return None if found.x is None else found.x.reshape(components, options).argmax(axis=1).astype(np.int64)


def least_load(loads: Floats) -> float:
    """The smallest sum that a choice can have; loads: float64 [components, options], in any unit."""
    return float(loads.min(axis=1).sum())
