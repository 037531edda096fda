"""Static quantization of a detector: mAP in our engine and in ONNX Runtime, what stays in float, confidences.

python benchmarks/bench_detect.py --models ../shared/data/models --images ../shared/data/images

yolox_nano is calibrated on every second photo of the COCO folder, boxes unseen, and measured on the others, on all, and in
ONNX Runtime from the same QDQ file: mAP at an overlap of 0.50 and over 0.50 to 0.95 (pycocotools), with YOLOX's own
thresholds (confidence 0.01, overlap 0.65). Beside it stands the same calibrated on photos of another kind, nips2017-dev.
yolov8n_random has random weights and no mAP: its scores must not become 0 where the float network's are not.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from machine import describe
from rdquant.metrics import average_precision, compare_confidences
from rdquant.report import plot_confidences

RESULTS = Path(__file__).parent / "results" / "detect.json"
NET, RANDOM = "yolox_nano", "yolov8n_random"
METRICS = ("map50", "map")
PHOTOS = 64  # of nips2017-dev
BACKENDS = {"rdquant": "auto", "onnxruntime": "onnxruntime"}


def measured(
    model: rdq.Model, data: rdq.Dataset, backend: str, threads: int | None
) -> dict[str, dict[str, float]]:
    """mAP on all photos, and on those of odd position, which calibration has not seen."""
    found = rdq.evaluate(model, data, backend, threads, metrics=METRICS)
    unseen = np.arange(1, len(data), 2)
    part = average_precision(data.take(unseen), [found["predictions"][i] for i in unseen])
    return {"all": {m: found[m] for m in METRICS}, "unseen": {m: part[m] for m in METRICS}}


def detector(folder: Path, images: Path, threads: int | None, plot: Path | None) -> Iterator[dict[str, Any]]:
    """A row for each kind of calibration photos."""
    model = rdq.load(folder / f"{NET}.onnx")
    data = rdq.CocoFolder(images / "coco-val2017", "yolox").held(1 << 29)
    before = measured(model, data, "auto", threads)
    other = rdq.ImageFolder(images / "nips2017-dev", "yolox").calibration(PHOTOS)
    for name, calibration in (("coco", data.take(np.arange(0, len(data), 2))), ("nips2017-dev", other)):
        start = time.perf_counter()
        quantized = rdq.quantize_static(model, calibration, threads=threads)
        seconds = time.perf_counter() - start
        report = quantized.report
        row: dict[str, Any] = {
            "net": NET,
            "calibration": name,
            "images": report.images,
            "float": before,
            "seconds": seconds,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "noise": report.damage.noise,
            "steps": {s.step: s.damage.noise for s in report.steps},
            "kept": {layer.node: layer.reason for layer in report.kept},
            "layers": len(report.layers),
        }
        for engine, backend in BACKENDS.items():
            row[engine] = measured(quantized, data, backend, threads)
        if plot is not None and name == "coco":
            found = compare_confidences({"float": model, "static": quantized}, data, threads=threads)
            plot_confidences(found, plot)
        print(json.dumps(row), flush=True)
        yield row


def collapse(folder: Path, images: Path, threads: int | None) -> dict[str, Any]:
    """What becomes of scores that hardly differ from each other."""
    model = rdq.load(folder / f"{RANDOM}.onnx")
    data = rdq.CocoFolder(images / "coco-val2017", "yolov8")
    start = time.perf_counter()
    quantized = rdq.quantize_static(model, data.take(np.arange(0, 16)), threads=threads)
    seconds = time.perf_counter() - start
    x, _ = data.get(np.arange(16, 24))
    (port,), (output,) = model.inputs, model.outputs
    before, after = (
        rdq.Session(m, threads=threads).run({port.name: x})[output.name][:, 4:] for m in (model, quantized)
    )
    row = {
        "net": RANDOM,
        "seconds": seconds,
        "noise": quantized.report.damage.noise,
        "mean_score": float(before.mean()),
        "mean_score_static": float(after.mean()),
        "largest_score": float(before.max()),
        "largest_score_static": float(after.max()),
        "correlation": float(np.corrcoef(before.ravel(), after.ravel())[0, 1]),
        "zeros": float(np.mean(after == 0)),
        "kept": {layer.node: layer.reason for layer in quantized.report.kept},
        "layers": len(quantized.report.layers),
    }
    print(json.dumps(row), flush=True)
    return row


def store(**found: Any) -> None:
    """Put parts into the results file, whatever else it holds."""
    result = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    result |= found | {"machine": describe(["onnxruntime", "pycocotools"])}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--threads", type=int, help="of inference (default: all cores)")
    parser.add_argument("--nets", nargs="*", default=[NET, RANDOM], choices=[NET, RANDOM])
    parser.add_argument("--plot", type=Path, help="picture of the confidences to write")
    options = parser.parse_args()
    if NET in options.nets:
        rows = []
        for row in detector(options.models, options.images, options.threads, options.plot):
            rows.append(row)
            store(rows=rows)
    if RANDOM in options.nets:
        store(collapse=collapse(options.models, options.images, options.threads))


if __name__ == "__main__":
    main()
