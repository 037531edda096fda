"""Compressed files that the C++ core reads go straight into the engine: the same answers and errors as `rdquant.load`
gives.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import models
import rdquant as rdq
from rdquant.codec import CompressedFile, write_file
from rdquant.codec.container import pack_graph
from rdquant.codec.sections import decode_all
from rdquant.errors import CorruptFile, RdquantError, Unsupported
from rdquant.graph import open_for_engine

VECTOR = Path(__file__).parent / "vectors" / "version-1.rdq"
PLAIN: dict[str, Callable[[], onnx.ModelProto]] = {
    "cnn": models.cnn,
    "half precision": lambda: models.cnn(np.float16),
    "double precision": lambda: models.cnn(np.float64),
    "dense": models.dense,
    "constant nodes": models.in_constant_nodes,
    "shared": models.shared_and_forwarded,
    "settings": models.with_settings,
}


def compressed(model: onnx.ModelProto, path: Path, bits: int | None = 6) -> Path:
    rdq.compress(model, path) if bits is None else rdq.compress(model, path, bits=bits)
    return path


def sections_of(path: Path) -> list[tuple[int, str, bytes]]:
    file = CompressedFile(path)
    return [(s.kind, s.name, file.section(s)) for s in file.sections]


@pytest.mark.parametrize("bits", [None, 6])
@pytest.mark.parametrize("name", PLAIN)
def test_the_short_way_gives_the_same_model(name: str, bits: int | None, tmp_path: Path) -> None:
    path = compressed(PLAIN[name](), tmp_path / "m.rdq", bits)
    direct, careful = open_for_engine(path), rdq.load(path)
    assert direct is not None
    full = direct.full()
    assert (full.fingerprint, full.name, full.source) == (careful.fingerprint, careful.name, careful.source)
    assert full.summary() == careful.summary()
    assert direct.inputs == careful.inputs
    session, other = rdq.Session(path), rdq.Session(careful)
    (entry,) = session.inputs
    shape = [d if isinstance(d, int) else 2 for d in entry.shape]
    feeds = {entry.name: np.random.default_rng(1).standard_normal(shape).astype(entry.dtype)}
    for got, expected in zip(session.run(feeds).values(), other.run(feeds).values(), strict=True):
        assert np.array_equal(got, expected)


def test_a_session_is_independent_of_its_file(tmp_path: Path) -> None:
    path = compressed(models.dense(), tmp_path / "m.rdq")
    before = rdq.load(path).fingerprint
    session = rdq.Session(path)
    path.write_bytes(b"overwritten")
    assert session.model.fingerprint == before


def test_weights_of_a_session_can_be_replaced(tmp_path: Path) -> None:
    session = rdq.Session(compressed(models.cnn(batch=2), tmp_path / "m.rdq"))
    halved = {name: w / 2 for name, w in session.model.weights().items()}
    session.set_weights(halved)
    for name, w in session.model.weights().items():
        assert np.array_equal(w, halved[name])


def test_each_damaged_byte_is_told_of(tmp_path: Path) -> None:
    path = compressed(models.dense(hidden=8), tmp_path / "m.rdq")
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        assert open_for_engine(path) is None, at
        if at >= 8:  # else it is no .rdq file
            with pytest.raises(RdquantError):
                rdq.Session(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(CorruptFile):
        rdq.Session(path)


def test_what_is_wrong_is_left_to_the_careful_loader(tmp_path: Path) -> None:
    sections = sections_of(compressed(models.dense(), tmp_path / "m.rdq"))
    tensor = next(s for s in sections if s[0] == 3)
    graph = rdq.load(tmp_path / "m.rdq").parts()[0]
    twice = onnx.ModelProto.FromString(graph)
    twice.graph.initializer.add(name=tensor[1], data_type=1, dims=[1], raw_data=b"0000")
    for name, changed in {
        "a tensor twice": [*sections, tensor],
        "no graph": [s for s in sections if s[0] != 1],
        "two graphs": [*sections, next(s for s in sections if s[0] == 1)],
        "a tensor too few": [s for s in sections if s is not tensor],
        "in the graph too": [
            (k, n, pack_graph(twice.SerializeToString()) if k == 1 else b) for k, n, b in sections
        ],
    }.items():
        write_file(tmp_path / "other.rdq", changed)
        assert open_for_engine(tmp_path / "other.rdq") is None, name


@pytest.mark.parametrize("threads", [1, 2])
def test_values_of_a_file_are_those_of_its_tensors(threads: int) -> None:
    file = CompressedFile(VECTOR)
    values = file.values(threads)
    assert list(values) == file.tensor_names
    with open(VECTOR, "rb") as stream:
        piped = CompressedFile(stream).values(threads)
    for name in file.tensor_names:
        alone = file.tensor(name)
        for got in (values[name], piped[name]):
            assert (got.dtype, got.shape, got.tobytes()) == (alone.dtype, alone.shape, alone.tobytes())


def test_decoding_keeps_to_its_memory_and_aligns(tmp_path: Path) -> None:
    file = CompressedFile(compressed(models.cnn(), tmp_path / "m.rdq"))
    tensors = file.open_tensors()
    with pytest.raises(Unsupported, match="memory_limit"):
        decode_all(tensors, 1, 10)
    with pytest.raises(Unsupported, match=r"memory_limit allows 10$"):
        file.values(1, 10)
    for values in (decode_all(tensors, 2, 1 << 20), file.values(2, 1 << 20)):
        assert all(array.ctypes.data % 64 == 0 for array in values.values())


def test_the_memory_limit_is_that_of_all_tensors_together(tmp_path: Path) -> None:
    file = CompressedFile(compressed(models.cnn(), tmp_path / "m.rdq"))
    needed = sum(8 * array.size for array in file.values().values())
    assert file.values(1, needed)
    with pytest.raises(Unsupported, match=f"{needed} bytes when decoded, memory_limit allows {needed - 1}"):
        file.values(1, needed - 1)


def test_open_tensors_are_checked_when_they_are_decoded(tmp_path: Path) -> None:
    path = compressed(models.dense(), tmp_path / "m.rdq")
    data = bytearray(path.read_bytes())
    last = CompressedFile(path).sections[-1]
    data[last.offset + last.length - 1] ^= 1
    file = CompressedFile(bytes(data))
    with pytest.raises(CorruptFile, match="checksum"):
        decode_all(file.open_tensors(), 1, 1 << 30)
    with pytest.raises(CorruptFile, match="checksum"):
        file.values(2)
    with pytest.raises(
        CorruptFile, match=f"offset {last.offset}: the file is cut short: {last.length} bytes expected"
    ):
        CompressedFile(bytes(data[:-1])).values()


def test_names_of_sections_are_text() -> None:
    head = CompressedFile(VECTOR).sections[-1].name.encode()
    data = bytearray(VECTOR.read_bytes())
    length = int.from_bytes(data[12:16], "little")
    at = data.index(head, 20, 20 + length)
    data[at] = 0xFF
    data[16:20] = zlib.crc32(data[20 : 20 + length]).to_bytes(4, "little")
    with pytest.raises(CorruptFile, match="not UTF-8"):
        CompressedFile(bytes(data))
