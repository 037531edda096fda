"""Rows of 64-bit ARM: counts of executed instructions and modelled cycles, no times."""

from __future__ import annotations

from math import prod
from typing import Any

from .cells import Row

__all__ = ["arm", "arm_peers"]


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
        if row["peer"] is None:
            continue
        ratios.append(row["instructions"] / row["peer"])
        equal = all(n == 0 for n in row["different"].values())
        answer = "all outputs equal" if equal else differing(row)
        outcome = f"{ratios[-1]:.2f} of the peer's; {answer}"
        rows.append((f"INT8 {name}", instructions(row), f"{row['peer_name']} {row['peer']:.3f}", outcome))
    if ratios:
        mean = prod(ratios) ** (1 / len(ratios))
        rows.append(("geometric mean of the networks", "", "", f"{mean:.2f} of the peers'"))
    for name, row in counts.get("nets", {}).items():
        least = row["least"]
        ours = f"at least {least['four_cores_ms']:.2f} ms on four cores, {least['one_core_ms']:.2f} on one"
        published = f"ExecuTorch with XNNPACK {row['published_ms']:.2f} ms" if row["published_ms"] else ""
        outcome = f"bound, no measurement; memory alone {least['memory_ms']:.2f} ms"
        rows.append((f"INT8 {name}, roofline of a Raspberry Pi 5", ours, published, outcome))
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


def arm_peers(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for name, row in result["nets"].items():
        ours = row["counts"]["rdquant"]
        best = min(
            (found["instructions"], peer) for peer, found in row["counts"].items() if peer != "rdquant"
        )
        peers = {peer.replace("onnxruntime", "ONNX Runtime"): found for peer, found in row["counts"].items()}
        ours = peers.pop("rdquant")
        best = min((found["instructions"], peer) for peer, found in peers.items())
        others = ", ".join(f"{peer} {found['instructions']:.4f}" for peer, found in peers.items())
        outcome = f"{ours['instructions'] / best[0]:.2f} of {best[1]}'s"
        rows.append((f"{name}: instructions each", f"{ours['instructions']:.4f}", others, outcome))
        found = row["answers"]
        steps = "; ".join(
            f"{step} {n:,} of {count:,}, by {most} at most"
            for step, (n, count, most) in found["steps"].items()
        )
        rows.append(
            (
                f"{name}: levels of each step from the same levels",
                f"{found['levels'] - found['levels_different']:,} of {found['levels']:,} equal",
                "ONNX Runtime",
                f"different: {steps or 'none'}",
            )
        )
        whole = f"{found['values'] - found['different']:,} of {found['values']:,} equal"
        apart = f"at most {found['apart']:.3g} apart, of {found['largest']:.3g}"
        rows.append((f"{name}: outputs of the whole network", whole, "ONNX Runtime", apart))
        if "peak" in row:
            rows.extend(memory(name, row["peak"]))
    return rows


def memory(name: str, peak: dict[str, int]) -> list[Row]:
    bare, ours, theirs = (peak[engine] / 1e6 for engine in ("nothing", "rdquant", "onnxruntime"))
    return [
        (
            f"{name}: most memory of the process",
            f"{ours:.1f} MB",
            f"ONNX Runtime {theirs:.1f} MB",
            f"{ours / theirs:.2f} of the peer's",
        ),
        (
            f"{name}: the same beyond Python, NumPy and the input ({bare:.1f} MB)",
            f"{ours - bare:.1f} MB",
            f"ONNX Runtime {theirs - bare:.1f} MB",
            f"{(ours - bare) / (theirs - bare):.2f} of the peer's",
        ),
    ]
