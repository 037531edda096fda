"""How many instructions do INT8 layers and networks execute on 64-bit ARM, and are their integers those of the definition?

    python benchmarks/bench_arm.py [--files DIR] [--nets NAME …] [--program PATH]

Needs crossbuild-essential-arm64 and qemu-user (the one with plugins); llvm-mca for the modelled cycles. DIR holds the INT8
networks, NAME.s8.onnx. Everything runs on one thread under QEMU as a Cortex-A76; outputs are compared as a Cortex-A76 and as
a Cortex-A72 with the definition (backend "reference") on this machine. Counts and models: no board was used, and nothing
here is a time. Writes results/arm.json.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from store import Store

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "benchmarks" / "arm"
# Square images, channels, filters, kernel.
SHAPES = ((20, 64, 64, 3), (40, 32, 32, 3), (20, 128, 128, 1), (80, 16, 16, 3))
# XNNPACK of the executorch 1.5.1 wheel, counted in the same way on the same shapes.
PEER = (0.0870, 0.0951, 0.0981, 0.1163)
# Multiply-accumulates of convolutions and products, and the fewest executed instructions for each among ONNX Runtime
# 1.31.1, ncnn 1.0.20261020 (int8, fp16) on the same network, counted in the same way.
NETS: dict[str, tuple[int, float, str]] = {
    "cifar10_resnet20": (40551040, 0.126, "ncnn fp16"),
    "squeezenet1.1-7": (349151936, 0.118, "ncnn int8"),
    "mobilenet_v1_0.75": (325400448, 0.157, "ONNX Runtime int8"),
    "efficientnet_lite0": (385187552, 0.175, "ncnn fp16"),
    "yolox_nano": (522553408, 0.236, "ncnn fp16"),
    "yolov8n_random": (4371993600, 0.103, "ncnn fp16"),
}
# Counted too, and compared with milliseconds that others publish of a Raspberry Pi 5 in INT8 (threads not shown; one core
# could not be as fast): Arm's model cards and course for ExecuTorch with XNNPACK, read in 2026.
MORE_NETS = {"resnet50": 4089184256, "mobilenet_v2": 300774272}
PUBLISHED = {"resnet50": 20.64, "mobilenet_v2": 3.98, "squeezenet1.1-7": 2.307}
# Of the Raspberry Pi 5: what no run can be faster than.
CLOCK, CORES, MEMORY, CACHES = (
    2.4e9,
    4,
    17.1e9,
    4 << 20,
)  # Hz, LPDDR4X-4267 of 32 bits in bytes a second, L3 and L2s
LIMIT = 400  # seconds of one run under QEMU


def run(*command: str | Path, **environment: str) -> str:
    """What it prints; RuntimeError with what it said where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=os.environ | environment,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} … failed: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout


def plugin_in(folder: Path) -> Path:
    plugin = folder / "icount.so"
    run("gcc", "-O2", "-shared", "-fPIC", HERE / "icount.c", "-o", plugin)
    return plugin


def build(folder: Path) -> Path:
    """The program."""
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cpp' / 'cmake' / 'toolchain-aarch64.cmake'}"
    options = ["-DCMAKE_BUILD_TYPE=Release", toolchain]
    if shutil.which("ccache"):
        options.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
    made = folder / "build"
    subprocess.run(
        ["cmake", "-S", HERE, "-B", made, "-G", "Ninja", *options], check=True, capture_output=True
    )
    subprocess.run(["cmake", "--build", made, "--target", "count_arm"], check=True, capture_output=True)
    return made / "count_arm"


def counts(program: Path, plugin: Path, folder: Path, *arguments: str | Path) -> dict[str, int]:
    """By class, of the second of the marked runs."""
    out = folder / "counts"
    run("qemu-aarch64", "-cpu", "cortex-a76", "-plugin", plugin, program, *arguments, ICOUNT_OUT=str(out))
    names, *lines = out.read_text().splitlines()
    return dict(zip(names.split(), map(int, lines[2].split()), strict=True))


def figures(found: dict[str, int], macs: int) -> dict[str, float]:
    """Per multiply-accumulate, and how many a cycle could make: 2 vector units, 4 instructions in all, no cache misses."""
    simd = found["dot"] + found["simd"]
    return {
        "instructions": round(found["total"] / macs, 4),
        "dot": round(found["dot"] / macs, 4),
        "bound": round(macs * min(2 / simd, 4 / found["total"]), 1),
    }


def least_time(found: dict[str, int], moved: int) -> dict[str, float]:
    """Milliseconds that one core and four need at least: two vector units, two for loads and stores, four instructions a
    cycle, work divided without loss; memory moves, once, what does not fit the caches."""
    access = found["loads"] + found["stores"]
    cycles = max((found["dot"] + found["simd"]) / 2, access / 2, found["total"] / 4)
    memory = max(0, moved - CACHES) / MEMORY
    return {
        "one_core_ms": round(1e3 * max(cycles / CLOCK, memory), 2),
        "four_cores_ms": round(1e3 * max(cycles / CLOCK / CORES, memory), 2),
        "memory_ms": round(1e3 * memory, 2),
    }


def shapes(program: Path, plugin: Path, folder: Path) -> list[dict[str, Any]]:
    rows = []
    for shape, peer in zip(SHAPES, PEER, strict=True):
        size, channels, filters, kernel = shape
        macs = size * size * channels * filters * kernel * kernel
        arguments = ("shape", *map(str, shape))
        run("qemu-aarch64", "-cpu", "cortex-a72", program, *arguments)  # fails where integers differ
        rows.append(
            {"shape": shape, **figures(counts(program, plugin, folder, *arguments), macs), "xnnpack": peer}
        )
        print(rows[-1], flush=True)
    return rows


def network(program: Path, plugin: Path, folder: Path, path: Path) -> dict[str, Any]:
    net = path.name.removesuffix(".s8.onnx")
    macs, peer, name = NETS[net] if net in NETS else (MORE_NETS[net], None, None)
    session = rdq.Session(path, backend="reference")
    (shape,) = (tuple(value.shape) for value in session.inputs[:1])
    x = (
        np.random.default_rng(0)
        .normal(size=[d if isinstance(d, int) else 1 for d in shape])
        .astype(np.float32)
    )
    source, result = folder / "input", folder / "output"
    source.write_bytes(x.tobytes())
    outputs = session.run({session.inputs[0].name: x})
    expected = np.concatenate([np.ravel(y).astype(float) for y in outputs.values()])
    different = {}
    found = counts(program, plugin, folder, "network", path, source, result)
    row: dict[str, Any] = figures(found, macs)
    row["least"] = least_time(found, path.stat().st_size + x.nbytes + expected.size * 4)
    row["published_ms"] = PUBLISHED.get(net)
    different["cortex-a76"] = int((np.fromfile(result) != expected).sum())
    run("qemu-aarch64", "-cpu", "cortex-a72", program, "network", path, source, result)
    different["cortex-a72"] = int((np.fromfile(result) != expected).sum())
    return {
        "macs": macs,
        **row,
        "peer": peer,
        "peer_name": name,
        "values": expected.size,
        "different": different,
    }


def loops(program: Path) -> list[dict[str, Any]]:
    """Modelled cycles of the inner loops of dot products (LLVM's neoverse-n1; L1 hits, every branch foreseen)."""
    listing = run("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", program)
    code = [(int(m[1], 16), m[2]) for m in re.finditer(r"^ +([0-9a-f]+):\t(.*)$", listing, re.MULTILINE)]
    place = {at: i for i, (at, _) in enumerate(code)}
    found: dict[str, dict[str, Any]] = {}
    for i, (at, text) in enumerate(code):
        jump = re.match(r"b\.\w+\s+([0-9a-f]+)", text)
        first = place.get(int(jump[1], 16), i) if jump else i
        body = [re.sub(r"\s*(//|<).*", "", line) for _, line in code[first:i]]
        dots = sum(line.startswith("sdot") for line in body)
        if dots < 32 or i - first > 400 or any(line.startswith(("b", "cb", "tb", "ret")) for line in body):
            continue
        source = ".arch armv8.2-a+dotprod\nloop:\n" + "\n".join(body) + "\nb.ge loop\n"
        found.setdefault(source, {"at": hex(at), "dots": dots, "instructions": len(body) + 1})
    for source, row in found.items():
        model = subprocess.run(
            ["llvm-mca", "-mtriple=aarch64", "-mcpu=neoverse-n1", "-iterations=200"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        cycles = re.search(r"Total Cycles: +(\d+)", model)
        if cycles is None:
            raise RuntimeError(f"llvm-mca said {model[:200]}")
        row["macs_per_cycle"] = round(200 * 16 * row["dots"] / int(cycles[1]), 2)
        del row["at"]
        print(row, flush=True)
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--files", type=Path, help="where NAME.s8.onnx are")
    names = [*NETS, *MORE_NETS]
    parser.add_argument("--nets", nargs="*", default=names, choices=names, help="of these")
    parser.add_argument("--program", type=Path, help="count_arm, built before")
    arguments = parser.parse_args()
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} not found: apt install crossbuild-essential-arm64 qemu-user")
    store = Store("arm")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, plugin = arguments.program or build(folder), plugin_in(folder)
        result: dict[str, Any] = {"shapes": shapes(program, plugin, folder)}
        if shutil.which("llvm-mca"):
            result["loops"] = loops(program)
        if arguments.files:
            result["nets"] = store.part("counts").get("nets", {})
            for net in arguments.nets:
                result["nets"][net] = network(program, plugin, folder, arguments.files / f"{net}.s8.onnx")
                print(net, result["nets"][net], flush=True)
                store.put("counts", result)
        store.put("counts", result)


if __name__ == "__main__":
    main()
