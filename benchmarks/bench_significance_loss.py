"""Paper 003: which loss should the priority form take where the user names none? Decided on groups that nothing was tuned on.

The rule below was written, and committed, before anything was run.

Candidates: "cross-entropy" (the default until then), "kl", and "auto": cross-entropy where the map has 200 images of the
critical classes or more (the number below which `significance` warns), KL where it has fewer.

Few images, maps of fewer than 200 critical ones:
  squeezenet1.1-7, the fourth to sixth group of 60 classes by confusion (the first three are those of
  bench_significance_photos.py); mobilenet_v1_0.75 and efficientnet_lite0, their first three groups; map on half of the photos,
  measured on the other half. cifar10_resnet20 and cifar10_resnet32, maps of 500 images (100 critical), two draws, measured on
  the test images.
Many images: cifar10_resnet20 and cifar10_resnet32, maps of 10,000 images (2000 critical), measured on the 20,000 fresh images.
CIFAR groups: the four disjoint pairs that cifar10_resnet20 confuses most on the map's images, the four pairs of
bench_significance.py left out.

Rule, each regime by itself, over its networks at 3 and 4 mean bits, every network and budget weighing the same:
  1. few images: the loss with the smaller mean rise of the critical cross-entropy is taken, if its divergence from the float
     network on critical images is not the larger one; where the two disagree cross-entropy stays;
  2. many images: the loss with the larger mean of F1 and of recall at equal false positives; where the two disagree
     cross-entropy stays.
  Both the same: that is the default. KL for few and cross-entropy for many: "auto". Anything else: nothing changes.

Second rule, written after the first was run on squeezenet1.1-7 and cifar10_resnet20, and before anything with "shrunk" was run
or the other networks were looked at. The difference of cross-entropy and divergence is a shift of whole classes; over few
images it is mostly noise (on the maps of SqueezeNet's groups its z-scores are about 1). "shrunk" takes of it what a
James–Stein factor leaves. Measured on parts that neither rule has seen: squeezenet1.1-7, the seventh to ninth group;
mobilenet_v1_0.75 and efficientnet_lite0 as above; CIFAR: the next four disjoint pairs by confusion, maps of two further draws.
  "shrunk" becomes the default of the priority form if, against cross-entropy, (few images) the mean rise of the critical
  cross-entropy is at most 0.01 nats larger, the divergence no larger, and either of them is at most the best baseline's in at
  least as many cells (networks and budgets); (many images) F1 and recall at equal false positives are at most 0.1 points
  lower; and the rows of bench_significance.py still keep to their bars with it.

Decided with squeezenet1.1-7 and cifar10_resnet20 of both rules, and the bars on both CIFAR networks. mobilenet_v1_0.75 and
cifar10_resnet32, measured afterwards by the second rule, leave it as it is; efficientnet_lite0 has not been measured.

Run from the repository root, STORE that of bench_significance.py:
    python benchmarks/bench_significance_loss.py photos NET STORE   NET squeezenet1.1-7, mobilenet_v1_0.75, efficientnet_lite0
    python benchmarks/bench_significance_loss.py cifar NET STORE       NET cifar10_resnet20, cifar10_resnet32
    (with --second: the parts of the second rule)
    python benchmarks/bench_significance_loss.py decide                the rule on results/significance_loss.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from bench_significance import DATA, GROUPS, Cifar, kept, network
from bench_significance_photos import halves, interval, photos, read
from rdquant.significance import (
    Allocation,
    SignificanceMap,
    allocate,
    confused_groups,
    open_map,
    significance,
)
from rdquant.significance.effects import Images, effects
from rdquant.significance.losses import cross_entropy, divergence
from rdquant.significance.readers import reader_of
from store import Store

PRESETS = {
    "squeezenet1.1-7": "imagenet",
    "mobilenet_v1_0.75": "tf",
    "efficientnet_lite0": "efficientnet-lite",
}
BUDGETS = (3.0, 4.0)
BASELINES: dict[str, dict[str, Any]] = {
    "uniform": {"method": "uniform"},
    "all": {"method": "all", "loss": "cross-entropy"},
    "all kl": {"method": "all", "loss": "kl"},
}
FORMS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"loss": "cross-entropy"},
    "kl": {"loss": "kl"},
    "shrunk": {"loss": "shrunk"},
}
FEW, DRAWS = 500, 2

Group = tuple[int, ...]
Row = dict[str, Any]


def allocations(
    model: rdq.Model, table: SignificanceMap, bits: float, groups: list[Group]
) -> dict[tuple[str, int], Allocation]:
    """By (method, number of the group)."""
    plain = {"mean_bits": bits, "channels": False}
    found = {}
    for method, arguments in BASELINES.items():
        one = allocate(model, table, **plain, **arguments)
        found |= {(method, k): one for k in range(len(groups))}
    for (method, arguments), (k, group) in itertools.product(FORMS.items(), enumerate(groups)):
        found[method, k] = allocate(model, table, classes=group, **plain, **arguments)
    return found


def losses(
    scores: dict[tuple[str, int], np.ndarray], labels: np.ndarray, reference: np.ndarray, groups: list[Group]
) -> Row:
    """Rises on critical images by method, all groups together, and those of the forms above the baselines (95 %)."""
    row: Row = {}
    inside = [np.flatnonzero(np.isin(labels, group)) for group in groups]
    row["critical images"] = sum(len(i) for i in inside)
    for name, loss in (("loss", cross_entropy), ("kl", divergence)):
        rises = {
            m: np.concatenate([loss(scores[m, k][i], labels[i], reference[i]) for k, i in enumerate(inside)])
            for m in (*BASELINES, *FORMS)
        }
        for method, own in rises.items():
            row[f"{name} of {method}"] = round(float(own.mean()), 5)
        pairs = [*itertools.product(FORMS, BASELINES), ("kl", "cross-entropy"), ("shrunk", "cross-entropy")]
        for one, two in pairs:
            row[f"{name} of {one} above {two}"] = interval(rises[one] - rises[two])
    return row


def on_photos(net: str, store: Path, second: bool) -> list[Row]:
    model = rdq.load(DATA / "models" / f"{net}.onnx")
    folder = store / f"loss-{net}"
    folder.mkdir(exist_ok=True)
    first, fresh = halves(photos(folder / "photos.npz", PRESETS[net]))
    reader = reader_of(model, first, None, 0)
    found = confused_groups(reader.scores, reader.labels, groups=9, size=60, soft=True)
    groups = found[:3] if net != "squeezenet1.1-7" else found[6:9] if second else found[3:6]
    table = significance(
        model,
        first,
        [list(g) for g in (groups if not second or net != "squeezenet1.1-7" else found[3:6])],
        (2, 3, 4),
        store=folder / "map",
        calibration=first.head(64),
        progress=True,
    )
    own = reader_of(model, fresh, None, 0)
    rows = []
    for bits in BUDGETS:
        chosen = allocations(model, table, bits, groups)
        scores = {key: read(own, allocation, fresh, folder) for key, allocation in chosen.items()}
        known = {"model": net, "bits": bits, "regime": "few"}
        known["map"] = [int(np.isin(table.labels, g).sum()) for g in groups]
        rows.append(known | losses(scores, own.labels, own.scores, groups))
    return rows


def pairs_of(table: SignificanceMap, left_out: set[Group]) -> list[Group]:
    """The four disjoint pairs confused most, others than `left_out`."""
    answers = table.reference.argmax(axis=1)
    matrix = np.zeros((10, 10))
    np.add.at(matrix, (table.labels, answers), 1)
    matrix += matrix.T
    found: list[Group] = []
    for pair in sorted(itertools.combinations(range(10), 2), key=lambda p: -matrix[p]):
        if pair not in left_out and not {c for g in found for c in g} & set(pair):
            found.append(pair)
    return found[:4]


def on_cifar(net: str, store: Path, second: bool) -> list[Row]:
    data = Cifar(DATA / "cifar10-jpeg.npz", store / "cifar10.npz")
    model, table = network(net), open_map(store / net)
    pairs = open_map(store / "cifar10_resnet20")
    groups = pairs_of(pairs, set(GROUPS.values()))
    if second:
        groups = pairs_of(pairs, {*GROUPS.values(), *groups})
    rows: list[Row] = []
    tables = [("many", table)]
    for draw in range(DRAWS * second, DRAWS * (1 + second)):
        tables.append(("few", table.take(np.arange(FEW * draw, FEW * (draw + 1)))))
    for (regime, some), bits in itertools.product(tables, BUDGETS):
        scores = {}
        for key, allocation in allocations(model, some, bits, groups).items():
            name = json.dumps(allocation.bits)
            if regime == "many":
                scores[key] = kept(store, net, allocation.apply(), name, data)
            else:
                scores[key] = tested(store, net, allocation, name, data)
            print(net, bits, regime, key, flush=True)
        labels = np.concatenate([data.test.labels, data.extra.labels])
        reference = kept(store, net, model, "float", data)
        if regime == "few":
            labels, reference = data.test.labels, reference[: len(data.test)]
        row: Row = {"model": net, "bits": bits, "regime": regime, "groups": [list(g) for g in groups]}
        row |= losses(scores, labels, reference, groups)
        if regime == "many":
            row |= answers_of(labels, reference, scores, groups, len(data.test))
        rows.append(row)
    return rows


def tested(store: Path, net: str, allocation: Allocation, name: str, data: Cifar) -> np.ndarray:
    """Scores on the test images."""
    half = kept_half(store, net, name)
    if half.exists():
        return np.load(half)
    session = rdq.Session(allocation.apply())
    port, out = session.inputs[0].name, session.outputs[0].name
    np.save(half, np.concatenate([session.run({port: x})[out] for x, _ in data.test]))
    return np.load(half)


def kept_half(store: Path, net: str, name: str) -> Path:
    import hashlib

    folder = store / f"loss-{net}"
    folder.mkdir(exist_ok=True)
    return folder / f"test-{hashlib.sha256(name.encode()).hexdigest()[:16]}.npy"


def answers_of(
    labels: np.ndarray,
    reference: np.ndarray,
    scores: dict[tuple[str, int], np.ndarray],
    groups: list[Group],
    first: int,
) -> Row:
    """F1, recall at equal false positives and all classes, means over the groups; differences of KL to cross-entropy."""
    images = Images(labels, reference, np.arange(len(labels)) >= first)
    methods = {m: {g: scores[m, k] for k, g in enumerate(groups)} for m in (*FORMS, *BASELINES)}
    row: Row = {}
    for e in effects(images, methods, "cross-entropy", {}):
        wanted = {
            ("as is", "f1"): "f1",
            ("equal false positives", "recall"): "recall",
            ("as is", "all_classes"): "all",
        }
        if e.classes is None and (e.variant, e.measure) in wanted:
            text = f"{e.value:.2f} {e.difference:+.2f} {e.low:+.2f} {e.high:+.2f}"
            row[f"{wanted[e.variant, e.measure]} of {e.method}"] = text
    return row


QUANTITIES = (("few", "loss"), ("few", "kl"), ("many", "f1"), ("many", "recall"))


def cells(rows: list[Row], regime: str, what: str, method: str) -> list[float]:
    """Means over draws, one a network and budget."""
    known: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["regime"] == regime:
            number = float(str(row[f"{what} of {method}"]).split()[0])
            known.setdefault((row["model"], row["bits"]), []).append(number)
    return [float(np.mean(own)) for own in known.values()]


def shrunk(rows: list[Row]) -> Row:
    """The second rule, but for its last condition."""
    methods = (*FORMS, *BASELINES)
    tables = {key: {m: cells(rows, *key, m) for m in methods} for key in QUANTITIES}
    gap = {key: float(np.mean(own["shrunk"]) - np.mean(own["cross-entropy"])) for key, own in tables.items()}

    def met(form: str) -> int:
        best = [np.min([tables["few", w][b] for b in BASELINES], axis=0) for w in ("loss", "kl")]
        good = [np.array(tables["few", w][form]) <= b for w, b in zip(("loss", "kl"), best, strict=True)]
        return int((good[0] | good[1]).sum())

    few = gap["few", "loss"] <= 0.01 and gap["few", "kl"] <= 0 and met("shrunk") >= met("cross-entropy")
    many = min(gap["many", "f1"], gap["many", "recall"]) >= -0.1
    return {
        "means": {
            " ".join(key): {m: round(float(np.mean(v)), 4) for m, v in own.items()}
            for key, own in tables.items()
        },
        "cells met": {form: met(form) for form in FORMS} | {"of": len(tables["few", "loss"]["kl"])},
        "few": bool(few),
        "many": bool(many),
    }


def decided(rows: list[Row]) -> Row:
    """The first rule."""
    first = ("cross-entropy", "kl", *BASELINES)
    means = {key: {m: round(float(np.mean(cells(rows, *key, m))), 4) for m in first} for key in QUANTITIES}

    def gap(regime: str, what: str) -> float:
        own = means[regime, what]
        return own["kl"] - own["cross-entropy"]

    few = "kl" if gap("few", "loss") < 0 and gap("few", "kl") <= 0 else "cross-entropy"
    many = "kl" if gap("many", "f1") > 0 and gap("many", "recall") > 0 else "cross-entropy"
    default = {("kl", "kl"): "kl", ("kl", "cross-entropy"): "auto"}.get((few, many), "cross-entropy")
    return {
        "means": {" ".join(key): own for key, own in means.items()},
        "few": few,
        "many": many,
        "default": default,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("photos", "cifar", "decide"))
    parser.add_argument("net", nargs="?", default="cifar10_resnet20")
    parser.add_argument("store", nargs="?", type=Path, default=Path("significance-store"))
    parser.add_argument("--second", action="store_true")
    given = parser.parse_args()
    results = Store("significance_loss")
    if given.stage == "decide":
        nets = (*PRESETS, "cifar10_resnet20", "cifar10_resnet32")
        for name, rule, suffix in (("decision", decided, ""), ("second decision", shrunk, " second")):
            found = rule([row for net in nets for row in results.part(f"{net}{suffix}") or []])
            print(json.dumps(found, indent=1))
            results.put(name, found)
        return
    given.store.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message="classes")  # few images: what is measured here
    rows = (on_photos if given.stage == "photos" else on_cifar)(given.net, given.store, given.second)
    for row in rows:
        print(row)
    results.put(f"{given.net} second" if given.second else given.net, rows)


if __name__ == "__main__":
    main()
