"""Static quantization: what default files lose on our engine and in ONNX Runtime, and what calibration takes of memory.

python benchmarks/bench_ptq.py --models ../shared/data/models --images ../shared/data/images [--files DIR]

The files are those that bench_make has made (in --files): calibrated on 128 images of nips2017-dev; measured on the 1000 of
imagenet-sample: points of top-1 lost, mean KL divergence of the outputs to the float network's, in ONNX Runtime and on our
engine, and the share of images on which both have the same first class. The CIFAR-10 network is measured on 10,000 test
images; it has no peers. The peers' figures (ONNX Runtime's quantize_static by minima and maxima, entropy and percentiles,
nncf.quantize 3.4) were measured on the same images with per-channel weights and uint8 activations, calibrated on
128 images of the same folder; the best of the four is the bar. Memory is a fresh process's peak (ru_maxrss) that
takes the ranges of yolov8n_random with 1000 images of 640 × 640 that are made on the fly. Time is that of
ResNet-18's shapes with random weights, 8 images, one thread: wide layers, whose covariances take longest.

python benchmarks/bench_ptq.py --shapes
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rdquant as rdq
from bench_accuracy import cifar10
from bench_make import FILES, default_file
from resnet18 import images as noise
from resnet18 import resnet18
from store import Store

NETS = {
    "squeezenet1.1-7": "imagenet",
    "mobilenet_v1_0.75": "tf",
    "efficientnet_lite0": "efficientnet-lite",
    "cifar10_resnet20": "cifar10",
}
SMALL = "cifar10_resnet20"
PEERS = {  # least loss in points of top-1, least KL, each over the four peers
    "squeezenet1.1-7": (1.1, 0.0195),
    "mobilenet_v1_0.75": (0.5, 0.033),
    "efficientnet_lite0": (0.4, 0.0084),
}
DETECTOR, SIZE, COUNT = "yolov8n_random", 640, 1000
WIDE = "resnet18_random", 8  # net and images


class Noise(rdq.Dataset):
    """Seeded images of smooth noise, made when asked for."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__("noise", np.zeros(count, np.int64), 1, 8)
        self._size = size
        self.fingerprint = f"noise {count} {size}"

    def stream(self, chunks: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for chunk in chunks:
            yield np.stack([self._image(int(i)) for i in chunk])

    def _image(self, index: int) -> NDArray[np.float32]:
        coarse = np.random.default_rng(index).random((3, self._size // 16, self._size // 16), np.float32)
        return np.kron(coarse, np.ones((1, 16, 16), np.float32))


def photos(images: Path, net: str) -> rdq.Dataset:
    """What a net is measured on."""
    if net == SMALL:
        return cifar10(images.parent / "cifar10-jpeg.npz")
    return rdq.ImageFolder(images / "imagenet-sample", preprocess=NETS[net]).held(1 << 30)


def classifier(options: argparse.Namespace, net: str) -> dict[str, Any]:
    """One network's default file, measured."""
    model, path = rdq.load(options.models / f"{net}.onnx"), default_file(net, options.files)
    quantized, data, threads = rdq.load(path), photos(options.images, net), options.threads
    before = rdq.evaluate(model, data, threads=threads, metrics=["top1", "scores"])
    found = {
        backend: rdq.evaluate(
            quantized, data, backend, threads, metrics=["top1", "kl"], reference=before["scores"]
        )
        for backend in ("auto", "onnxruntime")
    }
    ours, theirs = found["auto"], found["onnxruntime"]
    row = {
        "net": net,
        "images": len(data),
        "bytes": path.stat().st_size,
        "top1": before["top1"],
        "lost_points": 100 * (before["top1"] - ours["top1"]),
        "kl": ours["kl"],
        "lost_points_onnxruntime": 100 * (before["top1"] - theirs["top1"]),
        "kl_onnxruntime": theirs["kl"],
        "same_in_onnxruntime": float(np.mean(ours["predictions"] == theirs["predictions"])),
    }
    if net in PEERS:
        lost, kl = PEERS[net]
        row |= {"peer_lost_points": lost, "peer_kl": kl, "of_peer": ours["kl"] / kl}
    print(json.dumps(row), flush=True)
    return row


def calibrate(folder: Path, count: int) -> None:
    """What the fresh process does: prints its peak of memory before and after as JSON."""
    from rdquant.ptq.network import Network
    from rdquant.ptq.observe import observe
    from rdquant.ptq.placement import place

    model = rdq.load(folder / f"{DETECTOR}.onnx")
    network = Network(model)
    values = list(place(network, network.layers).roots)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    data = Noise(count, SIZE)
    start = time.perf_counter()
    found = observe(model, lambda: (x for x, _ in data), values)
    assert all(seen.images == count for seen in found.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.perf_counter() - start
    print(json.dumps({"images": count, "loaded_bytes": before, "peak_bytes": peak, "seconds": seconds}))


def memory(folder: Path, count: int) -> dict[str, Any]:
    """Peak of a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, "--models", folder, "--calibrate", str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(run.stdout)
    print(json.dumps(row), flush=True)
    return row


def wide(threads: int) -> dict[str, Any]:
    """Seconds that the shapes of ResNet-18 take, and what the steps leave of the outputs."""
    net, count = WIDE
    model, calibration = rdq.load(resnet18()), noise(count)
    start = time.perf_counter()
    report = rdq.quantize_static(model, calibration, threads=threads, max_kl=10).report
    seconds = time.perf_counter() - start
    row = {
        "net": net,
        "images": count,
        "threads": threads,
        "seconds": seconds,
        "kl": report.damage.kl,
        "steps": {s.step: s.damage.kl for s in report.steps},
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--files", type=Path, default=FILES, help="where bench_make keeps its files")
    parser.add_argument("--threads", type=int, help="of inference (default: all cores)")
    parser.add_argument("--nets", nargs="*", default=list(NETS))
    parser.add_argument(
        "--count", type=int, default=COUNT, help="images of the memory's row; 0: leave it out"
    )
    parser.add_argument("--shapes", action="store_true", help="ResNet-18's shapes only, which need no files")
    parser.add_argument("--calibrate", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    store = Store("ptq", ["onnxruntime"])
    if options.shapes:
        store.put("shapes", wide(options.threads or 1))
        return
    if options.models is None:
        parser.error("--models is required")
    if options.calibrate is not None:
        calibrate(options.models, options.calibrate)
        return
    for net in options.nets:
        rows = {row["net"]: row for row in store.part("rows")} | {net: classifier(options, net)}
        store.put("rows", [rows[name] for name in NETS if name in rows])
    if options.count:
        store.put("memory", memory(options.models, options.count))


if __name__ == "__main__":
    main()
