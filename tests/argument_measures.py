"""Cases of `test_arguments`: what measures, detects, draws and reports."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import matplotlib
import numpy as np

import rdquant as rdq
from classifier import classifier

Cases = dict[Callable[..., Any], dict[str, Any]]

LABELS = np.array([0, 1, 2, 1])
SCORES = np.linspace(0, 1, 12).reshape(4, 3)
X = np.linspace(-1, 1, 8, dtype=np.float32)
BOXES = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]])


def of_formulas() -> Cases:
    """Metrics on plain arrays."""
    m = rdq.metrics
    pair, scored = {"labels": LABELS, "predictions": LABELS}, {"scores": SCORES, "labels": LABELS}
    found: Cases = dict.fromkeys((m.accuracy, m.class_accuracy), pair)
    found |= {f: pair | {"classes": 3} for f in (m.confusion_matrix, m.f1, m.precision, m.recall)}
    found |= {f: {"relevance": SCORES} for f in (m.cumulative_gain, m.dcg, m.ndcg)}
    found |= {f: {"x": X, "x_hat": X + 1} for f in (m.mae, m.mse, m.rmse, m.sae, m.sse, m.psnr)}
    found |= dict.fromkeys((m.leads, m.ranks), scored) | {
        f: scored | {"k": 1} for f in (m.top_k_accuracy, m.top_k_error)
    }
    return found | {
        m.kl_divergence: {"reference": SCORES, "scores": SCORES},
        m.mean_reciprocal_rank: {"positions": np.array([1, 2])},
        m.predictions: {"scores": SCORES},
        m.are_probabilities: {"scores": SCORES},
        rdq.entropy.compression_ratio: {"bits": 3.0},
        rdq.entropy.reduction: {"bits": 3.0},
    }


def of_detectors() -> Cases:
    """Boxes, and what detectors put out."""
    d = rdq.detection
    output = np.zeros((1, 84, 21), np.float32)
    return {
        d.overlaps: {"one": BOXES, "others": BOXES},
        d.suppress: {"boxes": BOXES, "classes": [0, 1], "confidences": [0.5, 0.6]},
        d.decode: {"head": "yolov8", "output": output, "size": (32, 32)},
        d.recognise: {"shapes": {"y": [1, 84, 21]}, "size": (32, 32)},
        rdq.Detector: {},
        rdq.Detector().detect: {"head": "yolov8", "output": output, "size": (32, 32)},
    }


def of_distributions() -> Cases:
    """Fits, distributions and grids."""
    table = rdq.fit(X, families="laplace")
    laplace = rdq.stats.Distribution("laplace", dict(table.best().parameters))
    grid = rdq.ptq.Grid(0.1, 0, "u8")
    return {
        rdq.stats.Distribution: {"family": "laplace", "parameters": laplace.parameters},
        laplace.pdf: {"x": X},
        laplace.logpdf: {"x": X},
        laplace.cdf: {"x": X},
        laplace.quantile: {"p": [0.5]},
        table.best: {},
        table.plot: {},
        rdq.ptq.grid_of: {"low": -1.0, "high": 1.0},
        rdq.ptq.Grid: {"scale": 0.1, "zero": 0, "kind": "u8"},
        grid.levels: {"values": X},
        grid.values: {"levels": [1, 2]},
        rdq.quant.scope_range: {"scope": "model", "range": None},
        rdq.train.Ramp: {"start": 0.0, "end": 1.0},
        rdq.train.Stages: {"stages": {0.0: 1.0}},
        rdq.data.preset_for: {"model": "resnet"},
        rdq.data.input_geometry: {"shape": [1, 3, 8, 8]},
    }


def of_reports() -> Cases:
    """Studies drawn and reported; what sessions give."""
    matplotlib.use("Agg")
    model, data = classifier(), rdq.Digits("test").head(10)
    study = rdq.sweep(model, data, "midtread", [4], progress=False)
    return {
        study.plot: {},
        study.report: {"folder": "page"},
        rdq.report.plot_curves: {"study": study},
        rdq.report.best_rows: {"study": study},
        rdq.report.summary: {"study": study},
        rdq.report.write_report: {"study": study, "folder": "page"},
        rdq.metrics.outputs: {"session": rdq.Session(model), "data": data},
    }


@cache
def small_map() -> rdq.SignificanceMap:
    """Of two layers at one width, on a few digits."""
    data = rdq.Digits("test").head(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few images
        return rdq.significance.significance(classifier(), data, [1, 8], bits=2, rounding="nearest")


def of_firmware() -> Cases:
    """C for microcontrollers."""
    quantized = rdq.quantize_static(classifier(), rdq.Digits("test").head(8), progress=False)
    data = rdq.Digits("test").head(8)
    return {
        rdq.emit_c: {"model": quantized, "folder": "firmware"},
        rdq.fit_to_mcu: {
            "model": classifier(),
            "calibration": data,
            "folder": "firmware",
            "max_flash": 1 << 20,
        },
    }


def of_significance() -> Cases:
    """Maps, allocations, and what they are compared by."""
    model, data, found = classifier(), rdq.Digits("test").head(40), small_map()
    chosen = rdq.allocate(model, found, mean_bits=3)
    scores = np.linspace(-1, 1, 60, dtype=np.float32).reshape(6, 10)[:, ::-1]
    few = {"data": data.head(6), "classes": data.labels[:2], "bits": 2, "rounding": "nearest"}
    return {
        rdq.significance.open_map: {"folder": "nowhere"},
        rdq.allocate: {"model": model, "map": found, "mean_bits": 3},
        rdq.significance.compare: {"model": model, "allocations": [chosen], "data": data, "resamples": 4},
        rdq.significance.compare(model, [chosen], data, resamples=4).to_pandas: {},
        rdq.significance.compare(model, [chosen], data, resamples=4).plot: {},
        rdq.significance.compare(model, [chosen], data, resamples=4).per_class: {},
        rdq.significance.confused_groups: {"scores": scores, "labels": np.arange(6)},
        rdq.significance.refit: {"scores": scores, "labels": np.arange(6)},
        rdq.significance.refit(scores, np.arange(6)).scores: {"scores": scores},
        found.measured: {},
        found.costs: {},
        found.group: {},
        found.to_pandas: {},
        found.plot: {},
        found.share_of_shift: {},
        found.take: {"images": [0]},
        chosen.save: {"path": "a.rdq"},
        chosen.qdq: {},
        chosen.int8: {"calibration": data.head(4)},
        rdq.significance.significance: {"model": model, **few},  # last: it makes folders
    }
