"""Networks that the engine was not tuned on: do they run, with the same answers, and how fast?

    python benchmarks/zoo/export.py zoo && python benchmarks/bench_zoo.py zoo [--nets resnet18 …] [--repeat 12]

Each network in a process of its own, so that one that fails stops no other. First its answers are compared with
ONNX Runtime's (at most 1e-4 of the output's range apart), then our engine, ONNX Runtime and OpenVINO take turns on
one thread. Writes results/zoo.json: medians, ratio to the faster peer, and the geometric mean of each family.

With --int8: convolutional networks quantized statically on noise, as all else but plain MLPs dynamically; the same file in
the three engines, beside our float32. Files are kept in FOLDER/int8 and used again.

With --memory: growth of the resident set from after the import to after three inferences, and the time from import to the
end of the first, in a new process for each engine; medians of three rounds; the ratio is to the smaller of the peers'.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

BOUND = 1e-4  # largest difference as a share of the output's range
BOUND_INT8 = 0.02  # mean difference


def differences(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Largest difference as a share of the output's range."""
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape, f"shapes differ: {a.shape} and {b.shape}"
        if not a.size:
            continue
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return math.inf
        a, b = (np.where(np.isfinite(v), v, 0).astype(np.float64) for v in (a, b))
        worst = max(worst, float(np.abs(a - b).max() / max(float(np.ptp(b)), 1e-12)))
    return worst


def slowest(session: Any, feeds: dict[str, np.ndarray]) -> list[list[Any]]:
    """The kinds of steps that take most time: name, supplier, share of the whole."""
    rows = session.profile(feeds, runs=5)
    total = sum(row["best_us"] for row in rows)
    shares: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row["op"], str(row.get("kernel", row.get("supplier", ""))))
        shares[key] = shares.get(key, 0.0) + row["best_us"] / total
    return [[*key, round(share, 3)] for key, share in sorted(shares.items(), key=lambda item: -item[1])[:6]]


def measure(path: Path, repeat: int, threads: int) -> dict[str, Any]:
    """One network, in this process."""
    import rdquant
    from bench_latency import interleaved, prepare

    feeds = dict(np.load(path.with_suffix(".npz")))
    ((name, x),) = feeds.items()
    session = rdquant.Session(path, backend="native", threads=threads)
    runs: dict[str, Any] = {
        "rdquant": lambda: list(session.run(feeds).values()),
        "onnxruntime": prepare("onnxruntime", path.read_bytes(), name, x, threads),
    }
    row: dict[str, Any] = {"difference": differences(runs["rdquant"](), runs["onnxruntime"]())}
    try:
        runs["openvino"] = prepare("openvino", path.read_bytes(), name, x, threads)
        runs["openvino"]()
    except RuntimeError as error:
        runs.pop("openvino", None)
        row["openvino"] = str(error).splitlines()[0][:160]
    seconds = interleaved(runs, repeat)
    row["ms"] = {name: 1e3 * value for name, value in seconds.items()}
    row["ratio"] = seconds["rdquant"] / min(value for name, value in seconds.items() if name != "rdquant")
    row["slowest"] = slowest(session, feeds)
    return row


def quantized(path: Path) -> Path:
    """The network in INT8: static for convolutional networks, dynamic for others; made once."""
    import rdquant
    from zoo.networks import NETWORKS

    kept = path.parent / "int8" / path.name
    if kept.exists():
        return kept
    kept.parent.mkdir(exist_ok=True)
    family = {network.name: network.family for network in NETWORKS}
    if family.get(path.stem, "convnet") == "convnet":
        (x,) = np.load(path.with_suffix(".npz")).values()
        noise = [x, *(np.random.default_rng(seed).permuted(x, axis=-1) for seed in range(7))]
        model = rdquant.quantize_static(path, np.concatenate(noise) if x.shape[0] == 1 else x)
    else:
        model = rdquant.quantize_dynamic(path)
    part = kept.with_suffix(".part.onnx")
    model.save(part)
    part.rename(kept)
    return kept


def measure_int8(path: Path, repeat: int, threads: int) -> dict[str, Any]:
    """One network in INT8, in this process."""
    import rdquant
    from bench_latency import interleaved, prepare

    feeds = dict(np.load(path.with_suffix(".npz")))
    ((name, x),) = feeds.items()
    file = quantized(path)
    session = rdquant.Session(file, backend="native", threads=threads)
    plain = rdquant.Session(path, backend="native", threads=threads)
    runs: dict[str, Any] = {
        "rdquant": lambda: list(session.run(feeds).values()),
        "rdquant float": lambda: list(plain.run(feeds).values()),
        "onnxruntime": prepare("onnxruntime", file.read_bytes(), name, x, threads),
    }
    ours, theirs = runs["rdquant"](), runs["onnxruntime"]()
    means = [
        float(np.abs(a - b).mean() / max(float(np.ptp(b)), 1e-12)) for a, b in zip(ours, theirs, strict=True)
    ]
    row: dict[str, Any] = {"difference": max(means)}
    try:
        runs["openvino"] = prepare("openvino", file.read_bytes(), name, x, threads)
        runs["openvino"]()
    except RuntimeError as error:
        runs.pop("openvino", None)
        row["openvino"] = str(error).splitlines()[0][:160]
    seconds = interleaved(runs, repeat)
    row["ms"] = {name: 1e3 * value for name, value in seconds.items()}
    row["ratio"] = seconds["rdquant"] / min(
        seconds[peer] for peer in ("onnxruntime", "openvino") if peer in seconds
    )
    row["to_float"] = seconds["rdquant"] / seconds["rdquant float"]
    row["slowest"] = slowest(session, feeds)
    return row


def start(engine: str, path: Path, threads: int) -> dict[str, float]:
    """Growth (bytes) and time to the first answer (seconds) of one engine, in this process."""
    import time

    from bench_latency import prepare, resident

    ((name, x),) = np.load(path.with_suffix(".npz")).items()
    begin = time.perf_counter()
    __import__(engine)
    if engine == "rdquant":
        import rdquant

        _ = rdquant.Session  # the package's parts load when first used
    before = resident()
    if engine == "rdquant":
        session = rdquant.Session(path, backend="native", threads=threads)
        run = lambda: session.run({name: x})  # noqa: E731
    else:
        run = prepare(engine, path.read_bytes(), name, x, threads)
    run()
    first = time.perf_counter() - begin
    run()
    run()
    return {"bytes": resident() - before, "first": first}


def touch_memory() -> None:
    """Takes 1 GiB from the system and gives it back, in a process of its own.

    Virtual machines hand free memory back to their hosts; whoever touches it first waits for the host, up to fifty times
    as long as for memory that was in use a moment ago.
    """
    write = "import mmap; m = mmap.mmap(-1, 1 << 30); m.madvise(mmap.MADV_HUGEPAGE); m.write(bytes(1 << 30))"
    subprocess.run([sys.executable, "-c", write], capture_output=True, check=False, timeout=600)


def started(engine: str, path: Path, threads: int) -> dict[str, float] | None:
    """`start` in a new process; None where the engine fails."""
    touch_memory()
    command = [sys.executable, __file__, str(path.parent), "--one", path.stem]
    run = subprocess.run(
        [*command, "--engine", engine, "--threads", str(threads)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return dict(json.loads(run.stdout.splitlines()[-1])) if run.returncode == 0 else None


def measure_memory(path: Path, threads: int, rounds: int = 3) -> dict[str, Any]:
    engines = ("rdquant", "onnxruntime", "openvino")
    runs = [{engine: started(engine, path, threads) for engine in engines} for _ in range(rounds)]
    found = {}
    for engine in engines:
        rows = [row for run in runs if (row := run[engine]) is not None]
        if rows:
            found[engine] = {what: statistics.median(row[what] for row in rows) for what in rows[0]}
    peers = [found[peer] for peer in ("onnxruntime", "openvino") if peer in found]
    ratio = {what: found["rdquant"][what] / min(peer[what] for peer in peers) for what in ("bytes", "first")}
    return {"engines": found, "ratio": ratio["bytes"], "first": ratio["first"]}


def summary_of_memory(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "networks": len(rows),
        **spread(" of growth", [row["ratio"] for row in rows.values()]),
        **spread(" of first run", [row["first"] for row in rows.values()]),
    }


def in_process(path: Path, repeat: int, threads: int, int8: bool) -> dict[str, Any]:
    run = subprocess.run(
        [
            sys.executable,
            __file__,
            str(path.parent),
            "--one",
            path.stem,
            "--repeat",
            str(repeat),
            "--threads",
            str(threads),
            *(["--int8"] if int8 else []),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if run.returncode == 0:
        return dict(json.loads(run.stdout.splitlines()[-1]))
    return {"error": (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1][:300]}


def summary(rows: dict[str, Any], int8: bool) -> dict[str, Any]:
    """Counts, and geometric means by family."""
    from zoo.networks import NETWORKS

    family = {network.name: network.family for network in NETWORKS}
    run = {
        name: row
        for name, row in rows.items()
        if row.get("difference", math.inf) <= (BOUND_INT8 if int8 else BOUND)
    }
    found: dict[str, Any] = {"networks": len(rows), "agree": len(run)}
    for kind in ("convnet", "transformer", "other"):
        members = [row for name, row in run.items() if family.get(name, "other") == kind]
        if not members:
            continue
        found[kind] = {"networks": len(members), **spread("", [row["ratio"] for row in members])}
        if int8:
            found[kind] |= spread(" to float", [row["to_float"] for row in members])
    return found


def spread(of: str, ratios: list[float]) -> dict[str, Any]:
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return {
        f"geometric_mean{of}": mean,
        f"largest{of}": max(ratios),
        f"above 1.3{of}": sum(r > 1.3 for r in ratios),
    }


def shown(row: dict[str, Any]) -> str:
    if "error" in row:
        return f" FAILS {row['error'][:150]}"
    times = " ".join(f"{value:8.2f}" for value in row["ms"].values())
    most = ", ".join(f"{op} {share:.0%}" for op, _, share in row["slowest"][:3])
    to_float = f" {row['to_float']:6.2f}" if "to_float" in row else ""
    return f" {row['ratio']:6.2f}{to_float} {times}  {row['difference']:.1e}  {most}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nets", nargs="+")
    parser.add_argument("--repeat", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--int8", action="store_true", help="quantized networks")
    parser.add_argument("--memory", action="store_true", help="memory and time of the first run")
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        print(json.dumps(start(options.engine, options.folder / f"{options.one}.onnx", options.threads)))
        return
    if options.one:
        one = measure_int8 if options.int8 else measure
        print(json.dumps(one(options.folder / f"{options.one}.onnx", options.repeat, options.threads)))
        return
    from store import Store

    store = Store("zoo", ["onnxruntime", "openvino"], write=not options.no_write)
    kind = "memory " if options.memory else "int8 " if options.int8 else ""
    part = f"{kind}threads {options.threads}"
    rows: dict[str, Any] = store.part(part).get("rows", {})
    for path in sorted(options.folder.glob("*.onnx")):
        if options.nets and path.stem not in options.nets:
            continue
        if options.memory:
            row = rows[path.stem] = measure_memory(path, options.threads)
            print(f"{path.stem:34} {row['ratio']:6.2f} {row['first']:6.2f}", flush=True)
            found = summary_of_memory(rows)
        else:
            row = rows[path.stem] = in_process(path, options.repeat, options.threads, options.int8)
            print(f"{path.stem:34}{shown(row)}", flush=True)
            found = summary(rows, options.int8)
        store.put(part, {"summary": found, "rows": rows})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
