"""Surgery on the skeleton, the graph without its weights: opset upgrade, shape inference, constant folding.

The weights are typed graph inputs meanwhile. No tool can then fold, transpose, merge or rename them, and none
of them is copied. A tool that fails, or whose result does not keep the interface, leaves the graph as it was,
with a note.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..errors import CorruptFile, InvalidArgument, Unsupported, needed
from .branches import settle_control_flow
from .checks import describe, sort_nodes, subgraphs
from .tensors import Stored, captured

with needed():
    import onnx
    import onnx.checker
    import onnx.shape_inference
    import onnx.version_converter
    from onnx import helper

__all__ = ["MIN_OPSET", "operate"]

MIN_OPSET = 13
"""Older models are upgraded to this opset: from 13 on, quantization per channel exists."""

_FOLD_BYTES = 1 << 20  # constants that would grow beyond this stay as nodes
_MOST_CONSTANT = 1 << 28  # elements: onnxslim computes a constant before it looks at its size
_MOST_FOLDED = 1 << 31
_SLIM = threading.Lock()  # onnxslim keeps its settings in class attributes


def operate(
    model: onnx.ModelProto, tensors: Mapping[str, Stored], name: str
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The simplified skeleton and notes on what could not be done ({} as a rule).

    model: the skeleton; tensors: what was taken out of it. Raises CorruptFile where ONNX's checker refuses
    the model, InvalidArgument where a constant would grow beyond 2^28 elements.
    """
    real = [i.name for i in model.graph.input]
    notes: dict[str, str] = {}
    model.ir_version = max(model.ir_version, 8)
    for key, stored in tensors.items():
        model.graph.input.append(helper.make_tensor_value_info(key, stored.data_type, stored.dims))
    _complete_outputs(model, name)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise CorruptFile(f"{name}: {_incomplete(model) or _first_lines(error)}") from None
    _check_shapes(model, name)
    _check_constants(model, name)
    model = _upgrade(model, notes)
    model = _fold(model, notes)
    while settle_control_flow(model, notes):  # whose shapes may decide on others
        model = _infer(model, notes)
        while settle_control_flow(model, notes):
            model = _infer(model, notes)
        model = _fold(model, notes)
    inputs = [i for i in model.graph.input if i.name in set(real)]
    del model.graph.input[:]
    model.graph.input.extend(sorted(inputs, key=lambda i: real.index(i.name)))
    return model, notes


def _complete_outputs(model: onnx.ModelProto, name: str) -> None:
    """Write types and shapes of outputs that the model leaves out, where they follow from the inputs'.

    Raises Unsupported where they do not, CorruptFile for types without that of elements.
    """
    for output in model.graph.output:
        if output.type.HasField("tensor_type") and not output.type.tensor_type.elem_type:
            raise CorruptFile(
                f"{name}: field output: {output.name!r} has a type without that of its elements"
            )
    if all(map(_is_complete, model.graph.output)):
        return
    inferred = _infer(model, {}).graph
    for output, found in zip(model.graph.output, inferred.output, strict=True):
        if not _is_complete(found):
            raise Unsupported(
                f"{name}: field output: {output.name!r} has no {'shape' if output.HasField('type') else 'type'}, and "
                f"none could be inferred{_end_of_inference(inferred)}: write it into the file, with open dimensions "
                "if it varies"
            )
        output.type.CopyFrom(found.type)


def _is_complete(port: onnx.ValueInfoProto) -> bool:
    kind = port.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or port.type.tensor_type.HasField("shape"))


def _end_of_inference(graph: onnx.GraphProto) -> str:
    """Names the first node for whose outputs ONNX infers no shapes; "" if there is none."""
    known = {v.name for v in (*graph.value_info, *graph.output) if _is_complete(v)}
    for node in graph.node:
        if any(out and out not in known for out in node.output):
            return f" behind {describe(node)}"
    return ""


def _incomplete(model: onnx.ModelProto) -> str:
    """Names the input whose type or shape is missing, which ONNX's checker does not; "" if none is."""
    for port in model.graph.input:
        if not port.HasField("type"):
            return f"field input: {port.name!r} has no type"
        if not _is_complete(port):
            return f"field input: {port.name!r} has no shape (write it with open dimensions if it varies)"
    return ""


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


def _upgrade(model: onnx.ModelProto, notes: dict[str, str]) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), MIN_OPSET)
    if version >= MIN_OPSET:
        return model
    try:
        new = onnx.version_converter.convert_version(model, MIN_OPSET)
        onnx.checker.check_model(new)
        return _accepted(model, new)
    except (
        Exception
    ) as error:  # the converter throws bare RuntimeErrors of many kinds: the old opset still works
        notes["opset_note"] = f"opset {version} kept, onnx's converter failed: {_first_lines(error)}"
        return model


def _fold(model: onnx.ModelProto, notes: dict[str, str]) -> onnx.ModelProto:
    with needed():
        import onnxslim

    model = _infer(model, notes)
    large = _largest(model)
    if large > _MOST_FOLDED:  # masks and ranges made of such sizes would be computed, and fill the memory
        notes["fold_note"] = f"constants were not folded: a tensor would have {large} elements"
        return model
    try:
        with _SLIM, _quiet("onnxslim"), np.errstate(all="ignore"):
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            # Fusion would change arithmetic; tying would merge initializers. Shapes come from onnx:
            # onnxslim's own inference never ends on some damaged models.
            new = onnxslim.slim(
                copy,
                skip_optimizations=["graph_fusion", "weight_tying"],
                size_threshold=_FOLD_BYTES,
                no_shape_infer=True,
            )
        onnx.checker.check_model(new)
        return _infer(_accepted(model, new), notes)
    except Exception as error:  # a third-party optimiser may fail in any way: the graph works without it
        notes["fold_note"] = f"graph kept as it was, onnxslim failed: {_first_lines(error)}"
        return model


def _largest(model: onnx.ModelProto) -> int:
    """Elements of the largest input or value whose shape is known."""
    ports = [*model.graph.input, *model.graph.value_info]
    return max((math.prod(d.dim_value for d in p.type.tensor_type.shape.dim) for p in ports), default=0)


_CONTRADICTION = re.compile(
    r"\(op_type:(\w+)(?:, node name: ([^)]*))?\): (?:\[\w+\] )?(.*(?:ismatch|ncompatible).*)"
)


def _check_shapes(model: onnx.ModelProto, name: str) -> None:
    """CorruptFile where the shape of a tensor contradicts the node that uses it, as far as ONNX knows the operator."""
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except Exception as error:  # what it cannot infer is no contradiction
        found = _CONTRADICTION.search(str(error))
        if found:
            op, node, detail = found.groups()
            raise CorruptFile(
                f"{name}: node {node or '(no name)'} ({op}): shapes contradict each other: {detail}"
            ) from None


def _check_constants(model: onnx.ModelProto, name: str) -> None:
    """InvalidArgument where constants make one of more than _MOST_CONSTANT elements, as far as shapes follow."""
    known = {t.name for t in model.graph.initializer}
    makers: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if all(i in known for i in node.input if i) and not any(subgraphs(node)):
            known.update(node.output)
            makers.update((out, node) for out in node.output)
    # Without the types that the model declares, which may be wrong.
    graph = onnx.GraphProto(name="constants", initializer=model.graph.initializer)
    graph.node.extend(node for node in model.graph.node if any(out in makers for out in node.output))
    alone = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    for value in _infer(alone, {}).graph.value_info:
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.name in makers and math.prod(sizes) > _MOST_CONSTANT:
            raise InvalidArgument(
                f"{name}: {describe(makers[value.name])} would make a constant of shape {sizes}; "
                f"2^28 elements are the most allowed"
            )


def _infer(model: onnx.ModelProto, notes: dict[str, str]) -> onnx.ModelProto:
    """The model with the shapes of its values, as far as they follow from the inputs'."""
    try:
        inferred: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # bare RuntimeErrors
        notes["shape_note"] = f"shapes were not inferred: {_first_lines(error)}"
        return model
    return inferred


def _accepted(old: onnx.ModelProto, new: onnx.ModelProto) -> onnx.ModelProto:
    """`new` with the interface of `old`; ValueError where it lost an output or the use of an input."""
    if [o.name for o in new.graph.output] != [o.name for o in old.graph.output]:
        raise ValueError(f"outputs became {[o.name for o in new.graph.output]}")
    lost = (captured(new.graph) ^ _live(old.graph)) & {i.name for i in old.graph.input}
    if lost:
        raise ValueError(f"the use of {sorted(lost)[:4]} changed")
    for field in ("input", "output"):
        values = list(getattr(old.graph, field))
        del getattr(new.graph, field)[:]
        getattr(new.graph, field).extend(values)
    _restore_order(new.graph, old.graph)
    return new


def _restore_order(new: onnx.GraphProto, old: onnx.GraphProto) -> None:
    """Put the nodes of `new` in the order of `old`: the order of the weights follows from it."""
    place = {out: i for i, node in enumerate(old.node) for out in node.output if out}
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in new.node]
    known = [min((place[out] for out in n.output if out in place), default=-1) for n in nodes]
    order = sorted(range(len(nodes)), key=lambda i: known[i])
    del new.node[:]
    new.node.extend(nodes[i] for i in order)
    sort_nodes(new, new.name)


def _live(graph: onnx.GraphProto) -> set[str]:
    """Names that reach an output of `graph`."""
    live = {o.name for o in graph.output}
    for node in reversed(graph.node):
        if live & set(node.output):
            alone = onnx.GraphProto(node=[node])
            live |= captured(alone)
    return live


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a third-party logger from printing, and from adding handlers of its own."""
    logger = logging.getLogger(name)
    handlers, propagate = logger.handlers[:], logger.propagate
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
    try:
        yield
    finally:
        logger.handlers[:] = handlers
        logger.propagate = propagate
