"""A study as `rdquant.sweep` stores one, written without running a network: material for the report's tests.

The rates are those of real quantizers over sampled weights; the accuracies follow the quantization error
along a logistic curve, with SqueezeNet's float figures (thesis 004, Table 3.7) at its end.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE studies(id INTEGER PRIMARY KEY, model TEXT, model_fingerprint TEXT, data TEXT,
  data_fingerprint TEXT, model_summary TEXT, machine TEXT, created TEXT);
CREATE TABLE points(id INTEGER PRIMARY KEY, study_id INTEGER, quantizer TEXT, family TEXT, options TEXT,
  bits INTEGER, scope TEXT, state TEXT, images INTEGER, entropy REAL,
  entropy_tables REAL, cr REAL, re REAL, mse REAL,
  sqnr_db REAL, metrics TEXT, verdict TEXT, seconds REAL);
CREATE TABLE fits(study_id INTEGER, tensor TEXT, rank INTEGER, criterion TEXT, family TEXT, parameters TEXT,
  kl REAL, sse REAL, aic REAL, bic REAL, ks REAL);
CREATE TABLE histograms(study_id INTEGER, tensor TEXT, low REAL, high REAL, counts TEXT);
CREATE TABLE tensors(study_id INTEGER, position INTEGER, name TEXT, role TEXT, shape TEXT, count INTEGER,
  mean REAL, std REAL, min REAL, max REAL, kurtosis REAL);
"""
FLOAT = {"top1": 0.5377, "top5": 0.77138}
IMAGES = 1000


class StoredStudy:
    """The part of `Study` that the report reads, over the tables above."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "results.sqlite"

    def _rows(self, query: str) -> pd.DataFrame:
        with sqlite3.connect(self._path) as store:
            return pd.read_sql_query(query, store)

    @property
    def info(self) -> dict[str, Any]:
        row = self._rows("SELECT * FROM studies").iloc[0].to_dict()
        return {k: json.loads(v) if k in ("machine", "model_summary") else v for k, v in row.items()}

    def to_pandas(self) -> pd.DataFrame:
        rows = self._rows("SELECT * FROM points ORDER BY id").drop(columns=["id", "study_id", "options"])
        rows["bits"] = rows["bits"].astype("Int64")
        metrics = pd.DataFrame([json.loads(text) for text in rows.pop("metrics")], index=rows.index)
        return rows.join(metrics)

    def best(self, tolerance: float = 0.008) -> pd.DataFrame:
        rows = self.to_pandas()
        base = rows[rows.family == "float"].iloc[0]
        rows = rows[(rows.family != "float") & (rows.state == "done")].copy()
        losses = [m for m in ("top1", "top5") if m in rows]
        for metric in losses:
            rows[f"loss_{metric}"] = base[metric] - rows[metric]
        kept = rows[(rows[[f"loss_{m}" for m in losses]] <= tolerance).all(axis=1)].sort_values("entropy")
        return kept.drop_duplicates("quantizer").reset_index(drop=True)

    def fits(self) -> pd.DataFrame:
        rows = self._rows("SELECT * FROM fits").drop(columns="study_id")
        rows["parameters"] = [json.loads(text) for text in rows["parameters"]]
        return rows

    def histograms(self) -> dict[str, tuple[float, float, np.ndarray]]:
        rows = self._rows("SELECT * FROM histograms")
        return {
            r.tensor: (r.low, r.high, np.array(json.loads(r.counts))) for r in rows.itertuples(index=False)
        }

    def tensors(self) -> pd.DataFrame:
        return self._rows("SELECT * FROM tensors ORDER BY position").drop(columns="study_id")


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


def _points(x: np.ndarray, metrics: tuple[str, ...], adaptive: bool) -> Iterator[tuple[Any, ...]]:
    base = {name: {"kl": 0.0, **FLOAT}[name] for name in metrics}
    yield "float32", "float", None, "done", IMAGES, 20.221, 20.221, 1.5825, 0.3681, 0, None, base, None, 30.0
    noise = np.random.default_rng(3)
    for label, family, bits, (levels, restored) in _quantized(x):
        mse = float(np.mean((x - restored) ** 2))
        sqnr = 10 * math.log10(float(np.mean(x**2)) / mse)
        rate = max(_entropy(levels), 1e-3)
        kept = 1 / (1 + math.exp(-(sqnr - 9.5) / 2.2))
        scores = {
            "top1": FLOAT["top1"] * kept,
            "top5": FLOAT["top5"] * kept**0.8,
            "kl": 8 * 10 ** (-sqnr / 12),
        }
        stopped = adaptive and not 4 <= bits <= 9
        images = int(noise.integers(2, 12)) * 32 if stopped else IMAGES
        values = {k: max(0.0, v + (noise.normal(0, 0.0015) if k != "kl" else 0)) for k, v in scores.items()}
        verdict = None if not adaptive else ("pass" if FLOAT["top1"] - scores["top1"] <= 0.008 else "fail")
        kept_metrics = {name: values[name] for name in metrics}
        state = "stopped" if stopped else "done"
        cost = (rate, rate * 1.001, 32 / rate, (32 - rate) / 32, mse, sqnr)
        yield label, family, bits, state, images, *cost, kept_metrics, verdict, images / 70


def _moments(name: str, role: str, values: np.ndarray, position: int, shape: list[int]) -> tuple[Any, ...]:
    std = float(values.std())
    kurtosis = float(np.mean((values - values.mean()) ** 4) / std**4 - 3) if std else None
    span = float(values.mean()), std, float(values.min()), float(values.max())
    return 1, position, name, role, json.dumps(shape), values.size, *span, kurtosis


def _fits(tensor: str, values: np.ndarray) -> list[tuple[Any, ...]]:
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=100, range=(low, high), density=True)
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
        kl, sse = float((counts[seen] * ratio).sum() * width), float(((counts - density) ** 2).sum())
        rows.append((kl, sse, family, {"loc": loc, "scale": scale}))
    rows.sort(key=lambda row: row[0])
    return [
        (1, tensor, rank, "mle", family, json.dumps(parameters), kl, sse, kl * 2e3, kl * 2e3 + 9, kl / 10)
        for rank, (kl, sse, family, parameters) in enumerate(rows, 1)
    ]


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
    model: str = "squeezenet1.1-7",
    metrics: tuple[str, ...] = ("top1", "top5", "kl"),
    adaptive: bool = False,
    layers: int = 9,
    fits: bool = True,
    points: bool = True,
    rename: dict[str, str] | None = None,
) -> Path:
    """Write results.sqlite of a finished study into `folder` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = [((rename or {}).get(n, n), *rest) for n, *rest in _layers(1, layers)]
    whole = np.concatenate([values for *_, values in tensors])
    summary = {
        "file_bytes": 4_952_222, "weight_bytes": 4_941_984, "weight_share": 0.99793, "parameters": 1_235_496,
        "tensors": len(tensors), "nodes": 66, "opset": 7, "operators": {"Conv": 26, "Relu": 26, "MaxPool": 3},
    }  # fmt: skip
    machine = {"cpu": "Example CPU @ 2.0 GHz", "cores": 2, "system": "Linux", "python": "3.11"}
    with sqlite3.connect(folder / "results.sqlite") as store:
        store.executescript(SCHEMA)
        store.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", "1"), ("version", "0.1.0")])
        study = (1, model, "ab" * 32, "imagenet-sample", "cd" * 32, json.dumps(summary), json.dumps(machine))
        store.execute("INSERT INTO studies VALUES (?,?,?,?,?,?,?,?)", (*study, "2025-11-21T10:15:00+00:00"))
        if points:
            rows = [
                (1, label, family, "{}", bits, "model", *values[:-3], json.dumps(values[-3]), *values[-2:])
                for label, family, bits, *values in _points(whole, metrics, adaptive)
            ]
            store.executemany(f"INSERT INTO points VALUES (NULL{', ?' * 17})", rows)
        for position, (name, role, shape, values) in enumerate(tensors):
            row = _moments(name, role, values, position, shape)
            store.execute(f"INSERT INTO tensors VALUES ({'?, ' * 10}?)", row)
        for name, values in [("", whole), *((name, values) for name, _, _, values in tensors)]:
            if fits:
                store.executemany(f"INSERT INTO fits VALUES ({'?, ' * 10}?)", _fits(name, values))
                counts, edges = np.histogram(values, bins=100)
                span = (1, name, edges[0], edges[-1], json.dumps(counts.tolist()))
                store.execute("INSERT INTO histograms VALUES (?,?,?,?,?)", span)
    store.close()
    return folder
