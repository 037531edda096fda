"""Rows of INT8: making the files, what they lose, how fast they are."""

from __future__ import annotations

from typing import Any

from .cells import Row, milliseconds

__all__ = ["detect", "int8", "make", "ptq"]


def make(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result["rows"]:
        what = f"`{row['command']}`, {row['images']} images"
        size = f"{row['bytes']:,} bytes, {in_float(row)}"
        took = f"{row['processor_seconds']:.0f} s of processor time"
        if row["alone"]:
            took = f"{row['seconds']:.0f} s, {took}"
        outcome = f"{row['float_bytes'] / row['bytes']:.2f} × smaller; made in {took}"
        rows.append((what, size, f"float32 {row['float_bytes']:,} bytes", outcome))
    return rows


def in_float(row: dict[str, Any]) -> str:
    kept = row["kept"] if isinstance(row["kept"], int) else len(row["kept"])
    return f"{kept} of {row['layers']} layers in float"


def ptq(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result.get("rows", []):
        what = f"default INT8 file of {row['net']}, measured on {row['images']:,} images"
        ours = f"KL {row['kl']:.4f}, {row['lost_points']:+.1f} points of top-1 lost"
        theirs, outcome = f"float32 {100 * row['top1']:.1f} %", f"{row['bytes']:,} bytes"
        if "peer_kl" in row:
            theirs = f"best of four peers: KL {row['peer_kl']:.4f}, {row['peer_lost_points']:+.1f} points"
            outcome = f"{row['of_peer']:.2f} of the KL; {outcome}"
        rows.append((what, ours, theirs, outcome))
        ours = f"KL {row['kl_onnxruntime']:.4f}, {row['lost_points_onnxruntime']:+.1f} points lost"
        same = f"{100 * row['same_in_onnxruntime']:.1f} % of first classes the same"
        rows.append((f"the same file of {row['net']} in ONNX Runtime", ours, "our engine", same))
    if found := result.get("memory"):
        what = f"peak memory: calibration with {found['images']:,} images 640 × 640, yolov8n_random"
        loaded = f"after loading {found['loaded_bytes'] / 1e6:.0f} MB"
        rows.append((what, f"{found['peak_bytes'] / 1e6:,.0f} MB", loaded, f"{found['seconds']:.0f} s"))
    if found := result.get("shapes"):
        what = f"static INT8 of {found['net']}, {found['images']} images, {found['threads']} thread"
        rows.append((what, f"{found['seconds']:.0f} s", "–", f"KL {found['kl']:.4f}"))
    return rows


def detect(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result.get("rows", []):
        before = row["float"]
        what = f"default INT8 file of {row['net']}, measured on {row['photos']} photos"
        for engine, name in (("rdquant", "our engine"), ("onnxruntime", "ONNX Runtime, same file")):
            after = row[engine]
            lost = {m: 100 * (before["all"][m] - after["all"][m]) for m in ("map50", "map")}
            unseen = 100 * (before["unseen"]["map50"] - after["unseen"]["map50"])
            ours = f"mAP50 {100 * after['all']['map50']:.1f}, mAP {100 * after['all']['map']:.1f}"
            theirs = f"float32 {100 * before['all']['map50']:.1f}, {100 * before['all']['map']:.1f}"
            outcome = f"{lost['map50']:+.1f} and {lost['map']:+.1f} points lost; mAP50 of every second photo {unseen:+.1f}"
            rows.append((f"{what}; {name}", ours, theirs, f"{outcome}; {in_float(row)}"))
    if found := result.get("collapse"):
        what = (
            f"default INT8 file of {found['net']}: scores, which one scale for boxes and scores would make 0"
        )
        ours = f"mean score {found['mean_score_static']:.4g}, {100 * found['zeros']:.1f} % of them 0"
        rows.append((what, ours, f"float32 {found['mean_score']:.4g}", in_float(found)))
    return rows


def int8(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for threads, found in result.get("static", {}).items():
        where = f"batch 1, {threads} thread{'s' * (threads != '1')}"
        for row in found["rows"]:
            peers = {name: row["ms"][name] for name in ("onnxruntime", "openvino")}
            peer = min(peers, key=peers.__getitem__)
            what = f"default INT8 file, {row['net']}, {in_float(row)}, {where}"
            ours, theirs = (
                milliseconds(row["ms"]["rdquant"]),
                f"same file: {peer} {milliseconds(peers[peer])}",
            )
            outcome = f"{row['ratio']:.3f} of its time; {outcomes(row)}"
            rows.append((what, ours, theirs, outcome))
        mean = f"{found['ratio']:.3f} of its time; {outcomes(found)}"
        what = f"default INT8 file, geometric mean of {len(found['rows'])}, {where}"
        rows.append((what, "–", "the faster of onnxruntime and openvino", mean))
    for row in result.get("throughput", {}).get("rows", []):
        peers = {name: speed for name, speed in row["images_per_s"].items() if name != "rdquant"}
        peer = max(peers, key=peers.__getitem__)
        ours = f"{row['images_per_s']['rdquant']:,.0f} images/s"
        theirs = f"{peer} {peers[peer]:,.0f} images/s"
        what = f"default INT8 file, {row['net']}, batch 32, 2 threads"
        rows.append((what, ours, theirs, f"{row['ratio']:.2f} × as many"))
    for threads, found in result.get("dynamic", {}).items():
        what = f"dynamic INT8, geometric mean, batch 1, {threads} thread{'s' * (threads != '1')}"
        outcome = f"{found['peer']:.2f} × as fast; {found['gain']:.2f} × as fast as our float32"
        rows.append((what, "–", "onnxruntime's own dynamic models", outcome))
    if found := result.get("memory"):
        ours, theirs = (f"{found[name] / 1e6:.0f} MB" for name in ("int8", "float"))
        what = "growth of memory from import to ten inferences, yolov8n_random, default INT8 file"
        rows.append((what, ours, f"float32 {theirs}", f"{found['ratio']:.2f} of it"))
    return rows


def outcomes(found: dict[str, Any]) -> str:
    """Beside the float files."""
    either = f"{found['ratio_either']:.3f} of the fastest on either file"
    return f"{either}; {found['gain']:.2f} × as fast as our float32"
