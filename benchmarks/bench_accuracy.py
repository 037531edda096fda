"""Does the package measure what the models' authors measured?

Top-1 and top-5 of three ImageNet networks, each with its own preset, on two folders of photos, and of a
CIFAR-10 network, against the figures that came with the data. Run from the repository root: python
benchmarks/bench_accuracy.py Exit status 1 where a figure is more than 0.3 points off; results/accuracy.json
keeps the measured ones.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import rdquant
from machine import describe
from rdquant.data import Dataset, ImageArray, ImageFolder

TOLERANCE = 0.3  # points
# network: (preset, {folder: (top-1, top-5)}), percent
IMAGENET = {
    "squeezenet1.1-7": ("imagenet", {"imagenet-sample": (61.5, 83.1), "nips2017-dev": (59.7, 84.5)}),
    "mobilenet_v1_0.75": ("tf", {"imagenet-sample": (85.3, 96.6), "nips2017-dev": (73.1, 92.5)}),
    "efficientnet_lite0": (
        "efficientnet-lite",
        {"imagenet-sample": (88.0, 97.2), "nips2017-dev": (89.4, 98.3)},
    ),
}
CIFAR10 = {"cifar10_resnet20": 81.0, "cifar10_resnet32": 82.6}


def cifar10(path: Path) -> ImageArray:
    """CIFAR-10's test images from JPEG bytes end to end: image i is test_jpeg[test_offsets[i] :
    test_offsets[i + 1]].
    """
    with np.load(path) as archive:
        stream, offsets = archive["test_jpeg"].tobytes(), archive["test_offsets"]
        labels = archive["test_labels"].astype(np.int64)
    pixels = np.empty((len(labels), 32, 32, 3), np.uint8)
    for i, (start, end) in enumerate(pairwise(offsets)):
        with Image.open(io.BytesIO(stream[start:end])) as image:
            pixels[i] = np.asarray(image.convert("RGB"))
    return ImageArray(pixels, labels, "cifar10", batch_size=100, classes=10, name="cifar10-test")


def measure(model: Path, data: Dataset, bars: dict[str, float]) -> list[dict[str, Any]]:
    """Rows model, data, metric, bar, measured, difference (percent and points), images, seconds."""
    start = time.perf_counter()
    result = rdquant.evaluate(model, data, metrics=list(bars))
    seconds = time.perf_counter() - start
    rows = []
    for metric, bar in bars.items():
        measured = round(100 * result[metric], 4)
        rows.append(
            {
                "model": model.stem,
                "data": data.name,
                "metric": metric,
                "bar": bar,
                "measured": measured,
                "difference": round(measured - bar, 4),
                "images": result["images"],
                "seconds": round(seconds, 2),
            }
        )
        print(
            f"{model.stem:20} {data.name:16} {metric:5} {bar:6.1f} {measured:8.2f} {measured - bar:+6.2f}",
            flush=True,
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "accuracy.json")
    arguments = parser.parse_args()
    models = arguments.data / "models"
    print(f"{'model':20} {'data':16} {'':5} {'bar':>6} {'measured':>8} {'diff':>6}")
    rows = []
    for model, (preset, folders) in IMAGENET.items():
        for folder, (top1, top5) in folders.items():
            data = ImageFolder(arguments.data / "images" / folder, preset)
            rows += measure(models / f"{model}.onnx", data, {"top1": top1, "top5": top5})
    small = cifar10(arguments.data / "cifar10-jpeg.npz")
    for model, top1 in CIFAR10.items():
        rows += measure(models / f"{model}.onnx", small, {"top1": top1})
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")
    return int(any(abs(row["difference"]) > TOLERANCE for row in rows))


if __name__ == "__main__":
    sys.exit(main())
