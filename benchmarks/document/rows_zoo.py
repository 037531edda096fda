"""Rows of the zoo: networks of kept libraries with random weights, not those that most of the engine was tuned on."""

from __future__ import annotations

from typing import Any

from .cells import Row

__all__ = ["zoo"]

_FAMILIES = {"convnet": "convolutional networks", "transformer": "transformers", "other": "others"}


def zoo(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for part, found in result.items():
        if not isinstance(found, dict) or "summary" not in found:
            continue
        kind = part.split(" threads ")[0] if part.startswith(("int8", "memory")) else "float32"
        rows += _memory(found["summary"]) if kind == "memory" else _times(found, kind)
    return rows


def _times(found: dict[str, Any], kind: str) -> list[Row]:
    summary, named = found["summary"], found["rows"]
    bound = "a mean difference of 2 %" if kind == "int8" else "1e-4"
    rows: list[Row] = [
        (
            f"{summary['networks']} networks in {kind}: answers",
            f"{summary['agree']} agree",
            "ONNX Runtime",
            f"within {bound} of the output's range",
        )
    ]
    for family, what in _FAMILIES.items():
        if family not in summary:
            continue
        one = summary[family]
        worst = max(
            (row for row in named.items() if row[1].get("ratio") == one["largest"]),
            key=lambda r: r[1]["ratio"],
        )
        rows.append(
            (
                f"{one['networks']} {what} in {kind}, batch 1, 1 thread, geometric mean",
                f"{one['geometric_mean']:.2f} of its time",
                "the faster of onnxruntime and openvino",
                f"largest {one['largest']:.2f} ({worst[0]}), above 1.3: {one['above 1.3']}",
            )
        )
        if "geometric_mean to float" in one:
            rows.append(
                (
                    f"{one['networks']} {what} in {kind}, batch 1, 1 thread, geometric mean",
                    f"{one['geometric_mean to float']:.2f} of its time",
                    "our float32",
                    f"largest {one['largest to float']:.2f}",
                )
            )
    return rows


def _memory(summary: dict[str, Any]) -> list[Row]:
    return [
        (
            f"{summary['networks']} networks in float32: {what}, geometric mean",
            f"{summary[f'geometric_mean of {key}']:.2f} of it",
            "the smaller of onnxruntime and openvino",
            f"largest {summary[f'largest of {key}']:.2f}",
        )
        for what, key in (
            ("growth of memory from import to three inferences", "growth"),
            ("time from import to the first answer", "first run"),
        )
    ]
