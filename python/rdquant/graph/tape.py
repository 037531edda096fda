"""A graph that nodes are added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.graph import BIG_TENSOR
from ..errors import needed
from .model import Model
from .tensors import Stored

with needed():
    import onnx
    from onnx import helper, numpy_helper

__all__ = ["Rule", "Shape", "Tape", "attributes_of"]

Shape = tuple[int | None, ...]
"""Sizes of a value; None: the number of images, which may stand first only."""


class Tape:
    """A model's graph, and what is added to it.

    shapes: of values that gradients may pass, in float32; those of tensors are known. All that is added assumes opset 13
    or later.
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
        if array.nbytes >= BIG_TENSOR:
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
