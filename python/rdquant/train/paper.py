"""Tables I and II of paper 002 as printed, and Table II recomputed from Table I."""

from __future__ import annotations

from itertools import product
from typing import Any

from .score import efficiency_score

__all__ = ["BASE_ACCURACY", "BITS", "GAMMAS", "TABLE_1", "TABLE_2", "table_2_again"]

BITS = (32, 16, 8, 4, 3)
GAMMAS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
BASE_ACCURACY = 87.21  # per cent: γ = 0, 32 bits, learning rate 0.005

# γ -> (accuracy, density) in per cent, one pair for each of BITS.
TABLE_1 = {
    0.0: ((87.21, 100.0), (86.84, 73.55), (62.15, 99.93), (10.95, 100.0), (12.05, 100.0)),
    0.125: ((83.74, 18.64), (83.76, 14.72), (84.04, 11.22), (83.85, 19.69), (74.95, 33.00)),
    0.25: ((84.49, 8.04), (84.48, 16.38), (83.03, 22.66), (81.89, 14.91), (76.43, 31.71)),
    0.375: ((84.42, 6.58), (83.61, 6.56), (84.78, 8.68), (79.75, 12.53), (76.29, 25.05)),
    0.5: ((83.33, 6.29), (83.34, 15.22), (83.58, 13.99), (80.74, 8.50), (76.00, 22.29)),
    0.625: ((83.20, 12.09), (83.04, 5.45), (83.41, 7.42), (79.20, 6.93), (75.60, 18.60)),
    0.75: ((82.68, 5.81), (82.72, 7.06), (82.47, 12.78), (79.34, 7.11), (75.69, 13.43)),
}
# ρ -> γ -> PE at 8, 4 and 3 bits.
TABLE_2 = {
    1: {
        0.125: (34.36, 39.06, 27.78),
        0.25: (16.81, 50.37, 29.48),
        0.375: (44.81, 58.37, 37.25),
        0.5: (27.39, 87.09, 41.70),
        0.625: (51.55, 104.90, 49.72),
        0.75: (29.59, 102.42, 68.95),
    },
    2: {
        0.125: (33.11, 37.55, 23.87),
        0.25: (16.00, 47.30, 25.83),
        0.375: (43.56, 53.37, 32.59),
        0.5: (26.25, 80.62, 36.33),
        0.625: (49.30, 95.27, 43.10),
        0.75: (27.98, 93.18, 59.84),
    },
    3: {
        0.125: (31.90, 36.10, 20.52),
        0.25: (15.23, 44.41, 22.64),
        0.375: (42.35, 48.80, 28.50),
        0.5: (25.16, 74.63, 31.66),
        0.625: (47.15, 86.52, 37.36),
        0.75: (26.45, 84.77, 51.94),
    },
}
_HALF = 0.005  # what rounding to two decimals hides


def table_2_again() -> list[dict[str, Any]]:
    """All 54 cells of Table II from Table I.

    Each row: rho, gamma, bits, printed, again (recomputed), low and high (what again can be where accuracies and density
    are anything that rounds to what is printed), agrees (whether something in low..high rounds to `printed`), beyond
    (how far `printed` lies outside, 0 where it agrees).
    """
    rows = []
    for rho, gamma, (column, bits) in product(TABLE_2, GAMMAS[1:], enumerate((8, 4, 3))):
        acc, density = TABLE_1[gamma][BITS.index(bits)]
        again, low, high = (
            efficiency_score(acc + da, BASE_ACCURACY - da, (density - da) / 100, bits, rho=rho)
            for da in (0.0, -_HALF, _HALF)
        )
        printed = TABLE_2[rho][gamma][column]
        beyond = max(0.0, low - _HALF - printed, printed - high - _HALF)
        found = {"rho": rho, "gamma": gamma, "bits": bits, "printed": printed, "again": again}
        rows.append(found | {"low": low, "high": high, "agrees": beyond <= 0.0, "beyond": beyond})
    return rows
