"""A study as `rdquant.sweep` stores one, written without running a network: material for the report's tests.

The rates are those of real quantizers over sampled weights; the accuracies follow the quantization error
along a logistic curve, with SqueezeNet's float figures (thesis 004, Table 3.7) at its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rdquant.sweep.store import Store

CREATED = "2025-11-21T10:15:00+00:00"
TOLERANCE = 0.008
FLOAT = {"top1": 0.5377, "top5": 0.77138}
IMAGES = 1000
WEIGHTS = 1_235_496
HOSTILE = {"fire0/squeeze_weight": '<script>alert("x")</script>&$\\frac', "fire1/squeeze_bias": "a$b_{c}"}
FIGURES = ["rd-top1", "close-top1", "rd-top5", "close-top5", "rd-kl", "histogram-log", "histogram-linear"]


def _entropy(levels: np.ndarray) -> float:
    share = np.unique(levels, return_counts=True)[1] / levels.size
    return float(-(share * np.log2(share)).sum())


def _deadzone(x: np.ndarray, step: float, delta: float) -> tuple[np.ndarray, np.ndarray]:
    levels = np.where(np.abs(x) < delta * step, 0, np.sign(x) * np.ceil(np.abs(x) / step - delta))
    return levels, np.where(levels == 0, 0, np.sign(levels) * step * (np.abs(levels) + delta - 0.5))


def _mulaw(x: np.ndarray, step: float, mu: float = 255) -> tuple[np.ndarray, np.ndarray]:
    levels = np.round(np.log1p(mu * np.abs(x)) / np.log1p(mu) * np.sign(x) / step)
    y = levels * step
    return levels, np.sign(y) * ((1 + mu) ** np.abs(y) - 1) / mu


def _minifloat(x: np.ndarray, exponent: int, mantissa: int) -> tuple[np.ndarray, np.ndarray]:
    top = math.floor(math.log2(np.abs(x).max()))
    e = np.clip(np.floor(np.log2(np.abs(x) + 1e-30)), top - 2**exponent + 1, top)
    values = (
        np.sign(x) * np.maximum(np.round(np.abs(x) / 2**e * 2**mantissa), 2**mantissa) / 2**mantissa * 2**e
    )
    return values, values


def _quantized(x: np.ndarray) -> Iterator[tuple[str, str, int, tuple[np.ndarray, np.ndarray]]]:
    for bits in range(2, 17):
        step = 2 / 2**bits
        yield "midtread", "midtread", bits, _deadzone(x, step, 0.5)
        yield "midrise", "midrise", bits, _deadzone(x, step, 0.0)
        for delta in (0.1, 0.25, 0.4, 0.7):
            yield f"dead zone δ={delta}", "deadzone", bits, _deadzone(x, step, delta)
        yield "µ-law µ=255", "mulaw", bits, _mulaw(x, step)
    for e, m in ((4, 7), (3, 6), (3, 4), (4, 3), (3, 3), (2, 4), (2, 3), (1, 4), (2, 2), (1, 3), (1, 2)):
        yield f"minifloat {e}/{m}", "minifloat", 1 + e + m, _minifloat(x, e, m)


def _point(
    label: str, family: str, bits: int | None, rate: float, metrics: dict[str, float]
) -> dict[str, Any]:
    text = label
    for shown, typed in (("dead zone δ=", "deadzone:"), ("µ-law µ=", "mulaw:"), ("minifloat ", "minifloat:")):
        text = text.replace(shown, typed)
    return {
        "quantizer": label, "family": family, "options": {"quantizer": text, "range": 1.0}, "bits": bits,
        "scope": "model", "state": "done", "images": IMAGES, "entropy": rate, "entropy_tables": rate * 1.001,
        "cr": 32 / rate, "re": (32 - rate) / 32, "mse": 0.0, "sqnr_db": None, "metrics": metrics,
        "verdict": None,
        "tolerance": TOLERANCE, "seconds": 12.5, "created": CREATED,
    }  # fmt: skip


def _points(x: np.ndarray, metrics: tuple[str, ...], adaptive: bool, files: bool) -> Iterator[dict[str, Any]]:
    rest = 3_000  # bytes of a file beside its levels
    yield _point("float32", "float", None, 20.221, {name: {"kl": 0.0, **FLOAT}[name] for name in metrics})
    noise = np.random.default_rng(3)
    for label, family, bits, (levels, restored) in _quantized(x):
        mse = float(np.mean((x - restored) ** 2))
        sqnr = 10 * math.log10(float(np.mean(x**2)) / mse)
        kept = 1 / (1 + math.exp(-(sqnr - 9.5) / 2.2))
        jitter = noise.normal(0, 0.0015, 2)
        scores = {
            "top1": max(0.0, FLOAT["top1"] * kept + jitter[0]),
            "top5": max(0.0, FLOAT["top5"] * kept**0.8 + jitter[1]),
            "kl": 8 * 10 ** (-sqnr / 12),
        }
        rate = max(_entropy(levels), 1e-3)
        point = _point(label, family, bits, rate, {name: scores[name] for name in metrics})
        point |= {"mse": mse, "sqnr_db": sqnr}
        if files:
            point |= {"real_bits": 1.01 * rate, "file_bytes": rest + round(1.01 * rate * WEIGHTS / 8)}
        if adaptive and not 4 <= bits <= 9:
            point |= {"real_bits": None, "file_bytes": None}
            point |= {"state": "stopped", "images": int(noise.integers(2, 12)) * 32}
            point["verdict"] = "pass" if kept > 0.98 else "fail"
        yield point


def _moments(name: str, role: str, values: np.ndarray, position: int, shape: list[int]) -> dict[str, Any]:
    std = float(values.std())
    return {
        "position": position, "name": name, "role": role, "shape": shape, "count": values.size,
        "mean": float(values.mean()), "std": std, "min": float(values.min()), "max": float(values.max()),
        "kurtosis": float(np.mean((values - values.mean()) ** 4) / std**4 - 3),
    }  # fmt: skip


def _histogram(tensor: str, values: np.ndarray) -> dict[str, Any]:
    counts, edges = np.histogram(values, bins=100)
    return {"tensor": tensor, "low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}


def _fits(tensor: str, values: np.ndarray) -> list[dict[str, Any]]:
    counts, edges = np.histogram(values, bins=100, density=True)
    centre, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    loc, std, b = (
        float(np.median(values)),
        float(values.std()),
        float(np.abs(values - np.median(values)).mean()),
    )
    u = np.abs(centre - loc)
    rows = []
    for family, scale, density in (
        ("laplace", b, np.exp(-u / b) / (2 * b)),
        ("logistic", std * 0.5, 1 / (4 * std * 0.5 * np.cosh(u / std) ** 2)),
        ("gaussian", std, np.exp(-((u / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))),
        ("cauchy", b / 2, b / 2 / math.pi / (u**2 + b**2 / 4)),
    ):
        seen = counts > 0
        ratio = np.log(counts[seen] / np.maximum(density[seen], 1e-12))
        row = {"tensor": tensor, "criterion": "mle", "family": family}
        row |= {"parameters": {"loc": loc, "scale": scale}, "kl": float((counts[seen] * ratio).sum() * width)}
        row |= {"sse": float(((counts - density) ** 2).sum()), "aic": 1.0, "bic": 1.0, "ks": 0.1}
        rows.append(row)
    rows.sort(key=lambda row: row["kl"])
    return [row | {"rank": rank} for rank, row in enumerate(rows, 1)]


def _layers(seed: int, many: int) -> list[tuple[str, str, list[int], np.ndarray]]:
    noise = np.random.default_rng(seed)
    layers = []
    for i in range(many):
        shape = [16 + 8 * i, 8 + 4 * i, 3 if i % 2 else 1, 3 if i % 2 else 1]
        values = noise.laplace(0, 0.12 / (1 + i / 3), math.prod(shape)).clip(-1.2, 1.2)
        layers.append((f"fire{i}/squeeze_weight", "weight", shape, values))
        layers.append((f"fire{i}/squeeze_bias", "bias", shape[:1], noise.normal(0.02, 0.05, shape[0])))
    return layers


def write_study(
    folder: Path,
    *,
    metrics: tuple[str, ...] = ("top1", "top5", "kl"),
    adaptive: bool = False,
    files: bool = True,
    layers: int = 9,
    rename: dict[str, str] | None = None,
) -> Path:
    """Write results.sqlite of a finished study into `folder` and return the folder. files: their sizes are known."""
    tensors = [((rename or {}).get(name, name), *rest) for name, *rest in _layers(1, layers)]
    whole = np.concatenate([values for *_, values in tensors])
    row = {
        "model": "squeezenet1.1-7", "model_fingerprint": "ab" * 32, "data": "imagenet-sample",
        "data_fingerprint": "cd" * 32, "created": CREATED,
        "options": {"max_loss": 100 * TOLERANCE, "metrics": list(metrics)},
        "machine": {"cpu": "Example CPU @ 2.0 GHz", "cores": 2, "os": "Linux", "python": "3.11"},
        "model_summary": {
            "file_bytes": 4_952_222, "weight_bytes": 4_941_984, "weight_share": 0.99793,
            "parameters": WEIGHTS, "tensors": len(tensors), "nodes": 66, "opset": 7,
            "operators": {"Conv": 26, "Relu": 26, "MaxPool": 3},
        },
    }  # fmt: skip
    named = [("", whole), *((name, values) for name, _, _, values in tensors)]
    facts = {
        "tensors": [
            _moments(name, role, values, position, shape)
            for position, (name, role, shape, values) in enumerate(tensors)
        ],
        "histograms": [_histogram(*pair) for pair in named],
        "fits": [fit for pair in named for fit in _fits(*pair)],
    }
    with Store(folder, write=True) as store:
        study = store.insert_study(row, facts)
        store.insert(
            "points", [{"study_id": study, **point} for point in _points(whole, metrics, adaptive, files)]
        )
    return folder
