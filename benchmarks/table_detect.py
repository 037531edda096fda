"""Rows of the README's results table that tell of detectors; see table.py."""

from __future__ import annotations

from typing import Any

from cells import Row

__all__ = ["detect"]


def detect(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result.get("rows", []):
        before = row["float"]
        what = f"static INT8 of {row['net']}, calibrated on {row['images']} photos of {row['calibration']} without boxes"
        for engine, name in (("rdquant", "our engine"), ("onnxruntime", "ONNX Runtime, same file")):
            after = row[engine]
            lost = {m: 100 * (before["all"][m] - after["all"][m]) for m in ("map50", "map")}
            unseen = 100 * (before["unseen"]["map50"] - after["unseen"]["map50"])
            ours = f"mAP50 {100 * after['all']['map50']:.1f}, mAP {100 * after['all']['map']:.1f}"
            theirs = f"float32 {100 * before['all']['map50']:.1f}, {100 * before['all']['map']:.1f}"
            outcome = f"{lost['map50']:+.1f} and {lost['map']:+.1f} points lost; mAP50 of every second photo {unseen:+.1f}"
            kept = f"{len(row['kept'])} of {row['layers']} layers in float"
            rows.append((f"{what}; {name}", ours, theirs, f"{outcome}; {kept}"))
    if found := result.get("collapse"):
        what = f"static INT8 of {found['net']}: scores that one scale for boxes and scores makes 0"
        ours = f"mean score {found['mean_score_static']:.4g}, {100 * found['zeros']:.1f} % of them 0"
        kept = f"{len(found['kept'])} of {found['layers']} layers in float"
        rows.append((what, ours, f"float32 {found['mean_score']:.4g}", kept))
    return rows
