"""Paper 003: how far the figures of bench_significance.py depend on what they were made with.

Four groups, measured on its 20,000 fresh images, in its STORE. Run from the repository root, NET cifar10_resnet20 or
cifar10_resnet32; Ctrl-C keeps what was measured, the same call goes on:

    python benchmarks/bench_significance_checks.py nearest NET STORE     rounding to the nearest instead of error feedback
    python benchmarks/bench_significance_checks.py seeds NET STORE       maps of other training images
    python benchmarks/bench_significance_checks.py around NET STORE      one correction pass around the chosen network
    python benchmarks/bench_significance_checks.py float64 NET STORE     significances in float32 against PyTorch in float64
    python benchmarks/bench_significance_checks.py hutchinson NET STORE  traces by random signs against exact ones

--images N: images of the maps that "nearest" (otherwise 10,000) and "around" (otherwise 2000) measure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from bench_significance import COMMON, DATA, GROUPS, OWN, Cifar, kept, network, rows_of
from rdquant.calibrate import layers_of
from rdquant.significance import SignificanceMap, allocate, open_map, significance
from rdquant.significance.effects import Images, effects
from rdquant.significance.solver import choose
from store import Store

BUDGETS = (3.0, 4.0)
DRAWS = 4
FEW = 2500  # images of a draw: a quarter of the map's
AROUND = 2000  # images of a correction pass
BASELINES = ("all", "kl", "uniform")

Row = dict[str, Any]
Scores = dict[str, dict[tuple[int, ...], np.ndarray]]


class Bench:
    """One network with its data and maps; `images` of the maps that a stage measures, None: as many as it takes."""

    def __init__(self, name: str, store: Path, images: int | None = None) -> None:
        self.name, self.store, self.model, self.images = name, store, network(name), images
        self.data = Cifar(DATA / "cifar10-jpeg.npz", store / "cifar10.npz")
        self.map = open_map(store / name)
        labels = np.concatenate([self.data.test.labels, self.data.extra.labels])
        self._reference = kept(store, name, self.model, "float", self.data)
        self._fresh = Images(labels, self._reference, np.arange(len(labels)) >= len(self.data.test))

    def scores(self, table: SignificanceMap, **arguments: Any) -> np.ndarray:
        chosen = allocate(self.model, table, **arguments)
        plain = table.rounded is self.map.rounded or (self.store / self.name).samefile(table.store or "/")
        known = "" if plain else f"{Path(table.store or '').name} "
        print(self.name, chosen, flush=True)
        return kept(self.store, self.name, chosen.apply(), known + json.dumps(chosen.bits), self.data)

    def rows(self, bits: float, methods: Scores, baselines: tuple[str, ...], **facts: Any) -> list[Row]:
        """Of the methods that are none of the baselines, and of the float network, against each of these."""
        known: dict[Any, Any] = {}
        found = []
        for against in baselines:
            some = {m: z for m, z in methods.items() if m == against or m not in baselines}
            some["float"] = dict.fromkeys(GROUPS.values(), self._reference)
            found += rows_of(self.name, bits, against, effects(self._fresh, some, against, known))
        return [row | facts for row in found]


def methods_of(bench: Bench, table: SignificanceMap, bits: float, names: tuple[str, ...]) -> Scores:
    found: Scores = {}
    for name in names:
        if name in COMMON:
            found[name] = dict.fromkeys(GROUPS.values(), bench.scores(table, mean_bits=bits, **COMMON[name]))
            continue
        for group in GROUPS.values():
            scores = bench.scores(table, mean_bits=bits, classes=group, **OWN[name])
            found.setdefault(name, {})[group] = scores
    return found


def nearest(bench: Bench) -> list[Row]:
    groups = [list(group) for group in GROUPS.values()]
    images = bench.images or len(bench.data.map)
    folder = bench.store / f"{bench.name}-nearest{bench.images or ''}"
    table = significance(
        bench.model,
        bench.data.map.head(images),
        groups,
        store=folder,
        calibration=bench.data.fit,
        rounding="nearest",
        progress=True,
    )
    rows = []
    for bits in BUDGETS:
        methods = methods_of(bench, table, bits, (*BASELINES, "paper", "priority"))
        rows += bench.rows(bits, methods, BASELINES, images=images)
    return rows


def seeds(bench: Bench) -> list[Row]:
    """Disjoint quarters of the map's images, allocations and baselines from each alone."""
    rows = []
    for draw in range(DRAWS):
        table = bench.map.take(np.arange(FEW * draw, FEW * (draw + 1)))
        for bits in BUDGETS:
            methods = methods_of(bench, table, bits, (*BASELINES, "priority"))
            rows += bench.rows(bits, methods, BASELINES, draw=draw)
    return rows


def around(bench: Bench) -> list[Row]:
    """The allocation by a map around the one chosen first, against that one; both from as many images."""
    images = bench.images or AROUND
    few, table = bench.data.map.head(images), bench.map.take(np.arange(images))
    rows = []
    for bits in (3.0, 2.5):
        found: Scores = {"priority": {}, "priority corrected": {}, "all": {}, "all corrected": {}}
        for method in ("all", "priority"):
            for name, group in (
                GROUPS.items() if method == "priority" else [("all", next(iter(GROUPS.values())))]
            ):
                more: Row = {"classes": group, "method": method, "channels": False, "mean_bits": bits}
                first = allocate(bench.model, table, **more)
                second = significance(
                    bench.model,
                    few,
                    [list(g) for g in GROUPS.values()],
                    calibration=bench.data.fit,
                    around=first,
                    store=bench.store / f"{bench.name}-around{bench.images or ''}-{bits:g}-{name}",
                    progress=True,
                )
                one, two = bench.scores(table, **more), bench.scores(second, **more)
                for g in [group] if method == "priority" else GROUPS.values():
                    found[method][g], found[f"{method} corrected"][g] = one, two
        for against in ("all", "priority"):
            some = {m: z for m, z in found.items() if m.startswith(against)}
            rows += bench.rows(bits, some, (against,), images=images)
    return rows


def float64(bench: Bench, images: int = 200) -> Row:
    """Largest differences of significances by our engine in float32 from PyTorch's in float64, on the same images."""
    import torch

    from rdquant.train.importer import TorchNetwork

    data = bench.data.map.head(images)
    x = torch.from_numpy(data.get(np.arange(images))[0]).double()
    layers, table = layers_of(bench.model), bench.map.take(np.arange(images))

    def run(change: Any = None) -> np.ndarray:
        module = TorchNetwork(bench.model).double().eval()
        with torch.no_grad():
            if change is not None:
                module = TorchNetwork(bench.model.replace_weights(change)).double().eval()
            return np.concatenate([module(part).numpy() for part in x.split(100)])

    before = run()
    worst: dict[str, float] = {"cross-entropy": 0.0, "kl": 0.0}
    largest = dict(worst)
    for i, layer in enumerate(layers):
        for k, bits in enumerate(table.bits):
            after = run(table.rounded[i][bits].tensors(layer))
            for name in worst:
                exact = in_float64(name, after, data.labels, before)
                found = table.measured(None, name)[0][i, k]
                worst[name] = max(worst[name], abs(exact - found))
                largest[name] = max(largest[name], abs(exact))
        print(layer.weight, worst, flush=True)
    return {"images": images, "largest difference, nats": worst, "largest significance, nats": largest}


def in_float64(loss: str, scores: np.ndarray, labels: np.ndarray, reference: np.ndarray) -> float:
    def logarithms(z: np.ndarray) -> np.ndarray:
        z = z.astype(np.float64) - z.max(1, keepdims=True)
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    p, q = logarithms(reference), logarithms(scores)
    if loss == "kl":
        return float((np.exp(p) * (p - q)).sum(1).mean())
    return float((np.take_along_axis(p - q, labels[:, np.newaxis], 1)).mean())


def hutchinson(bench: Bench, images: int = 100) -> Row:
    """HAWQ's traces: ours (one draw of random signs, to the outputs of layers, times the second moments of their inputs)
    against the exact trace of the Gauss–Newton Hessian of every layer's weights, by PyTorch's gradients.
    """
    import torch
    from scipy.stats import spearmanr

    from rdquant.significance.channels import fisher_name
    from rdquant.train.importer import TorchNetwork

    module, layers = TorchNetwork(bench.model).eval(), layers_of(bench.model)
    weights = module.weights
    exact = np.zeros(len(layers))
    for x in torch.from_numpy(bench.data.fit.get(np.arange(images))[0]).split(1):
        p = torch.log_softmax(module(x), 1)[0]
        for c in range(len(p)):  # sum over labels of p · |gradient of log p|²
            found = torch.autograd.grad(p[c], [weights[la.weight] for la in layers], retain_graph=True)
            exact += [float(p[c].exp() * g.square().sum()) / images for g in found]
    traces = bench.map.array("traces")
    assert traces is not None
    ours = []
    for i in range(len(layers)):
        fisher = bench.map.array(fisher_name(i, None))
        assert fisher is not None
        ours.append(float(fisher.sum() * traces[i]))
    own = [np.array([w[b].square.sum() for b in bench.map.widths]) for w in bench.map.rounded]
    mean = np.array(exact) / bench.map.sizes
    loads = bench.map.sizes[:, np.newaxis] * np.array(bench.map.widths, float) / bench.map.sizes.sum()
    same = {}
    for bits in BUDGETS:
        one = choose(np.stack([m * o for m, o in zip(mean, own, strict=True)]), loads, bits)
        two = allocate(bench.model, bench.map, mean_bits=bits, method="hawq", channels=False).bits
        assert one is not None
        gaps = [abs(bench.map.widths[k] - two[n]) for k, n in zip(one, bench.map.components, strict=True)]
        same[str(bits)] = {
            "layers that differ": int(np.count_nonzero(gaps)),
            "most bits apart": int(max(gaps)),
        }
    rank = float(spearmanr(exact, ours).statistic)
    ratio = np.array(ours) / exact
    return {
        "images": images,
        "rank correlation": rank,
        "ratio": [float(r) for r in ratio],
        "allocations": same,
    }


def main() -> None:
    stages = {
        "nearest": nearest,
        "seeds": seeds,
        "around": around,
        "float64": float64,
        "hutchinson": hutchinson,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=list(stages))
    parser.add_argument("net", choices=("cifar10_resnet20", "cifar10_resnet32"))
    parser.add_argument("store", type=Path)
    parser.add_argument("--images", type=int)
    given = parser.parse_args()
    found = stages[given.stage](Bench(given.net, given.store, given.images))
    for row in found if isinstance(found, list) else [found]:
        print(row)
    Store("significance_checks").put(f"{given.stage} {given.net}", found)


if __name__ == "__main__":
    main()
