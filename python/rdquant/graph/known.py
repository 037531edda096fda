"""Values that constants and shapes alone decide: numbers of trips, conditions, axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import needed

with needed():
    import onnx
    from onnx import numpy_helper

__all__ = ["Known"]

_MOST = 4096  # elements: shapes and what is computed from them have few
_DEEPEST = 200  # steps from a value back to constants

_SELECT = {"Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"}
_DIVIDE = {"Div", "Mod"}
_COMPUTE = _SELECT | _DIVIDE | {"Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Equal"}
_COMPUTE |= {"Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not"}
_COMPUTE |= {"Or", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Sub", "Transpose", "Where", "Xor"}


class Known:
    """The small values of `graph` that do not depend on data; shapes come from its value_info."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self._opset = opset
        self._values: dict[str, NDArray[Any] | None] = {}
        self._makers: dict[str, onnx.NodeProto] = {}
        self._shapes: dict[str, list[int | None]] = {}
        for tensor in graph.initializer:
            self.add_tensor(tensor)
        for node in graph.node:
            self.add_node(node)
        for port in (*graph.value_info, *graph.input):
            if port.type.tensor_type.HasField("shape"):
                dims = port.type.tensor_type.shape.dim
                self._shapes[port.name] = [d.dim_value if d.HasField("dim_value") else None for d in dims]

    def add_tensor(self, tensor: onnx.TensorProto) -> None:
        """Takes notice of a new initializer."""
        self._shapes[tensor.name] = list(tensor.dims)
        if not tensor.external_data and math.prod(tensor.dims) <= _MOST:
            self._values[tensor.name] = numpy_helper.to_array(tensor)

    def add_node(self, node: onnx.NodeProto) -> None:
        """Takes notice of a new node."""
        self._makers.update((name, node) for name in node.output if name)

    def shape(self, name: str) -> list[int | None] | None:
        """Sizes of the value `name`, None for open ones; None where not even their number is known."""
        return self._shapes.get(name)

    def value(self, name: str, depth: int = 0) -> NDArray[Any] | None:
        """The value `name`; None where data decide on it, as far as this can be told."""
        if name not in self._values:
            node = self._makers.get(name)
            self._values[name] = None if node is None else self._computed(node, depth)
        return self._values[name]

    def _computed(self, node: onnx.NodeProto, depth: int) -> NDArray[Any] | None:
        if node.domain not in ("", "ai.onnx") or len(node.output) != 1 or depth > _DEEPEST:
            return None
        if node.op_type == "Constant":
            return _evaluated(node, [], self._opset)
        if node.op_type in ("Shape", "Size"):
            sizes = self._sizes(node.output[0])
            if sizes is None or any(size is None for size in sizes):
                return None
            found = np.array(sizes, np.int64)
            return found if node.op_type == "Shape" else np.array(found.prod(), np.int64)
        if node.op_type not in _COMPUTE:
            return None
        sizes = self._sizes(node.input[0]) if node.op_type in _SELECT else None
        rest = [self.value(name, depth + 1) if name else None for name in node.input[1:]]
        if any(v is None and name for v, name in zip(rest, node.input[1:], strict=True)):
            return None
        if sizes is not None:
            return self._selected(node, sizes, rest)
        first = self.value(node.input[0], depth + 1) if node.input else None
        return None if first is None else _evaluated(node, [first, *rest], self._opset)

    def _sizes(self, name: str) -> list[int | None] | None:
        """What `name` holds where a Shape or Size makes it, with None for open sizes."""
        node = self._makers.get(name)
        if node is None or node.op_type not in ("Shape", "Size"):
            return None
        shape = self.shape(node.input[0])
        ends = {a.name: a.i for a in node.attribute}
        return None if shape is None else shape[ends.get("start", 0) : ends.get("end", len(shape))]

    def _selected(
        self, node: onnx.NodeProto, sizes: list[int | None], rest: list[NDArray[Any] | None]
    ) -> NDArray[Any] | None:
        """What `node` takes of the sizes of a shape: open ones do not matter where it leaves them out."""
        if self._makers[node.input[0]].op_type == "Size":
            whole = self.value(node.input[0])
            return None if whole is None else _evaluated(node, [whole, *rest], self._opset)
        places = _evaluated(node, [np.arange(len(sizes)), *rest], self._opset)
        if places is None:
            return None
        taken = [sizes[place] for place in places.ravel()]
        if any(size is None for size in taken):
            return None
        return np.array(taken, np.int64).reshape(places.shape)


def _evaluated(node: onnx.NodeProto, values: list[NDArray[Any] | None], opset: int) -> NDArray[Any] | None:
    """The output of `node` by ONNX's reference; None where that is uncertain, refused or large."""
    with needed():
        from onnx.reference import ReferenceEvaluator  # where it is used: few models have control flow

    given = [v for v in values if v is not None]
    if node.op_type in _DIVIDE and (any((v < 0).any() for v in given) or not given[-1].all()):
        return None  # the reference rounds quotients down, ONNX Runtime towards zero
    if any(v.size > _MOST for v in given) or (node.op_type == "ConstantOfShape" and given[0].prod() > _MOST):
        return None
    names = [f"in{i}" if v is not None else "" for i, v in enumerate(values)]
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[:], alone.output[:] = names, ["out"]
    ports = [onnx.helper.make_value_info(n, onnx.TypeProto()) for n in names if n]
    end = [onnx.helper.make_value_info("out", onnx.TypeProto())]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([alone], "alone", ports, end),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    try:
        (found,) = ReferenceEvaluator(model).run(None, dict(zip([n for n in names if n], given, strict=True)))
    except Exception:  # a node that is wrong, which the engine will say in its own words
        return None
    return np.asarray(found) if np.size(found) <= _MOST else None
