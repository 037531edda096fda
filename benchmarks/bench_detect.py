"""Default INT8 files of detectors: mAP in our engine and in ONNX Runtime, what stays in float, confidences.

python benchmarks/bench_detect.py --models ../shared/data/models --images ../shared/data/images [--files DIR]

The files are those that bench_make has made (in --files), calibrated on every second photo of the COCO folder, boxes unseen.
yolox_nano is measured on the other photos, on all, and in ONNX Runtime from the same file: mAP at an overlap of 0.50 and
over 0.50 to 0.95 (pycocotools), with YOLOX's own thresholds (confidence 0.01, overlap 0.65).
yolov8n_random has random weights and no mAP: its scores must not become 0 where the float network's are not.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from bench_make import FILES, default_file
from rdquant.metrics import average_precision, compare_confidences
from rdquant.report import plot_confidences
from store import Store

HERE = Path(__file__).resolve().parent
NET, RANDOM = "yolox_nano", "yolov8n_random"
METRICS = ("map50", "map")
BACKENDS = {"rdquant": "auto", "onnxruntime": "onnxruntime"}


def measured(
    model: rdq.Model, data: rdq.Dataset, backend: str, threads: int | None
) -> dict[str, dict[str, float]]:
    """mAP on all photos, and on those of odd position, which calibration has not seen."""
    found = rdq.evaluate(model, data, backend, threads, metrics=METRICS)
    unseen = np.arange(1, len(data), 2)
    part = average_precision(data.take(unseen), [found["predictions"][i] for i in unseen])
    return {"all": {m: found[m] for m in METRICS}, "unseen": {m: part[m] for m in METRICS}}


def detector(options: argparse.Namespace) -> dict[str, Any]:
    """What is found with the float network and with its default file."""
    model, quantized = rdq.load(options.models / f"{NET}.onnx"), rdq.load(default_file(NET, options.files))
    data = rdq.CocoFolder(options.images / "coco-val2017", "yolox").held(1 << 29)
    row: dict[str, Any] = {
        "net": NET,
        "photos": len(data),
        "float": measured(model, data, "auto", options.threads),
    }
    for engine, backend in BACKENDS.items():
        row[engine] = measured(quantized, data, backend, options.threads)
    if options.plot is not None:
        found = compare_confidences({"float": model, "static": quantized}, data, threads=options.threads)
        plot_confidences(found, options.plot)
    print(json.dumps(row), flush=True)
    return row | made(NET)


def made(net: str) -> dict[str, Any]:
    """bench_make's row on the net's file."""
    rows = json.loads((HERE / "results/make.json").read_text())["rows"]
    (row,) = [row for row in rows if row["net"] == net]
    return {name: row[name] for name in ("images", "bytes", "kept", "layers")}


def collapse(options: argparse.Namespace) -> dict[str, Any]:
    """What becomes of scores that hardly differ from each other, on photos that calibration has not seen."""
    model, quantized = (
        rdq.load(options.models / f"{RANDOM}.onnx"),
        rdq.load(default_file(RANDOM, options.files)),
    )
    x, _ = rdq.CocoFolder(options.images / "coco-val2017", "yolov8").get(np.arange(1, 17, 2))
    (port,), (output,) = model.inputs, model.outputs
    before, after = (
        rdq.Session(m, threads=options.threads).run({port.name: x})[output.name][:, 4:]
        for m in (model, quantized)
    )
    row = {
        "net": RANDOM,
        "mean_score": float(before.mean()),
        "mean_score_static": float(after.mean()),
        "largest_score": float(before.max()),
        "largest_score_static": float(after.max()),
        "correlation": float(np.corrcoef(before.ravel(), after.ravel())[0, 1]),
        "zeros": float(np.mean(after == 0)),
    }
    print(json.dumps(row), flush=True)
    return row | made(RANDOM)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--files", type=Path, default=FILES, help="where bench_make keeps its files")
    parser.add_argument("--threads", type=int, help="of inference (default: all cores)")
    parser.add_argument("--nets", nargs="*", default=[NET, RANDOM], choices=[NET, RANDOM])
    parser.add_argument("--plot", type=Path, help="picture of the confidences to write")
    options = parser.parse_args()
    store = Store("detect", ["onnxruntime", "pycocotools"])
    if NET in options.nets:
        store.put("rows", [detector(options)])
    if RANDOM in options.nets:
        store.put("collapse", collapse(options))


if __name__ == "__main__":
    main()
