"""Biases of the scores, and their temperature, fitted to labelled images after the weights have changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_float32, as_levels
from .._tables import Brief
from ..calibrate import layers_of
from ..errors import InvalidArgument, Unsupported, described, flag, needed
from ..graph import Model
from .losses import log_softmax

with needed():
    from scipy.optimize import minimize

__all__ = ["Refit", "refit", "shift_for_rate"]

_KEEPING = ("Softmax", "LogSoftmax", "Flatten", "Reshape", "Squeeze", "Identity")


@dataclass(frozen=True, repr=False)
class Refit(Brief):
    """scores → factor · scores + biases; made by `refit`.

    Attributes:
        factor: reciprocal of the temperature.
        biases: float32 [classes], of mean 0.
    """

    factor: float
    biases: NDArray[np.float32]

    def scores(self, scores: ArrayLike) -> NDArray[np.float32]:
        """float32 [n, classes] for `scores`, numbers [n, classes]; InvalidArgument for anything else."""
        table = as_float32(scores, "scores")
        if table.ndim != 2 or table.shape[1] != len(self.biases):
            raise InvalidArgument(f"scores: expected [n, {len(self.biases)}], got {list(table.shape)}")
        return np.asarray(self.factor * table + self.biases, np.float32)

    def apply(self, model: Model) -> Model:
        """`model` with this in its last layer, which costs no byte.

        Raises Unsupported where the scores are not the outputs of a layer with a bias.
        """
        weight, bias = _last(model)
        weights = model.weights()
        if weights[bias].shape != self.biases.shape:
            raise Unsupported(
                f"refit: {model.name} ends in {weights[bias].size} values, not {len(self.biases)}"
            )
        changed = {bias: self.factor * weights[bias] + self.biases}
        if self.factor != 1.0:
            changed[weight] = self.factor * weights[weight]
        return model.replace_weights(changed)


def refit(scores: ArrayLike, labels: ArrayLike, temperature: bool = False) -> Refit:
    """The biases, and the `temperature` where wanted, of least cross-entropy.

    scores: numbers [n, classes]; labels: integers [n]. Raises InvalidArgument for anything else.
    """
    z, y = as_float32(scores, "scores"), as_levels(labels, "labels").astype(np.int64)
    scaled = flag("temperature", temperature)
    if z.ndim != 2 or z.shape[1] < 2 or not len(z) or not np.isfinite(z).all():
        raise InvalidArgument(f"scores: expected finite numbers [n, classes], n ≥ 1, got {described(z)}")
    if y.shape != z.shape[:1] or y.min() < 0 or y.max() >= z.shape[1]:
        raise InvalidArgument(
            f"labels, scores: expected {len(z)} integers in 0..{z.shape[1] - 1}, got {described(y)}"
        )
    classes, rows = z.shape[1], np.arange(len(y))

    def value(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a = float(np.exp(v[classes])) if scaled else 1.0
        p = log_softmax(a * z + v[:classes].astype(np.float32))
        e = np.exp(p)
        e[rows, y] -= 1
        slope = a * float((e * z).sum(axis=1).mean(dtype=np.float64)) if scaled else 0.0
        return -float(p[rows, y].mean(dtype=np.float64)), np.r_[e.mean(axis=0, dtype=np.float64), slope]

    v = minimize(value, np.zeros(classes + 1), jac=True, method="L-BFGS-B").x
    biases = (v[:classes] - v[:classes].mean()).astype(np.float32)
    return Refit(float(np.exp(v[classes])) if scaled else 1.0, biases)


def shift_for_rate(
    scores: NDArray[np.floating], labels: NDArray[np.int64], group: Sequence[int], rate: float
) -> float:
    """What to add to the scores of `group` so that this share of the images of other classes is called one of it.

    scores: floats [n, classes]; labels: int64 [n]; rate: a fraction 0..1.
    """
    others = scores[~np.isin(labels, group)]
    inside = np.isin(np.arange(scores.shape[1]), group)
    return float(np.quantile(others[:, ~inside].max(axis=1) - others[:, inside].max(axis=1), rate))


def _last(model: Model) -> tuple[str, str]:
    """(weight, bias) of the layer whose outputs are the scores."""
    makers = {out: node for node in model.skeleton.graph.node for out in node.output}
    name = model.outputs[0].name
    while name in makers and makers[name].op_type in _KEEPING:
        name = makers[name].input[0]
    node = makers.get(name)
    for layer in layers_of(model):
        if node is not None and layer.weight in node.input and layer.bias is not None:
            return layer.weight, layer.bias
    raise Unsupported(f"refit: the scores of {model.name} are not the outputs of a layer with a bias")
