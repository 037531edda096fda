"""What allocations are compared with: costs that look at no class, and search by running the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..data import Dataset
from ..errors import InvalidArgument
from ..graph import Model
from ..runtime import Session
from .channels import fisher_name
from .losses import log_softmax
from .readers import reader_of
from .units import Units, uniform

__all__ = ["COSTS", "search"]

Floats = NDArray[np.float64]


def hawq(units: Units) -> Floats:
    """float64 [units, widths]: mean curvature of a layer's weights × their squared error.

    The trace of the Gauss–Newton Hessian by Hutchinson's estimator: random signs at the scores, propagated to the outputs
    of layers, times the second moments of their inputs. Source: HAWQ-V2 (Dong et al., 2020), equation 5.

    Raises InvalidArgument where a layer has no gradient.
    """
    traces = units.map.array("traces")
    table = np.zeros((len(units.map.components), len(units.map.widths)))
    for i, wide in enumerate(units.map.rounded):
        weight = units.map.array(fisher_name(i, None))
        if weight is None or traces is None or np.isnan(traces[i]):
            raise InvalidArgument(
                f"method: 'hawq' needs gradients at the outputs of {units.map.components[i]}"
            )
        mean = weight.sum() * traces[i] / units.map.sizes[i]
        table[i] = [mean * wide[b].square.sum() for b in units.map.widths]
    return units.even(table) if (units.row >= 0).any() else table


def weights(units: Units) -> Floats:
    """float64 [units, widths]: squared error of the weights."""
    table = [[wide[b].square.sum() for b in units.map.widths] for wide in units.map.rounded]
    return units.even(np.array(table))


COSTS: dict[str, Callable[[Units], Floats]] = {"hawq": hawq, "weights": weights}
"""Costs of units by the name of the method."""


def search(
    model: Model,
    layers: Sequence[Layer],
    units: Units,
    loads: Floats,
    most: float,
    loss: str,
    data: Dataset | None,
    threads: int,
    seed: int = 0,
) -> NDArray[np.int64] | None:
    """int64 [units]: the best of as many networks as the map has components and widths, each run over `data`.

    From the widest uniform width, one component gives bits and others take them, as a random walk that keeps what lowers
    the all-class loss: the class of HAQ (Wang et al., 2019), which an agent walks. None where nothing keeps to the budget.
    Raises InvalidArgument without data.
    """
    if data is None:
        raise InvalidArgument("data: method 'search' needs the images to run the network on")
    reader = reader_of(model, data, None, threads)
    best = uniform(units, loads, most)
    if best is None:
        return None
    random = np.random.default_rng(seed)
    session = Session(model, threads=threads or None)

    def rated(choice: NDArray[np.int64]) -> float:
        for layer, rows in zip(layers, units.rows(choice, layers), strict=True):
            session.set_weights(rows.tensors(layer))
        port, total, start = model.inputs[0], 0.0, 0
        for x, _ in data:
            part = slice(start, start + len(x))
            scores = reader.read(session.run({port.name: x.astype(port.dtype, copy=False)}), part)
            own = reader.labels[reader.rows(part)]
            if loss == "kl":
                p = log_softmax(reader.scores[reader.rows(part)])
                total += float((np.exp(p) * (p - log_softmax(scores))).sum())
            else:
                total -= float(np.take_along_axis(log_softmax(scores), own[:, np.newaxis], 1).sum())
            start += len(x)
        return total

    least = rated(best)
    seen = {best.tobytes()}
    for _ in range(len(units.map.components) * len(units.map.bits) - 1):
        candidate = _moved(best, loads, most, random, seen)
        if candidate is None:
            break
        found = rated(candidate)
        if found < least:
            best, least = candidate, found
    return best


def _moved(
    choice: NDArray[np.int64], loads: Floats, most: float, random: np.random.Generator, seen: set[bytes]
) -> NDArray[np.int64] | None:
    """A neighbour within the budget that has not been seen: one or two components changed, the others filled up."""
    every = np.arange(len(choice))
    for _ in range(1000):
        new = choice.copy()
        for i in random.choice(len(new), size=min(len(new), int(random.integers(1, 4))), replace=False):
            new[i] = np.clip(new[i] + random.choice([-1, 1]), 0, loads.shape[1] - 1)
        while loads[every, new].sum() > most * (1 + 1e-9):
            high = np.flatnonzero(new > 0)
            if not len(high):
                break
            new[random.choice(high)] -= 1
        if loads[every, new].sum() <= most * (1 + 1e-9) and new.tobytes() not in seen:
            seen.add(new.tobytes())
            return new
    return None
