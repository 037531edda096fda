"""Budgets of an allocation: mean bits, bytes of the compressed file, predicted milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._tables import Brief
from ..calibrate import Layer
from ..codec.plan import Plan
from ..compression.writer import ChosenLevels, Writer
from ..data import ArrayDataset
from ..errors import InvalidArgument, number
from ..graph import Model
from ..ptq import quantize_static
from ..runtime import Session
from .units import Units, nominal

__all__ = ["Budget", "budget_of"]

Floats = NDArray[np.float64]

_RUNS = 20  # that times are taken from
_INT8 = 8  # bits up to which a layer can run in int8


@dataclass(frozen=True, repr=False)
class Budget(Brief):
    """What widths cost, and how much is allowed.

    Attributes:
        name: "mean_bits", "bytes" or "milliseconds".
        wanted: what the user allows, in the unit of the name.
        most: for the sum of loads.
        least: that any widths come down to, in the unit of `wanted`.
        loads: float64 [units, widths].
        milliseconds: predicted time of a choice (integers [units], places among the widths); None where unknown.
    """

    name: str
    wanted: float
    most: float
    least: float
    loads: Floats
    milliseconds: Callable[[NDArray[np.int64]], float | None]


def budget_of(
    model: Model,
    layers: Sequence[Layer],
    units: Units,
    mean_bits: float | None,
    bytes: float | None,
    milliseconds: float | None,
    threads: int,
) -> Budget:
    """From a user's arguments. Raises InvalidArgument for none, for several, and for what no widths come down to."""
    given = {"mean_bits": mean_bits, "bytes": bytes, "milliseconds": milliseconds}
    wanted = {name: number(name, value, above=0) for name, value in given.items() if value is not None}
    if len(wanted) != 1:
        found = " and ".join(wanted) or "none"
        raise InvalidArgument(f"mean_bits, bytes, milliseconds: expected one of them, got {found}")
    ((name, value),) = wanted.items()
    if name == "mean_bits":
        budget = Budget(name, value, value, 0.0, nominal(units, units.map.widths), lambda choice: None)
        rest = 0.0
    elif name == "bytes":
        table, rest = _coded(model, layers, units, threads)
        budget = Budget(name, value, value - rest, 0.0, units.even(table), lambda choice: None)
    else:
        table, rest = _times(model, layers, units, threads)
        loads = units.even(table)
        budget = Budget(
            name, value, value - rest, 0.0, loads, lambda c: rest + float(loads[np.arange(len(c)), c].sum())
        )
    least = rest + float(budget.loads.min(axis=1).sum())
    if least > value:
        raise InvalidArgument(
            f"{name}: expected at least {least:.6g}, the least that any widths need, got {value:g}"
        )
    return Budget(name, value, budget.most, least, budget.loads, budget.milliseconds)


def _coded(model: Model, layers: Sequence[Layer], units: Units, threads: int) -> tuple[Floats, float]:
    """Bytes of every layer's section at every width, float64 [layers, widths], and of all else in the file."""
    rounded, widths = units.map.rounded, units.map.widths
    table = np.zeros((len(layers), len(widths)))
    biases = {
        layer.bias: bias
        for layer, wide in zip(layers, rounded, strict=True)
        if layer.bias is not None and (bias := wide[widths[0]].bias) is not None
    }
    writer = Writer(model.replace_weights(biases), Plan.of("fast", threads, None, 0))
    roles = {p.role for p in model.parameters if p.name in set(units.map.components)}
    whole = 0
    for k, bits in enumerate(widths):
        levels = {layer.weight: rounded[i][bits].chosen(layer) for i, layer in enumerate(layers)}
        whole = writer.size(ChosenLevels(None, roles, levels), "midtread by width")[0]
        table[:, k] = [writer.section_size(layer.weight, levels[layer.weight]) for layer in layers]
    return table, float(whole - table[:, -1].sum())


def _times(model: Model, layers: Sequence[Layer], units: Units, threads: int) -> tuple[Floats, float]:
    """Milliseconds of every layer at every width, float64 [layers, widths], and of all else, for one image."""
    port = model.inputs[0]
    shape = [size if isinstance(size, int) else 1 for size in port.shape]
    if not all(isinstance(size, int) for size in port.shape[1:]):
        raise InvalidArgument(
            f"milliseconds: expected a network of fixed sizes, {model.name} has {list(port.shape)}"
        )
    noise = np.random.default_rng(0).standard_normal((4, *shape[1:])).astype(np.float32)
    images = ArrayDataset(noise, np.zeros(4, np.int64), batch_size=1)
    coarse = quantize_static(model, images, rounding="nearest", equalize=0.0, max_kl=1e9, threads=threads)
    feed = {port.name: noise[:1]}
    single, int8 = (
        {row["node"]: row["best_us"] / 1000 for row in Session(m, threads=threads).profile(feed, runs=_RUNS)}
        for m in (model, coarse)
    )
    table = np.zeros((len(layers), len(units.map.widths)))
    for i, layer in enumerate(layers):
        slow = single.get(layer.node, 0.0)
        fast = int8.get(layer.node, slow)
        table[i] = [fast if bits <= _INT8 else slow for bits in units.map.widths]
    known = {layer.node for layer in layers}
    return table, float(sum(time for node, time in single.items() if node not in known))
