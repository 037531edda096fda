"""The README's results table, from the files in benchmarks/results.

    python benchmarks/table.py            print it as Markdown
    python benchmarks/table.py --write    put it between the README's markers

A benchmark whose file is not there has no row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cells import Row, milliseconds
from table_detect import detect
from table_int8 import int8, ptq

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- python benchmarks/table.py: begin -->\n", "<!-- end -->\n"

HEAD: Row = ("what", "rdquant", "compared with", "outcome")


def accuracy(result: dict[str, Any]) -> list[Row]:
    rows = result["rows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    images = {(row["model"], row["data"]): row["images"] for row in rows}
    worst = max(rows, key=lambda row: abs(row["difference"]))
    return [
        (
            f"top-1 and top-5 of {', '.join(models)}",
            f"{len(rows)} figures, {sum(images.values()):,} images",
            "the figures that came with models and images",
            f"largest difference {abs(worst['difference']):.2f} points ({worst['model']}, {worst['metric']})",
        )
    ]


def fit(result: dict[str, Any]) -> list[Row]:
    how_fitted = "by likelihood, KL and SSE, 1 thread"
    what = f"fit 8 families to {result['weights']:,} weights ({result['model']}) {how_fitted}"
    largest = max(result["scaling"], key=lambda row: row["weights"])
    rows: list[Row] = [
        (
            f"fit 8 families to {largest['weights']:,} weights drawn from a Laplace density {how_fitted}, together",
            milliseconds(1e3 * largest["seconds"]),
            "–",
            f"{1e9 * largest['seconds'] / largest['weights']:.1f} ns per weight",
        )
    ]
    if "ratio" not in result:
        return rows
    peer = f"fitter {1e3 * result['fitter_seconds']:,.0f} ms"
    timed = [
        (f"{what}, {how}", milliseconds(1e3 * seconds), peer, f"{result['ratio'][how]:,.0f} × as fast")
        for how, seconds in result["seconds"].items()
    ]
    fits = [(row, criterion) for row in result["quality"] for criterion in ("kl", "kl_reverse", "sse")]
    good = sum(row[criterion] <= row[f"fitter_{criterion}"] * (1 + 1e-9) for row, criterion in fits)
    quality = (
        f"KL, reverse KL and SSE of the fits to {result['model']} on fitter's own histogram",
        f"{len(fits)} values",
        "fitter",
        f"{good} of {len(fits)} no worse",
    )
    return [*timed, *rows, quality]


def quantize(result: dict[str, Any]) -> list[Row]:
    return [
        (
            row["what"],
            milliseconds(row["ours_ms"]),
            f"{row['peer']} {milliseconds(row['peer_ms'])}",
            f"{row['ratio']:.3g} × as fast",
        )
        for row in result["rows"]
    ]


def memory(result: dict[str, Any]) -> list[Row]:
    size = result["file_bytes"]
    return [
        (
            f"peak memory: {row['step']} (model of {size / 1e6:,.0f} MB)",
            f"{row['peak_bytes'] / 1e6:,.0f} MB",
            "size of the file",
            f"{row['ratio']:.2f} ×",
        )
        for row in result["rows"]
        if row["step"] != "import"
    ]


def adaptive(result: dict[str, Any]) -> list[Row]:
    runs = result["runs"]
    images = [run["images"] for run in runs]
    shares = [run["share"] for run in runs]
    same = sum(run["same"] for run in runs)
    model = result["model"].removesuffix(".onnx")
    return [
        (
            f'strategy="adaptive", {len(result["best_bits"])} quantizers, {model} on {result["data"]}, {len(runs)} seeds',
            f"{min(images):,} to {max(images):,} image evaluations",
            f"full grid {result['grid_images']:,}",
            f"{100 * min(shares):.1f} to {100 * max(shares):.1f} %; the same best choices in {same} of {len(runs)} runs",
        )
    ]


def answers(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    if found := result.get("outputs"):
        for backend in ("reference", "native"):
            worst = max(found, key=lambda row: row["difference"][backend])
            rows.append(
                (
                    f"outputs of {len(found)} models on photographs, backend `{backend}`",
                    f"largest difference {worst['difference'][backend]:.1e} of the output's range ({worst['model']})",
                    "ONNX Runtime",
                    f"ONNX Runtime without optimization: {worst['difference']['onnxruntime, not optimized']:.1e}",
                )
            )
    if found := result.get("predictions"):
        images, same = sum(row["images"] for row in found), sum(row["same"] for row in found)
        models = ", ".join(dict.fromkeys(row["model"] for row in found))
        rows.append(
            (
                f"top-1 of {models} on two ImageNet folders",
                f"{images:,} predictions",
                "ONNX Runtime",
                f"{same:,} the same",
            )
        )
    return rows


def latency(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for threads, found in result.get("latency", {}).items():
        where = f"batch 1, {threads} thread{'s' * (threads != '1')}"
        for row in found["rows"]:
            peers = {name: ms for name, ms in row["ms"].items() if name != "rdquant"}
            peer = min(peers, key=peers.__getitem__)
            what, ours = f"inference, {row['net']}, {where}", milliseconds(row["ms"]["rdquant"])
            rows.append(
                (what, ours, f"{peer} {milliseconds(peers[peer])}", f"{row['ratio']:.3f} of its time")
            )
        mean = f"{found['geometric_mean']:.3f} of its time"
        rows.append(
            (f"inference, geometric mean, {where}", "–", "the faster of onnxruntime and openvino", mean)
        )
    for row in result.get("throughput", {}).get("rows", []):
        peers = {name: speed for name, speed in row["images_per_s"].items() if name != "rdquant"}
        peer = max(peers, key=peers.__getitem__)
        ours, theirs = (
            f"{row['images_per_s']['rdquant']:,.0f} images/s",
            f"{peer} {peers[peer]:,.0f} images/s",
        )
        rows.append(
            (f"inference, {row['net']}, batch 32, 2 threads", ours, theirs, f"{row['ratio']:.2f} × as many")
        )
    for threads, found in result.get("squeezenet", {}).items():
        what = f"SqueezeNet, {threads} thread{'s' * (threads != '1')}: exchange of all weights"
        share = f"{found['swap']:.2f} of it; {100 * found['share_outside']:.1f} % of it outside convolutions"
        rows.append((what, "–", "one inference", share))
    if found := result.get("memory"):
        peer = min(("onnxruntime", "openvino"), key=found.__getitem__)
        sizes = {name: f"{found[name] / 1e6:.0f} MB" for name in ("rdquant", peer)}
        what = "growth of memory from import to ten inferences, efficientnet_lite0"
        rows.append(
            (what, sizes["rdquant"], f"{peer} {sizes[peer]}", f"{found['rdquant'] / found[peer]:.2f} of it")
        )
    if found := result.get("cold"):
        ours, theirs = (milliseconds(1e3 * found[name]) for name in ("rdquant", "onnxruntime"))
        ratio = f"{found['rdquant'] / found['onnxruntime']:.2f} of its time"
        rows.append(("import, load, first inference of SqueezeNet", ours, f"onnxruntime {theirs}", ratio))
    return rows


def busy(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result["rows"]:
        peers = {name: ms for name, ms in row["ms"].items() if name != "rdquant"}
        peer = min(peers, key=peers.__getitem__)
        what = f"inference, {row['net']}, 2 threads, another process keeps a core busy"
        ours, theirs = milliseconds(row["ms"]["rdquant"]), f"{peer} {milliseconds(peers[peer])}"
        rows.append((what, ours, theirs, f"{row['ratio']:.3f} of its time"))
    return rows


def sweep(result: dict[str, Any]) -> list[Row]:
    timed = [row for row in result["rows"] if "loop_s" in row]
    if not timed:
        return []
    ours, loop = (sum(row[key] for row in timed) for key in ("ours_s", "loop_s"))
    size = f"{len(timed)} points × {result['images']:,} images"
    what = f"sweep of {size}, {result['model'].removesuffix('.onnx')}, {result['threads']} threads"
    peer = f"a session of onnxruntime per point, batches of 32: {loop:.0f} s"
    return [(what, f"{ours + result['other_s']:.0f} s", peer, f"{result['ratio']:.2f} of its time")]


def prune(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for row in result["rows"]:
        threads = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
        what = f"prune then quantize {row['weights']:,} weights in training, {threads}"
        ours, theirs = milliseconds(row["operator_ms"]), milliseconds(row["torch_ms"])
        rows.append((what, ours, f"PyTorch's operations {theirs}", f"{row['ratio']:.3g} × as fast"))
        step = f"training step {milliseconds(row['step_ms'])}"
        kept, decay = (f"{100 * row[f'share_{kind}']:.1f} %" for kind in ("survivors", "decay"))
        share = f"{100 * row['share']:.1f} % of both; {kept} where survivors' floats are kept, {decay} with GroupDecay"
        rows.append((f"its hook, {threads}", milliseconds(row["hook_ms"]), step, share))
    return rows


def train(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    baselines = [run for run in result["runs"] if run["name"].startswith("baseline")]
    base = max(baselines, key=lambda run: run["best"]["accuracy"])
    peer = f"uncompressed, {len(base['history'])} of {base['epochs']} epochs: {100 * base['best']['accuracy']:.2f} %"
    for run in result["runs"]:
        best, point = run["best"], run["point"]
        if "density" not in best:
            continue
        kept = {"none": "no floats kept", "survivors": "survivors' floats kept", "all": "all floats kept"}
        what = f"training with γ = {point['gamma']:g}, {point['bits']} bits, {kept[point['keep']]}"
        if point.get("rows", 1) < 1:
            what += f", {100 * point['rows']:g} % of the largest layer's rows and {100 * point['columns']:g} % of its columns"
        what += f", {len(run['history'])} of {run['epochs']} epochs of {run['data']}"
        size = f"density {100 * best['density']:.2f} %, file {best['max_bytes']:,} bytes"
        ours = f"{100 * best['accuracy']:.2f} %, {size}"
        score = f"loses {run['loss_points']:.2f} points; PE {run['efficiency']['2']:.1f} at ρ = 2; "
        score += f"{best['of_promised']:.2f} of density·bits"
        rows.append((what, ours, peer, score))
    return rows


def trellis(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for states in (8, 32):
        gaps = [row for row in result["gaps"] if row["states"] == states]
        what = (
            f"gap to the rate–distortion function, Laplacian source, trellis of {states} states, real bytes"
        )
        bits = ", ".join(f"{row['bits']:.1f}" for row in gaps)
        rows.append((what, ", ".join(f"{row['gap_db']:.2f}" for row in gaps) + " dB", "–", f"at {bits} bits"))
    for row in result["rows"]:
        what = f"{row['net']} ({row['kernels']}) at equal squared error of the weights, 32 states, max"
        ours, theirs = f"{row['32 max']:.3f} bits a weight", f"NNCodec's default {row['nncodec']:.3f}"
        rows.append((what, ours, theirs, f"−{100 * row['saving']:.1f} %"))
    if result.get("speed"):
        least = min(result["speed"], key=lambda row: row["ratio"])
        what = (
            f"encode with 8-state trellis, 1 thread, {least['net']} (least ratio of {len(result['speed'])})"
        )
        ours, theirs = (f"{least[key]:.1f} million weights/s" for key in ("encode_mws", "nncodec_encode_mws"))
        rows.append((what, ours, f"NNCodec's default {theirs}", f"{least['ratio']:.1f} × as fast"))
    return rows


def compress(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for net, found in result["nets"].items():
        ours = [r for r in found["rows"] if r["codec"] == "rdquant"]
        for row in (r for r in ours if "limit_loss" in r):
            what = (
                f"{net}, whole file, fitted to {row['calibration']} images without labels, at most "
                f"{row['limit_loss']:g} points lost and KL {row['most_kl']:g} on 1000 others"
            )
            lost = f"loses {row['lost_points']:.1f} points, expected {row['expected_loss']:.1f}, KL {row['kl']:.3f}"
            rows.append((what, f"{row['bits']:.2f} bits a weight", "–", lost))
        mine = sorted((r for r in ours if "limit_kl" in r), key=lambda r: r["bits"])
        within = [r for r in mine if r["lost_points"] <= 0.8 + 1e-9 and r["kl"] <= 0.058]
        for row in within[:1] or mine[-1:]:
            seen = f"calibrated on {row['calibration']} images without labels"
            what = f"{net}, whole file, {seen}: smallest of {len(mine)} within 0.8 points and KL 0.058, or largest"
            lost = f"loses {row['lost_points']:.1f} points, KL {row['kl']:.3f}"
            best = [r for r in found["rows"] if r["codec"] == "nncodec" and r["kl"] <= row["kl"]]
            peer = min((r["bits"] for r in best), default=None)
            theirs = "–" if peer is None else f"NNCodec, KL at most this: {peer:.2f} bits"
            rows.append((what, f"{row['bits']:.2f} bits a weight", theirs, lost))
        if found["equal_kl"]:
            mean = sum(r["saving"] for r in found["equal_kl"]) / len(found["equal_kl"])
            pairs = ", ".join(f"{r['rdquant']:.2f}/{r['nncodec']:.2f}" for r in found["equal_kl"])
            what = f"{net} at equal KL divergence of the outputs"
            rows.append((what, f"{pairs} bits", "of NNCodec's default", f"−{100 * mean:.0f} % on average"))
    return rows


def codec(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for net in dict.fromkeys(row["net"] for row in result["levels"]):
        found = [row for row in result["levels"] if row["net"] == net]
        at = "/".join(f"{row['target_bits']:g}" for row in found)
        what = f"levels of {net} at {at} bits of entropy"
        rows.append(
            (f"{what}, profile fast", _list(found, "fast"), "entropy", _list(found, "fast", "entropy"))
        )
        rows.append((f"{what}, profile max", _list(found, "max"), "NNCodec", _list(found, "max", "nncodec")))
        speeds = [row["fast_decode_mws"] / row["nncodec_decode_mws"] for row in found]
        theirs = "/".join(f"{row['nncodec_decode_mws']:.0f}" for row in found)
        ours = "/".join(f"{row['fast_decode_mws']:.0f}" for row in found)
        times = "/".join(f"{speed:.1f}" for speed in speeds) + " × as fast"
        rows.append((f"{what}, decoding, 1 thread", f"{ours} M levels/s", f"NNCodec {theirs}", times))
    for row in result["files"]:
        ours, theirs = milliseconds(row["session_rdq_ms"]), milliseconds(row["session_onnx_ms"])
        ratio = f"{row['session_rdq_ms'] / row['session_onnx_ms']:.2f} of its time"
        rows.append((f"a session of {row['net']}.rdq", ours, f"of the .onnx {theirs}", ratio))
        ours, theirs = milliseconds(row["decode_2_ms"]), milliseconds(row["decode_1_ms"])
        ratio = f"{row['decode_1_ms'] / row['decode_2_ms']:.2f} × as fast"
        rows.append((f"decoding {row['net']}.rdq, 2 threads", ours, f"1 thread {theirs}", ratio))
    for row in result["qdq"]:
        peers = {name: row[name] for name in ("xz -9e", "zstd -22", "brotli -11", "nncodec") if name in row}
        best = min(peers, key=peers.__getitem__)
        what = f"int8 levels of {row['net']}, QDQ by {row['maker']}"
        smaller = f"{100 * (row['max'] / peers[best] - 1):+.1f} %"
        rows.append((what, f"{row['max']:.3f} bits", f"{best} {peers[best]:.3f} bits", smaller))
    return rows


def _list(rows: list[dict[str, Any]], ours: str, theirs: str | None = None) -> str:
    if theirs is None:
        return "/".join(f"{row[ours]:.3f}" for row in rows) + " bits"
    return "/".join(f"{100 * (row[ours] / row[theirs] - 1):+.2f}" for row in rows) + " %"


TABLES: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "accuracy": accuracy,
    "fit": fit,
    "quantize": quantize,
    "memory": memory,
    "adaptive": adaptive,
    "answers": answers,
    "latency": latency,
    "busy": busy,
    "int8": int8,
    "sweep": sweep,
    "codec": codec,
    "compress": compress,
    "prune": prune,
    "train": train,
    "trellis": trellis,
    "ptq": ptq,
    "detect": detect,
}


def table(folder: Path = HERE / "results") -> str:
    """The table in Markdown, with a line on the machines below it."""
    rows: list[tuple[str, ...]] = [(*HEAD, "command"), ("---",) * 5]
    machines: dict[str, None] = {}
    for name, build in TABLES.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        rows += [(*row, f"[bench_{name}](benchmarks/bench_{name}.py)") for row in build(result)]
        machine = result["machine"]
        # Two results files may come from two machines, or know less about one.
        machines[f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}"] = None
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", f"Measured on: {'; '.join(machines)}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    if not parser.parse_args().write:
        print(table(), end="")
        return
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
