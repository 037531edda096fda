"""Rows of compressed files: whole files, the codec alone, trellises."""

from __future__ import annotations

from typing import Any

from .cells import Row, milliseconds

__all__ = ["codec", "compress", "trellis"]


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
            rows.append((what, f"{row['bits']:.2f} bits per weight", "–", lost))
        mine = sorted((r for r in ours if "limit_kl" in r), key=lambda r: r["bits"])
        within = [r for r in mine if r["lost_points"] <= 0.8 + 1e-9 and r["kl"] <= 0.058]
        for row in within[:1] or mine[-1:]:
            seen = f"calibrated on {row['calibration']} images without labels"
            what = f"{net}, whole file, {seen}: smallest of {len(mine)} within 0.8 points and KL 0.058, or largest"
            lost = f"loses {row['lost_points']:.1f} points, KL {row['kl']:.3f}"
            best = [r for r in found["rows"] if r["codec"] == "nncodec" and r["kl"] <= row["kl"]]
            peer = min((r["bits"] for r in best), default=None)
            theirs = "–" if peer is None else f"NNCodec, KL at most this: {peer:.2f} bits"
            rows.append((what, f"{row['bits']:.2f} bits per weight", theirs, lost))
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
            (f"{what}, effort fast", _list(found, "fast"), "entropy", _list(found, "fast", "entropy"))
        )
        rows.append((f"{what}, effort max", _list(found, "max"), "NNCodec", _list(found, "max", "nncodec")))
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
        ours, theirs = f"{row['32 max']:.3f} bits per weight", f"NNCodec's default {row['nncodec']:.3f}"
        rows.append((what, ours, theirs, f"−{100 * row['saving']:.1f} %"))
    if result.get("speed"):
        least = min(result["speed"], key=lambda row: row["ratio"])
        what = (
            f"encode with 8-state trellis, 1 thread, {least['net']} (least ratio of {len(result['speed'])})"
        )
        ours, theirs = (f"{least[key]:.1f} million weights/s" for key in ("encode_mws", "nncodec_encode_mws"))
        rows.append((what, ours, f"NNCodec's default {theirs}", f"{least['ratio']:.1f} × as fast"))
    return rows


def _list(rows: list[dict[str, Any]], ours: str, theirs: str | None = None) -> str:
    if theirs is None:
        return "/".join(f"{row[ours]:.3f}" for row in rows) + " bits"
    return "/".join(f"{100 * (row[ours] / row[theirs] - 1):+.2f}" for row in rows) + " %"
