"""Peak memory to load, fit and quantize a model of 550 MB.

python benchmarks/bench_memory.py

Writes a model of VGG-19's shapes with seeded random weights (143.7 M, float32) to a temporary folder. Each
row is a fresh process that loads it and goes further step by step: its peak resident memory (ru_maxrss) over
the size of the file. The biases are checked against the generator before anything is reported.
Bar 2.2, aim 1.3.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

RESULTS = Path(__file__).parent / "results" / "memory.json"
CONVOLUTIONS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0]
DENSE = [(512 * 49, 4096), (4096, 4096), (4096, 1000)]
STEPS = (
    "import",
    "load",
    "load, quantize by slices",
    "load, fit, quantize by slices",
    "load, fit, quantize by tensors",
)
SLICE = 1 << 20  # values


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of VGG-19's weights and biases (configuration E of arXiv:1409.1556)."""
    channels = 3
    for i, width in enumerate(CONVOLUTIONS):
        if width:
            yield from ((f"conv{i}.weight", (width, channels, 3, 3)), (f"conv{i}.bias", (width,)))
            channels = width
    for i, (inner, outer) in enumerate(DENSE):
        yield from ((f"fc{i}.weight", (outer, inner)), (f"fc{i}.bias", (outer,)))


def values(index: int, shape: tuple[int, ...]) -> np.ndarray:
    """Seeded Gaussian weights of He's standard deviation."""
    spread = math.sqrt(2 / max(1, math.prod(shape[1:])))
    return np.random.default_rng(index).standard_normal(shape, np.float32) * np.float32(spread)


def nodes() -> Iterator[onnx.NodeProto]:
    value = "data"
    for i, width in enumerate(CONVOLUTIONS):
        if width:
            names = [value, f"conv{i}.weight", f"conv{i}.bias"]
            yield helper.make_node("Conv", names, [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1])
            yield helper.make_node("Relu", [f"c{i}"], [f"r{i}"])
            value = f"r{i}"
        else:
            yield helper.make_node("MaxPool", [value], [f"p{i}"], kernel_shape=[2, 2], strides=[2, 2])
            value = f"p{i}"
    yield helper.make_node("Flatten", [value], ["flat"])
    value = "flat"
    for i in range(len(DENSE)):
        last = i == len(DENSE) - 1
        names = [value, f"fc{i}.weight", f"fc{i}.bias"]
        yield helper.make_node("Gemm", names, ["prob" if last else f"g{i}"], f"fc{i}", transB=1)
        if not last:
            yield helper.make_node("Relu", [f"g{i}"], [f"h{i}"])
            value = f"h{i}"


def write_model(path: Path) -> None:
    """VGG-19's graph with random weights, inline."""
    tensors = []
    for i, (name, shape) in enumerate(shapes()):
        data = values(i, shape).tobytes()
        tensors.append(TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, raw_data=data))
    graph = helper.make_graph(
        list(nodes()),
        "vgg19",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, ["N", 1000])],
    )
    graph.initializer.extend(tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def step(name: str, path: Path) -> None:
    """One row: do what `name` says and print the figures as JSON."""
    import rdquant as rdq

    start, checks = time.perf_counter(), {}
    if name != "import":
        model = rdq.load(path)
        weights = model.weights()
        assert [(n, w.shape) for n, w in weights.items()] == list(shapes())
        checks["loaded_mean"] = [float(w.mean(dtype=np.float64)) for w in weights.values()]
    if "fit" in name:
        checks["best"] = str(rdq.fit(weights).to_pandas()["family"].iloc[0])
    if "quantize" in name:
        quantizer = rdq.Midtread.from_levels(bits=8, range=1.0)
        largest = 0
        for weight in weights.values():
            flat = weight.reshape(-1)
            size = SLICE if "slices" in name else flat.size
            out = np.empty(min(size, flat.size), np.int32)
            for begin in range(0, flat.size, size):
                part = flat[begin : begin + size]
                levels = quantizer.quantize(part, out=out[: part.size])
                largest = max(largest, int(np.abs(levels).max() if "slices" in name else levels.max()))
        checks["largest_level"] = largest
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"step": name, "peak_bytes": peak, "seconds": seconds, "checks": checks}))


def measure() -> None:
    """All rows, printed and kept in RESULTS."""
    from machine import describe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vgg19.onnx"
        # In processes of their own: a child's ru_maxrss starts from what its parent holds.
        subprocess.run([sys.executable, __file__, "--write", "--model", str(path)], check=True)
        size, rows = path.stat().st_size, []
        expected = [
            float(values(i, s).mean(dtype=np.float64)) for i, (_, s) in enumerate(shapes()) if len(s) == 1
        ]
        for name in STEPS:
            command = [sys.executable, __file__, "--step", name, "--model", str(path)]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if name != "import":
                assert np.allclose(row.pop("checks")["loaded_mean"][1::2], expected, rtol=0, atol=1e-12)
            row["ratio"] = row["peak_bytes"] / size
            rows.append(row)
            figures = (
                f"{row['peak_bytes'] / 1e6:8.0f} MB, {row['ratio']:.2f} × the file, {row['seconds']:.0f} s"
            )
            print(f"{name:32} {figures}")
    RESULTS.write_text(json.dumps({"machine": describe(), "file_bytes": size, "rows": rows}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--step", choices=STEPS, help="do one step on --model and print its figures")
    parser.add_argument("--model", type=Path, help="the file that the script has written before")
    parser.add_argument("--write", action="store_true", help="write --model and stop")
    options = parser.parse_args()
    if options.write:
        write_model(options.model)
    elif options.step:
        step(options.step, options.model)
    else:
        measure()


if __name__ == "__main__":
    main()
