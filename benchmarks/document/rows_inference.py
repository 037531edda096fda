"""Rows of float32 inference: answers, latency, throughput, memory."""

from __future__ import annotations

from typing import Any

from .cells import Row, milliseconds

__all__ = ["accuracy", "answers", "busy", "latency"]


def accuracy(result: dict[str, Any]) -> list[Row]:
    rows = result["rows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    images = {(row["model"], row["data"]): row["images"] for row in rows}
    worst = max(rows, key=lambda row: abs(row["difference"]))
    return [
        (
            f"top-1 and top-5 of {', '.join(models)}",
            f"{len(rows)} figures, {sum(images.values()):,} images",
            "the figures that came with models and images",
            f"largest difference {abs(worst['difference']):.2f} points ({worst['model']}, {worst['metric']})",
        )
    ]


def answers(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    if found := result.get("outputs"):
        for backend in ("reference", "native"):
            worst = max(found, key=lambda row: row["difference"][backend])
            rows.append(
                (
                    f"outputs of {len(found)} models on photographs, backend `{backend}`",
                    f"largest difference {worst['difference'][backend]:.1e} of the output's range ({worst['model']})",
                    "ONNX Runtime",
                    f"ONNX Runtime without optimization: {worst['difference']['onnxruntime, not optimized']:.1e}",
                )
            )
    if found := result.get("predictions"):
        images, same = sum(row["images"] for row in found), sum(row["same"] for row in found)
        models = ", ".join(dict.fromkeys(row["model"] for row in found))
        rows.append(
            (
                f"top-1 of {models} on two ImageNet folders",
                f"{images:,} predictions",
                "ONNX Runtime",
                f"{same:,} the same",
            )
        )
    return rows


def latency(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for threads, found in result.get("latency", {}).items():
        where = f"batch 1, {threads} thread{'s' * (threads != '1')}"
        for row in found["rows"]:
            peers = {name: ms for name, ms in row["ms"].items() if name != "rdquant"}
            peer = min(peers, key=peers.__getitem__)
            what, ours = f"inference, {row['net']}, {where}", milliseconds(row["ms"]["rdquant"])
            rows.append(
                (what, ours, f"{peer} {milliseconds(peers[peer])}", f"{row['ratio']:.3f} of its time")
            )
        mean = f"{found['geometric_mean']:.3f} of its time"
        rows.append(
            (f"inference, geometric mean, {where}", "–", "the faster of onnxruntime and openvino", mean)
        )
    for row in result.get("throughput", {}).get("rows", []):
        peers = {name: speed for name, speed in row["images_per_s"].items() if name != "rdquant"}
        peer = max(peers, key=peers.__getitem__)
        ours, theirs = (
            f"{row['images_per_s']['rdquant']:,.0f} images/s",
            f"{peer} {peers[peer]:,.0f} images/s",
        )
        rows.append(
            (f"inference, {row['net']}, batch 32, 2 threads", ours, theirs, f"{row['ratio']:.2f} × as many")
        )
    for threads, found in result.get("squeezenet", {}).items():
        what = f"SqueezeNet, {threads} thread{'s' * (threads != '1')}: exchange of all weights"
        share = f"{found['swap']:.2f} of it; {100 * found['share_outside']:.1f} % of it outside convolutions"
        rows.append((what, "–", "one inference", share))
    if found := result.get("memory"):
        peer = min(("onnxruntime", "openvino"), key=found.__getitem__)
        sizes = {name: f"{found[name] / 1e6:.0f} MB" for name in ("rdquant", peer)}
        what = "growth of memory from import to ten inferences, efficientnet_lite0"
        rows.append(
            (what, sizes["rdquant"], f"{peer} {sizes[peer]}", f"{found['rdquant'] / found[peer]:.2f} of it")
        )
    if found := result.get("cold"):
        ours, theirs = (milliseconds(1e3 * found[name]) for name in ("rdquant", "onnxruntime"))
        ratio = f"{found['rdquant'] / found['onnxruntime']:.2f} of its time"
        rows.append(("import, load, first inference of SqueezeNet", ours, f"onnxruntime {theirs}", ratio))
    return rows


def busy(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result["rows"]:
        peers = {name: ms for name, ms in row["ms"].items() if name != "rdquant"}
        peer = min(peers, key=peers.__getitem__)
        what = f"inference, {row['net']}, 2 threads, another process keeps a core busy"
        ours, theirs = milliseconds(row["ms"]["rdquant"]), f"{peer} {milliseconds(peers[peer])}"
        rows.append((what, ours, theirs, f"{row['ratio']:.3f} of its time"))
    return rows
