"""Quantize and entropy against memcpy and NumPy, on SqueezeNet's weights and on a large array; one thread.

python benchmarks/bench_quantize.py --models ../shared/data/models

Levels and entropies are compared with the peer's before anything is timed. Times are minima over repeats, in the same run.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import rdquant as rdq
from machine import describe

RESULTS = Path(__file__).parent / "results" / "quantize.json"
LARGE = 50_000_000  # weights, 200 MB
READER = """#include <cstddef>
extern "C" float total(const float* x, std::size_t n) {
  float sums[128] = {};
  for (; n >= 128; n -= 128, x += 128)
    for (int j = 0; j < 128; ++j) sums[j] += x[j];
  float sum = 0;
  for (; n > 0; --n) sum += *x++;
  for (float s : sums) sum += s;
  return sum;
}
"""


def best(call: Callable[[], Any], repeats: int) -> float:
    """Least time of a call, in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def numpy_entropy(levels: np.ndarray) -> float:
    counts = np.unique(levels, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def numpy_levels(x: np.ndarray, step: float, dtype: type) -> np.ndarray:
    return np.round(x / np.float32(step)).astype(dtype, copy=False)


def row(what: str, ours: float, peer: str, theirs: float) -> dict[str, Any]:
    """`ratio` is the peer's time over ours: how many times as fast we are."""
    print(f"{what:58s} {ours:9.3f} ms   {peer:28s} {theirs:9.3f} ms   ratio {theirs / ours:.2f}")
    return {"what": what, "ours_ms": ours, "peer": peer, "peer_ms": theirs, "ratio": theirs / ours}


def quantize_rows(x: np.ndarray, name: str, repeats: int) -> list[dict[str, Any]]:
    """Quantizers that write int32 levels, against memcpy of as many bytes; both into memory used before."""
    out, copy = np.zeros(x.shape, np.int32), np.zeros_like(x)
    quantizers = [
        rdq.Midtread.from_levels(bits=8),
        rdq.Midtread(0.0123),
        rdq.Deadzone.from_levels(bits=8, delta=0.4),
        rdq.MuLaw.from_levels(bits=8),
        rdq.Minifloat(8, 4, 3),
    ]
    rows = []
    for quantizer in quantizers:
        wanted = rdq.quant.Quantizer.quantize(quantizer, x[:1000])
        if not np.array_equal(quantizer.quantize(x, out=out)[:1000], wanted):
            raise SystemExit(f"{quantizer.label}: levels differ")
        label = (
            f"{quantizer.label} step {quantizer.step:.3g}" if hasattr(quantizer, "step") else quantizer.label
        )
        ours = best(lambda q=quantizer: q.quantize(x, out=out), repeats)
        rows.append(row(f"{label}, {name}", ours, "memcpy", best(lambda: np.copyto(copy, x), repeats)))
    return rows


def floor_rows(x: np.ndarray, name: str, ours: float, repeats: int) -> list[dict[str, Any]]:
    """What no entropy can undercut on one thread: reading the weights once. The reader is compiled here, for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "read.cpp"), Path(folder, "read.so")
        source.write_text(READER)
        flags = ["-O3", "-march=native", "-ffast-math", "-mprefer-vector-width=512", "-shared", "-fPIC"]
        subprocess.run([os.environ.get("CXX", "c++"), *flags, source, "-o", library], check=True)
        total = ctypes.CDLL(str(library)).total
    total.restype, total.argtypes = ctypes.c_float, [ctypes.c_void_p, ctypes.c_size_t]
    if abs(total(x.ctypes.data, x.size) - x.sum(dtype=np.float64)) > 1e-3 * np.abs(x).sum(dtype=np.float64):
        raise SystemExit("the reader's sum is wrong")
    copy = np.zeros_like(x)
    what = f"midtread 8 bits + entropy, {name}, 1 thread"
    return [
        row(what, ours, "sum, the least time to read", best(lambda: total(x.ctypes.data, x.size), repeats)),
        row(what, ours, "memcpy", best(lambda: np.copyto(copy, x), repeats)),
    ]


def entropy_rows(x: np.ndarray, name: str, repeats: int) -> list[dict[str, Any]]:
    """Entropy of x, against NumPy's on float32, int32 and int64 levels: np.unique's time depends on the dtype."""
    quantizer = rdq.Midtread.from_levels(bits=8)
    step = float(quantizer.step)
    levels = quantizer.quantize(x)
    differs = np.flatnonzero(levels != numpy_levels(x, step, np.int32))
    if not np.all(
        np.abs(x[differs] / step) % 1 == 0.5
    ):  # NumPy rounds ties to even, the definition towards zero
        raise SystemExit("levels differ from NumPy's other than at ties")
    for n in (1, 2):
        if abs(rdq.rate(x, quantizer, distortion=False, threads=n).entropy - numpy_entropy(levels)) > 1e-9:
            raise SystemExit("the entropy differs from NumPy's")
    ours = {n: best(lambda n=n: rdq.rate(x, quantizer, distortion=False, threads=n), repeats) for n in (1, 2)}
    rows = floor_rows(x, name, ours[1], repeats)
    for dtype in (np.float32, np.int32, np.int64):
        theirs = best(lambda t=dtype: numpy_entropy(numpy_levels(x, step, t)), max(3, repeats // 5))
        rows += [
            row(
                f"midtread 8 bits + entropy, {name}, {n} thread{'s' * (n > 1)}",
                time,
                f"np.round, np.unique of {dtype.__name__}",
                theirs,
            )
            for n, time in ours.items()
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    models = parser.parse_args().models
    weights = rdq.load(models / "squeezenet1.1-7.onnx").weights()
    squeezenet = np.concatenate([w.ravel() for w in weights.values()])
    large = np.random.default_rng(0).laplace(scale=0.05, size=LARGE).astype(np.float32)
    rows = quantize_rows(squeezenet, "SqueezeNet", 50) + quantize_rows(large, "50 million weights", 7)
    rows += entropy_rows(squeezenet, "SqueezeNet", 50)
    RESULTS.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
