"""Rows of C for microcontrollers: flash, memory, instructions, accuracy."""

from __future__ import annotations

from typing import Any

from .cells import Row

__all__ = ["mcu"]


def mcu(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result.get("rows", []):
        net, file = row["net"], row["file"]
        flash, coded = row["flash_found"], row["coded_flash_found"]
        promised = max(abs(row[f"{k}flash"] / row[f"{k}flash_found"] - 1) for k in ("", "coded_"))
        ours = f"{flash:,} bytes; {coded:,} with coded weights"
        outcome = f"{flash / file:.2f} and {coded / file:.2f} of it; promised within {100 * promised:.2f} %"
        rows.append((f"{net}: flash on M4, code included", ours, f".tflite file {file:,} bytes", outcome))
        peer, bound = file + row["published_code"], row["entropy"]
        outcome = (
            f"{flash / peer:.2f} and {coded / peer:.2f} of it; weights {bound['weights']:,} bytes, their entropy "
            f"{bound['bytes']:,}"
        )
        rows.append((f"{net}: the same", ours, f"file and published code {peer:,} bytes", outcome))
        ours = f"{row['arena']:,} bytes; {row['arena_caller']:,} beside the caller's input and output"
        stack = f"stack {row['stack']} promised, {row['stack_found']} with main's"
        outcome = f"{row['arena'] / row['arena_peer']:.2f} of it; {stack}"
        rows.append((f"{net}: arena", ours, f"tflite-micro {row['arena_peer']:,} bytes", outcome))
        counts = row["instructions"]
        ours = ", ".join(f"{counts[target]:.2f} on {target.upper()}" for target in reversed(counts))
        what = f"{net}: executed instructions for each multiply–accumulate"
        rows.append((what, ours, "–", f"{row['macs']:,} of them"))
    for row in result.get("accuracy", []):
        ours, theirs = f"{100 * row['top1']:.2f} %", f"float32 {100 * row['float_top1']:.2f} %"
        what = f"{row['net']}: top-1 in INT8, as emitted, {row['images']:,} images"
        rows.append((what, ours, theirs, f"{row['lost_points']:+.2f} points lost; RAM {row['ram']:,} bytes"))
    return rows
