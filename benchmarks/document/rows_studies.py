"""Rows of studies: fits, quantizers, sweeps, memory."""

from __future__ import annotations

from typing import Any

from .cells import Row, milliseconds

__all__ = ["adaptive", "fit", "memory", "quantize", "sweep"]


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


def sweep(result: dict[str, Any]) -> list[Row]:
    timed = [row for row in result["rows"] if "loop_s" in row]
    if not timed:
        return []
    ours, loop = (sum(row[key] for row in timed) for key in ("ours_s", "loop_s"))
    size = f"{len(timed)} points × {result['images']:,} images"
    what = f"sweep of {size}, {result['model'].removesuffix('.onnx')}, {result['threads']} threads"
    peer = f"a session of onnxruntime per point, batches of 32: {loop:.0f} s"
    return [(what, f"{ours + result['other_s']:.0f} s", peer, f"{result['ratio']:.2f} of its time")]


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
