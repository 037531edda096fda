"""How long does `rdquant quantize MODEL --calibration DIR` take, and how large are its files?

    python benchmarks/bench_make.py [--nets squeezenet1.1-7 …] [--files DIR]

Each net's file is written by the command line with its defaults, in a new process, and kept in --files (default: build/int8),
where bench_int8, bench_ptq and bench_detect look for it: speed, loss, size and making time are those of one file. Calibrated on
photographs whose labels nobody looks at: 128 of nips2017-dev, 128 training images of CIFAR-10, every second photo of
coco-val2017 (64). Writes results/make.json; a net that is not in --nets keeps its row, if a machine like this one measured
it. With --alone nothing else ran on the machine: wall-clock seconds count, not only those of the processors.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from store import Store

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared/data"
FILES = HERE.parent / "build/int8"
# net: (calibration images, further options)
NETS = {
    "squeezenet1.1-7": ("nips2017-dev", ()),
    "mobilenet_v1_0.75": ("nips2017-dev", ("--preprocess", "tf")),
    "efficientnet_lite0": ("nips2017-dev", ("--preprocess", "efficientnet-lite")),
    "cifar10_resnet20": ("cifar10-train.npz", ("--preprocess", "cifar10")),
    "yolox_nano": ("coco-even", ("--preprocess", "yolox")),
    "yolov8n_random": ("coco-even", ("--preprocess", "yolov8")),
}


def default_file(net: str, folder: Path = FILES) -> Path:
    """The net's quantized file; FileNotFoundError where this benchmark has not made it."""
    path = folder / f"{net}.int8.onnx"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: run python benchmarks/bench_make.py --nets {net}")
    return path


def training_images(path: Path, count: int = 1000) -> None:
    """Write the first `count` training images of CIFAR-10, with labels, as an .npz file that rdquant reads."""
    with np.load(DATA / "cifar10-jpeg.npz") as archive:
        offsets = archive["train_offsets"][: count + 1]
        stream, labels = archive["train_jpeg"][: offsets[-1]].tobytes(), archive["train_labels"][:count]
    pixels = [np.asarray(Image.open(io.BytesIO(stream[a:b])).convert("RGB")) for a, b in pairwise(offsets)]
    np.savez(path, x=np.stack(pixels), y=labels.astype(np.int64))


def even_photos(folder: Path) -> None:
    """A folder of links to every second photo of coco-val2017: those of odd position stay unseen."""
    folder.mkdir(exist_ok=True)
    for photo in sorted((DATA / "images/coco-val2017/images").iterdir())[::2]:
        link = folder / photo.name
        if not link.exists():
            link.symlink_to(photo)


def calibration(name: str, folder: Path) -> Path:
    """Where these images lie, written where they are not there yet."""
    if name == "nips2017-dev":
        return DATA / "images" / name
    path = folder / name
    if name == "coco-even":
        even_photos(path)
    elif not path.exists():
        training_images(path)
    return path


def make(net: str, folder: Path, alone: bool) -> dict[str, Any]:
    """Run the command; size, time and the report on its layers."""
    name, options = NETS[net]
    source, images, to = DATA / f"models/{net}.onnx", calibration(name, folder), folder / f"{net}.int8.onnx"
    words = ["quantize", str(source), "--calibration", str(images), *options, "-o", str(to), "--json"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "rdquant", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(run.stdout)
    return {
        "net": net,
        "command": " ".join(["rdquant quantize", source.name, "--calibration", f"{name}", *options]),
        "images": report["images"],
        "bytes": to.stat().st_size,
        "float_bytes": source.stat().st_size,
        "seconds": seconds,
        "alone": alone,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_bytes": after.ru_maxrss * 1024,
        "kept": [layer["node"] for layer in report["layers"] if layer["kept"]],
        "layers": len(report["layers"]),
        "damage": report["damage"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--files", type=Path, default=FILES, help="where files are kept")
    parser.add_argument("--alone", action="store_true", help="nothing else runs on this machine")
    arguments = parser.parse_args()
    arguments.files.mkdir(parents=True, exist_ok=True)
    store = Store("make")
    rows = {row["net"]: row for row in store.part("rows")}
    for net in arguments.nets:
        row = rows[net] = make(net, arguments.files, arguments.alone)
        store.put("rows", [rows[known] for known in NETS if known in rows])
        print(json.dumps({k: v for k, v in row.items() if k != "kept"}), len(row["kept"]), "kept", flush=True)


if __name__ == "__main__":
    main()
