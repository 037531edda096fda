"""Cross-layer equalization: channels of one value brought to one range, and the weights that read them adapted.

Scaling a channel by s > 0 where it is made and by 1/s where it is read changes nothing in float, as long as what lies
between is homogeneous (Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019).
Weights have a scale for each output, so the layer that makes a channel loses nothing by it; levels of activations
have one scale for all channels, and gain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibrate import Layer
from ..errors import needed
from ..graph import Model
from .network import Network
from .observed import Observed

with needed():
    from onnx import numpy_helper

__all__ = ["equalized"]

_PASSES_ON = frozenset(("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout"))
_MOST = 64.0  # factor of a channel
_FULL = 0.999  # share of a clip's bound from which on a channel is taken to reach it

Ids = NDArray[np.int64]


@dataclass
class _Channels:
    """Channels by number: which of them are one, and what is known of each."""

    above: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    cap: dict[int, float] = field(default_factory=dict)

    def fresh(self, count: int) -> Ids:
        first = len(self.above)
        self.above.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, i: int) -> int:
        while self.above[i] != i:
            self.above[i] = self.above[self.above[i]]
            i = self.above[i]
        return i

    def join(self, a: Ids, b: Ids) -> None:
        for i, j in zip(a, b, strict=True):
            self.above[self.root(int(j))] = self.root(int(i))

    def fix(self, ids: Ids) -> None:
        self.fixed.update(int(i) for i in ids)


def equalized(
    network: Network, observed: Mapping[str, Observed], values: Collection[str], strength: float = 1.0
) -> tuple[Model, int]:
    """(the same function with channels equalized, number of channels that were scaled).

    observed: extremes of channels by value. values: those that become levels. strength: 0..1; a channel that uses a
    share u of its value's range is scaled by u^-strength. Where values pass a clip, no channel is scaled down, nor
    beyond the clip's bound.
    """
    ids, channels = _trace(network)
    roots = {value: np.array([channels.root(int(i)) for i in found]) for value, found in ids.items()}
    fixed = {channels.root(i) for i in channels.fixed}
    caps: dict[int, float] = {}
    for i, bound in channels.cap.items():
        caps[channels.root(i)] = min(bound, caps.get(channels.root(i), np.inf))
    factor: dict[int, float] = {}
    for value in values:
        seen = observed.get(value)
        if value not in roots or seen is None or seen.channel_low.size != roots[value].size:
            continue
        reach = np.maximum(np.abs(seen.channel_low), np.abs(seen.channel_high)).astype(np.float64)
        most = reach.max()
        for i, own in zip(roots[value], reach, strict=True):
            if own <= 0:  # nothing was seen of the channel
                factor[int(i)] = 1.0
                continue
            wanted = min(_MOST, float(most / own) ** strength)
            cap = caps.get(int(i), np.inf)
            wanted = 1.0 if own >= _FULL * cap else min(wanted, cap / float(own))
            factor[int(i)] = min(wanted, factor.get(int(i), np.inf))
    factor = {i: f for i, f in factor.items() if i not in fixed and f > 1.0}
    return _scaled(network, roots, factor), len(factor)


def _trace(network: Network) -> tuple[dict[str, Ids], _Channels]:
    """Numbers of the channels of each value; what is scaled nowhere is fixed."""
    channels = _Channels()
    weights = network.model.weights()
    ids: dict[str, Ids] = {}
    for i in range(len(network.nodes)):
        read = [ids[name] for name in dict.fromkeys(network.nodes[i].input) if name in ids]
        passed = _passed_on(network, i, ids, channels, weights)
        if passed is not None:
            ids[network.given(i)[0]] = passed
        elif i not in network.layers:
            for found in read:
                channels.fix(found)
    for name in network.outputs & set(ids):
        channels.fix(ids[name])
    return ids, channels


def _passed_on(
    network: Network, i: int, ids: Mapping[str, Ids], channels: _Channels, weights: Mapping[str, NDArray[Any]]
) -> Ids | None:
    """Numbers of what node `i` gives; None where it ends the tracks it reads."""
    node, layer = network.nodes[i], network.layers.get(i)
    if layer is not None:
        return _made(node, layer, ids, channels)
    if len(network.given(i)) != 1 or node.domain not in ("", "ai.onnx"):
        return None
    given = [ids.get(name) for name in network.data(i)] if network.kind(i) else []
    if not given or any(found is None for found in given):
        return None
    known = [found for found in given if found is not None]
    if node.op_type in _PASSES_ON:
        return known[0]
    if node.op_type == "Clip":
        return _clipped(network, i, known[0], channels)
    if node.op_type == "Flatten":
        maker = network.maker(network.data(i)[0])
        flat = maker is not None and network.nodes[maker].op_type == "GlobalAveragePool"
        return known[0] if flat else None
    if node.op_type == "Concat":
        along = any(a.name == "axis" and a.i == 1 for a in node.attribute)
        return np.concatenate([ids[name] for name in node.input]) if along else None
    if node.op_type == "Add" and len(known) == 2 and known[0].size == known[1].size:
        channels.join(known[0], known[1])
        return known[0]
    return None


def _made(node: Any, layer: Layer, ids: Mapping[str, Ids], channels: _Channels) -> Ids:
    """Fresh numbers for a layer's outputs."""
    read = ids.get(layer.input)
    wanted = layer.groups * (layer.inputs // layer.taps)
    if read is not None and read.size != wanted:
        channels.fix(read)
    found = channels.fresh(layer.rows)
    has_bias = len(node.input) > 2 and bool(node.input[2])
    if has_bias and layer.bias is None:
        channels.fix(found)  # a bias that others use too
    if layer.kind == "product" and node.op_type == "MatMul":
        channels.fix(found)  # its channels lie along another axis
    return found


def _clipped(network: Network, i: int, ids: Ids, channels: _Channels) -> Ids | None:
    """Notes the bound of a clip from 0 on; None for any other."""
    bounds = []
    tensors = {t.name: t for t in network.constants}
    for name in list(network.nodes[i].input[1:3]):
        if name and name not in tensors:
            return None
        bounds.append(float(numpy_helper.to_array(tensors[name]).reshape(-1)[0]) if name else None)
    low, high = [*bounds, None, None][:2]
    if low != 0.0:
        return None
    if high is not None:
        channels.cap.update((int(k), min(high, channels.cap.get(int(k), np.inf))) for k in ids)
    return ids


def _scaled(network: Network, roots: Mapping[str, Ids], factor: Mapping[int, float]) -> Model:
    weights = {name: np.array(w) for name, w in network.model.weights().items()}
    changed: set[str] = set()
    for i, layer in network.layers.items():
        made, read = roots.get(network.given(i)[0]), roots.get(layer.input)
        matrix = layer.matrix(weights[layer.weight]).astype(np.float64)
        if made is not None:
            rows = np.array([factor.get(int(k), 1.0) for k in made])
            matrix = matrix * rows[:, None]
            if layer.bias is not None:
                weights[layer.bias] = (weights[layer.bias] * rows).astype(np.float32)
                changed.add(layer.bias)
        taps = layer.taps
        if read is not None and read.size * taps == layer.inputs * layer.groups:
            columns = np.repeat([1 / factor.get(int(k), 1.0) for k in read], taps)
            grouped = matrix.reshape(layer.groups, -1, layer.inputs)
            matrix = (grouped * columns.reshape(layer.groups, 1, layer.inputs)).reshape(matrix.shape)
        weights[layer.weight] = layer.tensor(matrix.astype(np.float32))
        changed.add(layer.weight)
    return network.model.replace_weights({name: weights[name] for name in changed})
