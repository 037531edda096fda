"""What ONNX Runtime's optimizer writes into the standard domain though ONNX has it not there, in ONNX's own operators."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import needed

with needed():
    import onnx
    from onnx import helper

__all__ = ["spell_out"]

_FLOAT = onnx.TensorProto.FLOAT


def spell_out(model: onnx.ModelProto) -> None:
    """Replace normalizations that the model's opset lacks by the operators that they stand for."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if not any(_is_early(node, opset) for node in model.graph.node):
        return
    nodes = [
        new
        for node in model.graph.node
        for new in (_spelt(node, opset) if _is_early(node, opset) else [node])
    ]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _is_early(node: onnx.NodeProto, opset: int) -> bool:
    """Whether it is such a node, of a form that has a spelling: one output, an axis that counts from the end."""
    early = node.op_type == "SimplifiedLayerNormalization" or (
        node.op_type == "LayerNormalization" and opset < 17
    )
    named = len(node.output) > 0 and bool(node.output[0]) and not any(node.output[1:])
    return early and node.domain in ("", "ai.onnx") and named and len(node.input) >= 2 and _axis(node) < 0


def _axis(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "axis"), -1)


def _spelt(node: onnx.NodeProto, opset: int) -> Iterator[onnx.NodeProto]:
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    axes = list(range(_axis(node), 0))
    out, count = node.output[0], 0

    def call(op: str, *inputs: str, to: str = "", **attributes: object) -> onnx.NodeProto:
        nonlocal count
        count += 1
        return helper.make_node(op, inputs, [to or f"{out}#{count}"], node.name, **attributes)

    def mean(x: str) -> list[onnx.NodeProto]:
        if opset < 18:
            return [call("ReduceMean", x, axes=axes)]
        numbers = call("Constant", value_ints=axes)
        return [numbers, call("ReduceMean", x, numbers.output[0])]

    x = node.input[0]
    if node.op_type == "LayerNormalization":
        means = mean(x)
        centred = call("Sub", x, means[-1].output[0])
        yield from (*means, centred)
        x = centred.output[0]
    square = call("Mul", x, x)
    variances = mean(square.output[0])
    constant = call("Constant", value=helper.make_tensor("epsilon", _FLOAT, [], [epsilon]))
    small = call("CastLike", constant.output[0], x) if opset >= 15 else constant
    total = call("Add", variances[-1].output[0], small.output[0])
    root = call("Sqrt", total.output[0])
    quotient = call("Div", x, root.output[0])
    yield from (square, *variances, constant, *([small] if opset >= 15 else []), total, root, quotient)
    bias = node.input[2] if len(node.input) > 2 else ""
    scaled = call("Mul", quotient.output[0], node.input[1], to="" if bias else out)
    yield scaled
    if bias:
        yield call("Add", scaled.output[0], bias, to=out)
