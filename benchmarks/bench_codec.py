"""Size and speed of lossless coding, against the order-0 entropy, xz and, where they are installed, NNCodec, zstd and brotli.

python benchmarks/bench_codec.py --models ../shared/data/models

The same integers for everybody: one midtread step a model, found so that the mean order-0 entropy is 2, 3, 4, 5 and 6 bits;
weights with two and more dimensions; whole bytes. NNCodec (pip install --no-deps nncodec; its coder alone is used) codes
tensor by tensor. Then float32 weights without loss; files: decoding on one and two threads, and from a file to a session;
int8 levels of QDQ models, by rdquant and by ONNX Runtime. Levels are decoded and compared before anything is timed. Times
are CPU times of one thread (files: wall times, of CompressedFile(path).values(threads) and Session(path)), the least of
several runs, in which those that are compared take turns.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import rdquant as rdq
from machine import describe
from rdquant.codec import decode_floats, decode_levels, encode_floats, encode_levels

RESULTS = Path(__file__).parent / "results" / "codec.json"
NETS = ["squeezenet1.1-7", "mobilenet_v1_0.75", "efficientnet_lite0", "cifar10_resnet32", "yolox_nano"]
Levels = dict[str, np.ndarray]


def in_turn(clock: Callable[[], float], repeats: int, **calls: Callable[[], Any]) -> dict[str, float]:
    """Least time of each call, seconds; they take turns, so that what slows the machine slows them all."""
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(repeats):
        for name, call in calls.items():
            start = clock()
            call()
            least[name] = min(least[name], clock() - start)
    return least


def cpu(call: Callable[[], Any], repeats: int) -> float:
    """Least CPU time of a call, seconds."""
    return in_turn(time.process_time, repeats, call=call)["call"]


def at_rate(weights: dict[str, np.ndarray], bits: float) -> Levels:
    """Levels under the step with which the mean of the tensors' entropies is `bits`."""
    low, high = 1e-5, 1.0
    for _ in range(18):
        step = float(np.sqrt(low * high))
        above = rdq.rate(weights, rdq.Midtread(step), by="tensor").entropy > bits
        low, high = (step, high) if above else (low, step)
    return {name: rdq.Midtread(step).quantize(w) for name, w in weights.items()}


def nncodec() -> Any:
    """NNCodec's arithmetic coder (DeepCABAC) alone, which needs no torch; None where NNCodec is not installed."""
    package = importlib.util.find_spec("nncodec")
    if package is None or package.origin is None:
        return None
    path = next(Path(package.origin).parent.glob("extensions/deepCABAC*.so"))
    spec = importlib.util.spec_from_file_location("deepCABAC", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nncodec_encode(coder: Any, levels: np.ndarray) -> np.ndarray:
    """Profile 0, no dependent quantization, its parameters optimised, as NNCodec codes given integers."""
    encoder = coder.Encoder()
    encoder.initCtxModels(10, 1)
    rows = np.zeros(levels.shape[0], np.int32)
    encoder.encodeLayer(levels, 0, 0, 0, 0, 0, rows, coder.HdspMode.AlwaysOff, np.zeros(0, np.int8), 0, 0)
    return encoder.finish()


def nncodec_decode(coder: Any, stream: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    decoder = coder.Decoder()
    decoder.setStream(stream)
    decoder.initCtxModels(10)
    levels = np.zeros(shape, np.int32)
    decoder.decodeLayer(levels, 0, 0, 0, 0, coder.HdspMode.AlwaysOff, np.zeros(0, np.int8), 0, 0)
    return levels


def peers() -> dict[str, Callable[[bytes], bytes]]:
    """General compressors, of the bytes of int8 or int16 levels."""
    found: dict[str, Callable[[bytes], bytes]] = {
        "xz -9e": lambda b: lzma.compress(b, preset=9 | lzma.PRESET_EXTREME)
    }
    try:
        zstandard = importlib.import_module("zstandard")
        found["zstd -22"] = lambda b: zstandard.ZstdCompressor(level=22).compress(b)
    except ImportError:
        pass
    try:
        brotli = importlib.import_module("brotli")
        found["brotli -11"] = lambda b: brotli.compress(b, quality=11)
    except ImportError:
        pass
    return found


def plain(levels: np.ndarray) -> bytes:
    narrow = np.int8 if np.abs(levels).max(initial=0) < 128 else np.int16
    return levels.astype(narrow).tobytes()


def measure(name: str, levels: Levels, target: float, coder: Any, repeats: int) -> dict[str, Any]:
    count = sum(x.size for x in levels.values())
    entropy = sum(rdq.entropy(x) * x.size for x in levels.values()) / count
    row: dict[str, Any] = {"net": name, "target_bits": target, "weights": count, "entropy": entropy}
    decoders: dict[str, Callable[[], Any]] = {}
    for profile in ("fast", "max"):
        coded = {n: encode_levels(x, profile) for n, x in levels.items()}
        for n, x in levels.items():
            if not np.array_equal(decode_levels(coded[n]), x):
                raise SystemExit(f"{name}: {n} does not come back")
        row[profile] = 8 * sum(map(len, coded.values())) / count
        row[f"{profile}_encode_mws"] = (
            count / cpu(lambda p=profile: [encode_levels(x, p) for x in levels.values()], 1) / 1e6
        )
        decoders[f"{profile}_decode_mws"] = lambda c=coded: [decode_levels(b) for b in c.values()]
    for peer, compress in peers().items():
        row[peer] = 8 * sum(len(compress(plain(x))) for x in levels.values()) / count
    if coder is not None:
        streams = {n: nncodec_encode(coder, x) for n, x in levels.items()}
        if not all(np.array_equal(nncodec_decode(coder, streams[n], x.shape), x) for n, x in levels.items()):
            raise SystemExit(f"{name}: NNCodec's levels differ")
        decoders["nncodec_decode_mws"] = lambda: [
            nncodec_decode(coder, streams[n], x.shape) for n, x in levels.items()
        ]
        row["nncodec"] = 8 * sum(map(len, streams.values())) / count
    copies = {n: np.zeros_like(x) for n, x in levels.items()}
    decoders["memcpy_mws"] = lambda: [np.copyto(copies[n], x) for n, x in levels.items()]
    slow = {"max_decode_mws": decoders.pop("max_decode_mws")}
    times = in_turn(time.process_time, repeats, **decoders) | in_turn(time.process_time, 1, **slow)
    row |= {name: count / seconds / 1e6 for name, seconds in times.items()}
    print(json.dumps(row), flush=True)
    return row


def float_row(name: str, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    """Lossless float32, against xz of byte planes, which is what a split into exponents and mantissas gives it."""
    total = sum(w.nbytes for w in weights.values())
    coded = {n: encode_floats(w) for n, w in weights.items()}
    for n, w in weights.items():
        if decode_floats(coded[n], w.dtype, w.shape).tobytes() != w.tobytes():
            raise SystemExit(f"{name}: {n} does not come back")
    planes = b"".join(w.reshape(-1).view(np.uint8).reshape(-1, 4).T.tobytes() for w in weights.values())
    exponents = np.concatenate([(w.reshape(-1).view(np.uint32) >> 23) & 255 for w in weights.values()])
    row = {
        "net": name,
        "bytes": total,
        "ours": sum(map(len, coded.values())) / total,
        "ours_max": sum(len(encode_floats(w, "max")) for w in weights.values()) / total,
        "split, ideal": (rdq.entropy(exponents.astype(np.int32)) + 24) / 32,
        "xz of byte planes": len(lzma.compress(planes, preset=9)) / total,
    }
    print(json.dumps(row), flush=True)
    return row


def onnxruntime_qdq(model: rdq.Model, folder: Path) -> Path:
    """The model as ONNX Runtime quantizes it: int8, one scale a channel, calibrated on noise (weights do not depend on it)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    model.save(folder / "float.onnx")
    (entry,) = model.inputs
    shape = [d if isinstance(d, int) and d > 0 else (224 if i > 1 else 1) for i, d in enumerate(entry.shape)]
    images = iter([{entry.name: np.random.default_rng(0).random(shape, np.float32)}])

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(images, None)

    quantize_static(
        folder / "float.onnx",
        folder / "qdq.onnx",
        Noise(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    return folder / "qdq.onnx"


def our_qdq(model: rdq.Model, folder: Path) -> Path:
    """The model with int8 levels of ours, one step a channel."""
    rdq.compress(
        model,
        folder / "ours.rdq",
        lambda name, x: rdq.Midtread(tuple(np.abs(x.reshape(len(x), -1)).max(1) / 127 + 1e-12), axis=0),
    )
    rdq.decompress(folder / "ours.rdq", levels=True).save(folder / "ours.onnx")
    return folder / "ours.onnx"


def qdq_row(name: str, maker: str, path: Path, coder: Any) -> dict[str, Any]:
    """Bits an int8 level: ours tensor by tensor, general compressors on all levels in one piece."""
    tensors = [
        numpy_helper.to_array(t)
        for t in onnx.load(path).graph.initializer
        if t.data_type == onnx.TensorProto.INT8
    ]
    levels = [np.ascontiguousarray(t, np.int32) for t in tensors if t.ndim > 1]
    count = sum(x.size for x in levels)
    row: dict[str, Any] = {"net": name, "maker": maker, "weights": count}
    for profile in ("fast", "max"):
        coded = [encode_levels(x.astype(np.int8), profile) for x in levels]
        if not all(np.array_equal(decode_levels(c), x) for c, x in zip(coded, levels, strict=True)):
            raise SystemExit(f"{name}: int8 levels do not come back")
        row[profile] = 8 * sum(map(len, coded)) / count
    everything = b"".join(x.astype(np.int8).tobytes() for x in levels)
    row |= {peer: 8 * len(compress(everything)) / count for peer, compress in peers().items()}
    if coder is not None:
        row["nncodec"] = 8 * sum(len(nncodec_encode(coder, x)) for x in levels) / count
    print(json.dumps(row), flush=True)
    return row


def file_row(name: str, path: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Loading: the compressed file on one and two threads, and file to session against the ONNX file, wall times."""
    result = rdq.compress(path, folder / "m.rdq", bits=8)
    rdq.compress(path, folder / "lossless.rdq")
    if rdq.load(folder / "lossless.rdq").fingerprint != rdq.load(path).fingerprint:
        raise SystemExit(f"{name}: the file does not give the model back")
    times = in_turn(
        time.perf_counter,
        4 * repeats,  # milliseconds
        decode_1=lambda: rdq.CompressedFile(folder / "m.rdq").values(1),
        decode_2=lambda: rdq.CompressedFile(folder / "m.rdq").values(2),
        session_rdq=lambda: rdq.Session(folder / "m.rdq", backend="auto"),
        session_onnx=lambda: rdq.Session(path, backend="auto"),
    )
    row = {
        "net": name,
        "bytes": result.bytes,
        "onnx_bytes": path.stat().st_size,
        "bits_per_weight": result.bits_per_weight,
    } | {f"{what}_ms": 1e3 * seconds for what, seconds in times.items()}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--nets", nargs="*", default=NETS)
    parser.add_argument("--bits", nargs="*", type=float, default=[2, 3, 4, 5, 6])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    coder = nncodec()
    rows, floats, files, qdq = [], [], [], []
    for name in options.nets:
        weights = {n: w for n, w in rdq.load(options.models / f"{name}.onnx").weights().items() if w.ndim > 1}
        rows += [measure(name, at_rate(weights, bits), bits, coder, options.repeats) for bits in options.bits]
        floats.append(float_row(name, weights))
        with tempfile.TemporaryDirectory() as place:
            folder, path = Path(place), options.models / f"{name}.onnx"
            files.append(file_row(name, path, folder, options.repeats))
            model = rdq.load(path)
            for maker, make in (("rdquant", our_qdq), ("onnxruntime", onnxruntime_qdq)):
                qdq.append(qdq_row(name, maker, make(model, folder), coder))
    results = {"levels": rows, "floats": floats, "files": files, "qdq": qdq}
    if RESULTS.exists():  # rows of nets that were left out this time stay
        before = json.loads(RESULTS.read_text())
        for part, found in results.items():
            found[:0] = [row for row in before.get(part, []) if row["net"] not in options.nets]
    results = {"machine": describe(), **results}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
