"""Reverse-mode differentiation of a graph: nodes beside the forward ones that compute gradients, for any backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .checks import captures
from .model import Model
from .tensors import Stored
from .wire import STRIP_BYTES

__all__ = ["MIN_GRADIENT_OPSET", "Rule", "Shape", "Tape", "attributes_of"]

MIN_GRADIENT_OPSET = 13
"""The nodes that are added mean what this opset, and all later ones, say."""

Shape = tuple[int | None, ...]
"""Sizes of a value; None: the number of images, which may stand first only."""

_STANDARD = ("", "ai.onnx")


class Tape:
    """A model's graph, and what is added to it.

    shapes: of all values that gradients may pass, in float32; a value without one stops them. The rules assume a graph
    of opset `MIN_GRADIENT_OPSET` or later.
    """

    def __init__(self, model: Model, shapes: Mapping[str, Shape]) -> None:
        self._model = model
        skeleton, self._tensors = model.parts()
        self._proto = onnx.ModelProto.FromString(skeleton)
        self._inline = {t.name: t for t in self._proto.graph.initializer}
        self.shapes: dict[str, Shape] = {name: tuple(t.dims) for name, t in self._inline.items()}
        self.shapes |= {name: tuple(t.dims) for name, t in self._tensors.items()}
        self.shapes |= shapes
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[tuple[Any, ...], str] = {}
        self._more: dict[str, Stored] = {}
        graph = self._proto.graph
        taken = {name for node in graph.node for name in (*node.input, *node.output)}
        taken |= {i.name for i in graph.input} | set(self.shapes)
        self._prefix = "gradient"
        while any(name.startswith(self._prefix) for name in taken):
            self._prefix += "_"

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """Of the model, in an order in which they may run."""
        return self._proto.graph.node

    def value(self, name: str) -> NDArray[Any] | None:
        """A tensor of the model that does not depend on its inputs; None for what is none."""
        if name in self._inline:
            tensor = self._inline[name]
            return None if tensor.data_type == onnx.TensorProto.STRING else numpy_helper.to_array(tensor)
        return _array(self._tensors[name]) if name in self._tensors else None

    def input(self, shape: Shape) -> str:
        """A new float32 input of the graph."""
        name = self._name()
        self._proto.graph.input.append(_port(name, shape))
        return name

    def constant(self, values: Any, dtype: type[np.generic] = np.float32) -> str:
        """A tensor of these values."""
        array = np.asarray(values, dtype, order="C")
        if array.nbytes >= STRIP_BYTES:
            name = self._made["tensor", len(self._made)] = self._name()
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            self._more[name] = Stored(kind, array.shape, array.reshape(-1).view(np.uint8))
            return name
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._made:
            self._made[key] = self._name()
            self._proto.graph.initializer.append(numpy_helper.from_array(array, self._made[key]))
        return self._made[key]

    def above(self, value: str, limit: float, sign: float = 1.0) -> str:
        """1 where sign·value > sign·limit, else 0, in float32: a HardSigmoid so steep that it is a step.

        In place of Greater and Where, whose booleans no vector unit of the engine knows. Exact, but for values that are
        nearer to a limit of 0 than 2^−100.
        """
        steepness = sign * 2.0 ** (100 - np.frexp(np.float32(limit))[1])  # limit·steepness < 2^100
        return self.emit("HardSigmoid", value, alpha=float(steepness), beta=float(-limit * steepness))

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new node; that of an equal one where there is one already."""
        key = (op, inputs, repr(sorted(attributes.items())))
        if key not in self._made:
            name = self._made[key] = self._name()
            self._nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return self._made[key]

    def reshape(self, value: str, shape: Sequence[int | None]) -> str:
        """`value` in another shape; one size at most is None: what is left."""
        return self.emit("Reshape", value, self.constant([-1 if d is None else d for d in shape], np.int64))

    def backward(self, of: str, seed: str, wanted: Collection[str]) -> dict[str, str]:
        """Names of the gradients of Σ seed·of, by the names of the values: those of `wanted` that can be had.

        Absent are values that `of` does not depend on, and those that reach it through a node without a rule as well.
        """
        from .gradient_rules import RULES

        before = self._upstream(wanted)
        pieces: dict[str, list[str]] = {of: [seed]}  # of the gradient of each value, from its readers
        blocked: set[str] = set()
        for node in reversed(self.nodes):
            if not any(out in pieces or out in blocked for out in node.output):
                continue
            inside = captures(node)
            blocked |= inside & before
            stopped = bool(inside) or any(out in blocked for out in node.output)
            rule = None if stopped or node.domain not in _STANDARD else RULES.get(node.op_type)
            given = [self._sum(pieces[out]) if out in pieces else None for out in node.output]
            for index, name in enumerate(node.input):
                if name not in before:
                    continue
                piece = self._piece(rule, node, given, index)
                if piece is None:
                    blocked.add(name)
                else:
                    pieces.setdefault(name, []).append(piece)
        return {name: self._sum(pieces[name]) for name in wanted if name in pieces and name not in blocked}

    def finished(self, outputs: Mapping[str, Shape]) -> Model:
        """The model with all that has been added, which gives these values and no others."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        proto.graph.node.extend(self._nodes)
        del proto.graph.output[:]
        proto.graph.output.extend(_port(name, shape) for name, shape in outputs.items())
        return self._model.with_graph(proto, self._more)

    def _name(self) -> str:
        return f"{self._prefix}{len(self._made)}.{len(self._proto.graph.input)}"

    def _upstream(self, wanted: Collection[str]) -> set[str]:
        """Values that are wanted, or depend on one that is."""
        found = set(wanted)
        for node in self.nodes:
            if found & (set(node.input) | captures(node)):
                found |= set(node.output)
        return found

    def _sum(self, pieces: list[str]) -> str:
        while len(pieces) > 1:
            pieces[:2] = [self.emit("Add", pieces[0], pieces[1])]
        return pieces[0]

    def _piece(
        self, rule: Rule | None, node: onnx.NodeProto, given: list[str | None], index: int
    ) -> str | None:
        needed = [
            node.input[index],
            *(out for out, g in zip(node.output, given, strict=True) if g is not None),
        ]
        known = all(name in self.shapes for name in needed)
        return None if rule is None or not known else rule(self, node, given, index)


Rule = Callable[[Tape, onnx.NodeProto, list[str | None], int], str | None]
"""What a node gives to the gradient of its input at an index, from those of its outputs, of which one at least is not
None (a gradient of 0); None where it has no derivative that we know."""


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; strings as text."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for name, v in found.items()}


def _array(stored: Stored) -> NDArray[Any]:
    dtype = helper.tensor_dtype_to_np_dtype(stored.data_type)
    return stored.data.view(dtype).reshape(stored.dims)


def _port(name: str, shape: Shape) -> onnx.ValueInfoProto:
    sizes = ["N" if d is None else d for d in shape]
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
