"""A grid of 5 quantizers × 10 bit depths on SqueezeNet: one study, beside a loop with an ONNX Runtime session per point.

    python benchmarks/bench_sweep.py --models DIR --images DIR [--points N] [--check] [--fresh]

Both quantize with our quantizers and read the same float32 images, decoded before and held in memory once; the loop runs
batches of 32. First, untimed and point by point: both must predict the same class for 99.9 % of the images. Then they take
turns, a point each. The study's time holds everything that `sweep` does: facts about the weights, the float model, the
results file. Every point is kept in results/sweep.json and in the study's folder as soon as it is known, so that --points N
measures N more points and --check only compares them; --fresh begins again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import rdquant as rdq
from machine import describe
from rdquant.quant import parse_quantizers

HERE = Path(__file__).resolve().parent
QUANTIZERS = "midtread,midrise,deadzone:0.25,deadzone:0.7,mulaw:255"
SPECS = {spec.label: spec for spec in parse_quantizers(QUANTIZERS)}
BITS = range(4, 14)
BATCH = 32
RANGE = 1.0
SAME = 0.999
"""Least share of images on which both predict the same class."""

Row = dict[str, Any]


class Loop:
    """What one writes without us: per point a model with the restored weights, a session of it, batches of 32."""

    def __init__(self, path: Path, names: set[str], x: np.ndarray, threads: int) -> None:
        self._proto = onnx.load(path)
        self._tensors = [t for t in self._proto.graph.initializer if t.name in names]
        assert len(self._tensors) == len(names), "the file's weights have other names"
        self._weights = [onnx.numpy_helper.to_array(t).copy() for t in self._tensors]
        self._x = x
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads

    def predictions(self, quantizer: str, bits: int) -> np.ndarray:
        """int64 [n]: the classes with the greatest scores."""
        q = SPECS[quantizer].build(bits, RANGE)
        for tensor, weight in zip(self._tensors, self._weights, strict=True):
            tensor.ClearField("float_data")
            tensor.raw_data = q.dequantize(q.quantize(weight)).tobytes()
        model = self._proto.SerializeToString()
        session = onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])
        (port,) = session.get_inputs()
        batches = (self._x[i : i + BATCH] for i in range(0, len(self._x), BATCH))
        scores = np.concatenate([session.run(None, {port.name: batch})[0] for batch in batches])
        return scores.reshape(len(scores), -1).argmax(axis=1)


class EnoughError(Exception):
    """As many points as were asked for are measured."""


class Turns(Executor):
    """Runs each point of the study here and now; between two of them the loop has its turn, off the study's clock.

    A point of which both times are known is one that the study had not stored when it was killed: it runs again, and its
    first times stand. `keep` is called after each turn with the seconds that the study spent beside its points.
    """

    _max_workers = 1

    def __init__(
        self, rows: list[Row], most: int, loop: Loop, labels: np.ndarray, keep: Callable[[float], None]
    ) -> None:
        self._rows = {(row["quantizer"], row["bits"]): row for row in rows}
        self._left = most
        self._loop = loop
        self._labels = labels
        self._keep = keep
        self._started = time.perf_counter()
        self._spent = 0.0  # in points and turns

    def account(self) -> None:
        """Calls `keep`."""
        self._keep(time.perf_counter() - self._started - self._spent)

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """`call` is the study's evaluation of one point, `arguments` its context, the point and the tensors' axes."""
        point = arguments[1]
        row = self._rows[point.spec.label, point.bits]
        known = "loop_s" in row
        if not known and self._left == 0:
            raise EnoughError
        future: Future[Any] = Future()
        started = time.perf_counter()
        future.set_result(call(*arguments, **named))
        if not known:
            self._left -= 1
            row["ours_s"] = time.perf_counter() - started
            self._turn(row, future.result().metrics["top1"])
        self._spent += time.perf_counter() - started
        self.account()
        return future

    def _turn(self, row: Row, top1: float) -> None:
        started = time.perf_counter()
        found = self._loop.predictions(row["quantizer"], row["bits"])
        row["loop_s"] = time.perf_counter() - started
        row |= {"top1": top1, "loop_top1": float(np.mean(found == self._labels))}
        print(
            f"{row['quantizer']} {row['bits']} bits: study {row['ours_s']:.2f} s, loop {row['loop_s']:.2f} s, "
            f"ratio {row['ours_s'] / row['loop_s']:.3f}, top-1 {top1:.3f} and {row['loop_top1']:.3f}",
            flush=True,
        )


def check(rows: list[Row], model: rdq.Model, data: rdq.Dataset, loop: Loop, threads: int) -> None:
    """Compares the predictions for every point that was not compared before."""
    session = rdq.Session(model, threads=threads)
    for row in rows:
        if "same" in row:
            continue
        restored, _ = rdq.requantize(model.weights(), SPECS[row["quantizer"]].build(row["bits"], RANGE))
        session.set_weights(restored)
        ours = rdq.evaluate(None, data, session=session)["predictions"]
        row["same"] = float(np.mean(ours == loop.predictions(row["quantizer"], row["bits"])))
        print(f"{row['quantizer']} {row['bits']} bits: the same class for {row['same']:.2%}", flush=True)
        assert row["same"] >= SAME, f"{row['quantizer']}, {row['bits']} bits: they differ"


def measure(threads: int, model: rdq.Model, data: rdq.Dataset, turns: Turns, store: Path) -> None:
    """One study, continued from where it was."""
    try:
        rdq.sweep(
            model,
            data,
            QUANTIZERS,
            BITS,
            metrics=("top1", "top5"),
            range=RANGE,
            store=store,
            executor=turns,
            threads=threads,
            progress=False,
        )
    except EnoughError:
        print("as many points as asked for")
    turns.account()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="squeezenet1.1-7.onnx")
    parser.add_argument("--preprocess", default="imagenet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", type=int, default=len(SPECS) * len(BITS), help="measure so many more")
    parser.add_argument("--check", action="store_true", help="compare the predictions only")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument(
        "--store", type=Path, default=HERE.parent / "build/bench_sweep", help="study's folder"
    )
    parser.add_argument("--to", type=Path, default=HERE / "results/sweep.json")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.fresh or not given.to.exists():
        shutil.rmtree(given.store, ignore_errors=True)
        given.to.unlink(missing_ok=True)
    images = rdq.ImageFolder(given.images, preprocess=given.preprocess)
    x = np.concatenate([batch for batch, _ in images])
    data = rdq.ArrayDataset(x, images.labels, batch_size=BATCH, classes=images.classes)
    grid: list[Row] = [{"quantizer": label, "bits": bits} for label in SPECS for bits in BITS]
    settings = {"model": given.model, "data": images.name, "images": len(data), "threads": given.threads}
    result: dict[str, Any] = {"other_s": 0.0, "rows": grid}
    if given.to.exists():
        result = json.loads(given.to.read_text(encoding="utf-8"))
        assert settings.items() <= result.items(), f"{given.to} holds another study; give --fresh"
    result |= settings
    rows = [row for row in result["rows"] if "loop_s" not in row][: given.points]

    before = result["other_s"]

    def keep(beside: float) -> None:
        result["other_s"] = before + beside
        timed = [row for row in result["rows"] if "loop_s" in row]
        ours, loop = (sum(row[key] for row in timed) for key in ("ours_s", "loop_s"))
        result["points"] = len(timed)
        if timed:
            result["ratio"] = (ours + result["other_s"]) / loop
        result["machine"] = describe(["onnx", "onnxruntime"])
        given.to.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    model = rdq.load(given.models / given.model)
    loop = Loop(given.models / given.model, set(model.weights()), x, given.threads)
    try:
        check(rows, model, data, loop, given.threads)
        keep(0.0)
        if not given.check:
            turns = Turns(result["rows"], len(rows), loop, data.labels, keep)
            measure(given.threads, model, data, turns, given.store)
    except BaseException:
        keep(result["other_s"] - before)
        raise
    if "ratio" in result:
        print(
            f"study / loop over {result['points']} points: {result['ratio']:.3f} ({result['other_s']:.1f} s beside points)"
        )


if __name__ == "__main__":
    main()
