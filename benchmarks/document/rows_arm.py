"""Rows of 64-bit ARM: counts of executed instructions and modelled cycles, no times."""

from __future__ import annotations

from math import prod
from typing import Any

from .cells import Row

__all__ = ["arm"]


def arm(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    counts = result["counts"]
    for row in counts["shapes"]:
        size, channels, filters, kernel = row["shape"]
        what = f"convolution {kernel} × {kernel}, {size} × {size}, {channels} → {filters} channels"
        theirs = f"XNNPACK {row['xnnpack']:.4f}"
        rows.append(
            (what, instructions(row), theirs, f"{row['instructions'] / row['xnnpack']:.2f} of the peer's")
        )
    ratios = []
    for name, row in counts.get("nets", {}).items():
        ratios.append(row["instructions"] / row["peer"])
        equal = all(n == 0 for n in row["different"].values())
        answer = "all outputs equal" if equal else differing(row)
        outcome = f"{ratios[-1]:.2f} of the peer's; {answer}"
        rows.append((f"INT8 {name}", instructions(row), f"{row['peer_name']} {row['peer']:.3f}", outcome))
    if ratios:
        mean = prod(ratios) ** (1 / len(ratios))
        rows.append(("geometric mean of the networks", "", "", f"{mean:.2f} of the peers'"))
    for row in counts.get("loops", []):
        what = f"inner loop of {row['dots']} dot products"
        ours = f"{row['macs_per_cycle']:.1f} multiply-accumulates a cycle, {row['instructions']} instructions"
        rows.append((what, ours, "32 at most", "modelled: LLVM's neoverse-n1"))
    return rows


def instructions(row: dict[str, Any]) -> str:
    return f"{row['instructions']:.4f} instructions each, bound {row['bound']:.1f} a cycle"


def differing(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{cpu}: {n:,} of {row['values']:,} values differ" for cpu, n in row["different"].items()
    )
