"""Rows of training with compression."""

from __future__ import annotations

from typing import Any

from .cells import Row, milliseconds

__all__ = ["prune", "train"]


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
