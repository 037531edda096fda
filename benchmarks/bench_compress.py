"""Size within a tolerated loss: our data-driven mode against NNCodec, on networks and images that others made.

python benchmarks/bench_compress.py --models ../shared/data/models --images ../shared/data/images

Calibrated on 300 images of nips2017-dev (--calibration), whose labels nobody looks at; everything reported is measured
on the 1000 images of imagenet-sample: points of top-1 lost, and mean KL divergence of the outputs to the float
network's. Ours is the whole .rdq file (graph, biases, checksums) over all learned values, profile max: at several
tolerated divergences (--limits), for which nips2017-dev alone counts, a third of its images held back; and at tolerated
losses and KL 0.058 on imagenet-sample (--losses), whose labels then decide how small the file gets, and nothing else.
NNCodec (pip install --no-deps nncodec; its quantizer and coder alone are used) codes weights with two and more
dimensions: dependent quantization, lambda_scale 0 (its default) and 1, the same qp for all tensors; its biases and
headers count nothing. Biases beside its weights stay float. Bits at equal divergence, ours calibrated on 300 images,
are interpolated in log(KL). Every row is kept as soon as it is measured; run again, only rows that are missing are, so
remove the results after a change of the code.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from bench_codec import nncodec
from machine import describe
from rdquant.compression import write_levels
from rdquant.compression.tolerance import Best, Search, Split, Tolerance

RESULTS = Path(__file__).parent / "results" / "compress.json"
NETS = {
    "squeezenet1.1-7": "imagenet",
    "mobilenet_v1_0.75": "tf",
    "efficientnet_lite0": "efficientnet-lite",
}
LIMITS = (0.012, 0.025, 0.05, 0.1, 0.2)  # tolerated divergences, nats
LOSSES = (0.8,)  # tolerated losses, points of top-1
MOST_KL = 0.058  # the divergence that is tolerated beside each of them, nats
_IMAGES = 300  # that calibrate
SCALES = (0.0, 1.0)  # NNCodec's lambda_scale: its default, and its best
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
    images: int,
) -> Iterator[dict[str, Any]]:
    """One row a tolerated divergence; the calibration is shared."""
    names = [p.name for p in model.parameters if p.role == "weight"]
    start = time.perf_counter()
    search = Search(model, names, True, Split.of(calibration, Tolerance(kl=1.0), images, 0), 32)
    learned = time.perf_counter() - start
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
                "calibration": images,
                "limit_kl": limit,
                "held_out_kl": best.measured.kl,
                "bytes": result.bytes,
                "bits": result.file_bits_per_weight,
                **judged(path, data, reference),
                "calibration_s": learned,
                "search_s": seconds,
            }
        yield row


def within_loss(
    model: rdq.Model,
    calibration: rdq.Dataset,
    data: rdq.Dataset,
    reference: dict[str, Any],
    losses: list[float],
    images: int,
) -> Iterator[dict[str, Any]]:
    """One row a tolerated loss, by what users call."""
    for loss in losses:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.rdq"
            result = rdq.compress_within(
                model,
                path,
                effort="max",
                max_loss=loss,
                max_kl=MOST_KL,
                data=data,
                calibration=calibration,
                images=images,
            )
            assert result.measured is not None
            yield {
                "codec": "rdquant",
                "calibration": images,
                "limit_loss": loss,
                "most_kl": MOST_KL,
                "expected_loss": result.measured.expected_loss,
                "met": result.met,
                "bytes": result.bytes,
                "bits": result.file_bits_per_weight,
                **judged(path, data, reference),
                "search_s": time.perf_counter() - start,
            }


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
    return {
        "codec": "nncodec",
        "lambda_scale": scale,
        "qp": qp,
        "bytes": size,
        "bits": 8 * size / sum(w.size for w in weights.values()),
        **judged(model.replace_weights(restored), data, reference),
    }


def saving(rows: list[dict[str, Any]], peers: list[dict[str, Any]]) -> list[dict[str, float]]:
    """For each of the peer's rows within our range of divergences: our bits at its divergence, and the saving."""
    mine = sorted(rows, key=lambda r: r["kl"])
    if not mine:
        return []
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
    parser.add_argument("--calibration", type=int, default=_IMAGES)
    parser.add_argument("--limits", nargs="*", type=float, default=list(LIMITS))
    parser.add_argument("--losses", nargs="*", type=float, default=list(LOSSES))
    options = parser.parse_args()
    coder = nncodec()
    nets = json.loads(RESULTS.read_text())["nets"] if RESULTS.exists() else {}
    for net in options.nets:
        rows = nets.get(net, {}).get("rows", [])
        for top1, row in missing(net, rows, coder, options):
            print(net, json.dumps(row), flush=True)
            rows.append(row)
            mine = [r for r in rows if r.get("calibration") == _IMAGES and "limit_kl" in r]
            default, best = (
                [r for r in rows if r["codec"] == "nncodec" and r["lambda_scale"] == scale]
                for scale in SCALES
            )
            nets[net] = {
                "top1": top1,
                "rows": rows,
                "equal_kl": saving(mine, default),
                "equal_kl_lambda_1": saving(mine, best),
            }
            RESULTS.write_text(json.dumps({"machine": describe(), "nets": nets}, indent=1) + "\n")


def missing(
    net: str, rows: list[dict[str, Any]], coder: Any, options: argparse.Namespace
) -> Iterator[tuple[float, dict[str, Any]]]:
    """Top-1 of the float network with each row that is not among `rows`."""
    seen = options.calibration
    same = [r for r in rows if r.get("calibration") == seen]
    limits = sorted(set(options.limits) - {r.get("limit_kl") for r in same})
    losses = sorted(set(options.losses) - {r.get("limit_loss") for r in same})
    known = {(r.get("lambda_scale"), r.get("qp")) for r in rows}
    points = [(s, q) for s in SCALES for q in QPS if (s, q) not in known] if coder is not None else []
    if not limits and not losses and not points:
        return
    model = rdq.load(options.models / f"{net}.onnx")
    data = rdq.ImageFolder(options.images / "imagenet-sample", preprocess=NETS[net]).held(1 << 30)
    reference = rdq.evaluate(model, data, metrics=["top1", "scores"])
    for scale, qp in points:
        yield reference["top1"], theirs(model, data, reference, coder, qp, scale)
    calibration = rdq.ImageFolder(options.images / "nips2017-dev", preprocess=NETS[net])
    for make, tolerated in ((within_loss, losses), (ours, limits)):
        for row in make(model, calibration, data, reference, tolerated, seen) if tolerated else ():
            yield reference["top1"], row


if __name__ == "__main__":
    main()
