"""Biases that take up the mean errors of a network of levels, layer after layer.

What rounding weights does to a layer's mean outputs can be told from its float inputs; what levels of activations do, and
the layers before it, shows only in the quantized network: values below half a step vanish, clips cut one side, and
either shifts whole channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer, portions, stream
from ..graph import Model
from .export import LayerLevels

__all__ = ["balanced"]

Images = Callable[[], Iterable[NDArray[np.float32]]]
Levels = dict[str, LayerLevels]
_TOGETHER = 8  # layers whose outputs leave the float network in one pass


def balanced(
    model: Model,
    layers: Sequence[tuple[str, Layer]],
    levels: Levels,
    written: Callable[[Levels], Model],
    images: Images,
    threads: int | None = None,
    done: Callable[[int], None] = lambda n: None,
) -> Levels:
    """`levels` with biases by which each layer's mean outputs are those of `model` again ("empirical bias correction",
    Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019).

    The layers are taken in order, each in the network whose layers before it are balanced already; those without a
    bias stay as they are.

    Args:
        model: in float.
        layers: (output, layer), in the graph's order.
        levels: by the weight's name.
        written: the network with given levels.
        images: gives batches of the input, the same ones each time.
        threads: of inference.
        done: told after each layer.
    """
    found = dict(levels)
    wanted: dict[str, NDArray[np.float64]] = {}
    for portion in portions([output for output, _ in layers], lambda _: 1, _TOGETHER):
        wanted |= _means(model, portion, images, threads)
    for output, layer in layers:
        known = found[layer.weight]
        if known.bias is not None:
            network = written(found)
            given = _source(network, output)
            shift = wanted[output] - _means(network, [given], images, threads)[given]
            found[layer.weight] = replace(known, bias=(known.bias + shift).astype(np.float32))
        done(1)
    return found


def _means(
    model: Model, values: Sequence[str], images: Images, threads: int | None
) -> dict[str, NDArray[np.float64]]:
    """Value → means of its channels, [channels]; every image counts the same."""
    sums: dict[str, NDArray[np.float64]] = {}
    count = 0
    for batch in stream(model, images(), values, threads=threads):
        for value in values:
            x = batch[value]
            means = x.reshape(*x.shape[:2], -1).mean(axis=2).sum(axis=0, dtype=np.float64)
            sums[value] = sums[value] + means if value in sums else means
        count += len(batch[values[0]])
    return {value: total / count for value, total in sums.items()}


def _source(network: Model, output: str) -> str:
    """What a layer gives before it becomes levels: `output`, where it does not."""
    makers = {name: node for node in network.skeleton.graph.node for name in node.output}
    made = makers[output]
    return str(makers[made.input[0]].input[0]) if made.op_type == "DequantizeLinear" else output
