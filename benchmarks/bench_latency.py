"""How long does our engine take for one image, and for many, beside ONNX Runtime and OpenVINO?

    python benchmarks/bench_latency.py [--nets squeezenet1.1-7 …] [--repeat 60] [--only latency …]

Net by net, in the same run: the answers are compared first, then the engines take turns, run by run, so that
whatever disturbs the machine disturbs all. Medians; batch 1 on one thread and on two; images per second at
batch 32 on two threads (OpenVINO also as it advises for throughput). For SqueezeNet also the share of our time
outside convolutions and matrix products, and the cost of swapping all weights. In a new process per engine:
growth of the resident set from after the import to after ten inferences, and import + load + first inference.
Writes results/latency.json; nets that are not in --nets keep
their rows, if they were measured on such a machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "shared/data/models"
NETS = (
    "squeezenet1.1-7",
    "mobilenet_v1_0.75",
    "efficientnet_lite0",
    "cifar10_resnet20",
    "yolox_nano",
    "yolov8n_random",
)
ENGINES = ("rdquant", "onnxruntime", "openvino")
Run = Callable[[], list[np.ndarray]]


def serialized(path: Path, batch: int) -> bytes:
    """The model with its batch size set; shapes inferred from it dropped, for they hold the old one."""
    import onnx

    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    return model.SerializeToString()


def shape_of(path: Path, batch: int) -> tuple[str, list[int]]:
    """Name and shape of the model's only input; sides that it leaves open are 224."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {i.name for i in graph.initializer}
    (value,) = [v for v in graph.input if v.name not in constants]
    dims = [d.dim_value or 224 for d in value.type.tensor_type.shape.dim]
    return value.name, [batch, *dims[1:]]


def prepare(engine: str, model: bytes, name: str, x: np.ndarray, threads: int, hint: str = "LATENCY") -> Run:
    """A call that runs `model` on `x` and gives its outputs."""
    if engine == "rdquant":
        import rdquant

        session = rdquant.Session(rdquant.load(model), backend="native", threads=threads)
        return lambda: list(session.run({name: x}).values())
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        peer = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda: peer.run(None, {name: x})
    import openvino

    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    if hint == "LATENCY":
        config |= {"NUM_STREAMS": 1}
    else:
        return _openvino_pieces(model, x, config | {"PERFORMANCE_HINT": "THROUGHPUT"})
    compiled = openvino.Core().compile_model(openvino.Core().read_model(model), "CPU", config)
    request = compiled.create_infer_request()
    ports = list(compiled.outputs)

    def run() -> list[np.ndarray]:
        found = request.infer([x], share_inputs=True)
        return [found[port] for port in ports]

    return run


def _openvino_pieces(model: bytes, x: np.ndarray, config: dict[str, Any]) -> Run:
    """OpenVINO's own advice for throughput: single images, as many requests at once as it likes."""
    import openvino

    core = openvino.Core()
    read = core.read_model(model)
    read.reshape({read.inputs[0]: [1, *x.shape[1:]]})
    compiled = core.compile_model(read, "CPU", config)
    queue = openvino.AsyncInferQueue(compiled)
    rows: list[Any] = [None] * len(x)

    def keep(request: Any, i: int) -> None:
        rows[i] = [request.get_output_tensor(k).data.copy() for k in range(len(compiled.outputs))]

    queue.set_callback(keep)

    def run() -> list[np.ndarray]:
        for i in range(len(x)):
            queue.start_async([x[i : i + 1]], userdata=i)
        queue.wait_all()
        return [np.concatenate(parts) for parts in zip(*rows, strict=True)]

    return run


def picture(net: str, shape: list[int]) -> np.ndarray:
    """As many photographs as the batch is large, prepared as the net wants them. (Noise lets rounding errors of
    networks with random weights grow beyond what any two engines agree on.)"""
    from bench_answers import photograph  # here, for it imports the package, which new processes time

    batch, *sides = shape
    return np.concatenate([photograph(MODELS.parent, net, [1, *sides], i) for i in range(batch)])


def compare(runs: dict[str, Run]) -> float:
    """Our largest difference to ONNX Runtime as a share of the output's largest magnitude, at most 1e-4."""
    from bench_answers import BOUND, difference

    ours = difference(runs["rdquant"](), runs["onnxruntime"]())
    assert ours <= BOUND, f"we differ from ONNX Runtime by {ours:.2g} of the range; allowed is {BOUND:.2g}"
    return ours


def interleaved(runs: dict[str, Run], repeat: int) -> dict[str, float]:
    """Median seconds of each, in turns of four runs after one that is not counted: each engine's idle threads
    spin for a while after a run, so every turn begins when those of the one before have gone to sleep."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeat // 4 + 1):
        for name, run in runs.items():
            time.sleep(0.05)
            run()
            for _ in range(4 if turn else 1):
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def mean_ratio(rows: list[dict[str, Any]]) -> float:
    return math.exp(sum(math.log(row["ratio"]) for row in rows) / len(rows))


def merged(stored: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of both, the new ones where a net is in both, in the order of NETS."""
    rows = {row["net"]: row for row in [*stored, *new]}
    return [rows[net] for net in NETS if net in rows]


def latency(nets: list[str], repeat: int, stored: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds for one image; ratio: ours to the faster peer's."""
    out: dict[str, Any] = {}
    for threads in (1, 2):
        rows = []
        for net in nets:
            path = MODELS / f"{net}.onnx"
            name, shape = shape_of(path, 1)
            x = picture(net, shape)
            runs = {engine: prepare(engine, path.read_bytes(), name, x, threads) for engine in ENGINES}
            error = compare(runs)
            seconds = interleaved(runs, repeat)
            ratio = seconds["rdquant"] / min(seconds["onnxruntime"], seconds["openvino"])
            rows.append(
                {"net": net, "error": error, "ratio": ratio, "ms": {k: v * 1e3 for k, v in seconds.items()}}
            )
            print(
                f"{threads} thread(s) {net:>20}",
                *(f"{k} {v * 1e3:8.3f}" for k, v in seconds.items()),
                f"{ratio:.3f}",
                flush=True,
            )
        rows = merged(stored.get(str(threads), {}).get("rows", []), rows)
        out[str(threads)] = {"rows": rows, "geometric_mean": mean_ratio(rows)}
        print(f"{threads} thread(s): geometric mean {mean_ratio(rows):.3f}")
    return out


def throughput(
    paths: dict[str, Path], repeat: int, check: Callable[[dict[str, Run]], Any], stored: dict[str, Any]
) -> dict[str, Any]:
    """Images per second at batch 32 on two threads, by nets' names; ratio: ours to the fastest peer's. Answers go
    to `check` first. Nets that do not run at this batch in some engine (the graph fixes it) are left out."""
    rows = []
    for net, path in paths.items():
        name, shape = shape_of(path, 32)
        x = picture(net, shape)
        try:
            model = serialized(path, 32)
            runs = {engine: prepare(engine, model, name, x, 2) for engine in ENGINES}
            check(runs)
        except Exception as error:
            print(f"batch 32 {net}: left out ({type(error).__name__}: {str(error)[:80]})")
            continue
        runs["openvino throughput"] = prepare("openvino", model, name, x, 2, hint="THROUGHPUT")
        seconds = interleaved(runs, max(8, repeat // 5))
        ratio = min(v for k, v in seconds.items() if k != "rdquant") / seconds["rdquant"]
        rows.append({"net": net, "ratio": ratio, "images_per_s": {k: 32 / v for k, v in seconds.items()}})
        images = (f"{k} {32 / v:7.1f}" for k, v in seconds.items())
        print(f"batch 32 {net:>20}", *images, f"{ratio:.3f}", flush=True)
    rows = merged(stored.get("rows", []), rows)
    return {"rows": rows, "geometric_mean": mean_ratio(rows)}


def squeezenet(repeat: int) -> dict[str, Any]:
    """Share of the time outside convolutions and matrix products, and weight swaps per inference."""
    import rdquant

    path = MODELS / "squeezenet1.1-7.onnx"
    model = rdquant.load(path)
    name, shape = shape_of(path, 1)
    x = picture(path.stem, shape)
    out = {}
    for threads in (1, 2):
        session = rdquant.Session(model, backend="native", threads=threads)
        rows = session.profile({name: x}, runs=repeat)
        other = sum(r["best_us"] for r in rows if r["op"] not in ("convolution", "matmul"))
        share = other / sum(r["best_us"] for r in rows)
        weights = dict(model.weights())
        runs: dict[str, Run] = {
            "inference": lambda s=session: list(s.run({name: x}).values()),
            "swap": lambda s=session, w=weights: s.set_weights(w) or [],
        }
        seconds = interleaved(runs, repeat)
        out[str(threads)] = {"share_outside": share, "swap": seconds["swap"] / seconds["inference"]}
        print(
            f"squeezenet, {threads} thread(s): {share:.3f} outside convolutions; a swap costs "
            f"{out[str(threads)]['swap']:.3f} inferences"
        )
    return out


def resident() -> int:
    """Bytes of this process's resident set."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def child(what: str, engine: str, net: str) -> None:
    """Runs in a process of its own; prints one number."""
    path = MODELS / f"{net}.onnx"
    meta = json.loads(sys.stdin.read())
    x = np.random.default_rng(0).random(meta["shape"], dtype=np.float32)
    start = time.perf_counter()
    __import__({"rdquant": "rdquant", "onnxruntime": "onnxruntime", "openvino": "openvino"}[engine])
    if engine == "rdquant":
        import rdquant

        _ = rdquant.Session  # the package's parts load when first used; a session on a file needs no more
    before = resident()
    if engine == "rdquant":
        session = rdquant.Session(path, backend="native", threads=2)
        run: Run = lambda: list(session.run({meta["name"]: x}).values())  # noqa: E731
    else:
        run = prepare(engine, path.read_bytes(), meta["name"], x, 2)
    run()
    if what == "cold":
        print(time.perf_counter() - start)
        return
    for _ in range(9):
        run()
    print(resident() - before)


def in_processes(what: str, net: str, repeat: int) -> dict[str, float]:
    """Median over `repeat` new processes, engine by engine."""
    name, shape = shape_of(MODELS / f"{net}.onnx", 1)
    found: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for _ in range(repeat):
        for engine in ENGINES:
            run = subprocess.run(
                [sys.executable, __file__, "--child", what, engine, net],
                input=json.dumps({"name": name, "shape": shape}),
                capture_output=True,
                text=True,
                check=True,
            )
            found[engine].append(float(run.stdout))
    result = {engine: median(values) for engine, values in found.items()}
    print(what, net, *(f"{k} {v:.4g}" for k, v in result.items()))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--repeat", type=int, default=60)
    parts = ("latency", "throughput", "squeezenet", "memory", "cold")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return

    from store import Store  # here, for it imports the package, which new processes time

    store = Store("latency", ["onnxruntime", "openvino"], write=not arguments.no_write)
    nets, repeat = arguments.nets, arguments.repeat
    if "latency" in arguments.only:
        store.put("latency", latency(nets, repeat, store.part("latency")))
    if "throughput" in arguments.only:
        paths = {net: MODELS / f"{net}.onnx" for net in nets}
        store.put("throughput", throughput(paths, repeat, compare, store.part("throughput")))
    if "squeezenet" in arguments.only:
        store.put("squeezenet", squeezenet(repeat))
    if "memory" in arguments.only:
        store.put("memory", in_processes("memory", "efficientnet_lite0", 3))
    if "cold" in arguments.only:
        store.put("cold", in_processes("cold", "squeezenet1.1-7", 5))


if __name__ == "__main__":
    main()
