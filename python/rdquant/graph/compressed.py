"""Models from compressed files: the graph parsed and checked, the tensors decoded beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codec.container import GRAPH, TENSOR, CompressedFile, unpack_graph
from ..codec.sections import Tensor, decode_all
from ..errors import CorruptFile, needed
from .checks import check_model, check_text
from .model import Model, Origin
from .ports import ELEMENT_TYPES
from .qdq import fits_levels, keep_levels
from .tensors import Stored, check_held, parameters_of
from .writer import referring

with needed():
    import onnx
    from onnx import numpy_helper

__all__ = ["build", "rebuild"]

_ELEMENT_TYPES = {name: number for number, name in ELEMENT_TYPES.items()}


def build(file: CompressedFile, name: str, threads: int, memory_limit: int, levels: bool = False) -> Model:
    """The model in `file`; with `levels`, quantized tensors as levels and nodes that dequantize them.

    Raises CorruptFile for damage, Unsupported beyond `memory_limit` bytes.
    """
    graph: bytes | None = None
    coded: dict[str, Tensor] = {}
    for section, data in file.stream():
        if section.kind == GRAPH:
            graph = unpack_graph(data, section.offset)
        elif section.kind == TENSOR:
            coded[section.name] = Tensor(data, section.name)
    if graph is None:
        raise CorruptFile(f"{file.name}: section table, offset 0: there is no graph")
    skeleton = _parsed(graph, file.name)
    tensors = _decode(coded, threads, memory_limit, skeleton if levels else None)
    return _assembled(skeleton, tensors, file.name, file.size, str(file.facts().get("name", name)))


def rebuild(graph: bytes, values: Mapping[str, NDArray[Any]], source: str, size: int, name: str) -> Model:
    """The model of the file `source` of `size` bytes of which the graph and the tensors' values, in the file's order,
    have been read; it shares them.
    """
    tensors = {
        key: Stored(_ELEMENT_TYPES[v.dtype.name], v.shape, v.reshape(-1).view(np.uint8))
        for key, v in values.items()
    }
    return _assembled(_parsed(graph, source), tensors, source, size, name)


def _parsed(graph: bytes, name: str) -> onnx.ModelProto:
    skeleton = onnx.ModelProto()
    try:
        skeleton.ParseFromString(graph)
    except Exception as error:  # DecodeError, or RuntimeError from other protobuf implementations
        raise CorruptFile(f"{name}: section graph, offset 0: not an ONNX graph ({error})") from None
    check_text(skeleton, name)
    return skeleton


def _assembled(
    skeleton: onnx.ModelProto, tensors: dict[str, Stored], source: str, size: int, name: str
) -> Model:
    check_held(skeleton, tensors, source)
    complete = referring(skeleton, tensors, "weights")
    check_model(complete, source)
    opset = next((o.version for o in skeleton.opset_import if o.domain in ("", "ai.onnx")), None)
    origin = Origin(source, name, size, opset, len(skeleton.graph.node))
    return Model(skeleton, tensors, parameters_of(complete, tensors, source), origin)


def _decode(
    coded: dict[str, Tensor], threads: int, memory_limit: int, keeps: onnx.ModelProto | None
) -> dict[str, Stored]:
    """All tensors; where they are levels that a node of the graph `keeps` dequantizes, those."""
    values = decode_all(list(coded.values()), threads, memory_limit)
    done = {name: _stored(tensor, values.pop(name)) for name, tensor in coded.items()}
    if keeps is None:
        return done
    kept: dict[str, Stored] = {}
    for name, tensor in coded.items():
        found = (
            keep_levels(keeps, tensor, tensor.levels(threads, memory_limit)) if fits_levels(tensor) else None
        )
        kept.update({name: done[name]} if found is None else found)
    return kept


def _stored(tensor: Tensor, values: NDArray[Any]) -> Stored:
    if tensor.coding != "raw" and values.dtype.name in ("int4", "uint4", "int2", "uint2"):
        values = np.frombuffer(numpy_helper.from_array(values).raw_data, np.uint8)
    data: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    if data.size != _bytes_of(tensor):
        raise CorruptFile(
            f"section {tensor.name}, offset 0: {data.size} bytes do not fit the shape {tensor.shape}"
        )
    return Stored(tensor.element_type, tensor.shape, data)


def _bytes_of(tensor: Tensor) -> int:
    """Bytes that ONNX's raw_data has for the tensor's element type and shape."""
    count = math.prod(tensor.shape)
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.element_type)
    except (KeyError, ValueError):
        raise CorruptFile(f"section {tensor.name}, offset 1: element type {tensor.element_type}") from None
    bits = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "float4_e2m1fn": 4}.get(dtype.name)
    return (count * bits + 7) // 8 if bits else count * dtype.itemsize
