"""How much a network's answers depend on the outputs of its layers: gradients and their second moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._core.calibrate import Covariance
from .._tables import Brief
from ..errors import InvalidArgument, Unsupported
from ..graph import Model
from ..graph.gradient import MIN_GRADIENT_OPSET, backward
from ..graph.tape import Shape, Tape, attributes_of
from ..runtime import Session
from .layers import Layer

__all__ = ["Sensitivity", "sensitivities", "value_shapes"]

_BATCH_BYTES = 1 << 26  # of gradients that leave the network at a time, about
_MOST_ROWS = 32
_KEEPING = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that keep the values of an image in their order."""


@dataclass(frozen=True, repr=False)
class Sensitivity(Brief):
    """What gradients g at the outputs y of a layer reveal about errors there.

    Attributes:
        moments: G = mean over images of Σ over positions of E[g·gᵀ], float64 [groups, rows/groups, rows/groups]; as
            `Covariance.matrix`, shrunk towards the diagonal where images are few.
        lean: mean of (y − E[y])/σ(y) weighted by g²: so many standard deviations above its mean an output lies where
            errors matter. About 0.8 before a ReLU, 0 where nothing bends, and more for scores of classes.
        images: that were seen.
    """

    moments: NDArray[np.float64]
    lean: float
    images: int


def sensitivities(
    model: Model,
    images: Iterable[NDArray[np.float32]],
    layers: Sequence[Layer],
    seed: int = 0,
    draws: int = 1,
    positions: int = 512,
    threads: int | None = None,
    done: Callable[[int], None] | None = None,
) -> dict[str, Sensitivity]:
    """By the name of a layer's weight, from the gradients g of log p(label) at the outputs of the layer's node, the
    label following the network's own p.

    The moments G belong to the Fisher information: half the Σ over positions of eᵀ·G·e is about the KL divergence, in
    nats, that independent errors e of the outputs give (Martens and Grosse, "Optimizing neural networks with Kronecker-factored
    approximate curvature", 2015). No labels are needed, and none are drawn: the gradient at the scores is that of
    Σ √p·z·log p with random signs z, √p ⊙ z − p·Σ√p·z. Its second moment is that of a drawn label's, diag(p) − p·pᵀ, and
    its size varies less.

    Args:
        model: a classifier in float32 with one input and one output: scores [n, classes], or a Softmax or LogSoftmax
            of these.
        images: batches of its input, [n, …], all of one size.
        layers: some of `layers_of(model)`.
        seed: of the signs.
        draws: of signs for each image.
        positions: of a layer's outputs that are sampled in each image, at most; the sum over all follows from them.
        threads: as for `rdquant.Session`.
        done: called with the number of further images after every few.

    Left out are layers whose gradient is unavailable: between them and the output is an operator without a
    derivative, or one whose derivative is not implemented. A network that is no such classifier gives {}.

    Raises InvalidArgument where there are no images or no draws, or images do not fit.
    """
    if draws < 1:
        raise InvalidArgument(f"draws: expected at least 1, got {draws}")
    try:
        return _moments(model, images, layers, np.random.default_rng(seed), draws, positions, threads, done)
    except Unsupported:  # no backend runs the network, or the gradients' nodes
        return {}


def _moments(
    model: Model,
    images: Iterable[NDArray[np.float32]],
    layers: Sequence[Layer],
    random: np.random.Generator,
    draws: int,
    positions: int,
    threads: int | None,
    done: Callable[[int], None] | None,
) -> dict[str, Sensitivity]:
    found: dict[str, Covariance] = {}
    leans: dict[str, _Lean] = {}
    gradients: _Gradients | None = None
    seen = 0
    for batch in images:
        if gradients is None and len(batch):
            gradients = _gradients(model, batch, layers, threads)
            if gradients is None:
                return {}
        start = 0
        while gradients is not None and start < len(batch):
            feed = batch[start : start + gradients.rows]
            for _ in range(draws):
                for name, (value, output) in gradients.run(feed, random).items():
                    layer = gradients.layers[name]
                    places = layer.places(value)
                    if name not in found:
                        found[name] = _covariance(layer, positions)
                        leans[name] = _Lean(layer.rows, positions)
                    found[name].add(places, threads or 0)
                    leans[name].add(places, layer.places(output))
            start += len(feed)
            seen += len(feed)
            if done is not None:
                done(seen)
    if gradients is None:
        raise InvalidArgument("calibration: expected at least one image, got none")
    return {
        name: Sensitivity(
            moments.matrix(centred=False, threads=threads or 0) * gradients.places[name],
            leans[name].mean(),
            seen,
        )
        for name, moments in found.items()
    }


class _Lean:
    """Sums over some positions, one a row, of what the mean lean of outputs follows from."""

    def __init__(self, rows: int, positions: int) -> None:
        self._positions = positions
        self._sums = np.zeros((4, rows))  # of g², g²·y, y, y²
        self._count = 0

    def add(self, gradients: NDArray[np.float32], outputs: NDArray[np.float32]) -> None:
        """Both [n, rows, height, width]."""
        g, y = (v.reshape(*v.shape[:2], -1) for v in (gradients, outputs))
        apart = -(-g.shape[2] // self._positions) | 1  # odd: walks through all columns
        g, y = g[:, :, ::apart], y[:, :, ::apart]
        with np.errstate(over="ignore", invalid="ignore"):  # such rows are left out in the end
            squares = g * g
            sums = [np.einsum("nrp->r", v, dtype=np.float64) for v in (squares, squares * y, y, y * y)]
            self._sums += sums
        self._count += g.shape[0] * g.shape[2]

    def mean(self) -> float:
        """Of all rows, weighted by their g²; 0 where there is no gradient, or no finite one."""
        weight, weighted, total, squares = self._sums
        middle = total / self._count
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.sqrt(np.maximum(squares / self._count - middle**2, 0.0))
        used = np.isfinite(self._sums).all(axis=0) & (weight > 0) & (spread > 1e-6 * np.abs(middle) + 1e-30)
        if not used.any():
            return 0.0
        leans = (weighted[used] / weight[used] - middle[used]) / spread[used]
        return float(np.average(leans, weights=weight[used]))


class _Gradients:
    """A session that gives the gradients at the outputs of layers, and these, for images and random signs.

    Attributes:
        layers: by the name of the weight, those whose gradients can be had.
        places: positions of each.
        rows: images to feed next.
    """

    def __init__(
        self, port: str, tape: Tape, scores: str, layers: Sequence[Layer], threads: int | None
    ) -> None:
        self._port = port
        shape = tape.shapes[scores]
        self._classes = _size(shape)
        self._signs = tape.input((shape[0], self._classes))
        flat = tape.reshape(scores, (shape[0], self._classes))
        chances = tape.emit("Softmax", flat, axis=-1)
        signed = tape.emit("Mul", tape.emit("Sqrt", chances), self._signs)
        total = tape.emit("ReduceSum", signed, tape.constant([1], np.int64), keepdims=1)
        seed = tape.reshape(tape.emit("Sub", signed, tape.emit("Mul", chances, total)), shape)
        made = {node.input[1]: node.output[0] for node in tape.nodes if len(node.input) > 1}
        wanted = {layer.weight: made[layer.weight] for layer in layers}
        found = backward(tape, scores, seed, list(wanted.values()))
        shapes = {value: tape.shapes[value] for value in found if tape.shapes[value][0] == shape[0]}
        self._values = {name: (found[value], value) for name, value in wanted.items() if value in shapes}
        self.layers = {layer.weight: layer for layer in layers if layer.weight in self._values}
        self.places = {name: _size(shapes[wanted[name]]) // layer.rows for name, layer in self.layers.items()}
        model = tape.finished({found[value]: s for value, s in shapes.items()} | shapes)
        self._session = Session(model, threads=threads) if shapes else None
        self._most = _MOST_ROWS if shape[0] is None else shape[0]
        self.rows = 1

    def run(
        self, images: NDArray[np.float32], random: np.random.Generator
    ) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Gradients at the outputs of layers, and the outputs, by the name of the layer's weight."""
        signs = random.integers(0, 2, (len(images), self._classes)).astype(np.float32) * 2 - 1
        assert self._session is not None
        taken = self._session.run({self._port: images, self._signs: signs})
        size = sum(value.nbytes for value in taken.values()) // len(images)
        self.rows = int(np.clip(_BATCH_BYTES // max(1, size), 1, self._most))
        return {name: (taken[gradient], taken[value]) for name, (gradient, value) in self._values.items()}


def _gradients(
    model: Model, batch: NDArray[np.float32], layers: Sequence[Layer], threads: int | None
) -> _Gradients | None:
    """For images like those of a batch; None where no layer's gradients can be had."""
    opsets = {o.domain: o.version for o in model.skeleton.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 0))
    if len(model.inputs) != 1 or len(model.outputs) != 1 or opset < MIN_GRADIENT_OPSET:
        return None
    tape = Tape(model, value_shapes(model, batch[:1], threads))
    scores = _scores(tape, model.outputs[0].name)
    if scores is None:
        return None
    found = _Gradients(model.inputs[0].name, tape, scores, layers, threads)
    return found if found.layers else None


def value_shapes(model: Model, image: NDArray[np.float32], threads: int | None = None) -> dict[str, Shape]:
    """Of the float32 values of a graph for images such as this one, those whose first axis alone counts images."""
    (port,) = model.inputs
    fixed = port.shape[0] if port.shape and isinstance(port.shape[0], int) else None
    names = [out for node in model.skeleton.graph.node for out in node.output if out]
    session = Session(model.with_outputs(names), threads=threads)
    found: list[dict[str, Shape]] = []
    for rows in (1, 2) if fixed is None else (fixed,):
        feed = np.repeat(image, rows, axis=0).astype(port.dtype, copy=False)
        values = {**session.run({port.name: feed}), port.name: feed}
        found.append({name: v.shape for name, v in values.items() if v.dtype == np.float32})
    first, last = found[0], found[-1]
    return {name: s for name in first if (s := _common(first[name], last.get(name, ()))) is not None}


def _common(one: Shape, two: Shape) -> Shape | None:
    """A shape for any number of images from those for one and for two."""
    if one == two:
        return one
    fits = len(one) == len(two) and one[1:] == two[1:] and (one[0], two[0]) == (1, 2)
    return (None, *one[1:]) if fits else None


def _scores(tape: Tape, output: str) -> str | None:
    """The value whose softmax gives the probabilities of classes; None where an image has no such scores."""
    makers = {out: node for node in tape.nodes for out in node.output}
    inner = output
    while inner in makers and makers[inner].op_type in _KEEPING:
        inner = makers[inner].input[0]
    node = makers.get(inner)
    name, axis = output, None
    if node is not None and node.op_type in ("Softmax", "LogSoftmax"):
        name, axis = node.input[0], attributes_of(node).get("axis", -1)
    shape = tape.shapes.get(name, ())
    if len(shape) < 2 or max(d or 0 for d in shape[1:]) != _size(shape):
        return None
    return name if axis is None or shape[axis] == _size(shape) else None


def _size(shape: Shape) -> int:
    """Values of one image."""
    return int(np.prod([d or 0 for d in shape[1:]]))


def _covariance(layer: Layer, positions: int) -> Covariance:
    """Of a layer's outputs, each for itself."""
    return Covariance(layer.rows, layer.groups, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), positions)
