"""How fast are INT8 models on our engine, beside ONNX Runtime and OpenVINO on the same file, and beside float?

    python benchmarks/bench_int8.py [--nets squeezenet1.1-7 …] [--repeat 40] [--only static …] [--files DIR]

Static: one QDQ file per net, made by `rdquant.quantize_static` from photographs (kept in --files), is run by all
engines, which take turns; our float32 beside it. Dynamic: our `quantize_dynamic`, ONNX Runtime's own dynamic model,
our float32. Answers come first: our two backends level by level, ours against ONNX Runtime's. Medians; batch 1 on
one thread and on two; images per second at batch 32 on two threads. In a new process each: growth of the resident
set from after the import to after ten inferences, INT8 against float32. Writes results/int8.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench_latency import (
    ENGINES,
    MODELS,
    NETS,
    Run,
    interleaved,
    mean_ratio,
    picture,
    prepare,
    resident,
    shape_of,
    throughput,
)

HERE = Path(__file__).resolve().parent
BOUND = 0.02  # mean difference to ONNX Runtime, as a share of an output's range
SAME = 1e-5  # of the range: what comes after the last levels is float32, rounded in another order
DIFFER = 1e-3  # share of an output's values in which our backends may differ
COUNT = 32  # photographs that ranges are taken from


def quantized(net: str, folder: Path) -> Path:
    """The net's QDQ file, made where it is not there yet."""
    import rdquant

    path = folder / f"{net}.int8.onnx"
    if not path.exists():
        shape = shape_of(MODELS / f"{net}.onnx", 1)[1]
        count = COUNT if shape[2] < 300 else COUNT // 4
        images = picture(net, [count, *shape[1:]])
        model = rdquant.quantize_static(MODELS / f"{net}.onnx", images, max_kl=10, max_noise=10)
        model.save(path)
    return path


def near(runs: dict[str, Run]) -> float:
    """Our mean difference to ONNX Runtime as a share of the output's range, at most BOUND."""
    ours, theirs = runs["rdquant"](), runs["onnxruntime"]()
    found = max(
        float(np.mean(np.abs(a - b)) / max(np.ptp(b), 1e-12)) for a, b in zip(ours, theirs, strict=True)
    )
    assert found <= BOUND, f"we differ from ONNX Runtime by {found:.2%}"
    return found


def compare(path: Path, name: str, x: np.ndarray, runs: dict[str, Run]) -> dict[str, float]:
    """Our backends against each other, and ours against ONNX Runtime's, as shares."""
    import rdquant

    ours = runs["rdquant"]()
    plain = list(rdquant.Session(path, backend="reference").run({name: x}).values())
    differ = max(float(np.mean(np.abs(a - b) > SAME * np.ptp(b))) for a, b in zip(ours, plain, strict=True))
    assert differ <= DIFFER, f"our backends differ in {differ:.2%} of the values"
    return {"differ": differ, "to_onnxruntime": near(runs)}


def static(nets: list[str], repeat: int, folder: Path) -> dict[str, Any]:
    """Milliseconds for one image; ratio: ours to the faster peer's; gain: our float32 to our INT8."""
    out: dict[str, Any] = {}
    for threads in (1, 2):
        rows = []
        for net in nets:
            path = quantized(net, folder)
            name, shape = shape_of(path, 1)
            x = picture(net, shape)
            runs = {engine: prepare(engine, path.read_bytes(), name, x, threads) for engine in ENGINES}
            agreement = compare(path, name, x, runs)
            runs["float"] = prepare("rdquant", (MODELS / f"{net}.onnx").read_bytes(), name, x, threads)
            seconds = interleaved(runs, repeat)
            ratio = seconds["rdquant"] / min(seconds["onnxruntime"], seconds["openvino"])
            gain = seconds["float"] / seconds["rdquant"]
            times = {k: v * 1e3 for k, v in seconds.items()}
            rows.append({"net": net, "ratio": ratio, "gain": gain, "ms": times} | agreement)
            print(f"{threads} thread(s) {net:>20}", *(f"{k} {v:8.3f}" for k, v in times.items()), end=" ")
            print(f"ratio {ratio:.3f} gain {gain:.2f} differ {agreement['differ']:.2g}", flush=True)
        gains = mean_ratio([{"ratio": row["gain"]} for row in rows])
        out[str(threads)] = {"rows": rows, "geometric_mean": mean_ratio(rows), "gain": gains}
        print(f"{threads} thread(s): geometric mean {mean_ratio(rows):.3f}, gain {gains:.2f}", flush=True)
    return out


def dynamic_peer(net: str, folder: Path) -> Path:
    """What ONNX Runtime's own tool makes of the net."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / f"{net}.dynamic-onnxruntime.onnx"
    if not path.exists():
        # its ConvInteger takes unsigned weights only
        quantize_dynamic(MODELS / f"{net}.onnx", path, weight_type=QuantType.QUInt8)
    return path


def dynamic(nets: list[str], repeat: int, folder: Path) -> dict[str, Any]:
    """Milliseconds for one image; peer: ONNX Runtime's dynamic model to ours; gain: our float32 to ours."""
    import rdquant

    out: dict[str, Any] = {}
    for threads in (1, 2):
        rows = []
        for net in nets:
            source = MODELS / f"{net}.onnx"
            name, shape = shape_of(source, 1)
            x = picture(net, shape)
            ours = folder / f"{net}.dynamic.onnx"
            if not ours.exists():
                rdquant.quantize_dynamic(source).save(ours)
            runs = {
                "rdquant": prepare("rdquant", ours.read_bytes(), name, x, threads),
                "float": prepare("rdquant", source.read_bytes(), name, x, threads),
            }
            try:
                peer = dynamic_peer(net, folder).read_bytes()
                runs["onnxruntime"] = prepare("onnxruntime", peer, name, x, threads)
            except Exception as error:
                print(
                    f"{net}: ONNX Runtime's dynamic model fails ({type(error).__name__}: {str(error)[:80]})"
                )
            seconds = interleaved(runs, repeat)
            row: dict[str, Any] = {"net": net, "gain": seconds["float"] / seconds["rdquant"]}
            if "onnxruntime" in seconds:
                row["peer"] = seconds["onnxruntime"] / seconds["rdquant"]
            row["ms"] = {k: v * 1e3 for k, v in seconds.items()}
            rows.append(row)
            print(
                f"{threads} thread(s) dynamic {net:>20}",
                *(f"{k} {v:8.3f}" for k, v in row["ms"].items()),
                end=" ",
            )
            print(f"gain {row['gain']:.2f} peer {row.get('peer', float('nan')):.2f}", flush=True)
        means = {
            key: mean_ratio([{"ratio": row[key]} for row in rows if key in row]) for key in ("gain", "peer")
        }
        out[str(threads)] = {"rows": rows} | means
        print(f"{threads} thread(s): gain {means['gain']:.2f}, peer {means['peer']:.2f}", flush=True)
    return out


def child(path: str) -> None:
    """In a process of its own: prints by how many bytes ten inferences let it grow."""
    import rdquant

    name, shape = shape_of(Path(path), 1)
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    _ = rdquant.Session
    before = resident()
    session = rdquant.Session(path, backend="native", threads=2)
    for _ in range(10):
        session.run({name: x})
    print(resident() - before)


def memory(net: str, folder: Path) -> dict[str, float]:
    """Growth of the resident set, the median of three processes each."""
    found = {}
    for what, path in {"int8": quantized(net, folder), "float": MODELS / f"{net}.onnx"}.items():
        command = [sys.executable, __file__, "--child", str(path)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
        found[what] = float(median(float(run.stdout) for run in runs))
    found["ratio"] = found["int8"] / found["float"]
    print(f"growth of {net}: INT8 {found['int8']:.4g}, float {found['float']:.4g}, {found['ratio']:.3f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument(
        "--files", type=Path, default=HERE.parent / "build/int8", help="where INT8 models are kept"
    )
    parts = ("static", "throughput", "dynamic", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return

    arguments.files.mkdir(parents=True, exist_ok=True)
    to = HERE / "results/int8.json"
    result: dict[str, Any] = json.loads(to.read_text()) if to.exists() else {}
    for part, measure in {"static": static, "dynamic": dynamic}.items():
        if part in arguments.only:
            result[part] = measure(arguments.nets, arguments.repeat, arguments.files)
    if "throughput" in arguments.only:
        paths = {net: quantized(net, arguments.files) for net in arguments.nets}
        result["throughput"] = throughput(paths, arguments.repeat, near)
    if "memory" in arguments.only:
        result["memory"] = memory("yolov8n_random", arguments.files)
    if not arguments.no_write:
        from machine import describe

        result["machine"] = describe(["onnxruntime", "openvino"])
        to.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
