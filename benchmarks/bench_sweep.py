"""A grid of 5 quantizers × 10 bit depths on SqueezeNet: `sweep` against a loop that makes an ONNX Runtime session per point.

python benchmarks/bench_sweep.py --models ../shared/data/models --images ../shared/data/images/imagenet-sample --threads 2

Both quantize with our quantizers and read the same float32 images from memory; the loop runs batches of 32. The two take turns,
one quantizer each. Before times are compared, the share of images on which both predict the same class is checked, point by
point: the float sums differ in their last bits, so a few images may.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime

import rdquant as rdq
from machine import describe
from rdquant.quant import parse_quantizers

QUANTIZERS = ("midtread", "midrise", "deadzone:0.25", "deadzone:0.7", "mulaw:255")
BITS = range(4, 14)
BATCH = 32
RESULTS = Path(__file__).parent / "results" / "sweep.json"


def ours(model: rdq.Model, data: rdq.ArrayDataset, quantizer: str, threads: int) -> dict[int, float]:
    """Top-1 by bits."""
    study = rdq.sweep(model, data, quantizer, BITS, metrics=("top1", "top5"), threads=threads, progress=False)
    rows = study.to_pandas().dropna(subset="bits")
    return dict(zip(rows["bits"].astype(int), rows["top1"], strict=True))


def loop(model: rdq.Model, x: np.ndarray, y: np.ndarray, quantizer: str, threads: int) -> dict[int, float]:
    """The same with a session of ONNX Runtime per point."""
    (spec,) = parse_quantizers(quantizer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    found = {}
    for bits in BITS:
        q = spec.build(bits, 1.0)
        weights = {name: q.dequantize(q.quantize(w)) for name, w in model.weights().items()}
        blob = model.replace_weights(weights).proto.SerializeToString()
        session = onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        scores = [session.run(None, {name: x[i : i + BATCH]})[0] for i in range(0, len(x), BATCH)]
        found[bits] = float(np.mean(np.concatenate(scores).reshape(len(x), -1).argmax(axis=1) == y))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="squeezenet1.1-7.onnx")
    parser.add_argument("--preprocess", default="imagenet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quantizers", nargs="+", default=QUANTIZERS)
    arguments = parser.parse_args()

    model = rdq.load(arguments.models / arguments.model)
    images = rdq.ImageFolder(arguments.images, preprocess=arguments.preprocess)
    x = np.concatenate([batch for batch, _ in images])
    data = rdq.ArrayDataset(x, images.labels, batch_size=BATCH, classes=images.classes)
    rows = []
    for quantizer in arguments.quantizers:
        started = time.perf_counter()
        found = ours(model, data, quantizer, arguments.threads)
        between = time.perf_counter()
        wanted = loop(model, x, images.labels, quantizer, arguments.threads)
        ended = time.perf_counter()
        apart = max(abs(found[bits] - wanted[bits]) for bits in BITS)
        assert apart <= 0.002, f"{quantizer}: top-1 differs by {apart:.2%}"
        row = {"quantizer": quantizer, "ours_s": between - started, "loop_s": ended - between, "apart": apart}
        rows.append(row)
        print(
            f"{quantizer}: sweep {row['ours_s']:.1f} s, loop {row['loop_s']:.1f} s, top-1 at most {apart:.2%} apart"
        )
    ratio = sum(row["ours_s"] for row in rows) / sum(row["loop_s"] for row in rows)
    print(f"sweep / loop: {ratio:.3f}")
    result = {"machine": describe(["onnxruntime"]), "model": arguments.model, "threads": arguments.threads}
    result |= {"data": images.name, "images": len(data), "points": len(BITS) * len(rows), "ratio": ratio}
    RESULTS.write_text(json.dumps(result | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
