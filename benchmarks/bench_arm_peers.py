"""ONNX Runtime's and ncnn's wheels for 64-bit ARM beside ours, under one emulator: answers, instructions, memory.

    python benchmarks/bench_arm_peers.py FILES ROOT OURS ONNXRUNTIME [--ncnn SITE] [--nets NAME …]

FILES: NAME.s8.onnx; for ncnn NAME.ncnn.param, NAME.int8.param and their .bin. ROOT: by tools/wheels/arm64_root.sh.
OURS, ONNXRUNTIME, SITE: folders with NumPy and the wheel of aarch64 (pip install --target, as in tools/wheels/try.sh).
Needs qemu-user. One thread, as a Cortex-A76. No board was used, and nothing here is a time. Writes results/arm_peers.json.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort

from bench_arm import LIMIT, NETS, figures, plugin_in
from store import Store

GUEST = Path(__file__).resolve().parent / "arm" / "guest.py"
GUEST_END = 1 << 44  # QEMU's own memory lies above, but for its heap
MEMORY = "yolov8n_random"


class Place(NamedTuple):
    root: Path
    sites: dict[str, Path]
    folder: Path

    def command(self, engine: str, *arguments: str | int | Path, plugin: Path | None = None) -> list[str]:
        counting = ["-plugin", str(plugin)] if plugin else []
        python = self.root / "usr" / "bin" / "python3.11"
        emulator = ["qemu-aarch64", "-cpu", "cortex-a76", *counting, "-L", str(self.root), str(python)]
        return [*emulator, str(GUEST), engine, *map(str, arguments)]

    def environment(self, engine: str) -> dict[str, str]:
        site = self.sites.get(engine, next(iter(self.sites.values())))
        counts = str(self.folder / "counts")
        return os.environ | {"PYTHONPATH": str(site), "OPENBLAS_NUM_THREADS": "1", "ICOUNT_OUT": counts}

    def run(self, engine: str, *arguments: str | int | Path, plugin: Path | None = None) -> None:
        done = subprocess.run(
            self.command(engine, *arguments, plugin=plugin),
            env=self.environment(engine),
            timeout=LIMIT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{engine} failed: {done.stderr[-800:]}")


def image_of(path: Path) -> dict[str, Any]:
    value = ort.InferenceSession(path).get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in value.shape]
    return {value.name: np.random.default_rng(0).normal(size=shape).astype(np.float32)}


def with_levels(path: Path, cut: bool) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The network with all levels of activations as outputs, and what computes each. `cut`: each reader takes them from
    an input NAME_in instead, so that every step starts from the same levels."""
    model = onnx.load(path)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    made = {name: node.op_type for node in graph.node for name in node.output}
    makers = {
        node.output[0]: made.get(node.input[0], "input")
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    }
    for node in graph.node if cut else ():
        node.input[:] = [name + "_in" if name in makers else name for name in node.input]
    for name in makers:
        graph.output.append(known[name])
        if cut:
            graph.input.append(known[name])
            graph.input[-1].name = name + "_in"
    return model, makers


def levels_of(model: onnx.ModelProto, inputs: dict[str, Any]) -> dict[str, Any]:
    session = ort.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def answers(place: Place, path: Path) -> dict[str, Any]:
    """Outputs of the whole network, and levels where each step starts from the same: how many differ, and by how much."""
    image = image_of(path)
    whole, _ = with_levels(path, cut=False)
    given = levels_of(whole, image)
    model, makers = with_levels(path, cut=True)
    steps = place.folder / "steps.onnx"
    onnx.save(model, steps)
    np.savez(place.folder / "image.npz", **image)
    np.savez(place.folder / "levels.npz", **image, **{name + "_in": given[name] for name in makers})
    found: dict[tuple[str, bool], Any] = {}
    for engine in ("rdquant", "onnxruntime"):
        for inputs, network in (("image", path), ("levels", steps)):
            out = place.folder / f"{engine}.npz"
            place.run(engine, network, place.folder / f"{inputs}.npz", 0, out)
            found[engine, inputs == "levels"] = dict(np.load(out))
    steps_of: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    for name, maker in makers.items():
        ours, theirs = (found[engine, True][name].astype(int) for engine in ("rdquant", "onnxruntime"))
        row = steps_of[maker]
        row[0] += int((ours != theirs).sum())
        row[1] += ours.size
        row[2] = max(row[2], int(abs(ours - theirs).max()))
    pairs = [(y, found["onnxruntime", False][name]) for name, y in found["rdquant", False].items()]
    return {
        "values": sum(y.size for y, _ in pairs),
        "different": sum(int((y != z).sum()) for y, z in pairs),
        "apart": max(float(np.abs(y - z).max()) for y, z in pairs),
        "largest": max(float(np.abs(z).max()) for _, z in pairs),
        "steps": {maker: row for maker, row in steps_of.items() if row[0]},
        "levels": sum(row[1] for row in steps_of.values()),
        "levels_different": sum(row[0] for row in steps_of.values()),
        "onnxruntime_as_on_x86": all(
            np.array_equal(found["onnxruntime", False][name], given[name])
            for name in found["onnxruntime", False]
        ),
    }


def counted(place: Place, engine: str, model: Path, plugin: Path, macs: int) -> dict[str, float]:
    place.run(engine, model, place.folder / "image.npz", 3, plugin=plugin)
    names, *lines = (place.folder / "counts").read_text().splitlines()
    return figures(dict(zip(names.split(), map(int, lines[2].split()), strict=True)), macs)


def guest_bytes(process: int) -> int:
    """Resident memory of what QEMU runs."""
    total, inside = 0, False
    try:
        for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
            place = re.match(r"[0-9a-f]+-([0-9a-f]+) ", line)
            if place:
                inside = int(place[1], 16) < GUEST_END
            elif inside and line.startswith("Rss:"):
                total += int(line.split()[1]) << 10
    except OSError:  # it has ended
        return 0
    return total


def peak(place: Place, engine: str, model: Path) -> int:
    """Of the process from its start to the end of the fifth run, looked at every few milliseconds."""
    ((name, image),) = image_of(model).items()
    source = place.folder / f"{name}.npy"
    np.save(source, image)
    command = place.command(engine, model, source, 3)
    process = subprocess.Popen(command, env=place.environment(engine))
    most, end = 0, time.monotonic() + LIMIT
    while process.poll() is None:
        most = max(most, guest_bytes(process.pid))
        if time.monotonic() > end:
            process.kill()
        time.sleep(0.004)
    if process.returncode:
        raise RuntimeError(f"{engine} failed with status {process.returncode}")
    return most


def network(place: Place, files: Path, net: str, plugin: Path) -> dict[str, Any]:
    path = files / f"{net}.s8.onnx"
    macs = NETS[net][0]
    row: dict[str, Any] = {"macs": macs, "answers": answers(place, path), "counts": {}}
    for engine in ("rdquant", "onnxruntime"):
        row["counts"][engine] = counted(place, engine, path, plugin, macs)
    for kind in ("ncnn", "int8"):  # its floats are of 16 bits by itself
        model = files / f"{net}.{kind}.param"
        if "ncnn" in place.sites and model.exists():
            name = {"ncnn": "ncnn fp16", "int8": "ncnn int8"}[kind]
            row["counts"][name] = counted(place, "ncnn", model, plugin, macs)
    if net == MEMORY:
        row["peak"] = {engine: peak(place, engine, path) for engine in ("nothing", "onnxruntime", "rdquant")}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("files", "root", "ours", "onnxruntime"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--ncnn", type=Path, help="where ncnn's wheel is")
    parser.add_argument("--nets", nargs="*", default=list(NETS), choices=list(NETS), help="of these")
    arguments = parser.parse_args()
    sites = {"rdquant": arguments.ours.resolve(), "onnxruntime": arguments.onnxruntime.resolve()}
    if arguments.ncnn:
        sites["ncnn"] = arguments.ncnn.resolve()
    store = Store("arm_peers")
    ort.set_default_logger_severity(3)
    with tempfile.TemporaryDirectory() as name:
        place = Place(arguments.root.resolve(), sites, Path(name))
        plugin = plugin_in(place.folder)
        result = store.part("nets")
        for net in arguments.nets:
            result[net] = network(place, arguments.files, net, plugin)
            print(net, result[net], flush=True)
            store.put("nets", result)


if __name__ == "__main__":
    main()
