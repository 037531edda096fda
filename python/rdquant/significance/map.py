"""The significance map: what each layer at each width costs any classes, by the scores that were measured."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_levels
from .._tables import html_table, label, short
from ..errors import InvalidArgument, count, described, needed, one_of
from .classes import Group, groups_of
from .losses import LOSSES, RISES, SHRUNK, share_of_shift, standard_error
from .widths import ALLOWED, Rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SignificanceMap"]

Floats = NDArray[np.float64]
_QUARTER = 4.0  # of the loss is left with every further bit


class SignificanceMap:
    """Scores of a network with one layer at a time at every width; make one with `rdquant.significance`.

    Groups of classes, losses and constraints are evaluated from these scores, without running the network again.

    Attributes:
        model, fingerprint: name and hex digest of the network.
        components: names of the layers' weights, in graph order.
        sizes: int64 [components], weights of each.
        bits: the widths measured, rising.
        groups: critical classes by default, tuples of integers.
        class_names: names of the classes, where known.
        labels: int64 [n], of the images.
        reference: float32 [n, classes], the float network's scores.
        rows: components whose output channels have widths of their own; () for layers alone.
        around: by component, the widths of the layers that are not changed (see `significance`); None: float.
        store: the folder that holds it; None: memory only.
    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        scores: NDArray[Any],
        arrays: Mapping[str, NDArray[Any]],
        rounded: Sequence[Mapping[int, Rows]],
        store: Path | None = None,
    ) -> None:
        self.model = str(facts["model"])
        self.fingerprint = str(facts["model_fingerprint"])
        self.components = tuple(str(name) for name in facts["components"])
        self.bits = tuple(int(b) for b in facts["bits"])
        self.groups = tuple(tuple(int(c) for c in group) for group in facts["groups"])
        names = facts.get("class_names")
        self.class_names = None if names is None else tuple(names)
        self.rows = tuple(str(name) for name in facts.get("rows", ()))
        self.around = facts.get("around")
        self.store = None if store is None else os.fspath(store)
        self.labels = np.asarray(arrays["labels"], np.int64)
        self.reference = np.asarray(arrays["reference"], np.float32)
        self.sizes = np.asarray(arrays["sizes"], np.int64)
        self._arrays = arrays
        self._scores = scores
        self._rounded = rounded
        self._known: dict[tuple[Group | None, str], tuple[Floats, Floats]] = {}

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths that an allocation may give, in bits: those measured, and the wider ones among `ALLOWED`."""
        return tuple(sorted({*self.bits, *(b for b in ALLOWED if b > self.bits[-1])}))

    @property
    def rounded(self) -> Sequence[Mapping[int, Rows]]:
        """By component, the layer at every width."""
        return self._rounded

    def group(self, classes: Any = None) -> Group:
        """One group of critical classes, as indices; None: the only one of `groups`.

        classes: integers or names. Raises InvalidArgument where they name no group, or several.
        """
        found = (
            list(self.groups)
            if classes is None
            else groups_of(classes, self.reference.shape[1], self.class_names)
        )
        if len(found) != 1:
            raise InvalidArgument(
                f"classes: expected one group of classes, got {len(found)}; the map's own: {list(self.groups)}"
            )
        return found[0]

    def measured(self, classes: Any = None, loss: str = "cross-entropy") -> tuple[Floats, Floats]:
        """(significance, standard error), both float64 [components, bits], in nats: mean rises of a loss.

        Args:
            classes: a group (integers or names), whose images alone are looked at; None: all images.
            loss: "cross-entropy" (may be negative), "kl" (divergence from the float network), or "shrunk": between them, so
                much nearer to the cross-entropy as its difference from the divergence exceeds its noise.

        Raises InvalidArgument for anything else.
        """
        one_of("loss", loss, LOSSES)
        group = None if classes is None else self.group(classes)
        key = (group, loss)
        if key not in self._known:
            chosen = self._chosen(group)
            share = self.share_of_shift(classes) if loss == SHRUNK else None
            shape = (len(self.components), len(self.bits))
            mean, noise = np.zeros(shape), np.zeros(shape)
            for place in np.ndindex(shape):
                if share is None:
                    rises = self._rises(place, chosen, loss)
                else:
                    rises = (1 - share) * self._rises(place, chosen, "kl")
                    rises += share * self._rises(place, chosen, "cross-entropy")
                mean[place], noise[place] = rises.mean(dtype=np.float64), standard_error(rises)
            self._known[key] = mean, noise
        return self._known[key]

    def share_of_shift(self, classes: Any = None) -> float:
        """How much of the cross-entropy's difference from the divergence the loss "shrunk" takes, 0..1: 1 where it stands far
        above its noise, 0 where it is nothing but noise, as with few images.

        classes: as for `measured`. Raises InvalidArgument for others.
        """
        group = None if classes is None else self.group(classes)
        chosen = self._chosen(group)
        shape = (len(self.components), len(self.bits))
        shift, noise = np.zeros(shape), np.zeros(shape)
        for place in np.ndindex(shape):
            gap = self._rises(place, chosen, "cross-entropy") - self._rises(place, chosen, "kl")
            shift[place], noise[place] = gap.mean(dtype=np.float64), standard_error(gap)
        return share_of_shift(shift, noise)

    def _chosen(self, group: Group | None) -> NDArray[np.int64]:
        """Places of a group's images; None: of all."""
        if group is None:
            return np.arange(len(self.labels))
        chosen = np.flatnonzero(np.isin(self.labels, group))
        if not len(chosen):
            raise InvalidArgument(f"classes: the map has no image of {list(group)}")
        return chosen

    def _rises(self, place: tuple[int, ...], chosen: NDArray[np.int64], loss: str) -> NDArray[np.float32]:
        """float32 [images], nats: what the component at the width adds to the loss of the chosen images."""
        labels, reference = self.labels[chosen], self.reference[chosen]
        rises = RISES[loss](np.asarray(self._scores[place])[chosen], labels, reference)
        if self.around is None:
            return rises
        return rises - RISES[loss](np.asarray(self._scores[place[0], -1])[chosen], labels, reference)

    def costs(self, classes: Any = None, loss: str = "cross-entropy") -> Floats:
        """float64 [components, widths], nats: what allocations add up.

        That is `measured`, never below 0, never more with more bits, and a quarter for each bit beyond the measured ones.
        `classes`, `loss` and errors as for `measured`.
        """
        mean = self.measured(classes, loss)[0]
        falling = np.maximum.accumulate(np.maximum(mean, 0)[:, ::-1], axis=1)[:, ::-1]
        beyond = [b for b in self.widths if b > self.bits[-1]]
        wider = [falling[:, -1] * _QUARTER ** (self.bits[-1] - b) for b in beyond]
        return np.column_stack([falling, *wider])

    def array(self, name: str) -> NDArray[Any] | None:
        """What was measured beside the scores, by `name`, floats or integers of any shape; None where it was not."""
        return self._arrays.get(name)

    def take(self, images: ArrayLike) -> SignificanceMap:
        """The map of some of its images, in memory: what another draw of images would have measured.

        images: integers [m], their places among `labels`. Raises InvalidArgument for none, and for places outside.
        """
        most = len(self.labels)
        if np.asarray(images).dtype == bool:  # a mask: counted as integers it would be the first two images
            raise InvalidArgument(f"images: expected integers in 0..{most - 1}, got {described(images)}")
        chosen = as_levels(images, "images").astype(np.int64)
        if chosen.ndim != 1 or not len(chosen) or chosen.min() < 0 or chosen.max() >= most:
            raise InvalidArgument(f"images: expected integers in 0..{most - 1}, got {described(images)}")
        part = copy.copy(self)
        part.labels, part.reference, part.store = self.labels[chosen], self.reference[chosen], None
        part._scores, part._known = self._scores[:, :, chosen], {}
        return part

    def to_pandas(self, classes: Any = None, loss: str = "cross-entropy") -> pd.DataFrame:
        """One row a group, component and width: classes, component, bits, significance, all_classes, standard_error (nats).

        classes: a group of integers or names; None: all of `groups`. loss: as for `measured`. Errors as for `measured`.
        """
        with needed():
            import pandas as pd

        every = self.measured(None, loss)[0]
        groups = self.groups if classes is None else (self.group(classes),)
        rows = []
        for group in groups:
            mean, noise = self.measured(group, loss)
            for (i, k), value in np.ndenumerate(mean):
                rows.append(
                    {
                        "classes": self.title(group),
                        "component": self.components[i],
                        "bits": self.bits[k],
                        "significance": float(value),
                        "all_classes": float(every[i, k]),
                        "standard_error": float(noise[i, k]),
                    }
                )
        return pd.DataFrame(
            rows, columns=["classes", "component", "bits", "significance", "all_classes", "standard_error"]
        )

    def title(self, group: Group) -> str:
        """A group's classes as text: their names where known, the first four of them.

        group: integers.
        """
        words = [str(c) if self.class_names is None else self.class_names[c] for c in group]
        return ", ".join(words) if len(words) <= 4 else f"{', '.join(words[:3])} … ({len(words)})"

    def plot(self, bits: int | None = None, loss: str = "cross-entropy", ax: Axes | None = None) -> Figure:
        """A strip of heat for every group and one for all classes: significance by layer, nats; returns the figure.

        bits: the width shown; None: the narrowest. loss: as for `measured`. ax: Matplotlib axes to draw on; None: new ones.
        Raises InvalidArgument for a width that was not measured, and as `measured`.
        """
        from ..report.significance import plot_significance

        bits = self.bits[0] if bits is None else count("bits", bits)
        if bits not in self.bits:
            raise InvalidArgument(f"bits: expected one of {self.bits}, got {bits!r}")
        k = self.bits.index(bits)
        rows = {self.title(g): self.measured(g, loss)[0][:, k] for g in self.groups}
        rows["all classes"] = self.measured(None, loss)[0][:, k]
        return plot_significance(rows, self.components, f"{loss} at {bits} bits, nats", ax)

    def __repr__(self) -> str:
        groups = f"{len(self.groups)} group{'s' * (len(self.groups) != 1)}"
        found = f"{len(self.components)} layers at {', '.join(map(str, self.bits))} bits, {len(self.labels):,} images"
        return short(self, f"of {label(self.model)}: {found}, {groups}")

    def _repr_html_(self) -> str:
        return html_table(self)
