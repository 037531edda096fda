"""Files that the C++ core refuses to read: which error, in which words; `rdquant.load` then looks at them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

import models
from rdquant._core import model as core_model
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError, Unsupported
from rdquant.graph import open_for_engine
from rdquant.graph.writer import _length_field as length_field


def _with_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("pds", [1, 1, 1, 1]))


def _cyclic(model: onnx.ModelProto) -> None:
    first, last = model.graph.node[0], model.graph.node[-1]
    first.input[0] = last.output[0]


def _unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "org.example"
    model.opset_import.add(domain="org.example", version=1)


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")


def _subgraph(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", body))


def _nowhere_inferred(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Unheard", "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.output[0].ClearField("type")


def _sequence(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


# name: (edit of `models.cnn`, error of the core, words of its message); `load` refuses or mends them.
REFUSED: dict[str, tuple[Callable[[onnx.ModelProto], Any], type[RdquantError], str]] = {
    "attribute": (
        _with_attribute,
        CorruptFile,
        r"Conv node .*: opset 17 has no attribute 'pds' of Conv \(it has",
    ),
    "missing attribute": (
        lambda m: m.graph.node.add(op_type="Cast", name="c", input=["x"], output=["q"]),
        CorruptFile,
        "Cast node 'c', field attribute: 'to' is required",
    ),
    "too many inputs": (
        lambda m: m.graph.node[0].input.extend(["", "x"]),
        CorruptFile,
        r"field input: [45] inputs; opset 17 allows 2 to 3",
    ),
    "missing input": (
        lambda m: m.graph.node[0].input.__setitem__(1, "conv.wi"),
        CorruptFile,
        "field input: 'conv.wi' is defined nowhere",
    ),
    "misspelt input": (
        lambda m: m.graph.node[0].input.__setitem__(1, m.graph.node[0].input[1] + "x"),
        CorruptFile,
        "is defined nowhere; did you mean '",
    ),
    "cycle": (_cyclic, InvalidArgument, "the graph has a cycle: .* → .*"),
    "unlisted domain": (
        lambda m: m.graph.node[2].__setattr__("domain", "com.microsoft"),
        CorruptFile,
        "field domain: 'com.microsoft' is not listed in opset_import",
    ),
    "unknown domain": (_unknown_domain, Unsupported, "field domain: 'org.example' is unknown; allowed are"),
    "external data": (_external, Unsupported, "has external data"),
    "old opset": (
        lambda m: m.opset_import[0].__setattr__("version", 6),
        Unsupported,
        "opset_import asks for opset 6; this version reads 7 to 24",
    ),
    "future opset": (
        lambda m: m.opset_import[0].__setattr__("version", 1000),
        Unsupported,
        "asks for opset 1000",
    ),
    "opset 0": (lambda m: m.opset_import[0].__setattr__("version", 0), CorruptFile, "the first is 1"),
    "second opset": (
        lambda m: m.opset_import.add(domain="", version=13),
        CorruptFile,
        "'opset_import' has domain '' with versions 17 and 13",
    ),
    "no opset": (lambda m: m.ClearField("opset_import"), CorruptFile, "'opset_import' is empty"),
    "ir_version": (lambda m: m.__setattr__("ir_version", 1000), Unsupported, "ir_version is 1000"),
    "operator": (
        lambda m: m.graph.node[0].__setattr__("op_type", "Convolution"),
        Unsupported,
        "opset 17 has no operator 'Convolution'",
    ),
    "no operator": (
        lambda m: m.graph.node[0].ClearField("op_type"),
        CorruptFile,
        "op_type of the node at byte",
    ),
    "double initializer": (
        lambda m: m.graph.initializer.append(m.graph.initializer[0]),
        CorruptFile,
        "field initializer: '.*' is defined twice",
    ),
    "double node": (
        lambda m: m.graph.node.append(m.graph.node[0]),
        CorruptFile,
        "field output: '.*' is defined twice",
    ),
    "double output": (
        lambda m: m.graph.output.append(m.graph.output[0]),
        CorruptFile,
        "output: '.*' is defined twice",
    ),
    "no output": (lambda m: m.graph.ClearField("output"), CorruptFile, "field output: the graph has none"),
    "unmade output": (
        lambda m: m.graph.output[0].__setattr__("name", "zz"),
        CorruptFile,
        "no node makes 'zz'",
    ),
    "short tensor": (
        lambda m: m.graph.initializer[0].__setattr__("raw_data", b"1234"),
        CorruptFile,
        r"tensor '.*': shape \[.*\] of FLOAT needs \d+ bytes, raw_data has 4",
    ),
    "negative size": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, -8),
        CorruptFile,
        r"field dims is \[-8.*no size may be negative",
    ),
    "huge size": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**61),
        CorruptFile,
        "more than any memory",
    ),
    "element type": (
        lambda m: m.graph.initializer[0].__setattr__("data_type", 17),
        Unsupported,
        "tensor '.*' has element type FLOAT8E4M3FN, which is not supported",
    ),
    "no element type": (
        lambda m: m.graph.initializer[0].__setattr__("data_type", 77),
        CorruptFile,
        "ONNX does not",
    ),
    "input of no type": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("elem_type"),
        CorruptFile,
        "field input: 'x' has no element type",
    ),
    "input of no shape": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        CorruptFile,
        r"field input: 'x' has no shape \(write it with open dimensions if it varies\)",
    ),
    "output of no element type": (
        lambda m: m.graph.output[0].type.tensor_type.ClearField("elem_type"),
        CorruptFile,
        "field output: '.*' has no element type",
    ),
    "output of no type, unknown operator": (
        _nowhere_inferred,
        Unsupported,
        r"field output: '.*' has no type, and none could be inferred \(write it into the file\): com.microsoft:",
    ),
    "huge input": (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 2**40),
        CorruptFile,
        "has a size of 1099511627776",
    ),
    "sequence": (_sequence, Unsupported, "field input: 'x' is a sequence_type; only tensors"),
    "graph name": (lambda m: m.graph.ClearField("name"), CorruptFile, "field name of the graph is empty"),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), Unsupported, "sparse tensors are not supported"),
    "subgraph": (_subgraph, Unsupported, "'then_branch' is a graph within"),
    "no graph": (lambda m: m.ClearField("graph"), CorruptFile, "it holds no graph"),
}


def core_error(path: Path) -> RdquantError:
    with pytest.raises(RdquantError) as caught:
        core_model.open(str(path).encode(), 1, 1 << 30)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_or_unusual_is_refused_and_left_to_the_loader(tmp_path: Path, name: str) -> None:
    model = models.cnn()
    path = tmp_path / "unusual.onnx"
    onnx.save(model, path)
    assert open_for_engine(path) is not None
    edit, kind, words = REFUSED[name]
    edit(model)
    path.write_bytes(model.SerializeToString())
    error = core_error(path)
    assert type(error) is kind
    assert re.search(words, str(error)), error
    assert open_for_engine(path) is None


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "length beyond the end": (lambda data: data[:-1], "are left; the file is cut short or damaged"),
    "number of eleven bytes": (
        lambda data: data + bytes([1 << 3]) + b"\x80" * 10 + b"\x01",
        "longer than 10 bytes",
    ),
    "number beyond 64 bits": (
        lambda data: data + bytes([1 << 3]) + b"\xff" * 9 + b"\x7f",
        "does not fit 64 bits",
    ),
    "huge length": (
        lambda data: data + length_field(2, 2**63),
        "claims 9223372036854775808 bytes, but 0 are left",
    ),
    "wire type": (lambda data: data + bytes([1 << 3 | 3]), "wire type 3"),
    "another wire type": (lambda data: data + length_field(1, 0), "field ir_version of the model at byte"),
    "no text": (lambda data: data + length_field(3, 2) + b"\xff\xfe", "is not UTF-8 text"),
    "second graph": (lambda data: data + length_field(7, 0), "field graph of the model at byte"),
    "nothing": (lambda data: b"", "it is empty (0 bytes)"),
    "a picture": (lambda data: b"\xff\xd8\xff" + data, "a JPEG image"),
    "nodes that are none": (
        lambda data: length_field(7, 40_003) + length_field(1, 39_000) + length_field(5, 2000) * 5000,
        "are left",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_bytes_are_left_to_the_loader(tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken.onnx"
    change, words = BROKEN[name]
    path.write_bytes(change(models.cnn().SerializeToString()))
    error = core_error(path)
    assert type(error) is CorruptFile
    assert words in str(error)
    assert open_for_engine(path) is None


@pytest.mark.parametrize("path", ["nowhere.onnx", "", "zero\0byte", ".", b"bytes", 7])
def test_what_is_no_file_is_left_to_the_loader(path: Any) -> None:
    assert open_for_engine(path) is None
