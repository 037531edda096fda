"""Lossless coding of levels and floats: everything comes back, damage is reported, and it pays."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rdquant import CorruptFile, InvalidArgument, Unsupported, entropy
from rdquant._core import available_isa
from rdquant.codec import decode_floats, decode_levels, encode_floats, encode_levels

EFFORTS = ["fast", "max"]
VECTORS = Path(__file__).parent / "vectors"
DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint32", "bool", "int4", "uint4"]


def laplace(shape: tuple[int, ...], scale: float, seed: int = 0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).laplace(scale=scale, size=shape)).astype(np.int32)


def assert_round_trip(levels: np.ndarray, effort: str, threads: int = 1) -> bytes:
    coded = encode_levels(levels, effort, threads)
    back = decode_levels(coded, threads)
    assert back.dtype == levels.dtype
    assert back.shape == levels.shape
    np.testing.assert_array_equal(back, levels)
    return coded


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_shape_and_dtype_come_back(dtype: str, effort: str) -> None:
    kind = getattr(ml_dtypes, dtype) if dtype.endswith("int4") else dtype
    low, high = {"bool": (0, 2), "int4": (-8, 8), "uint4": (0, 16)}.get(dtype, (-100, 100))
    levels = np.random.default_rng(1).integers(max(low, 0) if "u" in dtype else low, high, (7, 5, 3, 3))
    assert_round_trip(levels.astype(kind), effort)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(
    ("levels", "most"),
    [
        (np.zeros((512, 512, 3, 3), np.int8), 12),
        (np.full((1000,), -(2**31), np.int32), 12),
        (np.zeros((0, 7), np.int32), 4),
        (np.array([3, -1, 2], np.int32), 7),
        (np.int32(5).reshape(()), 5),
        (np.array([[2**31 - 1, -(2**31)]], np.int32), 20),
    ],
    ids=["one level", "one extreme level", "empty", "three weights", "scalar", "extremes"],
)
def test_degenerate_tensors_cost_almost_nothing(levels: np.ndarray, most: int, effort: str) -> None:
    assert len(assert_round_trip(levels, effort)) <= most


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
        elements=st.one_of(st.integers(-3, 3), st.integers(-(2**31), 2**31 - 1)),
    ),
    st.sampled_from(EFFORTS),
)
def test_anything_comes_back(levels: np.ndarray, effort: str) -> None:
    assert_round_trip(levels, effort)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize(
    "shape",
    [(300,), (100_000,), (64, 32, 3, 3), (96, 1, 5, 5), (33, 47), (40, 40, 40), (4, 3, 9, 9), (3, 600, 2)],
)
@pytest.mark.parametrize("scale", [0.2, 3.0, 400.0])
def test_all_grids_and_rates(shape: tuple[int, ...], scale: float, effort: str) -> None:
    levels = laplace(shape, scale)
    levels.reshape(-1)[::701] += 1_000  # beyond every window
    assert_round_trip(levels, effort)


@pytest.mark.parametrize("effort", EFFORTS)
def test_real_bytes_are_near_the_entropy_of_a_source_without_structure(effort: str) -> None:
    for scale in (0.4, 1.0, 4.0, 30.0):
        levels = laplace((512, 400), scale)
        real = 8 * len(encode_levels(levels, effort)) / levels.size
        assert real < entropy(levels) * 1.008 + 0.004


def test_structure_is_used() -> None:
    rng = np.random.default_rng(2)
    rows = np.exp(rng.normal(size=(128, 1, 1)))
    smooth = rng.normal(size=(128, 64, 1)) * 2 + rng.normal(size=(128, 64, 9))
    levels = np.rint(3 * rows * smooth).astype(np.int32).reshape(128, 64, 3, 3)
    assert 8 * len(encode_levels(levels)) / levels.size < entropy(levels) - 0.8
    two_humps = np.where(rng.random((200, 200)) < 0.5, -40, 40) + rng.integers(-1, 2, (200, 200))
    assert 8 * len(encode_levels(two_humps)) / 40_000 < entropy(two_humps.astype(np.int32)) + 0.025


def test_the_bytes_do_not_depend_on_threads() -> None:
    levels = laplace((900, 700), 2.0)
    one = encode_levels(levels, threads=1)
    assert encode_levels(levels, threads=2) == one
    np.testing.assert_array_equal(decode_levels(one, threads=2), levels)


def without_lines(rng: np.random.Generator) -> np.ndarray:
    """Levels of any shape, of which whole rows, columns or taps are zero, and single elements."""
    shape = tuple(int(rng.integers(1, most + 1)) for most in (60, 12, 7, 7)[: rng.integers(1, 5)])
    x = rng.laplace(0, np.exp(rng.uniform(-1, 9)), shape)
    for axis, size in enumerate(shape):
        line = [-1 if other == axis else 1 for other in range(len(shape))]
        if rng.random() < 0.4:
            x = x * (rng.random(size) > rng.uniform(0.1, 0.9)).reshape(line)
        if rng.random() < 0.3:
            x = x * np.exp(rng.normal(0, 1.5, size)).reshape(line)
    if rng.random() < 0.4:
        x = x * (rng.random(shape) > rng.uniform(0, 0.95))
    return np.rint(np.clip(x, -(2**30), 2**30)).astype(np.int32)


@pytest.mark.parametrize("effort", EFFORTS)
def test_levels_without_whole_lines_come_back(effort: str) -> None:
    x = np.zeros((5, 2, 2, 2), np.int32)
    x[3] = [[[1, 1], [1, 1]], [[1, 1], [10, 342]]]
    assert_round_trip(x, effort)  # all columns and all taps have one scale, which is not 0
    rng = np.random.default_rng(20)
    methods = {assert_round_trip(without_lines(rng), effort)[0] >> 4 for _ in range(600)}
    assert 4 in methods


PROBE = """
import hashlib, sys, numpy as np
from rdquant._core import isa
from rdquant.codec import decode_levels, encode_levels
digest = hashlib.sha256()
rng = np.random.default_rng(3)
for shape in [(70, 40, 3, 3), (300, 333), (8000,), (200, 33, 1, 5), (64, 64, 7, 7)]:
    for scale in (0.3, 5.0, 300.0):
        x = rng.laplace(scale=scale, size=shape)
        x = np.rint(x + np.roll(x, 1, 0) + np.roll(x, 1, -1)).astype(np.int32)
        x.reshape(-1)[::997] += 5000
        for levels in (x, np.clip(x, -3, 3) ** 2, np.where(x * x > 30 * scale * scale, x, 0)):
            coded = encode_levels(levels)
            assert np.array_equal(decode_levels(coded), levels)
            digest.update(coded)
for change in (0.002, 0.02, 0.2):  # rows like the row before, and few symbols
    x = rng.integers(-1, 2, (300, 100))
    for row, after in zip(x, x[1:]):
        after[:] = np.where(rng.random(100) < change, after, row)
    for levels in (x.astype(np.int32), np.cumsum(np.abs(x), 1, dtype=np.int32) // 8, x.astype(np.int32) + 7):
        coded = encode_levels(levels)
        assert np.array_equal(decode_levels(coded), levels)
        digest.update(coded)
print(isa(), digest.hexdigest())
"""


def test_every_instruction_set_decodes_the_same() -> None:
    names = ["baseline", "avx2", "avx512"]
    names = names[: names.index(available_isa()) + 1]
    digests = set()
    for name, gather in itertools.product(names, ["vector", "scalar"]):
        run = subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**os.environ, "RDQUANT_ISA": name, "RDQUANT_GATHER": gather},
            capture_output=True,
            text=True,
            check=True,
        )
        used, digest = run.stdout.split()
        assert used == name
        digests.add(digest)
    assert len(digests) == 1


@pytest.mark.skipif(available_isa() == "baseline", reason="nothing is gathered")
def test_a_way_to_gather_that_there_is_not_is_an_error() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "RDQUANT_GATHER": "both"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "RDQUANT_GATHER=both: allowed are vector, scalar" in run.stderr


def golden_levels(wide: bool) -> np.ndarray:
    """Pruned levels, every fourth row denser, from a linear congruential generator."""
    levels, x = np.zeros(48 * 90, np.int16), 1
    for i in range(levels.size):
        x = (x * 1664525 + 1013904223) % 2**32
        beyond = 300 + (x >> 8) % 7000 * ((x >> 24) % 5) if wide else 3 + (x >> 20) % 5 * ((x >> 24) % 3)
        if (x >> 16) % 100 < (4 if i // 90 % 4 else 40):
            levels[i] = beyond if x & 128 else -beyond
    return levels.reshape(48, 90)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_sparse_levels_of_the_fixture_are_decoded(kind: str, effort: str) -> None:
    coded = bytes.fromhex(json.loads((VECTORS / "sparse-levels.json").read_text())[kind][effort])
    assert coded[0] >> 4 == 4
    levels = golden_levels(kind == "wide")
    np.testing.assert_array_equal(decode_levels(coded), levels)
    assert encode_levels(levels.astype(np.int16), effort) == coded


def golden_classes() -> np.ndarray:
    """Rows each of which is like an earlier one, from a linear congruential generator."""
    levels, x = np.zeros((64, 100), np.int16), 1
    for row in range(64):
        like = levels[(x >> 8) % max(row, 1)] * 3 // 4
        for i in range(100):
            x = (x * 1664525 + 1013904223) % 2**32
            levels[row, i] = like[i] + (x >> 16) % 7 - 3
    return levels


def test_rows_like_earlier_ones_are_decoded_from_the_fixture() -> None:
    coded = bytes.fromhex(json.loads((VECTORS / "like-rows.json").read_text())["max"])
    assert coded[0] >> 4 == 5
    np.testing.assert_array_equal(decode_levels(coded), golden_classes())
    assert encode_levels(golden_classes(), "max") == coded


def pruned(shape: tuple[int, ...], bits: int, gamma: float, rows: float = 1.0) -> np.ndarray:
    """Pruned, then quantized (paper 002): distances begin at the threshold; `rows` of all rows survive."""
    rng = np.random.default_rng(7)
    w = rng.normal(size=shape) * np.exp(0.4 * rng.normal(size=(shape[0],) + (1,) * (len(shape) - 1)))
    w[rng.random(shape[0]) > rows] = 0
    w[np.abs(w) < gamma] = 0
    step = (np.abs(w).max() - gamma) / (2 ** (bits - 1) - 1)
    return np.rint(w / step).astype(np.int32)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize(("gamma", "rows"), [(2.5, 1.0), (0.5, 0.1)], ids=["scattered", "rows"])
def test_pruned_levels_go_below_what_they_would_take_without_structure(
    bits: int, gamma: float, rows: float
) -> None:
    levels = pruned((304, 1024), bits, gamma, rows)
    alive = levels != 0
    density = alive.mean(axis=1).clip(1e-9, 1 - 1e-9)
    ideal = 1024 * -(density * np.log2(density) + (1 - density) * np.log2(1 - density)).sum()
    # magnitudes in bins as wide as a sixteenth of their mean: their entropy, and bits within the bin
    beyond = np.abs(levels[alive]) - np.abs(levels[alive]).min()
    shift = max(0, int(beyond.mean() / 16).bit_length() - 1)
    ideal += alive.sum() * (1 + shift + entropy((beyond >> shift).astype(np.int32)))
    for effort in EFFORTS:
        coded = assert_round_trip(levels, effort)
        assert 8 * len(coded) < 1.02 * ideal + 6 * 304  # whatever is sent of rows' densities included


@pytest.mark.parametrize("effort", EFFORTS)
def test_dead_rows_and_columns_are_almost_free(effort: str) -> None:
    levels = np.zeros((2000, 1000), np.int32)
    levels[7::400, 11::100] = np.arange(-25, 25).reshape(5, 10)
    assert len(assert_round_trip(levels, effort)) < 400


@pytest.mark.parametrize("effort", EFFORTS)
def test_damage_is_told(effort: str) -> None:
    levels = laplace((64, 16, 3, 3), 2.0)
    coded = encode_levels(levels, effort)
    with pytest.raises(CorruptFile, match="section levels, offset 0"):
        decode_levels(b"")
    with pytest.raises(CorruptFile, match="unknown method"):
        decode_levels(b"\xff" + coded[1:])
    for cut in range(1, len(coded) - 1, 97):
        with pytest.raises(CorruptFile, match=r"section levels.*, offset \d+: "):
            decode_levels(coded[:cut])
    # the arithmetic decoder of the effort max looks a few bytes ahead
    with pytest.raises(CorruptFile, match="left over"):
        decode_levels(coded + b"\1" * (2 if effort == "fast" else 8))


def test_a_bomb_is_refused() -> None:
    bomb = bytes([0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0])  # 2^35 zeros
    with pytest.raises(Unsupported, match="memory_limit allows 17179869184"):
        decode_levels(bomb)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InvalidArgument, match=r"expected one of int32, int8.*got dtype float32"):
        encode_levels(np.ones(3, np.float32))
    with pytest.raises(InvalidArgument, match="effort: expected one of 'fast', 'max', got 'best'"):
        encode_levels(np.ones(3, np.int32), "best")
    with pytest.raises(InvalidArgument, match="fit int32"):
        encode_levels(np.array([2**40, 1]))


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_floats_come_back_bit_for_bit(dtype: type, effort: str) -> None:
    rng = np.random.default_rng(4)
    values = (rng.normal(size=(40, 30, 3, 3)) * 0.05).astype(dtype)
    flat = values.reshape(-1)
    with np.errstate(all="ignore"):
        rounded = np.round(values.astype(np.float32), 1).astype(dtype)
        flat[:8] = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-38, 3e38, -1e-45], np.float64).astype(dtype)
    for array in (values, values[:0], values[:1, 0, 0, :1], rounded):
        coded = encode_floats(array, effort)
        back = decode_floats(coded, dtype, array.shape)
        assert back.tobytes() == array.tobytes()
        assert len(coded) <= array.nbytes + 12


def test_any_bit_pattern_of_floats_comes_back() -> None:
    patterns = np.random.default_rng(5).integers(0, 2**32, 20_000, dtype=np.uint32)
    values = patterns.view(np.float32)
    assert decode_floats(encode_floats(values), np.float32, values.shape).tobytes() == values.tobytes()


def test_floats_that_were_rounded_cost_less() -> None:
    values = np.random.default_rng(6).normal(size=(256, 256)).astype(np.float32) * 0.1
    full = len(encode_floats(values))
    assert full < 0.86 * values.nbytes
    short = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert len(encode_floats(short)) < 0.36 * values.nbytes
    few = np.round(values, 1)
    assert len(encode_floats(few)) < 0.08 * values.nbytes


@pytest.mark.parametrize("name", ["squeezenet1.1-7", "cifar10_resnet32", "yolox_nano"])
def test_real_networks_go_below_their_entropy(name: str, shared_data: Path) -> None:
    import rdquant as rdq

    model = rdq.load(shared_data / "models" / f"{name}.onnx")
    real = ideal = 0.0
    for values in model.weights(["weight"]).values():
        levels = rdq.Midtread(0.012).quantize(values)
        real += 8 * len(assert_round_trip(levels, "fast"))
        ideal += entropy(levels) * levels.size
    assert real < ideal
