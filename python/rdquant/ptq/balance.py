"""Biases that take up the mean errors of a network of levels, layer after layer.

What rounding weights does to a layer's mean outputs follows from its float inputs; what levels of activations do, and
the layers before it, shows only in the quantized network: values below half a step vanish, clips cut one side, and
either shifts whole channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer, portions, stream
from ..graph import Model
from .export import LayerLevels

__all__ = ["Balanced", "balanced", "source"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
Levels = dict[str, LayerLevels]
Floats = NDArray[np.float64]
_TOGETHER = 8  # layers whose outputs leave the float network in one pass
_SAMPLES = 8  # values of a channel on an image that tell how a shift moves the mean behind a clip
_HALVINGS = 24  # of the interval in which that shift lies
_FARTHEST = 20.0  # times the error of the mean that a bias is shifted at most
EVERYWHERE = (-np.inf, np.inf)


@dataclass(frozen=True)
class Balanced:
    """A layer whose bias is to be balanced.

    Attributes:
        output: the value that it makes.
        layer: see `rdquant.calibrate.Layer`.
        bounds: of the clip that alone reads the output (ReLU: 0 and infinity); infinite where there is none.
    """

    output: str
    layer: Layer
    bounds: tuple[float, float] = EVERYWHERE


def balanced(
    model: Model,
    layers: Sequence[Balanced],
    levels: Levels,
    written: Callable[[Levels], Model],
    images: Images,
    threads: int | None = None,
    done: Callable[[int], None] = lambda n: None,
) -> Levels:
    """`levels` with biases by which each layer's mean outputs are those of `model` again ("empirical bias correction",
    Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019).

    What counts is the mean behind the clip that follows: an error far below zero, where clipped values upstream move
    outputs most, is none for a ReLU, and must not move the outputs that pass it.

    The layers are taken in order, each in the network whose layers before it are balanced already; those without a
    bias stay as they are.

    Args:
        model: in float.
        layers: in the graph's order.
        levels: by the weight's name.
        written: the network with given levels.
        images: gives batches of the input, the same ones each time.
        threads: of inference.
        done: called after each layer.
    """
    found = dict(levels)
    # Products without a bias are left out: their channels lie along another axis, too.
    bounds = {one.output: one.bounds for one in layers if levels[one.layer.weight].bias is not None}
    wanted: dict[str, Floats] = {}
    for portion in portions(list(bounds), lambda _: 1, _TOGETHER):
        seen = _seen(model, {value: bounds[value] for value in portion}, images, threads)
        wanted |= {value: mean for value, (mean, _) in seen.items()}
    for one in layers:
        known = found[one.layer.weight]
        if known.bias is not None:
            network = written(found)
            given = source(network, one.output)
            mean, sample = _seen(network, {given: one.bounds}, images, threads)[given]
            shift = _shift(wanted[one.output] - mean, sample, one.bounds)
            found[one.layer.weight] = replace(known, bias=(known.bias + shift).astype(np.float32))
        done(1)
    return found


def _shift(missing: Floats, sample: NDArray[np.float32], bounds: tuple[float, float]) -> Floats:
    """[channels]: what to add to values so that their mean behind a clip grows by `missing`; sample: [channels, n]."""
    if bounds == EVERYWHERE:
        return missing
    wanted = np.clip(sample, *bounds).mean(axis=1, dtype=np.float64) + missing
    near, far = np.zeros_like(missing), _FARTHEST * missing
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        found = np.clip(sample + middle[:, np.newaxis].astype(np.float32), *bounds).mean(
            axis=1, dtype=np.float64
        )
        short = (wanted - found) * np.sign(missing) > 0
        near, far = np.where(short, middle, near), np.where(short, far, middle)
    return near


def _seen(
    model: Model, bounds: Mapping[str, tuple[float, float]], images: Images, threads: int | None
) -> dict[str, tuple[Floats, NDArray[np.float32]]]:
    """Value → (means of its channels behind the clip at its bounds, [channels]; a sample of what comes before it,
    [channels, n]); every image counts the same.
    """
    sums: dict[str, Floats] = {}
    samples: dict[str, list[NDArray[np.float32]]] = {value: [] for value in bounds}
    count = 0
    for batch in stream(model, images(), list(bounds), threads=threads):
        for value, (low, high) in bounds.items():
            x = batch[value].reshape(*batch[value].shape[:2], -1)
            total = np.clip(x, low, high).mean(axis=2).sum(axis=0, dtype=np.float64)
            sums[value] = sums[value] + total if value in sums else total
            size = x.shape[2]
            places = ((np.arange(_SAMPLES) + 0.5) * size / _SAMPLES).astype(np.int64)
            for i, row in enumerate(x):  # not the same columns of an image again and again
                samples[value].append(row[:, (places + 31 * (count + i)) % size])
        count += len(batch[next(iter(bounds))])
    return {value: (sums[value] / count, np.concatenate(samples[value], axis=1)) for value in bounds}


def source(network: Model, output: str) -> str:
    """What a layer gives before it becomes levels: `output`, where it does not."""
    makers = {name: node for node in network.skeleton.graph.node for name in node.output}
    made = makers[output]
    return str(makers[made.input[0]].input[0]) if made.op_type == "DequantizeLinear" else output
