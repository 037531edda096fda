"""rdquant.load on what is wrong: a clear error that names file, node and field, and never another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import models
from rdquant._core.graph import BIG_TENSOR, Source
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError, Unsupported
from rdquant.graph import load
from rdquant.graph.writer import _length_field


def _edited(
    edit: Callable[[onnx.ModelProto], object], make: Callable[[], onnx.ModelProto] = models.dense
) -> bytes:
    model = make()
    edit(model)
    return bytes(model.SerializeToString())


def _double_output(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = "m1"


def _own_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "org.example"
    model.opset_import.append(helper.make_opsetid("org.example", 1))


def _nowhere_inferred(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "Unheard", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.output[0].ClearField("type")


def _float8(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_type = TensorProto.FLOAT8E5M2
    tensor.raw_data = bytes(16 * 64)


def _recursive(model: onnx.ModelProto) -> None:
    body = [helper.make_node("F", ["a"], ["b"], domain="own")]
    opsets = [helper.make_opsetid("own", 1)]
    model.opset_import.extend(opsets)
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, opsets))
    model.graph.node[2].op_type, model.graph.node[2].domain = "F", "own"


# name: (edit of `models.dense`, error, words of its message in order)
WRONG_MODELS = {
    "input without shape": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
        CorruptFile,
        "field input: 'x' has no shape (write it with open dimensions if it varies)",
    ),
    "output without element type": (
        lambda m: m.graph.output[0].type.tensor_type.ClearField("elem_type"),
        CorruptFile,
        "field output: 'y' has a type without that of its elements",
    ),
    "output without type, nowhere inferred": (
        _nowhere_inferred,
        Unsupported,
        "field output: 'y' has no type, and none could be inferred behind Unheard node 'add2': write it",
    ),
    "undefined input": (
        lambda m: m.graph.node[1].input.__setitem__(1, "b11"),
        CorruptFile,
        "Add node 'add1', field input: 'b11' is defined nowhere; did you mean 'b1'",
    ),
    "undefined output": (
        lambda m: setattr(m.graph.output[0], "name", "z"),
        CorruptFile,
        "field output: no node makes 'z'",
    ),
    "value defined twice": (
        _double_output,
        CorruptFile,
        "Add node 'add1', field output: 'm1' is defined twice",
    ),
    "duplicate initializer": (
        lambda m: m.graph.initializer.append(m.graph.initializer[0]),
        CorruptFile,
        "field initializer: 'w1' is defined 2 times",
    ),
    "duplicate input": (
        lambda m: m.graph.input.append(m.graph.input[0]),
        CorruptFile,
        "field input: 'x' is defined 2 times",
    ),
    "input without a type": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("elem_type"),
        CorruptFile,
        "field input: 'x' has no element type",
    ),
    "unknown operator": (
        lambda m: setattr(m.graph.node[2], "op_type", "Relu7"),
        Unsupported,
        "Relu7 node 'relu', field op_type: opset 17 has no operator 'Relu7'",
    ),
    "unlisted domain": (
        lambda m: setattr(m.graph.node[2], "domain", "org.example"),
        CorruptFile,
        "Relu node 'relu', field domain: 'org.example' is not listed",
    ),
    "unknown domain": (_own_domain, Unsupported, "MatMul node 'mm1', field domain: 'org.example' is unknown"),
    "opset of the future": (
        lambda m: setattr(m.opset_import[0], "version", 999),
        Unsupported,
        "opset_import asks for opset 999",
    ),
    "opset 0": (
        lambda m: setattr(m.opset_import[0], "version", 0),
        CorruptFile,
        "opset_import asks for opset 0",
    ),
    "opset twice": (
        lambda m: m.opset_import.add(version=m.opset_import[0].version - 1),
        CorruptFile,
        "'opset_import' has domain '' with versions ",
    ),
    "no opset": (lambda m: m.opset_import.pop(), CorruptFile, "'opset_import' is empty"),
    "ir_version of the future": (lambda m: setattr(m, "ir_version", 999), Unsupported, "ir_version is 999"),
    "no graph": (lambda m: m.ClearField("graph"), CorruptFile, "holds no graph"),
    "dims beyond the data": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, 17),
        CorruptFile,
        "tensor 'w1': shape [17, 64] of FLOAT needs 4352 bytes, raw_data has 4096",
    ),
    "huge dims": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, 1 << 62),
        CorruptFile,
        "tensor 'w1': shape [4611686018427387904, 64]",
    ),
    "negative dims": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, -16),
        CorruptFile,
        "tensor 'w1': field dims is [-16, 64]",
    ),
    "small tensor, wrong size": (
        lambda m: m.graph.initializer[3].dims.__setitem__(0, 5),
        CorruptFile,
        "tensor 'b2': shape [5] of FLOAT needs 20 bytes, raw_data has 16",
    ),
    "unknown data_type": (
        lambda m: setattr(m.graph.initializer[0], "data_type", 99),
        CorruptFile,
        "tensor 'w1'",
    ),
    "attribute of another operator": (
        lambda m: m.graph.node[2].attribute.append(helper.make_attribute("axis", 1)),
        CorruptFile,
        "axis",
    ),
    "too few inputs": (lambda m: m.graph.node[1].input.pop(), CorruptFile, "add1"),
    "float8 weight": (
        _float8,
        Unsupported,
        "tensor 'w1', the weight of MatMul node 'mm1', is float8e5m2; weights may be float16,",
    ),
    "recursive function": (_recursive, CorruptFile, ""),
}


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_wrong_models_are_refused_with_names(name: str, tmp_path: Path) -> None:
    edit, error, words = WRONG_MODELS[name]
    path = tmp_path / "wrong.onnx"
    path.write_bytes(_edited(edit))
    with pytest.raises(error) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_cycle_names_its_nodes() -> None:
    with pytest.raises(InvalidArgument, match=r"cycle.*'left'.*'right'|cycle.*'right'.*'left'"):
        load(models.cyclic())


# name: (bytes of a file, words of the CorruptFile)
WRONG_FILES = {
    "empty": (b"", "empty (0 bytes)"),
    "JPEG": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(100), "a JPEG image"),
    "PyTorch": (b"PK\x03\x04" + bytes(100), "zip archive"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "text": (b"this is no model at all", "wire.onnx"),
    "zeros": (bytes(100), "field number 0"),
    "endless varint": (b"\xff" * 100, "longer than 10 bytes"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_files_that_are_no_models(name: str, tmp_path: Path) -> None:
    data, words = WRONG_FILES[name]
    path = tmp_path / "wire.onnx"
    path.write_bytes(data)
    with pytest.raises(CorruptFile) as caught:
        load(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_one_byte_short(tmp_path: Path, cnn_bytes: bytes) -> None:
    path = tmp_path / "short.onnx"
    path.write_bytes(cnn_bytes[:-1])
    with pytest.raises(CorruptFile, match="cut short"):
        load(path)


def test_nested_beyond_the_limit() -> None:
    body = bytes(BIG_TENSOR)
    for _ in range(70):  # attribute → graph → node → attribute …
        for number in (6, 5, 1):
            body = _length_field(number, len(body)) + body
    data = _length_field(7, len(body)) + body
    with pytest.raises(CorruptFile, match="nested deeper"):
        load(data)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing.onnx", "no such file"),
        (".", "is a folder"),
        ("a\0b", "zero byte"),
        (42, "expected a path, bytes"),
    ],
)
def test_sources_that_cannot_be_read(source: object, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        load(source)  # type: ignore[arg-type]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        load(tmp_path / "pipe.onnx")


def _relocate(path: Path, **entries: str) -> None:
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("entries", "error", "words"),
    [
        ({"location": "../secret.bin"}, InvalidArgument, "refused"),
        ({"location": "sub/../../secret.bin"}, InvalidArgument, "refused"),
        ({"location": "..\\secret.bin"}, InvalidArgument, "refused"),
        ({"location": "/etc/hostname"}, InvalidArgument, "refused"),
        ({"location": "link.bin"}, InvalidArgument, "link that leaves"),
        ({"location": ""}, CorruptFile, "must name a file"),
        ({"location": "none.bin"}, InvalidArgument, "no such file"),
        ({"location": "."}, InvalidArgument, "folder"),
        ({"offset": "999999"}, CorruptFile, "weights.bin"),
        ({"offset": "-1"}, CorruptFile, "offset is '-1'"),
        ({"offset": "9" * 30}, CorruptFile, "offset"),
        ({"length": "4"}, CorruptFile, "needs 320"),
    ],
)
def test_external_data_that_is_refused(
    tmp_path: Path, entries: dict[str, str], error: type[RdquantError], words: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = models.save_external(models.cnn(), folder)
    assert load(path).weights()
    _relocate(path, **entries)
    with pytest.raises(error) as caught:
        load(path)
    assert "tensor 'fc.w', external_data" in str(caught.value)
    assert words in str(caught.value)


def test_external_data_needs_a_path(tmp_path: Path) -> None:
    path = models.save_external(models.cnn(), tmp_path)
    for source in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(InvalidArgument, match="load it by its path"):
            load(source)


def test_nan_loads_and_empty_tensors_do_not_count() -> None:
    def edit(model: onnx.ModelProto) -> None:
        weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[0, 0] = np.nan
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w1"))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 4), np.float32), "none"))
        model.graph.node.append(helper.make_node("Concat", ["y", "none"], ["z"], axis=0))
        model.graph.output[0].name = "z"

    model = load(_edited(edit))
    assert np.isnan(model.weights()["w1"][0, 0])
    assert list(model.weights()) == ["w1", "b1", "w2", "b2"]


def _load_or_refuse(data: bytes) -> None:
    try:
        model = load(data)
    except RdquantError:
        return
    for weight in model.weights().values():
        assert weight.size * weight.itemsize == weight.nbytes


SAMPLES = [models.cnn().SerializeToString(), models.branching().SerializeToString()]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutated_files_give_our_errors_only(data: st.DataObject) -> None:
    sample = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sample) - 1))
        action = data.draw(st.sampled_from(["flip", "set", "delete", "insert"]))
        if action == "flip":
            sample[at] ^= 1 << data.draw(st.integers(0, 7))
        elif action == "set":
            sample[at] = data.draw(st.integers(0, 255))
        elif action == "delete":
            del sample[at]
        else:
            sample.insert(at, data.draw(st.integers(0, 255)))
    _load_or_refuse(bytes(sample))


def test_every_flip_in_the_structure_gives_our_errors_only() -> None:
    # The bytes outside the weights are where a flip changes lengths, types and names.
    sample = Source.of(SAMPLES[1], "sample").skeleton()
    random = np.random.default_rng(0)
    for at in range(len(sample)):
        mutant = bytearray(sample)
        mutant[at] ^= 1 << int(random.integers(8))
        _load_or_refuse(bytes(mutant))


@pytest.mark.parametrize("cut", range(0, 1000, 37))
def test_every_truncation_is_refused(cut: int) -> None:
    with pytest.raises(RdquantError):
        load(SAMPLES[0][: len(SAMPLES[0]) * cut // 1000])


def test_a_weight_whose_shape_contradicts_its_input_is_named() -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")
    graph = helper.make_graph(
        [node],
        "contradiction",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.ones((50, 10), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    with pytest.raises(CorruptFile, match=r"node fc \(Gemm\): shapes contradict each other: .*50 and 64"):
        load(model)
