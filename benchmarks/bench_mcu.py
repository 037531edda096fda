"""C for microcontrollers: flash, arena, stack and executed instructions of emitted networks, and what INT8 loses.

python benchmarks/bench_mcu.py --data ../shared/data

The four networks of MLPerf Tiny are the .tflite files of its reference, in ONNX with the same integers. Flash is what
arm-none-eabi-size says of the network alone (-Os); the stack is painted and looked at under QEMU, and the answers are
compared with those of the reference backend; instructions are counted there. The arena is compared with what tflite-
micro's takes for activations (print_allocations of its PyPI wheel). Flash, code included, is compared with the .tflite
file alone, and with it and tflite-micro's published code size: 22 KB on a Cortex-M3 with the operators of a keyword
spotting network (TensorFlow's documentation of TensorFlow Lite for Microcontrollers, page "microcontrollers";
no size for these four networks is published that we know of). Accuracy is that
of the engine, whose integers the C computes: CIFAR-10's 10,000 test images, calibrated on 128 of its training images,
and scikit-learn's digits. Needs arm-none-eabi-gcc, qemu-system-arm and gcc.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import rdquant as rdq
from bench_accuracy import cifar10
from bench_make import training_images
from count_instructions import MCU, executed, network_sum
from rdquant.demo import digits_model
from store import Store

ROOT = Path(__file__).resolve().parents[1]
TITLES = {
    "kws_ref_model": "DS-CNN",
    "pretrainedResnet_quant": "ResNet-8",
    "vww_96_int8": "MobileNet 0.25",
    "ad01_int8": "autoencoder",
}
TARGETS = ("m0", "m3", "m4", "m55")
PUBLISHED = 22 * 1024  # bytes of code


def costs(firmware: rdq.Firmware, name: str) -> dict[str, Any]:
    """Promised and found on M4, the answers compared."""
    from test_emit_cores import build, run

    build(firmware, "m4")
    used = run(firmware, "m4")
    sizes = subprocess.run(
        ["arm-none-eabi-size", str(firmware.path / "network.elf")], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        f"{name}flash": firmware.flash,
        f"{name}flash_found": int(sizes[6]),
        f"{name}stack": firmware.costs["m4"].stack,
        f"{name}stack_found": used,
    }


def entropy(path: Path) -> dict[str, int]:
    """Weights, and the bytes below which no code gets that takes each level of a layer by itself."""
    total, least = 0, 0.0
    for tensor in onnx.load(str(path)).graph.initializer:
        levels = numpy_helper.to_array(tensor)
        if levels.dtype == np.int8 and levels.ndim > 1:
            share = np.unique(levels, return_counts=True)[1] / levels.size
            total += levels.size
            least -= levels.size * float((share * np.log2(share)).sum()) / 8
    return {"weights": total, "bytes": round(least)}


def network(name: str, data: Path, folder: Path, plugin: Path) -> dict[str, Any]:
    from test_emit import HEADS
    from tflite_models import converted

    source = data / "tflite" / f"{name}.tflite"
    path = folder / f"{name}.onnx"
    path.write_bytes(converted(source).SerializeToString())
    firmware = rdq.emit_c(path, folder / name)
    sizes = {"file": source.stat().st_size, "published_code": PUBLISHED, "entropy": entropy(path)}
    found = {"net": TITLES[name], **sizes, "macs": firmware.macs, **costs(firmware, "")}
    found["instructions"] = {
        target: network_sum(executed(firmware.path, target, "-Os", plugin)) / firmware.macs
        for target in TARGETS
    }
    coded = rdq.emit_c(path, folder / f"{name}_coded", compressed_weights=True)
    caller = rdq.emit_c(path, folder / f"{name}_caller", ports="caller")
    arenas = {"arena": firmware.arena, "arena_caller": caller.arena, "arena_peer": HEADS[name]}
    return found | costs(coded, "coded_") | arenas


def lost(net: str, data: Path) -> dict[str, Any]:
    """Top-1 in float and in INT8, every layer of which is integers."""
    calibration: Any = "digits"
    if net == "digits":
        model, images = str(digits_model()), rdq.Digits("test")
    else:
        model, images = str(data / "models" / f"{net}.onnx"), cifar10(data / "cifar10-jpeg.npz")
    with tempfile.TemporaryDirectory() as folder:
        if net != "digits":
            training_images(Path(folder, "train.npz"))
            calibration = rdq.open_dataset(Path(folder, "train.npz"), "cifar10", model=rdq.load(model))
        quantized = rdq.quantize_static(model, calibration)
        firmware = rdq.emit_c(quantized, folder)
    before, after = (rdq.evaluate(m, images)["top1"] for m in (model, quantized))
    points = 100 * (before - after)
    return {
        "net": net,
        "images": len(images),
        "top1": after,
        "float_top1": before,
        "lost_points": points,
        "ram": firmware.ram,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    store = Store("mcu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "icount.so"
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", str(MCU / "icount.c"), "-o", str(plugin)], check=True
        )
        rows = [network(net, options.data, folder, plugin) for net in TITLES]
    store.put("rows", rows)
    store.put("accuracy", [lost(net, options.data) for net in ("cifar10_resnet20", "digits")])
    return 0


if __name__ == "__main__":
    sys.exit(main())
