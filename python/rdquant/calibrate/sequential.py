"""Rounding layer after layer, each to what makes up for the errors of those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .._core.calibrate import Covariance
from ..graph import Model
from .gradients import Sensitivity
from .layers import Layer, mean_outputs
from .rounding import LayerRounder
from .tap import stream

__all__ = ["following"]

_DAMPING = 0.01  # of the mean of the covariance's diagonal, where weights are solved for

Images = Callable[[], Iterable[NDArray[np.float32]]]


class _Part:
    """The moments of the first half of a joint covariance's inputs: those of a layer in the rounded network."""

    def __init__(self, matrix: NDArray[np.float64], mean: NDArray[np.float64]) -> None:
        self._matrix, self._mean = matrix, mean

    def matrix(self, centred: bool, threads: int) -> NDArray[np.float64]:
        """As of `Covariance`; whether it is centred has been settled."""
        return self._matrix

    def mean(self) -> NDArray[np.float64]:
        """As of `Covariance`."""
        return self._mean


def following(
    model: Model,
    rounded: Model,
    layers: Sequence[Layer],
    images: Images,
    biases: bool = True,
    positions: int = 512,
    threads: int = 0,
    trellis: int = 0,
    sensitivities: Mapping[str, Sensitivity] | None = None,
) -> Iterator[tuple[Layer, LayerRounder]]:
    """Rounders for `layers`, which all read the same value, when the layers before them are rounded.

    With x the inputs in `model`, x̂ those in `rounded` and C the covariance of x̂, the weights that come nearest to the
    outputs w·x are w·E[x·x̂ᵀ]·C⁻¹: these are rounded instead of w, with the covariance of x̂ ("asymmetric" calibration,
    as in Nagel et al., "Up or down?", 2020, and its successors).

    Args:
        model, rounded: the network in float, and with the layers before these rounded.
        layers: some of `layers_of(model, volumes=True)`.
        images: gives batches of the network's input, the same ones each time.
        biases: whether biases take up mean errors.
        positions, threads: as for `covariances`.
        trellis: as for `LayerRounder`.
        sensitivities: of some of the layers, by their weights.
    """
    value = layers[0].input
    geometries = {layer.geometry: layer for layer in layers}
    joints: dict[tuple[object, ...], Covariance] = {}
    floats = stream(model, images(), [value], threads=threads or None)
    others = stream(rounded, images(), [value], threads=threads or None)
    for wanted, given in zip(floats, others, strict=True):
        for geometry, layer in geometries.items():
            x, y = layer.images(wanted[value]), layer.images(given[value])
            if geometry not in joints:
                each = max(1, positions * len(wanted[value]) // max(1, len(x)))
                joints[geometry] = _joint(layer, x.shape, each)
            grouped = (len(x), layer.groups, -1, *x.shape[2:])
            both = np.concatenate([y.reshape(grouped), (x - y).reshape(grouped)], axis=2)
            joints[geometry].add(np.ascontiguousarray(both.reshape(len(x), -1, *x.shape[2:])), threads)
    weights = model.weights()
    for layer in layers:
        bias = weights[layer.bias] if biases and layer.bias is not None else None
        joint = joints[layer.geometry]
        known = (sensitivities or {}).get(layer.weight)
        yield layer, _rounder(layer, weights[layer.weight], bias, joint, threads, trellis, known)


def _joint(layer: Layer, shape: tuple[int, ...], positions: int) -> Covariance:
    """Of the inputs of a layer in the rounded network, and of what they lack, images of `shape` each."""
    return Covariance(
        2 * shape[1],
        layer.groups,
        layer.kernel,
        layer.strides,
        layer.dilations,
        layer.padding(*shape[2:]),
        positions,
    )


def _rounder(
    layer: Layer,
    weight: NDArray[np.floating],
    bias: NDArray[np.floating] | None,
    joint: Covariance,
    threads: int,
    trellis: int,
    sensitivity: Sensitivity | None,
) -> LayerRounder:
    n = layer.inputs
    matrix, mean = joint.matrix(bias is not None, threads), joint.mean()
    own, missing = matrix[:, :n, :n], matrix[:, n:, :n]  # C, and E[(x − x̂)·x̂ᵀ]
    rows = layer.matrix(weight).astype(np.float64).reshape(layer.groups, -1, n)
    diagonal = np.einsum("gii->gi", own).mean(axis=1)
    damped = own + (_DAMPING * np.where(diagonal > 0, diagonal, 1.0))[:, None, None] * np.eye(n)
    target = rows + np.linalg.solve(damped, (rows @ missing).transpose(0, 2, 1)).transpose(0, 2, 1)
    if bias is not None:
        seen, lost = mean[:, :n], mean[:, n:]
        bias = bias.astype(np.float64) + mean_outputs(rows, seen + lost) - mean_outputs(target, seen)
    moved = layer.tensor(target.reshape(layer.rows, n).astype(np.float32))
    part = _Part(np.ascontiguousarray(own), np.ascontiguousarray(mean[:, :n]))
    return LayerRounder(moved, bias, layer, part, threads, trellis, sensitivity)
