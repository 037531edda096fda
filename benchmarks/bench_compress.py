"""Size within a tolerated loss: our data-driven mode against NNCodec, on networks and images that others made.

python benchmarks/bench_compress.py --models ../shared/data/models --images ../shared/data/images

Calibrated on 300 images of nips2017-dev, whose labels nobody looks at; everything reported is measured on the 1000 images
of imagenet-sample: points of top-1 lost, and mean KL divergence of the outputs to the float network's. Ours is the whole
.rdq file (graph, biases, checksums) over all learned values, profile max, at several tolerated divergences. NNCodec (pip
install --no-deps nncodec; its quantizer and coder alone are used) codes weights with two and more dimensions: dependent
quantization, lambda_scale 0 (its default) and 1, the same qp for all tensors; its biases and headers count nothing. Biases
beside its weights stay float. Bits at equal divergence are interpolated in log(KL).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from bench_codec import nncodec
from machine import describe
from rdquant._tolerance import Best, Search, Split, Tolerance
from rdquant.compression import write_levels

RESULTS = Path(__file__).parent / "results" / "compress.json"
NETS = {
    "squeezenet1.1-7": "imagenet",
    "mobilenet_v1_0.75": "tf",
    "efficientnet_lite0": "efficientnet-lite",
}
LIMITS = (0.012, 0.025, 0.05, 0.1, 0.2)  # tolerated divergences, nats
QPS = (-34, -32, -30, -28, -26)


def judged(model: rdq.Model | Path, data: rdq.Dataset, reference: dict[str, Any]) -> dict[str, float]:
    """Top-1 lost in points, KL, and the share of images whose first class stays."""
    found = rdq.evaluate(model, data, metrics=["top1", "kl"], reference=reference["scores"])
    return {
        "lost_points": 100 * (reference["top1"] - found["top1"]),
        "kl": found["kl"],
        "agreement": float(np.mean(found["predictions"] == reference["predictions"])),
    }


def ours(
    model: rdq.Model,
    calibration: rdq.Dataset,
    data: rdq.Dataset,
    reference: dict[str, Any],
    limits: list[float],
) -> list[dict[str, Any]]:
    """One row a tolerated divergence; the calibration is shared."""
    names = [p.name for p in model.parameters if p.role == "weight"]
    start = time.perf_counter()
    search = Search(model, names, True, Split.of(calibration, Tolerance(kl=1.0), 300, 0), 32)
    learned = time.perf_counter() - start
    rows = []
    for limit in limits:
        start = time.perf_counter()
        best = Best("max")
        search.run(Tolerance(kl=limit), best)
        seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.rdq"
            result = write_levels(model, path, best.levels, "max")
            row = {
                "codec": "rdquant",
                "limit_kl": limit,
                "held_out_kl": best.measured.kl,
                "bytes": result.bytes,
                "bits": result.file_bits_per_weight,
                **judged(path, data, reference),
                "calibration_s": learned,
                "search_s": seconds,
            }
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def theirs(
    model: rdq.Model, data: rdq.Dataset, reference: dict[str, Any], coder: Any, qp: int, scale: float
) -> dict[str, Any]:
    """NNCodec at one qp for all weights with two and more dimensions."""
    weights = {n: np.ascontiguousarray(w, np.float32) for n, w in model.weights().items() if w.ndim > 1}
    restored, size = {}, 0
    for name, w in weights.items():
        levels, back = np.zeros(w.shape, np.int32), np.zeros(w.shape, np.float32)
        encoder = coder.Encoder()
        encoder.initCtxModels(10, 0)
        used = encoder.quantLayer(w, levels, 1, 2, qp, scale, 10, 0, 0)
        encoder = coder.Encoder()
        encoder.initCtxModels(10, 1)
        rows = np.zeros(w.shape[0], np.int32)
        encoder.encodeLayer(levels, 1, 0, 0, 0, 0, rows, coder.HdspMode.AlwaysOff, np.zeros(0, np.int8), 0, 0)
        size += len(encoder.finish())
        coder.Decoder().dequantLayer(back, levels, 2, used, 0)
        restored[name] = back
    row = {
        "codec": "nncodec",
        "lambda_scale": scale,
        "qp": qp,
        "bytes": size,
        "bits": 8 * size / sum(w.size for w in weights.values()),
        **judged(model.replace_weights(restored), data, reference),
    }
    print(json.dumps(row), flush=True)
    return row


def saving(rows: list[dict[str, Any]], peers: list[dict[str, Any]]) -> list[dict[str, float]]:
    """For each of the peer's rows within our range of divergences: our bits at its divergence, and the saving."""
    mine = sorted(rows, key=lambda r: r["kl"])
    kl, bits = np.log([r["kl"] for r in mine]), [r["bits"] for r in mine]
    out = []
    for peer in peers:
        if mine[0]["kl"] <= peer["kl"] <= mine[-1]["kl"]:
            own = float(np.interp(np.log(peer["kl"]), kl, bits))
            out.append(
                {"kl": peer["kl"], "nncodec": peer["bits"], "rdquant": own, "saving": 1 - own / peer["bits"]}
            )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--nets", nargs="*", default=list(NETS))
    parser.add_argument("--limits", nargs="*", type=float, default=list(LIMITS))
    options = parser.parse_args()
    coder = nncodec()
    nets = json.loads(RESULTS.read_text())["nets"] if RESULTS.exists() else {}
    for net in options.nets:
        model = rdq.load(options.models / f"{net}.onnx")
        calibration = rdq.ImageFolder(options.images / "nips2017-dev", preprocess=NETS[net])
        data = rdq.ImageFolder(options.images / "imagenet-sample", preprocess=NETS[net]).held(1 << 30)
        reference = rdq.evaluate(model, data, metrics=["top1", "scores"])
        rows = ours(model, calibration, data, reference, options.limits)
        peers: list[dict[str, Any]] = []
        if coder is not None:
            peers = [theirs(model, data, reference, coder, qp, scale) for scale in (0.0, 1.0) for qp in QPS]
        default = [p for p in peers if p["lambda_scale"] == 0.0]
        nets[net] = {
            "top1": reference["top1"],
            "rows": rows + peers,
            "equal_kl": saving(rows, default),
            "equal_kl_lambda_1": saving(rows, [p for p in peers if p["lambda_scale"] == 1.0]),
        }
        print(net, json.dumps(nets[net]["equal_kl"]), flush=True)
        RESULTS.write_text(json.dumps({"machine": describe(), "nets": nets}, indent=1) + "\n")


if __name__ == "__main__":
    main()
