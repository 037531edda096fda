"""Trellis-coded quantization: gap to the rate–distortion function, size at equal error and speed beside NNCodec.

python benchmarks/bench_trellis.py --models ../shared/data/models

The gap: a Laplacian source of a million samples, real bytes of the fast profile, against Shannon's lower bound, below which
no code goes (the rate–distortion function is within 0.002 dB of it from 2 bits up).
Equal error: weights with two and more dimensions. NNCodec as it comes (dependent quantization, λ = 0, parameters optimised,
row skipping), all its bytes; ours the tensors' sections, with the step at which the mean squared error of all weights is no
larger than NNCodec's. Both are decoded before anything is counted. NNCodec is taken from where Python finds it (pip install
--no-deps nncodec); the parts of it that need PyTorch are left out.
Speed (--parts speed, after the sizes are known): CPU times of one thread, the least of several runs, from float32 weights to
bytes, at the steps of equal error; 8 states, fast profile, against NNCodec's default.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.util
import json
import math
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from machine import describe
from rdquant.codec import Optimised, decode_levels, optimise
from rdquant.codec.rdo import DEFAULT_RDO
from rdquant.codec.sections import Tensor, pack_quantized

RESULTS = Path(__file__).parent / "results" / "trellis.json"
NETS = ["squeezenet1.1-7", "mobilenet_v1_0.75", "efficientnet_lite0", "cifar10_resnet32", "yolox_nano"]
KERNELS = {"squeezenet1.1-7": "3×3", "cifar10_resnet32": "3×3"}  # the others' weights are mostly 1×1
FLOAT = 1  # ONNX's TensorProto.FLOAT
Weights = dict[str, np.ndarray]


def cpu(call: Callable[[], Any], repeats: int) -> float:
    """Least CPU time of a call, seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


class _Absent:
    """Finds empty modules in the place of NNCodec's framework, which needs PyTorch."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.startswith("nncodec.framework"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__dict__["__getattr__"] = lambda name: _nothing(spec.name, name)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def _nothing(module: str, name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(f"{module} has no {name}")
    return type(name, (), {})


def nncodec() -> Any:
    """NNCodec's compress and decompress; None where it is not installed."""
    spec = importlib.util.find_spec("nncodec")
    if spec is None or spec.origin is None:
        return None
    package = types.ModuleType("nncodec")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules["nncodec"] = package
    sys.meta_path.insert(0, _Absent())
    return importlib.import_module("nncodec.nnc")


def laplacian_bound(bits: float, scale: float) -> float:
    """Shannon's lower bound of the mean squared error of a Laplacian source, density exp(−|x|/scale)/(2·scale)."""
    entropy = math.log2(2 * math.e * scale)
    return 2 ** (2 * (entropy - bits)) / (2 * math.pi * math.e)


def gap(states: int, bits: float, samples: int) -> dict[str, Any]:
    """Gap of real bytes to the bound, dB, at the step whose rate is `bits`."""
    x = np.random.default_rng(0).laplace(size=(samples // 1000, 1000)).astype(np.float32)
    log_step = 2.2 - bits
    for _ in range(4):
        found = optimise(x, 2**log_step, trellis=states)
        real = 8 * len(found.encode()) / x.size
        log_step += real - bits
    coded = found.encode()
    if not np.array_equal(decode_levels(coded), found.levels):
        raise SystemExit(f"{states} states: the levels do not come back")
    mse = float(np.square(x.astype(np.float64) - found.dequantize()).mean())
    row = {"states": states, "bits": real, "mse": mse}
    row["gap_db"] = 10 * math.log10(mse / laplacian_bound(real, float(np.abs(x).mean())))
    print(json.dumps(row), flush=True)
    return row


def quantized(weights: Weights, step: float, states: int) -> dict[str, Optimised]:
    return {name: optimise(w, step, DEFAULT_RDO, states) for name, w in weights.items()}


def sections(found: dict[str, Optimised], profile: str) -> dict[str, bytes]:
    """Sections of all weights, as they stand in a file."""
    return {
        name: pack_quantized(o.levels, FLOAT, o.quantizer, profile, 1, o.trellis) for name, o in found.items()
    }


def mse_of(weights: Weights, restored: Weights) -> float:
    error = sum(float(np.square(w.astype(np.float64) - restored[n]).sum()) for n, w in weights.items())
    return error / sum(w.size for w in weights.values())


def at_error(weights: Weights, mse: float, states: int) -> tuple[float, dict[str, Optimised]]:
    """Step, and what it gives, with which the error is within 0.01 dB below `mse`."""
    log_step = 0.5 * math.log2(14 * mse)
    low, high = -math.inf, math.inf
    for _ in range(12):
        found = quantized(weights, 2**log_step, states)
        over = 0.5 * math.log2(mse_of(weights, {n: o.dequantize() for n, o in found.items()}) / mse)
        if -0.0017 <= over <= 0:
            break
        if over > 0:
            high = min(high, log_step)
        else:
            low = max(low, log_step)
        log_step -= over + 0.0008
        if not low < log_step < high:
            log_step = (low + high) / 2
    return 2**log_step, found


def bits_of(weights: Weights, found: dict[str, Optimised], profile: str, mse: float) -> float:
    """Bits per weight; stops where the sections do not decode to an error of at most `mse`."""
    coded = sections(found, profile)
    restored = {n: Tensor(data, n).values() for n, data in coded.items()}
    if mse_of(weights, restored) > mse:
        raise SystemExit(f"error {mse_of(weights, restored):.4g} after decoding, {mse:.4g} wanted")
    return 8 * sum(map(len, coded.values())) / sum(w.size for w in weights.values())


def nncodec_at(coder: Any, weights: Weights, qp: int) -> tuple[float, float]:
    """Bits per weight and mean squared error of NNCodec's default."""
    stream = coder.compress(
        weights, qp=qp, row_skipping=True, return_bitstream=True, bitstream_path=os.devnull
    )
    restored = coder.decompress(stream)
    return 8 * len(stream) / sum(w.size for w in weights.values()), mse_of(weights, restored)


def near_rate(coder: Any, weights: Weights, bits: float) -> tuple[int, float, float]:
    """NNCodec's QP whose rate is nearest to `bits`, with bits and error there."""
    found: dict[int, tuple[float, float]] = {}
    qp = -26
    while qp not in found:
        found[qp] = nncodec_at(coder, weights, qp)
        # One QP is a step of 2^(1/4).
        qp -= round(4 * (bits - found[qp][0]) / 1.1)
    best = min(found, key=lambda q: abs(found[q][0] - bits))
    return best, *found[best]


def equal_error(coder: Any, name: str, weights: Weights, bits: float) -> dict[str, Any]:
    qp, theirs, mse = near_rate(coder, weights, bits)
    count = sum(w.size for w in weights.values())
    row: dict[str, Any] = {
        "net": name,
        "kernels": KERNELS.get(name, "1×1"),
        "weights": count,
        "qp": qp,
        "nncodec": theirs,
        "mse": mse,
    }
    for states in (0, 8, 32):
        step, found = at_error(weights, mse, states)
        row |= {f"{states} {p}": bits_of(weights, found, p, mse) for p in ("fast", "max")}
        if states == 8:
            row["step"] = step
    row["saving"] = 1 - row["32 max"] / theirs
    print(json.dumps(row), flush=True)
    return row


def speed(coder: Any, row: dict[str, Any], weights: Weights, repeats: int) -> dict[str, Any]:
    """Encoding at equal error, million weights a second."""
    mine = cpu(lambda: sections(quantized(weights, row["step"], 8), "fast"), repeats)
    default = cpu(
        lambda: coder.compress(
            weights, qp=row["qp"], row_skipping=True, return_bitstream=True, bitstream_path=os.devnull
        ),
        repeats,
    )
    found = {key: row[key] for key in ("net", "nncodec")}
    found |= {"encode_mws": row["weights"] / mine / 1e6, "nncodec_encode_mws": row["weights"] / default / 1e6}
    found["ratio"] = default / mine
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--nets", nargs="*", default=NETS)
    parser.add_argument("--bits", nargs="*", type=float, default=[3.7, 2.25])
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="*", default=["gaps", "rows", "speed"])
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results["machine"] = describe()
    if "gaps" in options.parts:
        wanted = [(states, bits) for states in (0, 8, 32) for bits in (2.0, 3.0, 4.0)]
        results["gaps"] = [gap(states, bits, options.samples) for states, bits in wanted]
    coder = nncodec()
    for part in ("rows", "speed") if coder is not None else ():
        if part in options.parts:
            kept = [row for row in results.get(part, []) if row["net"] not in options.nets]
            results[part] = kept + list(measure(part, coder, options, results))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def measure(
    part: str, coder: Any, options: argparse.Namespace, results: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of one part for the nets wanted."""
    for name in options.nets:
        weights = {n: w for n, w in rdq.load(options.models / f"{name}.onnx").weights().items() if w.ndim > 1}
        if part == "rows":
            yield from (equal_error(coder, name, weights, bits) for bits in options.bits)
        else:
            of_net = [row for row in results.get("rows", []) if row["net"] == name]
            yield from (speed(coder, row, weights, options.repeats) for row in of_net)


if __name__ == "__main__":
    main()
