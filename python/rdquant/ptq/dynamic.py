"""Dynamic quantization: weights as levels ahead, ranges of activations when the network runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..calibrate import Layer
from ..data import Data, Dataset
from ..errors import InvalidArgument, Unsupported, count, described, flag, number, several, threads_of
from ..graph import AnyModel, Model, load
from ..graph.halves import widened
from ..graph.ports import suggestion
from .damage import Damage, Judge
from .export import LayerLevels
from .fold import folded
from .integer import write_integer
from .network import warn_of_levels
from .obstacles import nothing_left, weighted
from .recurrent import Recurrent
from .report import DynamicLayer, DynamicReport, QuantizedModel, for_ports_of
from .static import calibration_of
from .weights import check_finite, nearest, recurrent_levels

__all__ = ["quantize_dynamic"]

_OPSET = 13


def quantize_dynamic(
    model: AnyModel,
    *,
    per_channel: bool = True,
    keep: Collection[str] = (),
    calibration: Data | None = None,
    images: int = 128,
    max_kl: float = 0.1,
    max_noise: float = 0.012,
    threads: int | None = None,
    progress: bool = False,
) -> QuantizedModel[DynamicReport]:
    """`model` with convolutions and products of 8 bits whose ranges of activations are found when it runs.

    Of recurrent layers (RNN, GRU, LSTM) the products with their inputs are among them; their states stay float32, the weights
    that these meet become levels.

    It needs no data. Weights become s8 levels, to the nearest, symmetric; what a layer reads becomes u8 levels from the
    least to the largest of its values, over the whole batch: what a network answers to an image depends a little on
    the images beside it. Sums are int32; biases and all else stay float32. Batch normalization is taken into the
    convolution before it.

    The file has DynamicQuantizeLinear (one for each value, whatever the number of its readers), ConvInteger,
    MatMulInteger, Cast, Mul and Add of ONNX's standard domain, DequantizeLinear before recurrent layers, and runs in ONNX
    Runtime too.

    Args:
        model: what `rdquant.load` takes. What is not quantized of a model in float16 or bfloat16 becomes float32; its
            inputs and outputs keep their types.
        per_channel: weights have a scale for each output; else one.
        keep: names of nodes that stay in float (of a node without a name, that of its output).
        calibration: for a network with one input: a few images of those that it will see, as `quantize_static` takes
            them; 16 to 64 are enough. The outputs' loss is then measured, image by image; where it is more than tolerated, the
            layers that alone do most damage stay in float, until it is not. Without them it is unknown: networks of depthwise
            convolutions, whose channels differ widely in range, can lose much.
        images: how many of them are used at most, spread over the classes.
        max_kl, max_noise: what may be lost on the images: mean KL divergence of a classifier's outputs to the float
            network's, nats; for any other network the mean share of noise in the channels of its worst output.
        threads: of inference; None or 0: all cores.
        progress: show a bar on stderr.

    Returns:
        A `Model` whose attribute `report` names the layers, and of those that stay in float the reason.

    Raises:
        InvalidArgument: an argument that is not allowed, a name in `keep` that no layer has, a weight that is not finite
            (named), a network with nothing to quantize. Unsupported: an opset below 13.
    """
    limits = number("max_kl", max_kl, above=0), number("max_noise", max_noise, above=0)
    count("images", images)
    flag("progress", progress)
    used = threads_of(threads)
    loaded = load(model)
    wide = widened(loaded)
    check_finite(wide)
    dynamic = _Dynamic(wide, flag("per_channel", per_channel), keep)
    warn_of_levels(loaded)
    if calibration is None:
        return for_ports_of(loaded, dynamic.unmeasured())
    few = _Singly(calibration_of(calibration, wide, images))
    return for_ports_of(loaded, dynamic.measured(few, limits, used, progress))


class _Singly:
    """Batches of one image: with more, ranges would be those of several."""

    def __init__(self, data: Dataset) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __call__(self) -> Iterator[NDArray[np.float32]]:
        for batch, _ in self._data:
            for x in batch:
                yield np.asarray(x, np.float32)[np.newaxis]


class _Dynamic:
    def __init__(self, model: Model, per_channel: bool, keep: Collection[str]) -> None:
        self._name, self._file_bytes = model.name, model.summary()["file_bytes"]
        skeleton = model.skeleton
        opset = next((o.version for o in skeleton.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset < _OPSET:
            raise Unsupported(f"{model.name}: opset {opset}: quantization needs {_OPSET} or later")
        self._model = folded(model)
        self._nodes = list(self._model.skeleton.graph.node)
        self._weights = self._model.weights()
        self._kept: dict[int, str] = {}
        self._layers: dict[int, Layer] = {}
        self._sort()
        self._keep(keep)
        if not self._layers:
            reasons = [(self._label(i), reason) for i, reason in self._kept.items()]
            raise InvalidArgument(f"{model.name}: {nothing_left(self._model, reasons)}")
        self._levels = {
            i: recurrent_levels(layer, self._weights, per_channel)
            if isinstance(layer, Recurrent)
            else nearest(layer, self._weights, math.inf, per_channel)
            for i, layer in self._layers.items()
        }

    def unmeasured(self) -> QuantizedModel[DynamicReport]:
        """Quantized wherever it can be."""
        model = self._written(self._layers)
        order = sorted((*self._layers, *self._kept))
        report = DynamicReport(0, self._reports(order, {}), None, None, None)
        return QuantizedModel(model, report, self._file_bytes)

    def measured(
        self, images: _Singly, limits: tuple[float, float], threads: int | None, progress: bool
    ) -> QuantizedModel[DynamicReport]:
        """Quantized as far as is tolerated."""
        judge = Judge(self._model, images, threads)
        limit = limits[0] if judge.classifies else limits[1]
        model = self._written(self._layers)
        damage = judge.damage(model)
        alone: dict[int, float] = {}
        order = sorted((*self._layers, *self._kept))
        if damage.score > limit:
            for i in tqdm(self._layers, "ranking", unit="layer", disable=not progress, leave=False):
                alone[i] = judge.damage(self._written([i])).score
            worst = sorted(alone, key=lambda i: -alone[i])
            order = [*worst, *sorted(self._kept)]
            model, damage = self._drop(worst, alone, judge, limit)
        report = DynamicReport(len(images), self._reports(order, alone), damage, limit, damage.score <= limit)
        return QuantizedModel(model, report, self._file_bytes)

    def _drop(
        self, worst: Sequence[int], alone: dict[int, float], judge: Judge, limit: float
    ) -> tuple[Model, Damage]:
        """Keeps layers in float, the worst first, as few as let the rest be tolerated."""

        def without(count: int) -> tuple[Model, Damage]:
            model = self._written(worst[count:])
            return model, judge.damage(model)

        too_few, count = 0, 1
        model, damage = without(count)
        while damage.score > limit and count < len(worst):
            too_few, count = count, min(2 * count, len(worst))
            model, damage = without(count)
        while damage.score <= limit and count - too_few > 1:
            middle = (too_few + count) // 2
            fewer = without(middle)
            if fewer[1].score <= limit:
                count, (model, damage) = middle, fewer
            else:
                too_few = middle
        what = "KL" if damage.kl is not None else "noise"
        for i in worst[:count]:
            self._kept[i] = f"quantized alone it costs {what} {alone[i]:.3g} of the tolerated {limit:g}"
        return model, damage

    def _sort(self) -> None:
        """Tells nodes whose products become integers from those that have weights and stay as they are."""
        for i, layer, reason in weighted(self._model):
            if reason:
                self._kept[i] = reason
            elif layer is not None:
                self._layers[i] = layer

    def _keep(self, names: Collection[str]) -> None:
        known = {self._label(i): i for i in (*self._layers, *self._kept)}
        if not isinstance(names, Collection):
            raise InvalidArgument(f"keep: expected names of nodes, got {described(names)}")
        for name in several(names):
            if not isinstance(name, str):
                raise InvalidArgument(f"keep: expected names of nodes, got {described(name)}")
            if name not in known:
                raise InvalidArgument(f"keep: no layer is called {name!r}{suggestion(name, known)}")
            self._kept.setdefault(known[name], "requested")
            self._layers.pop(known[name], None)

    def _label(self, i: int) -> str:
        return self._nodes[i].name or self._nodes[i].output[0]

    def _written(self, chosen: Collection[int]) -> Model:
        layers = {i: self._layers[i] for i in chosen}
        return write_integer(self._model, layers, self._levels, f"{self._name}.int8")

    def _reports(self, order: Sequence[int], alone: dict[int, float]) -> tuple[DynamicLayer, ...]:
        return tuple(
            DynamicLayer(
                self._label(i),
                self._nodes[i].op_type,
                self._sqnr(i),
                alone.get(i),
                i in self._kept,
                self._kept.get(i, ""),
            )
            for i in order
        )

    def _sqnr(self, i: int) -> float | None:
        if i not in self._layers:
            return None
        layer, found = self._layers[i], self._levels[i]
        return _decibels(layer.matrix(self._weights[layer.weight]), layer.matrix(found.levels), found)


def _decibels(wanted: NDArray[np.float32], levels: NDArray[np.int8], found: LayerLevels) -> float:
    given = levels * found.scales.astype(np.float64)[:, np.newaxis]
    power = float(np.square(wanted, dtype=np.float64).sum())
    return 10 * math.log10(max(power, 1e-30) / max(float(np.square(wanted - given).sum()), 1e-30))
