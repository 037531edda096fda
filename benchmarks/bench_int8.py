"""How fast are INT8 models on our engine, beside ONNX Runtime and OpenVINO on the same file, and beside float?

    python benchmarks/bench_int8.py [--nets squeezenet1.1-7 …] [--repeat 40] [--only static …] [--files DIR]

Static: each net's default file, which bench_make has made (in --files), is run by all engines, which take turns; the float
file beside it in all of them. Dynamic: our `quantize_dynamic`, ONNX Runtime's own dynamic model,
our float32. Answers come first: our two backends level by level, ours against ONNX Runtime's. Medians; batch 1 on
one thread and on two; images per second at batch 32 on two threads. In a new process each: growth of the resident
set from after the import to after ten inferences, INT8 against float32. Writes results/int8.json; nets that are not in
--nets keep their rows, if they were measured on such a machine.
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
    merged,
    picture,
    prepare,
    resident,
    shape_of,
    throughput,
)
from bench_make import FILES, default_file

HERE = Path(__file__).resolve().parent
BOUND = 0.02  # mean difference to ONNX Runtime, as a share of an output's range
SAME = 1e-5  # of the range: what comes after the last levels is float32, rounded in another order
DIFFER = 1e-3  # share of an output's values in which our backends may differ
FLOAT = " float"  # engines on the float file


def kept(net: str) -> dict[str, int]:
    """How many of the net's layers stay in float in its default file, and of how many."""
    rows = json.loads((HERE / "results/make.json").read_text())["rows"]
    (row,) = [row for row in rows if row["net"] == net]
    return {"kept": len(row["kept"]), "layers": row["layers"]}


def near(runs: dict[str, Run]) -> float:
    """Our mean difference to ONNX Runtime as a share of the output's range, at most BOUND."""
    found = mean_difference(runs["rdquant"](), runs["onnxruntime"]())
    assert found <= BOUND, f"we differ from ONNX Runtime by {found:.2%}"
    return found


def compare(net: str, path: Path, name: str, x: np.ndarray, runs: dict[str, Run]) -> dict[str, float]:
    """Our backends against each other, and ours against ONNX Runtime's, as shares.

    Where layers stay in float, a sum that is rounded in another order gives another level here and there: then our backends
    differ in means by no more than ONNX Runtime and the definition do, nearly.
    """
    import rdquant

    ours, theirs = runs["rdquant"](), runs["onnxruntime"]()
    plain = list(rdquant.Session(path, backend="reference").run({name: x}).values())
    differ = max(float(np.mean(np.abs(a - b) > SAME * np.ptp(b))) for a, b in zip(ours, plain, strict=True))
    if kept(net)["kept"] == 0:
        assert differ <= DIFFER, f"our backends differ in {differ:.2%} of the values"
    else:
        found, bound = mean_difference(ours, plain), 1.5 * mean_difference(theirs, plain) + 1e-6
        assert found <= bound, f"our backends differ by {found:.2g} of the range; allowed is {bound:.2g}"
    return {"differ": differ, "to_onnxruntime": near(runs)}


def mean_difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Of the worst output, as a share of its range."""
    return max(
        float(np.mean(np.abs(a - b)) / max(np.ptp(b), 1e-12)) for a, b in zip(ours, theirs, strict=True)
    )


def static_row(net: str, threads: int, repeat: int, folder: Path) -> dict[str, Any]:
    """One net on so many threads."""
    path, source = default_file(net, folder), MODELS / f"{net}.onnx"
    name, shape = shape_of(path, 1)
    x = picture(net, shape)
    runs = {engine: prepare(engine, path.read_bytes(), name, x, threads) for engine in ENGINES}
    agreement = compare(net, path, name, x, runs)
    for engine in ENGINES:
        runs[engine + FLOAT] = prepare(engine, source.read_bytes(), name, x, threads)
    ms = {k: v * 1e3 for k, v in interleaved(runs, repeat).items()}
    ours, peers = ms["rdquant"], [engine for engine in ENGINES if engine != "rdquant"]
    row = {
        "net": net,
        "ratio": ours / min(ms[peer] for peer in peers),
        "ratio_either": ours / min(min(ms[peer], ms[peer + FLOAT]) for peer in peers),
        "gain": ms["rdquant" + FLOAT] / ours,
        "ms": ms,
        **kept(net),
        **agreement,
    }
    print(f"{threads} thread(s) {net:>20}", *(f"{k} {v:8.3f}" for k, v in ms.items()), end=" ")
    ratios = (f"{key} {row[key]:.3f}" for key in ("ratio", "ratio_either", "gain"))
    print(*ratios, f"differ {agreement['differ']:.2g}", flush=True)
    return row


def static(nets: list[str], repeat: int, folder: Path, stored: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds for one image; ratio: ours to the faster peer's on the same file; ratio_either: to the fastest that
    any peer is on that file or the float one; gain: our float32 to our INT8."""
    out: dict[str, Any] = {}
    for threads in ("1", "2"):
        new = [static_row(net, int(threads), repeat, folder) for net in nets]
        rows = merged(stored.get(threads, {}).get("rows", []), new)
        means = {
            key: mean_ratio([{"ratio": row[key]} for row in rows])
            for key in ("ratio", "ratio_either", "gain")
        }
        out[threads] = {"rows": rows, "geometric_mean": means["ratio"], **means}
        print(
            f"{threads} thread(s), {len(rows)} nets:", *(f"{k} {v:.3f}" for k, v in means.items()), flush=True
        )
    return out


def dynamic_peer(net: str, folder: Path) -> Path:
    """What ONNX Runtime's own tool makes of the net."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / f"{net}.dynamic-onnxruntime.onnx"
    if not path.exists():
        # its ConvInteger takes unsigned weights only
        quantize_dynamic(MODELS / f"{net}.onnx", path, weight_type=QuantType.QUInt8)
    return path


def dynamic(nets: list[str], repeat: int, folder: Path, stored: dict[str, Any]) -> dict[str, Any]:
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
        rows = merged(stored.get(str(threads), {}).get("rows", []), rows)
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
    for what, path in {"int8": default_file(net, folder), "float": MODELS / f"{net}.onnx"}.items():
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
    parser.add_argument("--files", type=Path, default=FILES, help="where bench_make keeps its files")
    parts = ("static", "throughput", "dynamic", "memory")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return

    arguments.files.mkdir(parents=True, exist_ok=True)
    from store import Store  # here, for it imports the package, which new processes measure

    store = Store("int8", ["onnxruntime", "openvino"], write=not arguments.no_write)
    nets, repeat, folder = arguments.nets, arguments.repeat, arguments.files
    for part, measure in {"static": static, "dynamic": dynamic}.items():
        if part in arguments.only:
            store.put(part, measure(nets, repeat, folder, store.part(part)))
    if "throughput" in arguments.only:
        paths = {net: default_file(net, folder) for net in nets}
        store.put("throughput", throughput(paths, repeat, near, store.part("throughput")))
    if "memory" in arguments.only:
        store.put("memory", memory("yolov8n_random", folder))


if __name__ == "__main__":
    main()
