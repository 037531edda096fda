"""Compressing what is degenerate, and to and from what is no file."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import rdquant as rdq
from rdquant import CorruptFile, InvalidArgument, Unsupported
from rdquant.cli import app
from rdquant.codec import container


def product(weight: np.ndarray) -> rdq.Model:
    """y = x·w."""
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", kind, ["n", weight.shape[0]])],
        [helper.make_tensor_value_info("y", kind, ["n", weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return rdq.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_read_and_written(tmp_path: Path) -> None:
    model = product(np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32))
    packed, given, wanted = tmp_path / "m.rdq", tmp_path / "in", tmp_path / "out"
    rdq.compress(model, packed)
    os.mkfifo(given)
    os.mkfifo(wanted)
    read: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: given.write_bytes(packed.read_bytes())),
        threading.Thread(target=lambda: read.append(wanted.read_bytes())),
    ]
    for thread in threads:
        thread.start()
    result = CliRunner().invoke(app, ["decompress", str(given), "-o", str(wanted)])
    for thread in threads:
        thread.join(30)
    assert result.exit_code == 0, result.output
    assert wanted.is_fifo(), "a pipe stays a pipe"
    assert rdq.load(read[0]).fingerprint == model.fingerprint


def test_a_length_beyond_memory_is_damage_in_a_pipe_too() -> None:
    table = bytes([1, container.GRAPH, 5]) + b"graph" + bytes([0x80] * 6 + [0x20]) + bytes(4)  # 2^47 bytes
    head = container.MAGIC + struct.pack("<III", 1, len(table), zlib.crc32(table))
    read, write = os.pipe()
    with open(write, "wb") as out:
        out.write(head + table)
    with open(read, "rb") as pipe, pytest.raises(CorruptFile, match="section 'graph'"):
        rdq.decompress(pipe)


def test_a_graph_beyond_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def __init__(self, *_: object, **__: object) -> None: ...

        def decompress(self, *_: object) -> bytes:
            raise MemoryError

    packed = container.pack_graph(b"graph")
    monkeypatch.setattr(container.lzma, "LZMADecompressor", Exhausted)
    with pytest.raises(Unsupported, match="section graph, offset 7: it unpacks to more"):
        container.unpack_graph(packed, 7)


def test_damage_is_told_with_file_section_and_offset_also_from_pipes(tmp_path: Path) -> None:
    rdq.compress(product(np.ones((4, 3), np.float32)), tmp_path / "good.rdq")
    good = rdq.codec.CompressedFile(tmp_path / "good.rdq")
    sections = [(s.kind, s.name, b"[1]" if s.kind == container.FACTS else data) for s, data in good.stream()]
    path = tmp_path / "bad.rdq"
    offset = len(container.file_bytes(sections)) - len(sections[2][2]) - 3
    container.write_file(path, sections)
    told = f"section facts, offset {offset}: not a JSON object"
    for read in (rdq.load, rdq.decompress):
        with pytest.raises(CorruptFile) as failure:
            read(path)
        assert str(failure.value) == f"{path}: {told}"
    with open(path, "rb") as pipe, pytest.raises(CorruptFile) as failure:
        rdq.decompress(pipe)
    assert str(failure.value) == told
    for command in (["info", str(path)], ["decompress", str(path), "-o", str(tmp_path / "back.onnx")]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert "bad.rdq: section facts" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("weight", "target"),
    [
        (np.full((64, 32), 0.3), {"bits_per_weight": 3.0}),
        (np.zeros((64, 32)), {"mse": 1e-4}),
        (np.full((64, 32), 1e-38), {"mse": 1e-4}),
        (np.linspace(-1, 1, 4096).reshape(64, 64), {"bits_per_weight": 40.0}),
    ],
    ids=["all equal", "all zero", "tiny", "generous"],
)
def test_targets_that_are_met_anyway(weight: np.ndarray, target: dict[str, float], tmp_path: Path) -> None:
    result = rdq.compress_to_size(product(weight.astype(np.float32)), tmp_path / "m.rdq", **target)
    (tensor,) = (t for t in result.tensors if t.role)
    lossless = target.get("bits_per_weight") == 40  # which takes fewer
    assert tensor.coding == ("floats" if lossless else "quantized")
    assert result.bits_per_weight <= target.get("bits_per_weight", np.inf)
    assert tensor.squared_error / tensor.size <= (0 if lossless else np.inf)
    assert tensor.squared_error / tensor.size <= target.get("mse", np.inf)


def test_targets_beyond_reach_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="bits_per_weight: 3 cannot be reached, the nearest is"):
        rdq.compress_to_size(product(np.ones((1, 1), np.float32)), tmp_path / "m.rdq", bits_per_weight=3)
    assert not (tmp_path / "m.rdq").exists()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_errors_are_those_of_the_values_that_come_back(dtype: type, tmp_path: Path) -> None:
    weight = np.random.default_rng(1).laplace(size=(80, 50)).astype(dtype)
    result = rdq.compress(product(weight), tmp_path / "m.rdq", bits=3, trellis=32, effort="max")
    back = next(iter(rdq.decompress(tmp_path / "m.rdq").weights().values())).astype(np.float64)
    error = float(np.square(weight.astype(np.float64) - back).sum())
    assert sum(t.squared_error for t in result.tensors) == pytest.approx(error, rel=1e-9)


def test_a_model_without_learned_floats_has_no_bits_a_weight(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["y"])],
        "counts",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [3])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [3])],
        [numpy_helper.from_array(np.arange(3), "c")],
    )
    model = rdq.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))
    result = rdq.compress(model, tmp_path / "m.rdq")
    assert np.isnan(result.bits_per_weight)
    assert result.to_dict()["file_bits_per_weight"] is None
    model.save(tmp_path / "m.onnx")
    shown = CliRunner().invoke(app, ["compress", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "n.rdq")])
    assert "No learned floats" in shown.output


def test_options_without_what_they_speak_of_are_refused(tmp_path: Path) -> None:
    product(np.ones((4, 4), np.float32)).save(tmp_path / "m.onnx")
    arguments = ["compress", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.rdq"), "--preprocess", "foo"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--preprocess" in result.output
    assert not (tmp_path / "m.rdq").exists()


def test_a_compressed_file_has_no_share_of_weights(tmp_path: Path) -> None:
    rdq.compress(product(np.ones((40, 40), np.float32)), tmp_path / "m.rdq")
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "m.rdq")])
    assert shown.exit_code == 0
    assert "share of weights" not in shown.output
