"""Code and stack of the C kernels on each core: writes them into python/rdquant/emit/targets.json.

Needs arm-none-eabi-gcc. The instruction counts in the file come from benchmarks/count_instructions.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "python" / "rdquant" / "emit" / "c"
TABLE = ROOT / "python" / "rdquant" / "emit" / "targets.json"
CORES = {
    "m0": ["-mcpu=cortex-m0plus"],
    "m3": ["-mcpu=cortex-m3"],
    "m4": ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
    "m7": ["-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"],
    "m33": ["-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"],
    "m55": ["-mcpu=cortex-m55", "-mfloat-abi=hard"],
}
FLAGS = [
    "-mthumb",
    "-std=c99",
    "-Os",
    "-ffp-contract=off",
    "-ffunction-sections",
    "-fdata-sections",
    "-DRDQ_MOST_TAPS=1",
]
LIBRARY_STACK = 32  # of functions of the compiler's library, which say nothing of theirs
ASSEMBLY = {"rdq_quads": 36, "rdq_fours": 36}  # what naked functions push, which the compiler does not see
SECTION = re.compile(
    r"^ (\.(?:text|rodata|data|bss)\S*)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE
)


def sections(work: Path, core: list[str], kernel: str) -> dict[str, int]:
    """Sections that a program with this kernel alone has: name → bytes."""
    out, listing = work / "one.elf", work / "one.map"
    objects = [str(p) for p in sorted(work.glob("*.o"))]
    link = [
        "-mthumb",
        "-nostartfiles",
        "--specs=nosys.specs",
        "-Wl,--gc-sections",
        f"-Wl,-e,{kernel}",
        f"-Wl,-Map={listing}",
    ]
    subprocess.run(
        ["arm-none-eabi-gcc", *core, *link, *objects, "-o", str(out)], check=True, capture_output=True
    )
    text = listing.read_text().partition("Linker script and memory map")[2]
    text = re.sub(r"^( \.\S+)\n\s+", r"\1 ", text, flags=re.MULTILINE)
    found = {}
    for name, size, owner in SECTION.findall(text):
        if int(size, 16) > 0:
            found[f"{name} {Path(owner).name}"] = (int(size, 16) + 3) // 4 * 4
    return found


def stacks(work: Path) -> dict[str, int]:
    """Function → bytes of stack with all that it calls."""
    own: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for path in work.glob("*.ci"):
        text = path.read_text()
        for title, size in re.findall(r'node: \{ title: "([^"]+)" label: "[^"]*\\n(\d+) bytes', text):
            own[title] = int(size) or ASSEMBLY.get(title.rpartition(":")[2], 0)
        for source, target in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text):
            calls.setdefault(source, set()).add(target)

    def deepest(name: str) -> int:
        below = max((deepest(target) for target in calls.get(name, ())), default=0)
        return own.get(name, LIBRARY_STACK) + below

    return {name: deepest(name) for name in own}


def measure(core: list[str], kernels: dict[str, str], shared: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for file in sorted({shared, *kernels.values()}):
            command = ["arm-none-eabi-gcc", *core, *FLAGS, "-fcallgraph-info=su", "-c", str(KERNELS / file)]
            subprocess.run([*command, "-o", str(work / file.replace(".c", ".o"))], check=True, cwd=work)
        depth = stacks(work)
        sizes: dict[str, int] = {}
        rows = {}
        for kernel in kernels:
            found = sections(work, core, kernel)
            sizes |= found
            rows[kernel] = {"sections": sorted(found), "stack": depth[kernel]}
        return {"kernels": rows, "sections": dict(sorted(sizes.items()))}


def main() -> int:
    sys.path.insert(0, str(ROOT / "python"))
    from rdquant.emit.files import SHARED, SOURCES

    table = json.loads(TABLE.read_text())
    version = subprocess.run(
        ["arm-none-eabi-gcc", "-dumpfullversion"], capture_output=True, text=True, check=True
    )
    table["compiler"] = f"arm-none-eabi-gcc {version.stdout.strip()} {' '.join(FLAGS)}"
    for name, core in CORES.items():
        table["targets"][name] |= measure(core, SOURCES, SHARED)
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
