"""Paper 003: do bits allocated by what matters for a few classes serve these classes better?

Maps of cifar10_resnet20 and cifar10_resnet32 on 10,000 training images, allocations at 2.5, 3 and 4 mean bits by every method
for four groups of classes, measured on 20,000 fresh images (the test images and 10,000 other training images, both
shuffled: CIFAR's files are sorted by class). Run from the repository root:

    python benchmarks/bench_significance.py map   NET STORE      resumable; NET cifar10_resnet20, cifar10_resnet32
    python benchmarks/bench_significance.py score NET STORE      networks by every method, their scores kept in STORE
    python benchmarks/bench_significance.py report NET STORE     results/significance.json
    python benchmarks/bench_significance.py picture NET STORE    what docs/charts/critical-classes.png shows, after report
    python benchmarks/bench_significance.py time                 the map against a loop over ONNX Runtime sessions
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from rdquant.significance import Allocation, SignificanceMap, allocate, open_map, significance
from rdquant.significance.effects import Effect, Images, effects
from rdquant.train.cifar import cifar10_jpeg
from store import Store

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
GROUPS = {"automobile-truck": (1, 9), "cat-dog": (3, 5), "bird-deer": (2, 4), "airplane-ship": (0, 8)}
MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
SEARCH = not os.environ.get("WITHOUT_SEARCH")
BUDGETS = (3.0, 4.0, 2.5)
#: name -> arguments of `allocate`; those of the second half know the group.
COMMON: dict[str, dict[str, Any]] = {
    "uniform": {"method": "uniform"},
    "all": {"method": "all", "channels": False},
    "kl": {"method": "all", "loss": "kl", "channels": False},
    "hawq": {"method": "hawq", "channels": False},
    "search": {"method": "search"},
    "channels all": {"method": "all", "channels": True},
}
OWN: dict[str, dict[str, Any]] = {
    "paper": {"method": "paper", "channels": False},
    "priority": {"channels": False},
    "priority cross-entropy": {"loss": "cross-entropy", "channels": False},
    "priority kl": {"loss": "kl", "channels": False},
    "channels": {"channels": True},
    "channels cross-entropy": {"loss": "cross-entropy", "channels": True},
}


class Cifar:
    """Parts of CIFAR-10 as arrays: map (1000 training images a class), fit (100 others), extra (1000 others), test."""

    def __init__(self, path: Path, cache: Path) -> None:
        if not cache.exists():
            (x, y), (test_x, test_y) = cifar10_jpeg(path)
            np.savez(cache, x=x, y=y, test_x=test_x, test_y=test_y)
        with np.load(cache) as arrays:
            x, y, test_x, test_y = (arrays[name] for name in ("x", "y", "test_x", "test_y"))
        order = np.random.default_rng(0).permutation(len(x))
        by_class = [order[y[order] == c] for c in range(10)]
        random = np.random.default_rng(1)

        def part(start: int, stop: int) -> rdq.ArrayDataset:
            chosen = random.permutation(np.concatenate([own[start:stop] for own in by_class]))
            return of(x[chosen], y[chosen])

        def of(images: np.ndarray, labels: np.ndarray) -> rdq.ArrayDataset:
            scaled = (images.astype(np.float32) / 255 - MEAN) / STD
            return rdq.ArrayDataset(scaled, labels, batch_size=100, classes=10)

        self.map, self.fit, self.extra = part(0, 1000), part(1000, 1100), part(1100, 2100)
        shuffled = random.permutation(len(test_y))
        self.test = of(test_x[shuffled], test_y[shuffled])
        rest = random.permutation(np.concatenate([np.r_[own[:1100], own[2100:]] for own in by_class]))
        self._of, self._rest = of, (x[rest], y[rest])

    @property
    def train(self) -> rdq.ArrayDataset:
        """The 40,000 training images that are not in `extra`."""
        return self._of(*self._rest)


def network(name: str) -> rdq.Model:
    return rdq.load(DATA / "models" / f"{name}.onnx")


def made(name: str, data: Cifar, store: Path) -> SignificanceMap:
    groups = [list(group) for group in GROUPS.values()]
    return significance(
        network(name),
        data.map,
        groups,
        component="channel",
        store=store / name,
        calibration=data.fit,
        progress=True,
    )


def scores(model: rdq.Model, data: rdq.ArrayDataset) -> np.ndarray:
    session = rdq.Session(model)
    port, out = session.inputs[0].name, session.outputs[0].name
    return np.concatenate([session.run({port: x})[out] for x, _ in data])


def kept(store: Path, name: str, model: rdq.Model, key: str, data: Cifar) -> np.ndarray:
    """Scores of a network on the test images and the extra ones, from the store where it has them."""
    path = store / f"{name}-scores-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        np.save(path, np.concatenate([scores(model, data.test), scores(model, data.extra)]))
    return np.load(path)


def jobs() -> list[tuple[float, str, str | None, dict[str, Any]]]:
    """(bits, method, group, arguments) of all allocations."""
    found: list[tuple[float, str, str | None, dict[str, Any]]] = []
    for bits in BUDGETS:
        found += [(bits, m, None, a) for m, a in COMMON.items() if m != "uniform" or bits.is_integer()]
        found += [(bits, m, g, a | {"classes": GROUPS[g]}) for m, a in OWN.items() for g in GROUPS]
    return found


def searched(model: rdq.Model, table: SignificanceMap, bits: float, data: Cifar, memory: Path) -> Allocation:
    """The allocation of method "search", whose outcome is kept: it takes as long as the map."""
    known = json.loads(memory.read_text()) if memory.exists() else {}
    if str(bits) not in known:
        found = allocate(model, table, mean_bits=bits, method="search", data=data.map.calibration(1000))
        known[str(bits)] = found.bits
        memory.write_text(json.dumps(known))
    widths = known[str(bits)]
    any_other = allocate(model, table, mean_bits=bits, method="all", channels=False)
    rows = [table.rounded[i][widths[name]] for i, name in enumerate(table.components)]
    return replace(any_other, method="search", bits=widths, _rows=tuple(rows))


def scored(name: str, data: Cifar, store: Path) -> dict[tuple[float, str, str | None], np.ndarray]:
    model, table = network(name), open_map(store / name)
    found = {}
    for bits, method, group, arguments in jobs():
        if method == "search":
            if bits == 2.5 or not SEARCH:
                continue
            allocation = searched(model, table, bits, data, store / f"{name}-search.json")
        else:
            allocation = allocate(model, table, mean_bits=bits, **arguments)
        key = json.dumps(allocation.bits)
        found[bits, method, group] = kept(store, name, allocation.apply(), key, data)
        print(f"{name} {bits} {method} {group} {allocation}", flush=True)
    return found


def report(name: str, data: Cifar, store: Path) -> list[dict[str, Any]]:
    found = scored(name, data, store)
    labels = np.concatenate([data.test.labels, data.extra.labels])
    second = np.arange(len(labels)) >= len(data.test)
    reference = kept(store, name, network(name), "float", data)
    images = Images(labels, reference, second)
    rows: list[dict[str, Any]] = []
    for bits in BUDGETS:
        methods: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
        methods["float"] = dict.fromkeys(GROUPS.values(), reference)
        for (own, method, group), z in found.items():
            if own == bits:
                names = GROUPS if group is None else [group]
                methods.setdefault(method, {}).update({GROUPS[g]: z for g in names})
        known: dict[Any, Any] = {}
        for against in ("all", "kl", "uniform", "priority"):
            chosen = {m: z for m, z in methods.items() if against == "all" or m in OWN or m == against}
            if against in methods:
                found_ = effects(images, chosen, against, known)
                rows += rows_of(name, bits, against, found_)
    return rows


def rows_of(name: str, bits: float, against: str, found: list[Effect]) -> list[dict[str, Any]]:
    """Means over the groups, a row a method and variant: by measure "value difference low high", percent and points; and
    every group's difference of F1 and of recall at equal false positives.
    """
    titles = {group: title for title, group in GROUPS.items()}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for e in found:
        if e.method == against:
            continue
        known = {"model": name, "bits": bits, "method": e.method, "against": against, "variant": e.variant}
        row = rows.setdefault((e.method, e.variant), known)
        if e.classes is None:
            row[e.measure] = f"{e.value:.2f} {e.difference:+.2f} {e.low:+.2f} {e.high:+.2f}"
        elif (e.variant, e.measure) in (("as is", "f1"), ("equal false positives", "recall")):
            row[titles[e.classes]] = f"{e.difference:+.2f} {e.low:+.2f} {e.high:+.2f}"
    return list(rows.values())


def show(rows: list[dict[str, Any]]) -> None:
    for r in rows:
        text = " ".join(f"{m} {r[m]}" for m in ("recall", "f1", "false_positives", "all_classes"))
        print(r["model"][-2:], r["bits"], r["method"], "against", r["against"], r["variant"], text)


def pictured(name: str, data: Cifar, store: Path) -> dict[str, Any]:
    """What the chart shows: significances at 3 bits; by method [bytes, F1 of critical classes, all classes] at each budget."""
    model, table = network(name), open_map(store / name)
    rows = [r for r in Store("significance").part(name) if r["variant"] == "as is" and r["against"] == "all"]
    fronts: dict[str, list[list[float]]] = {}
    for bits, method, _, arguments in jobs():
        known = [r for r in rows if r["bits"] == bits and r["method"] in (method, "float")]
        if method not in ("all", known[-1]["method"]):
            continue  # "search" is not at all budgets
        if method == "search":
            chosen = searched(model, table, bits, data, store / f"{name}-search.json")
        else:
            chosen = allocate(model, table, mean_bits=bits, **arguments)
        other = known[-1]
        point: list[float] = [bits, chosen.bytes]
        for measure in ("f1", "all_classes"):
            value, gap = map(float, other[measure].split()[:2])
            point.append(value - gap if method == "all" else value)
        fronts.setdefault(method, []).append(point)
    means = {
        m: np.array([np.mean([p for p in own if p[0] == b], axis=0) for b in sorted({p[0] for p in own})])
        for m, own in fronts.items()
    }
    k = table.bits.index(3)
    strips = {n: table.measured(g)[0][:, k] for n, g in GROUPS.items()} | {
        "all classes": table.measured()[0][:, k]
    }
    return {
        "net": name,
        "components": list(table.components),
        "strips": {n: np.round(v, 5).tolist() for n, v in strips.items()},
        "fronts": {m: np.round(v[:, 1:], 3).tolist() for m, v in means.items()},
    }


def timed(images: int = 2000, batch: int = 100) -> dict[str, float]:
    """Seconds of a map of all layers at two widths, and of a loop over ONNX Runtime sessions at the same batch."""
    import onnxruntime

    from rdquant.calibrate import layers_of
    from rdquant.significance.measure import chunks_of, fill
    from rdquant.significance.readers import reader_of
    from rdquant.significance.store import Store as Scores
    from rdquant.significance.widths import round_layers

    model = network("cifar10_resnet20")
    x = np.random.default_rng(0).standard_normal((images, 3, 32, 32)).astype(np.float32)
    data = rdq.ArrayDataset(x, np.arange(images) % 10, batch_size=batch)
    layers = layers_of(model)
    rounded, _ = round_layers(model, layers, lambda: (b for b, _ in data.head(200)), (2, 3))
    start = time.perf_counter()
    reader = reader_of(model, data, None, 0)
    cuts, chunks = chunks_of(model, layers, data, 0)
    store = Scores(None, {}, (len(layers), 2, images, 10), chunks)
    fill(store, model, cuts, chunks, layers, rounded, (2, 3), data, reader.read, 0, lambda n: None)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for i, layer in list(enumerate(layers))[::5]:  # a fifth of the layers, one width: a session each
        changed = model.replace_weights(rounded[i][2].tensors(layer))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        peer = onnxruntime.InferenceSession(changed.proto.SerializeToString(), options)
        port = peer.get_inputs()[0].name
        z = np.concatenate([peer.run(None, {port: b})[0] for b, _ in data])
        assert np.abs(z - z.max(1, keepdims=True) - store.scores[i, 0]).max() < 1e-3
    loop = (time.perf_counter() - start) * len(layers) * 2 / len(layers[::5])
    return {"map": ours, "loop": loop, "ratio": ours / loop}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("map", "score", "report", "picture", "time"))
    parser.add_argument("net", nargs="?", default="cifar10_resnet20")
    parser.add_argument("store", nargs="?", type=Path, default=Path("significance-store"))
    given = parser.parse_args()
    if given.stage == "time":
        found = timed()
        print(found)
        Store("significance").put("time", found)
        return
    given.store.mkdir(parents=True, exist_ok=True)
    data = Cifar(DATA / "cifar10-jpeg.npz", given.store / "cifar10.npz")
    if given.stage == "map":
        print(made(given.net, data, given.store))
    elif given.stage == "picture":
        Store("significance").put("picture", pictured(given.net, data, given.store))
    elif given.stage == "score":
        scored(given.net, data, given.store)
    else:
        rows = report(given.net, data, given.store)
        show(rows)
        Store("significance").put(given.net, rows)


if __name__ == "__main__":
    main()
