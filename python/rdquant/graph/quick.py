"""Plain ONNX files, read straight into the engine's graph: no package beyond NumPy, no surgery.

Plain are self-contained networks of the operators in `signatures`, with everything in its usual place. What is
unusual or wrong is left to `load`, whose checks are thorough and whose errors name field and node.

Field numbers: onnx/onnx.proto. Wire format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core.graph import Graph
from ..errors import RdquantError
from .files import Bytes, FileSource, KeptSource, open_file
from .ports import ELEMENT_TYPES, TensorInfo
from .signatures import OPSETS, Signature, signatures
from .wire import SELF

if TYPE_CHECKING:
    from .model import Model

__all__ = ["COMPRESSED", "QuickModel", "demand", "parse", "read_quickly"]

COMPRESSED = b"\x89RDQ\r\n\x1a\n"
"""What a compressed file begins with."""

Span = tuple[int, int]  # start and end of a message's bytes
Found = dict[int, list[Any]]  # field number → its values

_VERSIONS = range(3, 11)  # of the intermediate representation
_INT, _FLOAT, _TEXT, _SPAN, _INTS, _FLOATS = range(6)
_WIRES = {_INT: (0,), _INTS: (0, 2), _FLOAT: (5,), _FLOATS: (5, 2), _TEXT: (2,), _SPAN: (2,)}


def _message(**kinds: str) -> dict[int, tuple[int, int]]:
    """Key in the file (field number and wire type) → field number and kind, from kind = numbers of the fields."""
    table: dict[int, tuple[int, int]] = {}
    for name, numbers in kinds.items():
        kind = {"i": _INT, "f": _FLOAT, "text": _TEXT, "span": _SPAN, "ints": _INTS, "floats": _FLOATS}[name]
        for number in map(int, numbers.split()):
            table |= {number << 3 | wire: (number, kind) for wire in _WIRES[kind]}
    return table


# A field that is not listed makes the model unusual.
_ENTRY = _message(text="1 2")
_MODEL = _message(i="1 5", text="2 3 4 6", span="7 8 14")
_OPSET = _message(text="1", i="2")
_GRAPH = _message(span="1 5 11 12 13", text="2 10")
_NODE = _message(text="1 2 3 4 6 7", span="5")
_ATTRIBUTE = _message(text="1 4 9 13", f="2", i="3 20", span="5", floats="7", ints="8")
_TENSOR = _message(ints="1", i="2 14", span="4 7 9 13", text="8 12")
_PORT = _message(text="1 3", span="2")
_TYPE = _message(span="1", text="6")
_TENSOR_TYPE = _message(i="1", span="2")
_SHAPE = _message(span="1")
_SIZE = _message(i="1", text="2 3")

_VALUES = {1: 2, 2: 3, 3: 4, 4: 5, 6: 7, 7: 8, 8: 9}  # AttributeType → field that holds the value
_TENSOR_VALUE, _LISTS = 4, (6, 7, 8)
_MISSING = object()


class _UnusualError(Exception):
    """The file is not plain; `load` is to read it."""


def demand(condition: bool) -> None:
    """Leaves the file to `load` unless the condition holds."""
    if not condition:
        raise _UnusualError


class QuickModel:
    """A plain model, ready for the engine; `full` gives the Model that `load` would have made of it."""

    def __init__(self, graph: Graph, source: KeptSource, name: str) -> None:
        self.graph = graph
        self.name = name
        self.inputs: list[TensorInfo] = []
        """What the model must be fed with, as `Model.inputs`."""
        self.outputs: list[TensorInfo] = []
        """What the file says of the outputs. `Model.outputs` may know more: shapes are inferred there."""
        self._source = source

    @property
    def outputs_are_fixed(self) -> bool:
        """Whether the file gives every size of the outputs, so that inference has nothing to add."""
        return all(isinstance(size, int) for o in self.outputs for size in o.shape)

    def full(self) -> Model:
        """The Model; it shares the weights, and the file is not read again."""
        from .loader import load_kept

        return load_kept(self._source, self.name)


def read_quickly(path: str | os.PathLike[str]) -> QuickModel | None:
    """The plain model in the file `path`, or None where `load` has to look at it."""
    try:
        path = os.fspath(path)
        with open_file(path, path) as file:
            if file.size >= len(COMPRESSED) and file.read(0, len(COMPRESSED)) == COMPRESSED:
                from .quick_compressed import read_compressed

                return read_compressed(file.read(0, file.size), path)
            return _read(file, path)
    except (_UnusualError, RdquantError, ValueError, TypeError, IndexError, KeyError, struct.error):
        return None


def _read(file: FileSource, path: str) -> QuickModel:
    skeleton = file.skeleton()
    stem, dot, suffix = os.path.basename(path).rpartition(".")
    name = stem if stem and suffix else stem + dot + suffix
    arrays: dict[Span, Bytes] = {}
    source = KeptSource(path, file.size, skeleton, arrays)
    graph, inputs, outputs = parse(skeleton, file, name, {}, arrays)
    quick = QuickModel(graph, source, name)
    quick.inputs, quick.outputs = inputs, outputs
    return quick


def parse(
    skeleton: bytes,
    source: FileSource | KeptSource,
    name: str,
    stored: Mapping[str, tuple[str, list[int]]],
    arrays: dict[Span, Bytes] | None = None,
) -> tuple[Graph, list[TensorInfo], list[TensorInfo]]:
    """The engine's graph of a serialised model, the inputs that must be fed, and the outputs.

    source: where its big tensors lie; they are put into `arrays`. stored: initializers that lie elsewhere, by name:
    dtype and shape. The caller adds them to the graph.

    Raises an error of `read_quickly`'s list for what is not plain.
    """
    model = _fields(skeleton, (0, len(skeleton)), _MODEL)
    demand(_one(model, 1) in _VERSIONS)
    for span in model.get(14, ()):
        _fields(skeleton, span, _ENTRY)
    opsets = [_fields(skeleton, span, _OPSET) for span in model.get(8, ())]
    versions = {_one(o, 1, ""): _one(o, 2) for o in opsets}
    demand(len(versions) == len(opsets) and "ai.onnx" not in versions and versions.get("") in OPSETS)
    reader = _Reader(skeleton, source, signatures(versions[""]), Graph(name, versions[""]), stored)
    inputs, outputs = reader.graph_of(_one(model, 7))
    if arrays is not None:
        arrays |= reader.arrays
    return reader.graph, inputs, outputs


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The base-128 number at `at`, below 2^64, and where it ends."""
    value = 0
    for i in range(10):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            demand(value < 1 << 64)
            return value, at + i + 1
    raise _UnusualError


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes, span: Span, message: Mapping[int, tuple[int, int]]) -> Found:
    """The fields of the message in `data`; packed numbers and single ones alike become lists."""
    at, end = span
    found: Found = {}
    while at < end:
        key, at = _varint(data, at) if data[at] > 0x7F else (data[at], at + 1)
        number, kind = message[key]
        values = found.setdefault(number, [])
        if key & 7 == 0:
            value, at = _varint(data, at)
            values.append(_signed(value))
        elif key & 7 == 5:
            values.append(struct.unpack_from("<f", data, at)[0])
            at += 4
        else:
            length, start = _varint(data, at)
            at = start + length
            demand(at <= end)
            if kind == _TEXT:
                values.append(data[start:at].decode())
            elif kind == _SPAN:
                values.append((start, at))
            elif kind == _FLOATS:
                values.extend(np.frombuffer(data[start:at], "<f4").tolist())
            else:
                values.extend(_packed(data, start, at))
        if at > end:
            raise _UnusualError
    return found


def _packed(data: bytes, at: int, end: int) -> list[int]:
    values = []
    while at < end:
        value, at = _varint(data, at)
        values.append(_signed(value))
    demand(at == end)
    return values


def _one(found: Found, number: int, otherwise: Any = _MISSING) -> Any:
    """The only value of a field."""
    values = found.get(number, ())
    if not values:
        demand(otherwise is not _MISSING)
        return otherwise
    demand(len(values) == 1)
    return values[0]


class _Reader:
    """Fills a Graph from a skeleton; `arrays` are the big tensors by place in the file."""

    def __init__(
        self,
        data: bytes,
        file: FileSource | KeptSource,
        known: Mapping[str, Signature],
        graph: Graph,
        stored: Mapping[str, tuple[str, list[int]]],
    ) -> None:
        self._data = data
        self._file = file
        self._known = known
        self._left = file.size  # bytes that tensors may take: no file has more than its own
        self._defined: dict[str, tuple[str, list[int]] | None] = {**stored}  # dtype and shape of initializers
        self._named: set[str] = set()  # the graph's outputs
        self._made: dict[
            tuple[str, tuple[str, ...], int, str], list[str]
        ] = {}  # what a node does → its outputs
        self._same: dict[str, str] = {}  # a value → an earlier one that equals it
        self.graph = graph
        self.arrays: dict[Span, Bytes] = {}

    def graph_of(self, span: Span) -> tuple[list[TensorInfo], list[TensorInfo]]:
        """Adds all that the GraphProto holds; gives the inputs that must be fed, and the outputs."""
        graph = _fields(self._data, span, _GRAPH)
        demand(bool(_one(graph, 2)))
        for place in graph.get(5, ()):
            name, dtype, dims, array = self._tensor(place)
            self._initializer(name, dtype, dims, array)
        inputs = [port for place in graph.get(11, ()) if (port := self._input(place))]
        outputs = [self._port(place) for place in graph.get(12, ())]
        self._named = {o.name for o in outputs}
        demand(bool(outputs) and len(self._named) == len(outputs))
        for place in graph.get(1, ()):
            self._node(_fields(self._data, place, _NODE))
        for place in graph.get(13, ()):
            self._port(place, partial=True)
        batches = {p.shape[0] if p.shape else None for p in inputs}
        fixed = all(isinstance(size, int) for size in batches)
        for output in outputs:
            demand(output.name in self._defined)
            # `run` asks whether the batch is fixed: what inference might add must make no difference to that.
            demand(not fixed or (bool(output.shape) and isinstance(output.shape[0], int)))
            self.graph.add_output(output.name)
        return inputs, outputs

    def _define(self, name: str, what: tuple[str, list[int]] | None = None) -> None:
        demand(bool(name) and name not in self._defined)
        self._defined[name] = what

    def _initializer(self, name: str, dtype: str, dims: list[int], array: Bytes) -> None:
        self._define(name, (dtype, dims))
        self.graph.add_initializer(name, array, dtype, dims)

    def _input(self, place: Span) -> TensorInfo | None:
        """The input, or None where an initializer of the same type and shape takes its place."""
        port = self._port(place)
        stored = self._defined.get(port.name)
        if stored is not None:
            demand(stored == (port.dtype.name, list(port.shape)))
            self._defined[port.name] = None  # a second input of that name is one too many
            return None
        self._define(port.name)
        sizes = [d if isinstance(d, int) else None for d in port.shape]
        self.graph.add_input(port.name, port.dtype.name, sizes)
        return port

    def _port(self, place: Span, partial: bool = False) -> TensorInfo:
        """A ValueInfoProto of a tensor, which must have a shape unless it is `partial`."""
        port = _fields(self._data, place, _PORT)
        tensor = _fields(self._data, _one(_fields(self._data, _one(port, 2), _TYPE), 1), _TENSOR_TYPE)
        shape = _one(tensor, 2, (0, 0) if partial else _MISSING)
        sizes: list[int | str | None] = []
        for span in _fields(self._data, shape, _SHAPE).get(1, ()):
            size = _fields(self._data, span, _SIZE)
            number, symbol = _one(size, 1, None), _one(size, 2, None)
            demand((number is None or number > 0) and (number is None or symbol is None))
            sizes.append(symbol or None if number is None else number)
        dtype = ELEMENT_TYPES.get(_one(tensor, 1))
        demand(dtype is not None)
        name: str = _one(port, 1)
        demand(bool(name))
        return TensorInfo(name, np.dtype(dtype), tuple(sizes))

    def _node(self, node: Found) -> None:
        op, inputs, outputs = _one(node, 4), node.get(1, []), node.get(2, [])
        known = self._known.get(op)
        demand(known is not None and not _one(node, 7, ""))
        assert known is not None
        demand(known.fewest <= len(inputs) <= known.most and 1 <= len(outputs) <= known.outputs)
        attributes: dict[str, Any] = {}
        for place in node.get(5, ()):
            name, value = self._attribute(place)
            demand(name not in attributes and name in known.allowed)
            attributes[name] = value
        demand(known.required <= attributes.keys())
        demand(all(name in self._defined for name in inputs if name))
        if op == "Constant":
            value = attributes.get("value")
            demand(isinstance(value, np.ndarray))
            bits: NDArray[Any] = np.asarray(value)
            self._initializer(outputs[0], bits.dtype.name, list(bits.shape), bits.reshape(-1).view(np.uint8))
            return
        for name in outputs:
            if name:
                self._define(name)
        if not self._repeats(op, inputs, outputs, attributes):
            self.graph.add_node(op, "", _one(node, 3, ""), inputs, outputs, attributes)

    def _repeats(self, op: str, inputs: list[str], outputs: list[str], attributes: Mapping[str, Any]) -> bool:
        """Whether an earlier node gives the same, which is then used instead; puts such names into `inputs`."""
        inputs[:] = [self._same.get(name, name) for name in inputs]
        if self._named & set(outputs) or any(isinstance(v, np.ndarray) for v in attributes.values()):
            return False
        key = (op, tuple(inputs), len(outputs), repr(sorted(attributes.items())))
        first = self._made.setdefault(key, outputs)
        if first is outputs or any(out and not name for name, out in zip(first, outputs, strict=True)):
            return False
        self._same.update((out, name) for out, name in zip(outputs, first, strict=True) if out)
        return True

    def _attribute(self, place: Span) -> tuple[str, Any]:
        attribute = _fields(self._data, place, _ATTRIBUTE)
        kind = _one(attribute, 20)
        demand(kind in _VALUES)
        field = _VALUES[kind]
        demand(attribute.keys() <= {1, 13, 20, field})
        if kind in _LISTS:
            return _one(attribute, 1), attribute.get(field, [])
        value = _one(attribute, field)
        if kind == _TENSOR_VALUE:
            _, dtype, dims, array = self._tensor(value)
            value = array.view(dtype).reshape(dims)
        return _one(attribute, 1), value

    def _tensor(self, place: Span) -> tuple[str, str, list[int], Bytes]:
        """Name, element type, shape and bytes of a TensorProto whose data is inline."""
        tensor = _fields(self._data, place, _TENSOR)
        dims, number = tensor.get(1, []), _one(tensor, 2)
        dtype = ELEMENT_TYPES.get(number, "")
        demand(bool(dtype) and all(d >= 0 for d in dims))
        payloads = tensor.keys() & {4, 7, 9, 13}
        demand(len(payloads) == 1)
        (field,) = payloads
        span: Span = _one(tensor, field) if field != 13 else (0, 0)
        if field == 13:
            demand(_one(tensor, 14) == 1)
            array = self._fetched(tensor)
        else:
            demand(_one(tensor, 14, 0) == 0)
            demand(field == 9 or {4: "float32", 7: "int64"}[field] == dtype)
            array = self._inline(span, packed=field == 7)
        demand(len(array) == math.prod(dims) * np.dtype(dtype).itemsize)
        return _one(tensor, 8, ""), dtype, dims, array

    def _inline(self, span: Span, packed: bool) -> Bytes:
        if packed:
            return np.array(_packed(self._data, *span), np.int64).view(np.uint8)
        return np.frombuffer(self._data[slice(*span)], np.uint8)

    def _fetched(self, tensor: Found) -> Bytes:
        """The bytes that `strip` left in the file."""
        pairs = [_fields(self._data, span, _ENTRY) for span in tensor[13]]
        entries = {_one(p, 1): _one(p, 2) for p in pairs}
        demand(entries.keys() == {"location", "offset", "length"} and entries["location"] == SELF)
        offset, count = int(entries["offset"]), int(entries["length"])
        demand(0 <= offset <= self._file.size - count and 0 <= count <= self._left)
        self._left -= count
        array = self._file.array(offset, count)
        self.arrays[offset, count] = array
        return array
