"""Paper 003, last step: networks trained at the widths of every allocation, against float trained on the same images as long.

One epoch of 40,000 training images (those that nothing is measured on), mirrored by chance, a batch of 128, a learning rate
from 0.001 down to 0; one thread, so that runs repeat. Measured on the 20,000 fresh images of bench_significance.py, whose STORE
with the maps this needs. Allocations of the same widths are trained once. Ctrl-C keeps what was trained; the same call goes
on. Run from the repository root:

    python benchmarks/bench_qat.py train  NET STORE      NET cifar10_resnet20, cifar10_resnet32
    python benchmarks/bench_qat.py report NET STORE      results/qat.json
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import rdquant as rdq
from bench_significance import COMMON, DATA, GROUPS, OWN, Cifar, network, scores, searched
from rdquant.significance import Allocation, allocate, open_map
from rdquant.significance.effects import Images, effects
from rdquant.significance.losses import cross_entropy, divergence
from store import Store

BITS = (4.0, 3.0)
METHODS = (
    "uniform",
    "all",
    "kl",
    "hawq",
    "search",
    "priority cross-entropy",
    "paper",
    "priority",
    "priority kl",
    "channels all",
    "channels",
)


def flipped(x: Any, generator: Any) -> Any:
    """A batch, half of its images mirrored."""
    import torch

    chosen = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(chosen[:, None, None, None], x.flip(3), x)


def jobs() -> list[tuple[str, str | None, dict[str, Any]]]:
    """(method, group, arguments), in the order of `METHODS`."""
    found: list[tuple[str, str | None, dict[str, Any]]] = []
    for method in METHODS:
        if method in COMMON:
            found.append((method, None, COMMON[method]))
        else:
            found += [(method, g, OWN[method] | {"classes": GROUPS[g]}) for g in GROUPS]
    return found


class Trainer:
    """Trained networks and their scores on fresh images, in a folder."""

    def __init__(self, name: str, store: Path) -> None:
        self._name, self._store, self._folder = name, store, store / f"{name}-qat"
        self._folder.mkdir(exist_ok=True)
        self._data = Cifar(DATA / "cifar10-jpeg.npz", store / "cifar10.npz")
        self._train = self._data.train
        self._model, self._map = network(name), open_map(store / name)
        known = self._folder / "widths.json"
        self._widths: dict[str, Any] = json.loads(known.read_text()) if known.exists() else {}

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate([self._data.test.labels, self._data.extra.labels])

    def allocation(self, bits: float, method: str, arguments: dict[str, Any]) -> Allocation:
        if method == "search":
            memory = self._store / f"{self._name}-search.json"
            return searched(self._model, self._map, bits, self._data, memory)
        return allocate(self._model, self._map, mean_bits=bits, **arguments)

    def known(self, title: str) -> np.ndarray | None:
        path = self._folder / f"{title}.npy"
        return np.load(path) if path.exists() else None

    def trained(self, title: str, allocation: Allocation | None) -> None:
        """Train, measure, and keep the scores before training too; what has the widths of another takes its scores."""
        if self.known(title) is not None:
            return
        widths = None if allocation is None else json.loads(json.dumps(allocation.bits))
        same = [t for t, w in self._widths.items() if w == widths and self.known(t) is not None]
        if same:
            for suffix in ("-before", ""):  # the last one marks it as done
                shutil.copyfile(
                    self._folder / f"{same[0]}{suffix}.npy", self._folder / f"{title}{suffix}.npy"
                )
            self._remember(title, widths)
            print(f"{title}: as {same[0]}", flush=True)
            return
        from rdquant.train import qat

        found = qat(
            self._model,
            self._train,
            allocation,
            epochs=1,
            prepare=flipped,
            checkpoint=self._folder / f"{title}.pt",
            progress=True,
        )
        for name, any_ in (("", found), ("-before", allocation)):
            model = self._model if any_ is None else any_ if isinstance(any_, rdq.Model) else any_.apply()
            z = np.concatenate([scores(model, self._data.test), scores(model, self._data.extra)])
            if name:
                np.save(self._folder / f"{title}{name}.npy", z)
            else:
                after = z
        self._remember(title, widths)
        np.save(self._folder / f"{title}.npy", after)
        print(title, f"{100 * (z.argmax(1) == self.labels).mean():.2f}", end=" -> ")
        print(f"{100 * (after.argmax(1) == self.labels).mean():.2f}", flush=True)

    def _remember(self, title: str, widths: dict[str, Any] | None) -> None:
        if widths is not None:
            self._widths[title] = widths
            (self._folder / "widths.json").write_text(json.dumps(self._widths))

    def all(self) -> None:
        """Float, and every allocation; of groups first those that the float networks confuse most."""
        self.trained("float", None)
        main = ("uniform", "all", "priority cross-entropy", "paper")
        passes = [([None, *list(GROUPS)[:k]], m) for k in (1, 2, 4) for m in (main, METHODS[:7])]
        for groups, methods in [*passes, ([None, *GROUPS], METHODS)]:
            for bits in BITS:
                for method, group, arguments in jobs():
                    title = f"{bits:g} {method} {group or ''}".strip()
                    if method in methods and group in groups and self.known(title) is None:
                        self.trained(title, self.allocation(bits, method, arguments))


def report(name: str, store: Path) -> list[dict[str, Any]]:
    """A row a bits, method and variant: by measure "percent, points above float trained as long, low, high"."""
    trainer = Trainer(name, store)
    reference = trainer.known("float")
    assert reference is not None, "train first"
    images = Images(trainer.labels, reference, np.arange(len(reference)) >= len(reference) // 2)
    rows = []
    for bits in BITS:
        found: dict[str, dict[str, np.ndarray]] = {}
        for method, group, _ in jobs():
            title = f"{bits:g} {method} {group or ''}".strip()
            for suffix, label in (("", method), ("-before", f"{method}, untrained")):
                z = trainer.known(f"{title}{suffix}")
                if z is not None:
                    found.setdefault(label, {}).update(dict.fromkeys(GROUPS if group is None else [group], z))
        groups = [g for g in GROUPS if all(g in own for own in found.values())]  # measured with every method
        methods = {m: {GROUPS[g]: own[g] for g in groups} for m, own in found.items()}
        methods["float"] = {GROUPS[g]: reference for g in groups}
        if groups and found:
            rows += [
                r | {"groups": groups} for r in rows_of(name, bits, effects(images, methods, "float", {}))
            ]
    return rows


def explained(name: str, store: Path) -> list[dict[str, Any]]:
    """What the order after training follows: a row a bits, rank correlations over allocations of the accuracy after it with
    what was measured before; and what refitting the biases gains before and after, points: the shifts that are there.
    """
    from scipy.stats import spearmanr

    trainer = Trainer(name, store)
    before = trainer.known("float-before")
    assert before is not None, "train first"
    labels = trainer.labels
    images = Images(labels, before, np.arange(len(labels)) >= len(labels) // 2, resamples=1)

    def accuracy(z: np.ndarray) -> float:
        return 100 * float((z.argmax(1) == labels).mean())

    def refitted(z: np.ndarray) -> float:
        return accuracy(images.variants(z, (1, 9))["refitted"])

    rows = []
    for bits in BITS:
        found, seen = [], set()
        for method, group, _ in jobs():
            title = f"{bits:g} {method} {group or ''}".strip()
            one, two = trainer.known(f"{title}-before"), trainer.known(title)
            if one is not None and two is not None and two.tobytes() not in seen:
                seen.add(two.tobytes())  # allocations of the same widths count once
                kl, loss = (-float(f(one, labels, before).mean()) for f in (divergence, cross_entropy))
                gains = refitted(one) - accuracy(one), refitted(two) - accuracy(two)
                found.append((accuracy(two), accuracy(one), refitted(one), kl, loss, *gains))
        table = np.array(found)
        if len(table) < 3:
            continue
        names = ("accuracy", "accuracy refitted", "KL divergence", "cross-entropy")
        ranks = {n: float(spearmanr(table[:, 0], table[:, k]).statistic) for k, n in enumerate(names, 1)}
        gained = {
            n: [float(table[:, k].min()), float(table[:, k].max())] for n, k in (("before", 5), ("after", 6))
        }
        rows.append({"bits": bits, "allocations": len(table), "ranks": ranks, "refit gains": gained})
    return rows


def rows_of(name: str, bits: float, found: list[Any]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for e in found:
        known = {"model": name, "bits": bits, "method": e.method, "variant": e.variant}
        row = rows.setdefault((e.method, e.variant), known)
        if e.classes is None:
            row[e.measure] = f"{e.value:.2f} {e.difference:+.2f} {e.low:+.2f} {e.high:+.2f}"
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("train", "report"))
    parser.add_argument("net", nargs="?", default="cifar10_resnet20")
    parser.add_argument("store", nargs="?", type=Path, default=Path("significance-store"))
    given = parser.parse_args()
    if given.stage == "train":
        import torch

        torch.set_num_threads(1)
        Trainer(given.net, given.store).all()
        return
    rows = report(given.net, given.store)
    for r in rows:
        print(
            r["bits"], r["method"], r["variant"], *(r[m] for m in ("recall", "f1", "all_classes")), sep=" | "
        )
    Store("qat").put(given.net, rows)
    Store("qat").put(f"{given.net} explained", explained(given.net, given.store))


if __name__ == "__main__":
    main()
