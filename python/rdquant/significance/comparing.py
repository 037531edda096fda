"""`compare`: allocations on fresh images, each against one of them, with paired intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .._tables import Brief, html_table, short
from ..data import Data, Dataset, open_dataset
from ..errors import InvalidArgument, count, described, flag, needed, one_of, threads_of
from ..graph import Model, load
from .allocation import Allocation
from .classes import Group, groups_of
from .effects import MEASURES, Effect, Images, effects
from .readers import reader_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..graph import AnyModel

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, repr=False)
class Comparison(Brief):
    """What allocations do to classes on fresh images; made by `compare`.

    Attributes:
        effects: an `Effect` for every method, group, variant and measure.
        bytes: of the compressed files, by method.
        against: the method that all are compared with.
        images: number of fresh images.
        counts: by method, "float" first, int64 [classes, 3]: images of a class that are right, images that are called it, and
            images of it.
        class_names: names of the classes, where known.
    """

    effects: tuple[Effect, ...]
    bytes: Mapping[str, int]
    against: str
    images: int
    counts: Mapping[str, NDArray[np.int64]]
    class_names: tuple[str, ...] | None = None

    def to_pandas(self, variant: str | None = None) -> pd.DataFrame:
        """One row a method, group, variant and measure: method, classes, variant, measure, value (percent), difference, low,
        high (points; a 95 % interval).

        variant: one of "as is", "refitted", "equal false positives"; None: all. Raises InvalidArgument for another.
        """
        with needed():
            import pandas as pd

        if variant is not None:
            one_of("variant", variant, {e.variant: 0 for e in self.effects})
        rows = [
            asdict(e) | {"classes": "mean" if e.classes is None else ", ".join(map(str, e.classes))}
            for e in self.effects
            if variant in (None, e.variant)
        ]
        names = ["method", "classes", "variant", "measure", "value", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=names)

    def per_class(self, measure: str = "f1") -> pd.DataFrame:
        """One row a class that has images: class, images, and percent by method, "float" first.

        measure: "recall", "precision" or "f1". Raises InvalidArgument for another.
        """
        with needed():
            import pandas as pd

        one_of("measure", measure, ("recall", "precision", "f1"))
        found: dict[str, Any] = {}
        total = next(iter(self.counts.values()))[:, 2]
        seen = np.flatnonzero(total)
        names = self.class_names
        found["class"] = [int(c) if names is None else names[c] for c in seen]
        found["images"] = total[seen]
        for method, count_ in self.counts.items():
            right, called, own = count_[seen].T
            under = {"recall": own, "precision": called, "f1": (own + called) / 2}[measure]
            found[method] = 100 * right / np.maximum(under, 0.5)
        return pd.DataFrame(found)

    def plot(self, measure: str = "f1", ax: Axes | None = None) -> Figure:
        """Means over the groups of a `measure` against bytes; returns the figure.

        A mark an allocation; those whose names differ in a last number alone, as "all 3" and "all 4", are one curve.

        ax: Matplotlib axes to draw on; None: new ones. Raises InvalidArgument for another measure.
        """
        from ..report.significance import plot_fronts

        one_of("measure", measure, MEASURES)
        chosen = [
            e for e in self.effects if e.classes is None and (e.variant, e.measure) == ("as is", measure)
        ]
        points: dict[str, list[tuple[float, float]]] = {}
        for e in chosen:
            if e.method in self.bytes:
                curve = re.sub(r"\s+[\d.]+$", "", e.method)
                points.setdefault(curve, []).append((float(self.bytes[e.method]), e.value))
        return plot_fronts(points, f"{self.images:,} fresh images", measure.replace("_", " "), ax)

    def __repr__(self) -> str:
        methods = dict.fromkeys(e.method for e in self.effects)
        return short(self, f"of {', '.join(methods)} against {self.against}, {self.images:,} images")

    def _repr_html_(self) -> str:
        return html_table(self)


def compare(
    model: AnyModel,
    allocations: Mapping[str, Allocation] | Sequence[Allocation],
    data: Data,
    classes: Any = None,
    against: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> Comparison:
    """Run allocations of one network over fresh images: what they do to critical classes and to all.

    Measured are recall, accuracy within the group, precision, F1, false positives and all classes; each as it is, with the
    biases of the scores refitted on the other half of the images, and with the group's scores shifted, by the other half,
    so that as many images of other classes are called critical as by the float network.

    Args:
        model: the float network.
        allocations: from `allocate`, by names of one's own, or in a list: then by their methods.
        data: labelled images that no map and no rounding has seen.
        classes: groups of critical classes; None: those that the allocations have.
        against: the name that all are compared with; None: the first.
        resamples: of the bootstrap, stratified by class. seed: of it, and of the halves.
        threads: None or 0: all cores.
        progress: show a bar on stderr.

    Intervals hold the images that are drawn, not the draw of the map's images. Raises InvalidArgument for allocations of
    another network, groups that nobody names, and arguments outside the above.
    """
    loaded = load(model)
    workers, resamples, seed = threads_of(threads), count("resamples", resamples), count("seed", seed, 0)
    shown = flag("progress", progress)
    named = _named(allocations, loaded)
    images = open_dataset(data, model=loaded)
    if images.task == "detect":
        raise InvalidArgument("data: expected labelled images, got photos with boxes")
    first = next(iter(named)) if against is None else one_of("against", against, named)
    reader = reader_of(loaded, images, None, workers)
    groups = _groups(classes, named, reader.scores.shape[1], images)
    tables: dict[str, dict[Group, NDArray[np.float32]]] = {"float": dict.fromkeys(groups, reader.scores)}
    for name, allocation in tqdm(named.items(), desc="compare", disable=not shown, leave=False):
        own = groups if allocation.classes is None or classes is not None else [allocation.classes]
        found = reader_of(allocation.apply(), images, None, workers).scores
        tables[name] = dict.fromkeys(own, found)
    drawn = Images(reader.labels, reader.scores, None, resamples, seed)
    sizes = {name: allocation.bytes for name, allocation in named.items()}
    counts = {name: _counts(next(iter(own.values())), reader.labels) for name, own in tables.items()}
    names = None if images.class_names is None else tuple(images.class_names)
    return Comparison(tuple(effects(drawn, tables, first)), sizes, first, len(images), counts, names)


def _counts(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [classes, 3]: right, called and own images of every class."""
    top, classes = scores.argmax(axis=1), scores.shape[1]
    parts = [labels[top == labels], top, labels]
    return np.stack([np.bincount(part, minlength=classes) for part in parts], axis=1).astype(np.int64)


def _named(allocations: Any, model: Model) -> dict[str, Allocation]:
    given = allocations
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        if not all(isinstance(a, Allocation) for a in given):
            raise InvalidArgument(f"allocations: expected Allocations, got {described(given)}")
        given = {f"{a.method} {a.mean_bits:.2f}": a for a in given}
        if len(given) < len(allocations):
            raise InvalidArgument(
                "allocations: several of one method and mean bits; give them names, as a dict"
            )
    good = isinstance(given, Mapping) and given
    if not good or not all(isinstance(n, str) and isinstance(a, Allocation) for n, a in given.items()):
        raise InvalidArgument(f"allocations: expected Allocations by name, got {described(allocations)}")
    for name, allocation in given.items():
        if allocation.fingerprint != model.fingerprint:
            raise InvalidArgument(f"allocations: {name!r} is of another network than {model.name}")
        if name == "float":
            raise InvalidArgument("allocations: 'float' names the float network; choose another name")
    return dict(given)


def _groups(classes: Any, named: Mapping[str, Allocation], total: int, data: Dataset) -> list[Group]:
    if classes is not None:
        groups = groups_of(classes, total, data.class_names)
    else:
        groups = list(dict.fromkeys(a.classes for a in named.values() if a.classes is not None))
    if not groups:
        raise InvalidArgument("classes: no allocation has critical classes; name them")
    for group in groups:
        if not np.isin(data.labels, group).any():
            raise InvalidArgument(f"classes: the data have no image of {list(group)[:8]}")
    return groups
