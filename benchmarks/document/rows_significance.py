"""Rows of allocations by significance: what critical classes gain on fresh images, and the time of a map."""

from __future__ import annotations

from typing import Any

from .cells import Row

__all__ = ["significance"]

_SHOWN = {
    "priority": "priority form, by layer",
    "channels": "priority form, output channels of the last stage too",
    "paper": "paper 003's bare significance",
}
_MEASURES = {
    ("equal false positives", "recall"): "recall at the float network's rate of false positives",
    ("as is", "f1"): "F1 of the critical classes",
    ("as is", "all_classes"): "accuracy on all classes",
}


def significance(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    if "time" in result:
        ratio = f"{result['time']['ratio']:.2f} of the time"
        what = "map of cifar10_resnet20: all layers, 2 widths, 2000 images, 2 threads"
        peer = f"a session of ONNX Runtime each {result['time']['loop']:.1f} s"
        rows.append((what, f"{result['time']['map']:.1f} s", peer, ratio))
    for model in ("cifar10_resnet20", "cifar10_resnet32"):
        for found in result.get(model, ()):
            if found["method"] not in _SHOWN or found["against"] not in ("all", "uniform"):
                continue
            for (variant, measure), title in _MEASURES.items():
                if found["variant"] == variant:
                    value, gap, low, high = found[measure].split()
                    what = f"{model}, {found['bits']:g} bits per weight, {_SHOWN[found['method']]}: {title}"
                    peer = {"all": "all classes alike", "uniform": "one width"}[found["against"]]
                    rows.append((what, f"{value} %", peer, f"{gap} points ({low} to {high})"))
    return rows
