"""`allocate`: widths of components under a budget, for what matters most."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._files import target_of
from .._tables import html_table, label, short
from ..calibrate import Layer, layers_of
from ..codec.plan import Plan
from ..compression.result import CompressionResult
from ..compression.writer import ChosenLevels, Writer
from ..data import Data, Dataset, open_dataset
from ..errors import InvalidArgument, described, flag, needed, number, one_of, threads_of
from ..graph import Model, load
from .baselines import COSTS, search
from .budgets import Budget, budget_of
from .classes import Group
from .export import integer, with_levels
from .losses import LOSSES, SHRUNK
from .map import SignificanceMap
from .solver import choose
from .units import Units, uniform, units_of
from .widths import Rows

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import AnyModel
    from ..ptq.report import QuantizedModel, Report

__all__ = ["METHODS", "Allocation", "allocate"]

METHODS = ("priority", "paper", "uniform", "all", "hawq", "weights", "search")
"""Ways to allocate: least loss of the critical classes with all classes as a constraint; the critical loss alone (paper 003);
one width for all; all classes; HAWQ-V2's trace of the Hessian; squared error of the weights; search with as many runs of the
network as the map took."""


@dataclass(frozen=True, repr=False)
class Allocation:
    """Widths of a network's components, and the network that has them; made by `rdquant.allocate`.

    Attributes:
        method: one of `METHODS`, as it was requested.
        classes: the critical classes; None where the method knows none.
        bits: by the name of a layer's weight its width, or a tuple of widths, one an output channel.
        mean_bits: of a weight.
        bytes: of the compressed file that `save` writes.
        milliseconds: predicted time of an inference; None where no times were given.
        critical, all_classes: predicted rises of the loss, nats: sums of the map's; NaN without classes.
        fingerprint: hex digest of the float network.
    """

    method: str
    classes: Group | None
    bits: dict[str, Any]
    mean_bits: float
    bytes: int
    milliseconds: float | None
    critical: float
    all_classes: float
    fingerprint: str
    _model: Model = field(repr=False)
    _layers: tuple[Layer, ...] = field(repr=False)
    _rows: tuple[Rows, ...] = field(repr=False)

    def layers(self) -> list[tuple[Layer, Rows]]:
        """The layers as they are rounded, in graph order."""
        return list(zip(self._layers, self._rows, strict=True))

    def apply(self) -> Model:
        """The network with its weights at these widths, as ONNX in float32: what the compressed file gives back."""
        tensors: dict[str, NDArray[np.float32]] = {}
        for layer, rows in zip(self._layers, self._rows, strict=True):
            tensors |= rows.tensors(layer)
        return self._model.replace_weights(tensors)

    def qdq(self, opset: int | None = None) -> Model:
        """The network with integer levels in place of weights, each with a DequantizeLinear node, which ONNX Runtime runs too.

        opset: of the network, version of ONNX operators; None: as it is. From 21 on layers of up to 4 bits are INT4, others
            of up to 8 bits are INT8; wider ones stay rounded values in float32.

        It computes what `apply()` does, but for the order of float32 operations.

        Raises InvalidArgument for an opset outside the network's to the latest one, Unsupported where ONNX cannot convert it.
        """
        return with_levels(self.apply(), self.layers(), opset)

    def int8(
        self,
        calibration: Data,
        *,
        images: int = 128,
        activations: str = "u8",
        ranges: str = "mse",
        correct_bias: bool = True,
        threads: int | None = None,
        progress: bool = False,
    ) -> QuantizedModel[Report]:
        """The network with activations of 8 bits too, in the form QDQ, which the engine computes in integers.

        Weights keep their levels, of whatever width, as INT8; layers of more than 8 bits stay in float.

        Args:
            calibration: images like those the network will see, labels unused: what `rdquant.data.open_dataset` takes.
            images: how many of them are used at most, spread over the classes.
            activations: "u8" or "s8".
            ranges: how far levels of activations reach, one of `rdquant.ptq.METHODS`.
            correct_bias: biases take up the mean errors that the levels of activations leave.
            threads: None or 0: all cores.
            progress: show bars on stderr.

        Its `report.damage` is what the levels of activations cost. Raises as `rdquant.quantize_static`; Unsupported where batch
        normalization leaves a weight no multiple of one step.
        """
        return integer(
            self.apply(),
            self.layers(),
            calibration,
            images=images,
            activations=activations,
            ranges=ranges,
            correct_bias=correct_bias,
            threads=threads,
            progress=progress,
        )

    def save(self, path: str | os.PathLike[str], effort: str = "fast") -> CompressionResult:
        """Write the compressed file to `path`, levels of all layers coded; `effort` as for `rdquant.compress`.

        `bytes` is that of "fast". Raises RdquantError where the file cannot be written, InvalidArgument for another effort.
        """
        target = target_of("path", path, model=self._model)
        writer, levels = _writer(self._model, self._layers, self._rows, Plan.of(effort, 0, None, 0))
        return writer.write(target, levels, "midtread by width")

    def to_pandas(self) -> pd.DataFrame:
        """One row a component: component, weights, bits (mean over output channels)."""
        with needed():
            import pandas as pd

        rows = [
            {
                "component": layer.weight,
                "weights": int(np.prod(layer.shape)),
                "bits": float(np.mean(self.bits[layer.weight])),
            }
            for layer in self._layers
        ]
        return pd.DataFrame(rows, columns=["component", "weights", "bits"])

    def __repr__(self) -> str:
        rise = "" if np.isnan(self.all_classes) else f", predicted rise {self.all_classes:.4f} nats"
        found = f"{self.method}, {self.mean_bits:.3f} bits per weight, {self.bytes:,} bytes{rise}"
        return short(self, f"of {label(self._model.name)}: {found}")

    def _repr_html_(self) -> str:
        return html_table(self)


def allocate(
    model: AnyModel,
    map: SignificanceMap,
    mean_bits: float | None = None,
    bytes: int | None = None,
    milliseconds: float | None = None,
    keep_all: float = 1.1,
    classes: Any = None,
    method: str = "priority",
    loss: str | None = None,
    channels: bool | None = None,
    data: Data | None = None,
    threads: int | None = None,
) -> Allocation:
    """Widths of 2 to 16 bits for the layers of a network, with the least loss of what matters under one budget.

    Method "priority" minimises the sum of the critical classes' significances, where the sum of all classes' may be
    `keep_all` times the least possible at most. The choice is exact (a mixed-integer linear programme).

    Args:
        model: the network that `map` is of.
        map: from `rdquant.significance`.
        mean_bits: budget: bits per weight on average. bytes: budget: size of the compressed file that `Allocation.save` writes.
            milliseconds: budget: predicted time of an inference of one image in int8, where layers of more than 8 bits stay
            in float32. One of the three.
        keep_all: times the least all-class loss, ≥ 1.
        classes: one group of critical classes, integers or names; None: the only one of the map.
        method: one of `METHODS`.
        loss: "cross-entropy", "kl" or "shrunk": see `SignificanceMap.measured`; method "search" takes the last as the first.
            None: "shrunk" for "priority", "cross-entropy" for others.
        channels: let output channels of the last stage have widths of their own; None: where the map has their shares.
        data: labelled images that method "search" runs the network on.
        threads: None or 0: all cores.

    Raises InvalidArgument for a map of another network, a budget that no widths keep to, and arguments outside the above.
    Source: paper 003; HAWQ-V2 (Dong et al., 2020); HAQ (Wang et al., 2019).
    Paper 003: Khrupin and Shaptsev, “Quantization method for detection neural networks”, 2025.
    """
    loaded, workers = load(model), threads_of(threads)
    if not isinstance(map, SignificanceMap):
        raise InvalidArgument(f"map: expected a SignificanceMap, got {described(map)}")
    if map.fingerprint != loaded.fingerprint:
        raise InvalidArgument(f"map: it is of another network, {map.model}; expected {loaded.name} as it was")
    one_of("method", method, METHODS)
    loss = (
        (SHRUNK if method == "priority" else "cross-entropy")
        if loss is None
        else one_of("loss", loss, LOSSES)
    )
    keep_all = number("keep_all", keep_all, least=1)
    layers = [layer for layer in layers_of(loaded) if layer.weight in set(map.components)]
    images = None if data is None else open_dataset(data, model=loaded)
    rows = bool(map.rows) if channels is None else flag("channels", channels)
    if rows and not map.rows:
        raise InvalidArgument("channels: the map has none; make it with component='channel'")
    units = units_of(map, layers, rows and method not in ("uniform", "search"))
    budget = budget_of(loaded, layers, units, mean_bits, bytes, milliseconds, workers)
    group = map.group(classes) if method in ("priority", "paper") or classes is not None else None
    solver = _Solver(loaded, layers, units, budget, group, loss, keep_all, images, workers)
    return solver.solve(method)


class _Solver:
    def __init__(
        self,
        model: Model,
        layers: Sequence[Layer],
        units: Units,
        budget: Budget,
        group: Group | None,
        loss: str,
        keep_all: float,
        data: Dataset | None,
        threads: int,
    ) -> None:
        self._model, self._layers, self._units, self._budget = model, layers, units, budget
        self._group, self._loss, self._keep_all, self._data = group, loss, keep_all, data
        self._threads = threads
        self._every = units.spread(units.map.costs(None, loss), None)

    def solve(self, method: str) -> Allocation:
        """The allocation whose real size keeps to the budget: where bytes count, solved again for what coding took more."""
        most = self._budget.most
        for _ in range(6):
            choice = self._choice(method, most)
            if choice is None:
                raise InvalidArgument(
                    f"{self._budget.name}: no widths come down to {self._budget.most:g}; the least is "
                    f"{self._budget.least:g}"
                )
            found = self._allocation(method, choice)
            over = found.bytes - self._budget.wanted if self._budget.name == "bytes" else 0
            if over <= 0:
                return found
            most -= over
        raise InvalidArgument(f"bytes: no widths come down to {self._budget.wanted:g}; tried {found.bytes}")

    def _choice(self, method: str, most: float) -> NDArray[np.int64] | None:
        loads = self._budget.loads
        if method == "uniform":
            return uniform(self._units, loads, most)
        if method == "search":
            return search(
                self._model, self._layers, self._units, loads, most, self._loss, self._data, self._threads
            )
        if method in COSTS:
            return choose(COSTS[method](self._units), loads, most)
        if method == "all":
            return choose(self._every, loads, most)
        assert self._group is not None
        own = self._units.spread(self._units.map.costs(self._group, self._loss), self._group)
        if method == "paper":
            return choose(own, loads, most)
        best = choose(self._every, loads, most)
        if best is None:
            return None
        least = float(self._every[np.arange(len(best)), best].sum())
        return choose(own, loads, most, [(self._every, self._keep_all * least)])

    def _allocation(self, method: str, choice: NDArray[np.int64]) -> Allocation:
        units, every = self._units, np.arange(len(choice))
        widths = np.array(units.map.widths)[choice]
        rows = units.rows(choice, self._layers)
        critical = float("nan")
        if self._group is not None:
            own = units.spread(units.map.costs(self._group, self._loss), self._group)
            critical = float(own[every, choice].sum())
        writer, levels = _writer(self._model, self._layers, rows, Plan.of("fast", self._threads, None, 0))
        return Allocation(
            method,
            self._group,
            units.bits(choice),
            float((units.sizes * widths).sum() / units.sizes.sum()),
            writer.size(levels, "midtread by width")[0],
            self._budget.milliseconds(choice),
            critical,
            float(self._every[every, choice].sum()),
            self._model.fingerprint,
            self._model,
            tuple(self._layers),
            tuple(rows),
        )


def retrained(allocation: Allocation, model: Model, rows: Sequence[Rows]) -> Allocation:
    """The same widths with other levels, and with `model`, trained from the float network, for all that is not rounded."""
    layers = [layer for layer, _ in allocation.layers()]
    writer, levels = _writer(model, layers, rows, Plan.of("fast", 0, None, 0))
    size = writer.size(levels, "midtread by width")[0]
    return replace(allocation, bytes=size, _model=model, _rows=tuple(rows))


def _writer(
    model: Model, layers: Sequence[Layer], rows: Sequence[Rows], plan: Plan
) -> tuple[Writer, ChosenLevels]:
    """What writes the network with these levels, its biases in float."""
    biases = {
        layer.bias: row.bias
        for layer, row in zip(layers, rows, strict=True)
        if layer.bias is not None and row.bias is not None
    }
    levels = {layer.weight: row.chosen(layer) for layer, row in zip(layers, rows, strict=True)}
    changed = model.replace_weights(biases)
    roles = {p.role for p in model.parameters if p.name in levels}
    return Writer(changed, plan), ChosenLevels(None, roles, levels)
