"""The efficiency score of paper 002, equations 5 and 6."""

from __future__ import annotations

from ..errors import number

__all__ = ["efficiency_score"]


def efficiency_score(
    acc: float, base_acc: float, density: float, bits: float, rho: float = 1, base_bits: float = 32
) -> float:
    """PE = (acc/base_acc)^ρ / RC, with RC = density·bits/base_bits (paper 002, equations 5 and 6).

    Args:
        acc, base_acc: accuracy of the compressed and of the uncompressed network, in the same unit; ≥ 0 and > 0.
        density: share of weights that are left, above 0 to 1 (not per cent).
        bits, base_bits: bits per weight of the compressed and of the uncompressed network, above 0.
        rho: ρ > 0, how much a loss of accuracy weighs; the paper takes 1, 2 and 3.

    Returns:
        PE: above 1, the network shrinks by more than accuracy falls.

    Raises:
        InvalidArgument: an argument outside these ranges.

    Paper 002: “Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown.
    """
    for name, value in {
        "base_acc": base_acc,
        "density": density,
        "bits": bits,
        "rho": rho,
        "base_bits": base_bits,
    }.items():
        number(name, value, above=0)
    number("acc", acc, least=0)
    number("density", density, most=1)
    return float((acc / base_acc) ** rho / (density * bits / base_bits))
