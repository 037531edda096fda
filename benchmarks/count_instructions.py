"""Executed instructions of emitted C on each core under QEMU: for each multiply-accumulate and output of the kernels, and for
each level of coded weights.

python benchmarks/count_instructions.py [--write] [-O2]: a table on stdout; --write puts the fitted figures into
python/rdquant/emit/targets.json. Needs arm-none-eabi-gcc, qemu-system-arm, gcc, and ../shared/data/tflite.
"""

from __future__ import annotations

import bisect
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "python" / "rdquant" / "emit" / "targets.json"
MCU = ROOT / "tests" / "mcu"
DATA = ROOT.parent / "shared" / "data" / "tflite"
NAMES = ("kws_ref_model", "ad01_int8", "pretrainedResnet_quant", "vww_96_int8")
ALIKE = {"rdq_conv": ("rdq_conv_pair", "rdq_coded_conv"), "rdq_dense": ("rdq_coded_dense",)}
FILES = {"rdq_conv": "rdq_conv.c", "rdq_depthwise": "rdq_depthwise.c", "rdq_dense": "rdq_dense.c"}
SECTION = re.compile(r"^ \.text\S*\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE)


def networks(folder: Path) -> dict[str, Path]:
    """Name → model file."""
    import rdquant as rdq
    from rdquant.demo import digits_model
    from tflite_models import converted

    found = {"digits": folder / "digits.onnx"}
    rdq.quantize_static(digits_model(), "digits", images=64).save(found["digits"])
    for name in NAMES:
        found[name] = folder / f"{name}.onnx"
        found[name].write_bytes(converted(DATA / f"{name}.tflite").SerializeToString())
    return found


def owners(listing: str, sources: list[str]) -> list[tuple[int, str]]:
    """Where the code of each source begins, from the linker's map; "library" for what is none of ours."""
    loaded = [
        name
        for name in re.findall(r"^LOAD (\S+\.o)$", listing, re.MULTILINE)
        if name.startswith(tempfile.gettempdir())
    ]
    names = dict(zip(dict.fromkeys(loaded), ["start.c", "main.c", *sources], strict=False))
    text = re.sub(
        r"^( \.\S+)\n\s+", r"\1 ", listing.partition("Linker script and memory map")[2], flags=re.MULTILINE
    )
    return sorted(
        (int(at, 16), names.get(owner, "library"))
        for at, size, owner in SECTION.findall(text)
        if int(size, 16)
    )


def executed(folder: Path, target: str, optimize: str, plugin: Path) -> dict[str, int]:
    """Source → instructions of one run."""
    from test_emit_cores import MACHINES

    # QEMU's M0 has too little memory; its code runs on an M3, too, instruction for instruction.
    machine, symbols = MACHINES["m3" if target == "m0" else target]
    link = " ".join(
        ["-nostartfiles", "--specs=nosys.specs", "-Wl,-Map=map", *(f"-Wl,--defsym={s}" for s in symbols)]
    )
    make = ["make", "-B", "-C", str(folder), "firmware.elf", f"TARGET={target}", f"OPTIMIZE={optimize}"]
    values = [f"START={MCU / 'start.c'}", f"SCRIPT={MCU / 'core.ld'}", f"LINK_FLAGS={link}"]
    subprocess.run([*make, *values], check=True, capture_output=True)
    command = [
        "qemu-system-arm",
        "-M",
        machine,
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-plugin",
        str(plugin),
    ]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(folder / "firmware.elf")]
    counts = folder / "counts"
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "ICOUNT_OUT": str(counts)}, timeout=500
    )
    sources = re.findall(r"^SOURCES = (.*)$", (folder / "Makefile").read_text(), re.MULTILINE)[0].split()
    begins = owners((folder / "map").read_text(), sources)
    found: dict[str, int] = {}
    for line in counts.read_text().splitlines():
        address, instructions, runs = line.split()
        owner = begins[bisect.bisect_right(begins, (int(address, 16), "~")) - 1][1]
        found[owner] = found.get(owner, 0) + int(instructions) * int(runs)
    return found


def fitted(runs: list[tuple[dict[str, int], list[dict[str, Any]]]], kernel: str) -> tuple[float, float]:
    """Instructions for each multiply-accumulate and output, by least relative squares; outputs share the library's."""
    from scipy.optimize import nnls

    def sums(layers: list[dict[str, Any]], kernels: tuple[str, ...]) -> tuple[int, int]:
        rows = [layer for layer in layers if layer["kernel"].removesuffix("_pair") in kernels]
        return sum(r["macs"] for r in rows), sum(r["outputs"] for r in rows)

    rows, wanted = [], []
    for found, layers in runs:
        macs, outputs = sums(layers, (kernel,))
        if macs:
            rows.append((macs, outputs))
            wanted.append(
                found[FILES[kernel]] + found.get("library", 0) * outputs / sums(layers, tuple(FILES))[1]
            )
    scaled = np.array(rows) / np.array(wanted)[:, None]
    per_mac, per_output = nnls(scaled, np.ones(len(wanted)))[0]
    return round(float(per_mac), 2), round(float(per_output), 2)


def network_sum(found: dict[str, int]) -> int:
    """Instructions of the network alone."""
    return sum(n for source, n in found.items() if source not in ("start.c", "main.c"))


def main() -> int:
    sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests")]
    from rdquant.emit import TARGETS, emit_c

    optimize = "-O2" if "-O2" in sys.argv else "-Os"
    table = json.loads(TABLE.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "icount.so"
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", str(MCU / "icount.c"), "-o", str(plugin)], check=True
        )
        models = networks(folder)
        for target in TARGETS:
            runs, more, decoded = [], 0, 0
            for network, path in models.items():
                firmware = emit_c(path, folder / network)
                found = executed(firmware.path, target, optimize, plugin)
                runs.append((found, firmware.layers))
                total = network_sum(found)
                print(
                    f"{target} {network} {optimize}: {total / firmware.macs:.3f} instructions for each multiply-accumulate"
                )
                coded = emit_c(path, folder / network, compressed_weights=True)
                levels = sum(layer["decoded"] for layer in coded.layers)
                if levels:
                    count = network_sum(executed(coded.path, target, optimize, plugin))
                    print(
                        f"{target} {network} {optimize}: {(count - total) / levels:.1f} more for each coded level"
                    )
                    more, decoded = more + count - total, decoded + levels
            if decoded:
                table["targets"][target]["per_level"] = round(more / decoded, 1)
            for kernel in FILES:
                pair = fitted(runs, kernel)
                print(f"{target} {kernel}: {pair[0]} for each multiply-accumulate, {pair[1]} for each output")
                for name in (kernel, *ALIKE.get(kernel, ())):
                    (
                        table["targets"][target]["per_mac"][name],
                        table["targets"][target]["per_output"][name],
                    ) = pair
    if "--write" in sys.argv:
        TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
