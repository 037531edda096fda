"""The page on the file format is enough to read files: its reader in plain Python gives the levels that ours gives."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rdq_reader.levels as reader
import rdquant as rdq
from classifier import classifier
from rdq_reader.model import Grid, Model
from rdq_reader.tensors import read_file, read_floats, read_tensor
from rdquant.codec import decode_levels, encode_floats, encode_levels

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "file-format.md"
VECTORS = ROOT / "tests" / "vectors"
NUMBERS = {np.float32: 1, np.float16: 10, np.float64: 11}


def laplace(shape: tuple[int, ...], scale: Any) -> Any:
    return np.random.default_rng(3).laplace(0, scale, shape)


def spread(axis: int) -> Any:
    """Levels of shape (24, 20, 9) that are wider in some rows, columns or taps than in others."""
    width = np.exp(
        np.random.default_rng(axis).normal(0, 0.7, [n if a == axis else 1 for a, n in enumerate((24, 20, 9))])
    )
    return laplace((24, 20, 9), 2 * width)


def pruned(shape: tuple[int, ...], values: Any) -> Any:
    return np.where(np.random.default_rng(4).random(shape) < 0.1, values, 0)


def walk(shape: tuple[int, ...], axis: int) -> Any:
    return np.cumsum(np.random.default_rng(5).normal(0, 1, shape), axis=axis)


#: What levels a kind has, so that together all methods and fields of models occur.
LEVELS: dict[str, Callable[[], Any]] = {
    "constant": lambda: np.full((3, 4), -7),
    "none": lambda: np.zeros((3, 0)),
    "packed": lambda: laplace((3, 4), 2),
    "vector": lambda: laplace((300,), 3),
    "8 streams": lambda: laplace((20, 30), 3),
    "16 streams": lambda: laplace((40, 60), 3),
    "shifted": lambda: laplace((32, 16, 3, 3), 3000) + 10_000,
    "large kernels": lambda: walk((16, 8, 9, 9), 2),
    "smooth kernels": lambda: walk((16, 8, 25), 2).reshape(16, 8, 5, 5),
    "smooth rows": lambda: walk((64, 64), 0),
    "wide rows": lambda: spread(0),
    "wide columns": lambda: spread(1),
    "wide taps": lambda: spread(2),
    "two humps": lambda: laplace((40, 100), 1) + np.where(laplace((40, 100), 1) > 0, 6, -6),
    "few": lambda: np.random.default_rng(1).integers(-1, 2, (30, 50)),
    "pruned": lambda: pruned((40, 60, 9), laplace((40, 60, 9), 4)),
    "pruned, far": lambda: pruned((40, 200), np.random.default_rng(2).integers(-3000, 3000, (40, 200))),
    "pruned, even": lambda: pruned((60, 70), np.where(laplace((60, 70), 1) > 0, 7, -7)),
    "pruned, heavy": lambda: pruned((60, 70), 3 + np.random.default_rng(2).geometric(0.02, (60, 70))),
}  # fmt: skip


def coded(kind: str, effort: str) -> tuple[bytes, Any]:
    levels = np.round(LEVELS[kind]()).astype(np.int32)
    return encode_levels(levels, effort), levels


def test_levels_of_all_kinds_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they have all methods, flags of models and numbers of streams: what none has, nobody would check."""
    methods, flags, streams = set(), set(), set()
    model, rows = reader.read_model, reader.read_rows

    def noting_model(fields: Any, grid: Grid) -> Model:
        flags.update(1 << bit for bit in range(8) if fields.data[fields.at] >> bit & 1)
        return model(fields, grid)

    def noting_rows(*arguments: Any) -> list[int]:
        streams.add(arguments[4])
        return rows(*arguments)

    monkeypatch.setattr(reader, "read_model", noting_model)
    monkeypatch.setattr(reader, "read_rows", noting_rows)
    wrong = []
    for kind, effort in itertools.product(LEVELS, ("fast", "max")):
        data, levels = coded(kind, effort)
        methods.add(data[0] >> 4)
        shape, found = reader.read_levels(data)
        if tuple(shape) != levels.shape or found != levels.ravel().tolist():
            wrong.append(f"{kind}, {effort}: method {data[0] >> 4}")
    assert wrong == []
    assert methods == {0, 1, 2, 3, 4}  # 5: the fixture below
    assert flags == {1, 2, 4, 8, 16, 32, 64}  # 128, the trellis: the files below
    assert streams == {1, 8, 16, 32}


@pytest.mark.parametrize("name", ["like-rows", "sparse-levels"])
def test_levels_of_the_fixtures_are_read(name: str) -> None:
    def parts(held: Any) -> list[bytes]:
        return (
            [bytes.fromhex(held)] if isinstance(held, str) else [b for v in held.values() for b in parts(v)]
        )

    for data in parts(json.loads((VECTORS / f"{name}.json").read_text())):
        assert data[0] >> 4 == {"like-rows": 5, "sparse-levels": 4}[name]
        assert reader.read_levels(data)[1] == decode_levels(data).ravel().tolist()


def test_levels_of_several_parts_are_read() -> None:
    levels = np.random.default_rng(1).choice([-1, 0, 1], (800, 500), p=[0.2, 0.5, 0.3]).astype(np.int32)
    data = encode_levels(levels)
    assert reader.read_levels(data)[1] == levels.ravel().tolist()


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("effort", ["fast", "max"])
def test_floats_are_read(dtype: type, effort: str) -> None:
    methods = set()
    wild = np.array([[0, -0.0, np.nan, np.inf, 1e-7, 3]] * 30)
    for values in (laplace((20, 30), 1), np.round(laplace((20, 30), 1), 1), wild, wild[:1]):
        array = values.astype(dtype)
        data = encode_floats(array, effort)
        methods.add(data[0] >> 4)
        assert read_floats(data, NUMBERS[dtype], array.size) == array.tobytes()
    assert methods == ({0} if dtype is np.float64 else {0, 1, 2})


QUANTIZERS: dict[str, dict[str, Any]] = {
    "fast": {"bits": 5},
    "max": {"bits": 5, "effort": "max"},
    "without loss": {},
    "trellis": {"bits": 6, "trellis": 8},
    "trellis, max": {"bits": 6, "trellis": 32, "effort": "max"},
    "dead zone of each channel": {"quantizer": "deadzone:0.4", "bits": 4, "scope": "channel", "range": "max"},
    "companded": {"quantizer": "mulaw:255", "bits": 5},
    "minifloat": {"quantizer": "minifloat:4/3"},
    "codebook": {"quantizer": "codebook", "bits": 3},
}


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_files_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "net.rdq"
    rdq.compress(classifier(), path, threads=1, **QUANTIZERS[kind])
    check_file(path.read_bytes())


def test_the_file_of_version_1_is_read() -> None:
    check_file((VECTORS / "version-1.rdq").read_bytes())


def check_file(data: bytes) -> None:
    file = rdq.CompressedFile(data)
    _, facts, tensors = read_file(data)
    assert json.loads(facts) == file.facts()
    assert set(tensors) == set(file.tensor_names)
    for ours in file.open_tensors():
        values, read = ours.values(), tensors[ours.name]
        assert tuple(read.shape) == values.shape
        if read.levels is not None:
            assert read.levels == ours.levels().ravel().tolist()
        if read.values is not None:
            assert read.values == values.ravel().tolist()
        elif read.data is not None:
            assert read.data == values.tobytes()


def test_the_page_has_the_whole_reader() -> None:
    """And the reader imports nothing that is not on the page or in Python's library."""
    files = {f.stem for f in (ROOT / "examples" / "rdq_reader").glob("[a-z]*.py")}
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"literalinclude\} \.\./\.\./examples/rdq_reader/(\w+)\.py", page)) == files
    text = "\n".join(f.read_text() for f in (ROOT / "examples" / "rdq_reader").glob("*.py"))
    assert (
        set(re.findall(r"^(?:from|import) (\.?\w+)", text, re.MULTILINE)) & {"numpy", "onnx", "rdquant"}
        == set()
    )


def test_damage_is_noticed() -> None:
    data, _ = coded("8 streams", "fast")
    with pytest.raises(ValueError, match="initial state"):
        reader.read_levels(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValueError, match="bytes expected"):
        read_tensor(b"\1\1\2")
