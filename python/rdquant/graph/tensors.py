"""Tensors taken out of a model: found, checked, fetched once into aligned memory, classified."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core.graph import BIG_TENSOR, SELF
from .._tables import Brief
from ..errors import CorruptFile, Unsupported, needed
from .checks import captures, describe, subgraphs
from .roles import FLOATS, OTHER_FLOATS, forwards, is_mask, role
from .sources import AnySource, External, byte_number

with needed():
    import ml_dtypes  # noqa: F401  (NumPy knows "bfloat16" from then on)
    import onnx
    from onnx import numpy_helper

__all__ = ["Parameter", "Stored", "lift_constants", "parameters_of", "take_out"]


@dataclass(frozen=True, repr=False)
class Parameter(Brief):
    """One learned tensor; its first use in graph order gives role, node and op.

    Attributes:
        name, shape, dtype: as stored.
        role: "weight", "bias" or "normalization".
        node, op: of its first use.
        axis: of the output channels of a weight with several; None where the operator has none.
    """

    name: str
    role: str
    """ "weight", "bias" or "normalization" """
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    node: str
    op: str
    axis: int | None = None
    """Axis of the output channels of a weight with several; None where the operator has none."""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Stored:
    """A tensor kept beside the graph: ONNX element type, dims, and its bytes as ONNX's raw_data has them."""

    data_type: int
    dims: tuple[int, ...]
    data: NDArray[np.uint8]

    @property
    def is_float(self) -> bool:
        """Whether `array` can serve it."""
        return self.data_type in FLOATS

    def array(self) -> NDArray[Any]:
        """Read-only view in the tensor's own dtype and shape; floating-point tensors only."""
        view = self.data.view(FLOATS[self.data_type]).reshape(self.dims)
        view.flags.writeable = False
        return view


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for sub in subgraphs(node):
            yield from _graphs(sub)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node, named after its output; None for strings, integers given bare and sparse
    ones.
    """
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attribute) != 1:
        return None
    if len(node.output) != 1:  # ONNX's checker will refuse it, if anybody can
        return None
    attribute = node.attribute[0]
    if attribute.type == onnx.AttributeProto.TENSOR and attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attribute.t)
    elif attribute.type == onnx.AttributeProto.FLOATS:
        tensor = numpy_helper.from_array(np.array(attribute.floats, np.float32))
    else:
        return None
    tensor.name = node.output[0]
    return tensor


def lift_constants(model: onnx.ModelProto) -> None:
    """Make every tensor an initializer of the main graph, wherever the file keeps it.

    Constant nodes become initializers; initializers of subgraphs move up, except where their name is used
    elsewhere too or the subgraph returns them. Initializers leave the list of inputs: nobody is to feed them.
    """
    graph = model.graph
    uses: dict[str, int] = {}
    for scope in _graphs(graph):
        names = [t.name for t in scope.initializer] + [i.name for i in scope.input]
        for name in names + [out for n in scope.node for out in n.output]:
            uses[name] = uses.get(name, 0) + 1
    known = {t.name for t in graph.initializer}
    for name in {i.name for i in graph.input} & known:
        uses[name] -= 1
    for scope in list(_graphs(graph)):
        returned = {o.name for o in scope.output} if scope is not graph else set()
        for tensor in list(scope.initializer) if scope is not graph else []:
            if uses[tensor.name] == 1 and tensor.name not in returned:
                graph.initializer.add().CopyFrom(tensor)
                scope.initializer.remove(tensor)
        for node in list(scope.node):
            tensor = _constant(node)
            if tensor is not None and uses[tensor.name] == 1 and tensor.name not in returned:
                graph.initializer.add().CopyFrom(tensor)
                scope.node.remove(node)
    known = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in known]
    del graph.input[:]
    graph.input.extend(inputs)


def take_out(
    model: onnx.ModelProto, source: AnySource, external: External
) -> tuple[dict[str, Stored], list[Parameter]]:
    """Remove learned and big tensors from `model`; return them by name in file order, and the parameters.

    All that stays in the graph is small and inline, ready for constant folding. Raises CorruptFile where a
    tensor's bytes do not fit its shape, Unsupported for weights of other float types.
    """
    graph = model.graph
    tensors = {t.name: t for t in graph.initializer}
    parameters = _parameters(graph, tensors, source.name)
    learned = {p.name for p in parameters}
    taken: dict[str, Stored] = {}
    stay = []
    for tensor in graph.initializer:
        big = _byte_count(tensor) >= BIG_TENSOR and tensor.data_type != onnx.TensorProto.STRING
        if tensor.name in learned or (big and tensor.data_location == onnx.TensorProto.EXTERNAL):
            taken[tensor.name] = Stored(
                tensor.data_type, tuple(tensor.dims), _fetch(tensor, source, external)
            )
        else:
            stay.append(_inline(tensor, source, external))
    del graph.initializer[:]
    graph.initializer.extend(stay)
    for scope in _graphs(graph):
        for tensor in scope.initializer if scope is not graph else ():
            tensor.CopyFrom(_inline(tensor, source, external))
        for node in scope.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    attribute.t.CopyFrom(_inline(attribute.t, source, external))
    return taken, _without_masks(parameters, taken)


def check_held(model: onnx.ModelProto, elsewhere: Collection[str], name: str) -> None:
    """Raises CorruptFile for a tensor of `model` whose own data do not fit its shape and type, or are in another file.

    elsewhere: names of initializers of the main graph whose data the caller holds.
    """
    for graph in _graphs(model.graph):
        own = [t for t in graph.initializer if graph is not model.graph or t.name not in elsewhere]
        for node in graph.node:
            for attribute in node.attribute:
                own += [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
        for tensor in own:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise CorruptFile(f"{name}: tensor {tensor.name!r}: its data are not in the file")
            try:
                numpy_helper.to_array(tensor)
            except Exception as error:  # ValueError, TypeError, KeyError and others
                reason = f"{type(error).__name__}: {error}"
                raise CorruptFile(
                    f"{name}: tensor {tensor.name!r}: its data do not fit it ({reason})"
                ) from None


def parameters_of(model: onnx.ModelProto, stored: Mapping[str, Stored], name: str) -> list[Parameter]:
    """The learned tensors of `model`, in the order of their first use; they are among those in `stored`: what is inline came
    of folding."""
    tensors = {t.name: t for t in model.graph.initializer if t.name in stored}
    return _without_masks(_parameters(model.graph, tensors, name), stored)


def _without_masks(parameters: list[Parameter], stored: Mapping[str, Stored]) -> list[Parameter]:
    return [p for p in parameters if not is_mask(p.op, stored[p.name].array())]


def _byte_count(tensor: onnx.TensorProto) -> int:
    """Bytes that the tensor's shape and type need as raw_data; 4-bit types are packed."""
    count = math.prod(tensor.dims)
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError):
        return 0
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    bits = next(
        (b for end, b in (("INT4", 4), ("4E2M1", 4), ("INT2", 2)) if name.endswith(end)), dtype.itemsize * 8
    )
    return int(count * bits + 7) // 8


def _check(tensor: onnx.TensorProto, name: str) -> None:
    where = f"{name}: tensor {tensor.name!r}"
    if any(d < 0 for d in tensor.dims):
        raise CorruptFile(f"{where}: field dims is {list(tensor.dims)}; no size may be negative")
    if 0 in tensor.dims and math.prod(d for d in tensor.dims if d) >= 2**60:  # NumPy refuses it, empty or not
        raise CorruptFile(f"{where}: field dims is {list(tensor.dims)}; that is more than any memory holds")
    if tensor.data_type not in onnx.TensorProto.DataType.values() or tensor.data_type == 0:
        raise CorruptFile(f"{where}: field data_type is {tensor.data_type}, which ONNX does not define")


def _fetch(tensor: onnx.TensorProto, source: AnySource, external: External) -> NDArray[np.uint8]:
    """The bytes of a tensor as raw_data has them."""
    _check(tensor, source.name)
    need = _byte_count(tensor)
    where = f"{source.name}: tensor {tensor.name!r}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        entries = {e.key: e.value for e in tensor.external_data}
        if entries.get("location") != SELF:
            return external.array(tensor, need)
        offset = byte_number(entries.get("offset", ""), f"{where}, external_data offset")
        length = byte_number(entries.get("length", ""), f"{where}, external_data length")
        _same_size(where, tensor, length, need)
        if offset + length > source.size:
            raise CorruptFile(
                f"{where}: its bytes {offset}..{offset + length} lie beyond the file's {source.size}"
            )
        return source.array(offset, length)
    if tensor.HasField("raw_data"):
        _same_size(where, tensor, len(tensor.raw_data), need)
        return np.frombuffer(tensor.raw_data, np.uint8)
    try:
        return np.ascontiguousarray(numpy_helper.to_array(tensor)).reshape(-1).view(np.uint8)
    except (ValueError, TypeError) as error:
        raise CorruptFile(
            f"{where}: its data does not fill its shape {list(tensor.dims)} ({error})"
        ) from None


def _same_size(where: str, tensor: onnx.TensorProto, found: int, need: int) -> None:
    if found != need:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise CorruptFile(
            f"{where}: shape {list(tensor.dims)} of {kind} needs {need} bytes, raw_data has {found}"
        )


def _inline(tensor: onnx.TensorProto, source: AnySource, external: External) -> onnx.TensorProto:
    """The tensor with its data inline, checked."""
    if tensor.data_type == onnx.TensorProto.STRING and tensor.data_location != onnx.TensorProto.EXTERNAL:
        _check(tensor, source.name)
        if len(tensor.string_data) != math.prod(tensor.dims):
            raise CorruptFile(
                f"{source.name}: tensor {tensor.name!r}: shape {list(tensor.dims)} of STRING, but string_data has "
                f"{len(tensor.string_data)} entries"
            )
        return tensor
    data = _fetch(tensor, source, external)
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return tensor
    return onnx.TensorProto(
        name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data.tobytes()
    )


def _consumers(graph: onnx.GraphProto) -> Iterator[tuple[onnx.NodeProto, int, str]]:
    """(node, input index, value name) of every use in graph order, inside subgraphs too."""
    for node in graph.node:
        for index, value in enumerate(node.input):
            if value:
                yield node, index, value
        for sub in subgraphs(node):
            yield from _consumers(sub)


def _parameters(graph: onnx.GraphProto, tensors: dict[str, onnx.TensorProto], name: str) -> list[Parameter]:
    """The learned tensors in the order of their first use."""
    origin = {t: t for t in tensors}  # value -> initializer that it carries unchanged
    found: dict[str, Parameter] = {}
    for node, index, value in _consumers(graph):
        stored = origin.get(value)
        if stored is None:
            continue
        if forwards(node.op_type, index):
            origin.update((out, stored) for out in node.output if out)
            continue
        tensor = tensors[stored]
        if stored in found or not (tensor.data_type in FLOATS or tensor.data_type in OTHER_FLOATS):
            continue
        _check(tensor, name)
        shape = tuple(tensor.dims)
        kind = role(node.op_type, index, shape, math.prod(shape))
        if kind is None:
            continue
        if tensor.data_type in OTHER_FLOATS:
            raise Unsupported(
                f"{name}: tensor {stored!r}, the {kind} of {describe(node)}, is "
                f"{OTHER_FLOATS[tensor.data_type]}; weights may be float16, bfloat16, float32 or float64"
            )
        dtype = np.dtype(FLOATS[tensor.data_type])
        axis = _channel_axis(node, index, len(shape)) if value == stored and kind == "weight" else None
        found[stored] = Parameter(stored, kind, shape, dtype, node.name, node.op_type, axis)
    return list(found.values())


def _channel_axis(node: onnx.NodeProto, index: int, ndim: int) -> int | None:
    """Axis of the output channels of the weight at input `index` of `node`."""
    if ndim < 2 or index != 1:
        return None
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "FusedConv": 0, "DeformConv": 0, "ConvTranspose": 1, "MatMul": ndim - 1}.get(
        node.op_type
    )


def captured(graph: onnx.GraphProto) -> set[str]:
    """Names used by the nodes of `graph`, those of subgraphs included, and its outputs."""
    used = {name for node in graph.node for name in node.input if name} | {o.name for o in graph.output}
    for node in graph.node:
        used |= captures(node)
    return used
