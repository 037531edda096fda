"""Paper 003 on photos: bits by critical classes for SqueezeNet (groups found by confusion) and vehicles of YOLOX-nano.

Half of the photos make the map, the other half measures. So few critical images leave accuracies undecided; compared are the
loss and the divergence from the float network on critical images, with 95 % intervals of paired differences. Run from the
repository root: python benchmarks/bench_significance_photos.py squeezenet|yolox STORE
Ctrl-C keeps what was measured in STORE; the same call goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from rdquant.data import Dataset
from rdquant.significance import Allocation, SignificanceMap, allocate, confused_groups, significance
from rdquant.significance.losses import cross_entropy, divergence
from rdquant.significance.readers import Reader, reader_of
from store import Store

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
VEHICLES = [1, 2, 3, 4, 5, 6, 7, 8]  # bicycle to boat
COMMON: dict[str, dict[str, Any]] = {
    "uniform": {"method": "uniform"},
    "all": {"method": "all"},
    "kl": {"method": "all", "loss": "kl"},
}
OWN: dict[str, dict[str, Any]] = {
    "paper": {"method": "paper"},
    "priority": {},
    "priority cross-entropy": {"loss": "cross-entropy"},
    "priority kl": {"loss": "kl"},
}


def photos(cache: Path, preprocess: str = "imagenet") -> rdq.ArrayDataset:
    """Both ImageNet folders, shuffled, in float16."""
    if cache.exists():
        with np.load(cache) as arrays:
            return rdq.ArrayDataset(arrays["x"], arrays["y"], batch_size=25, classes=1000, name="photos")
    folders = [DATA / "images" / name for name in ("imagenet-sample", "nips2017-dev")]
    batches = [b for folder in folders for b in rdq.ImageFolder(folder, preprocess=preprocess)]
    x = np.concatenate([np.asarray(b[0], np.float16) for b in batches])
    y = np.concatenate([b[1] for b in batches])
    order = np.random.default_rng(0).permutation(len(y))
    np.savez(cache, x=x[order], y=y[order])
    return photos(cache, preprocess)


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    order = np.random.default_rng(1).permutation(len(data))
    return data.take(order[::2]), data.take(order[1::2])


def read(reader: Reader, allocation: Allocation, data: Dataset, folder: Path) -> np.ndarray:
    """Scores at the float network's boxes, or of images, from the store where it has them."""
    key = hashlib.sha256(json.dumps(allocation.bits).encode()).hexdigest()[:16]
    path = folder / f"scores-{key}.npy"
    if path.exists():
        return np.load(path)
    model = allocation.apply()
    session, found, start = rdq.Session(model), [], 0
    for x, _ in data:
        found.append(reader.read(session.run({model.inputs[0].name: x}), slice(start, start + len(x))))
        start += len(x)
    np.save(path, np.concatenate(found))
    return np.load(path)


def interval(values: np.ndarray) -> list[float]:
    mean, error = float(values.mean()), 1.96 * float(values.std()) / float(np.sqrt(len(values)))
    return [round(mean, 5), round(mean - error, 5), round(mean + error, 5)]


def measured(
    model: rdq.Model,
    table: SignificanceMap,
    fresh: Dataset,
    groups: list[tuple[int, ...]],
    budgets: tuple[float, ...],
    folder: Path,
) -> list[dict[str, Any]]:
    """A row for every budget, group and method, and one for all groups together (classes []: each group's images once)."""
    reader = reader_of(model, fresh, None, 0)
    inside = [np.flatnonzero(np.isin(reader.labels, group)) for group in groups]
    rows: list[dict[str, Any]] = []
    for bits in budgets:
        scores = {}  # (method, number of the group)
        for k, group in enumerate(groups):
            for method, arguments in {
                **COMMON,
                **{m: a | {"classes": group} for m, a in OWN.items()},
            }.items():
                chosen = allocate(model, table, mean_bits=bits, **arguments)
                scores[method, k] = read(reader, chosen, fresh, folder)
        for k, group in enumerate(groups):
            rows += compared(reader, scores, [(k, inside[k])], {"bits": bits, "classes": list(group)})
        rows += compared(reader, scores, list(enumerate(inside)), {"bits": bits, "classes": []})
    return rows


def compared(
    reader: Reader,
    scores: dict[tuple[str, int], np.ndarray],
    parts: list[tuple[int, np.ndarray]],
    facts: dict[str, Any],
) -> list[dict[str, Any]]:
    """Means on critical images, and paired differences from the methods of `COMMON` with 95 % intervals."""
    rows = []
    rises: dict[str, dict[str, np.ndarray]] = {}
    for name, loss in (("loss", cross_entropy), ("kl", divergence)):
        rises[name] = {
            method: np.concatenate(
                [loss(scores[method, k][i], reader.labels[i], reader.scores[i]) for k, i in parts]
            )
            for method in (*COMMON, *OWN)
        }
    for method in (*COMMON, *OWN):
        row = facts | {"images": sum(len(i) for _, i in parts), "method": method}
        for name, known in rises.items():
            row[f"critical {name}"] = round(float(known[method].mean()), 5)
            for other in COMMON:
                row[f"critical {name} above {other}"] = interval(known[method] - known[other])
        right = [scores[method, k][i][:, : reader.classes].argmax(1) == reader.labels[i] for k, i in parts]
        row["recall"] = round(100 * float(np.concatenate(right).mean()), 3)
        rows.append(row)
        if not facts["classes"] or len(facts["classes"]) < 10:
            print({k: v for k, v in row.items() if k != "classes"}, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=("squeezenet", "yolox"))
    parser.add_argument("store", type=Path)
    given = parser.parse_args()
    given.store.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message="classes")  # few images: what is measured here
    if given.net == "squeezenet":
        model = rdq.load(DATA / "models" / "squeezenet1.1-7.onnx")
        first, fresh = halves(photos(given.store / "photos.npz"))
        reader = reader_of(model, first, None, 0)
        groups = confused_groups(reader.scores, reader.labels, groups=3, size=60, soft=True)
        bits: tuple[int, ...] = (2, 3, 4)
    else:
        model = rdq.load(DATA / "models" / "yolox_nano.onnx")
        first, fresh = halves(rdq.CocoFolder(DATA / "images" / "coco-val2017", "yolox", batch_size=8))
        groups, bits = [tuple(VEHICLES)], (3, 4, 5)
    path, fresh_scores = given.store / given.net, given.store / f"{given.net}-fresh"
    fresh_scores.mkdir(parents=True, exist_ok=True)
    table = significance(
        model,
        first,
        [list(g) for g in groups],
        bits,
        store=path,
        calibration=first.head(64),
        progress=True,
    )
    budgets = (3.0, 4.0) if given.net == "squeezenet" else (4.0, 5.0)
    Store("significance_photos").put(
        given.net, measured(model, table, fresh, list(groups), budgets, fresh_scores)
    )


if __name__ == "__main__":
    main()
