"""Levels chosen by rate and distortion: paths of trellises, gaps to the bound, targets, files and the command line."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from typer.testing import CliRunner

import rdquant as rdq
from rdquant import CorruptFile, InvalidArgument, Unsupported
from rdquant.cli import app
from rdquant.codec import ColumnQuantizer, Optimised, decode_levels, optimise
from rdquant.codec.sections import Tensor

CODES = {8: (0o13, 0o4), 32: (0o45, 0o10)}


def follow(state: int, level: int, states: int) -> int:
    """The next state, from the parity check polynomials."""
    h0, h1 = CODES[states]
    return (state >> 1) ^ ((h0 >> 1) if level & 1 else 0) ^ ((h1 >> 1) if level & 2 else 0)


def nearest_path(targets: np.ndarray, states: int) -> list[int]:
    """The path from state 0 with the least squared error: Viterbi's algorithm as it is told."""
    reached: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for y in targets.astype(np.float64):
        following: dict[int, tuple[float, list[int]]] = {}
        for state, (cost, path) in reached.items():
            for v in range(math.floor(y) - 3, math.floor(y) + 5):
                if (v - state) % 2:
                    continue
                to, total = follow(state, v, states), cost + (y - v) ** 2
                if to not in following or total < following[to][0]:
                    following[to] = (total, [*path, v])
        reached = following
    return min(reached.values())[1]


def laplacian_bound(bits: float, scale: float) -> float:
    """Shannon's lower bound of the squared error of density exp(−|x|/scale)/(2·scale)."""
    return 2 ** (2 * (math.log2(2 * math.e * scale) - bits)) / (2 * math.pi * math.e)


def gap_db(found: Optimised, x: np.ndarray) -> float:
    bits = 8 * len(found.encode()) / x.size
    mse = float(np.square(x.astype(np.float64) - found.dequantize()).mean())
    return 10 * math.log10(mse / laplacian_bound(bits, float(np.abs(x).mean())))


def rate_distortion(slope: float, scale: float = 1.0) -> tuple[float, float]:
    """A point (bits, squared error) of a Laplacian source's rate–distortion function, by Blahut's algorithm."""
    grid = np.linspace(-12, 12, 361) * scale
    p = np.exp(-np.abs(grid) / scale)
    p /= p.sum()
    kernel = np.exp(-slope * np.square(grid[:, None] - grid[None, :]))
    q = np.full(grid.size, 1 / grid.size)
    for _ in range(150):
        q = q * (kernel.T @ (p / (kernel @ q)))
    joint = p[:, None] * kernel * q / (kernel @ q)[:, None]
    error = float((joint * np.square(grid[:, None] - grid[None, :])).sum())
    return -slope * error / math.log(2) - float(p @ np.log2(kernel @ q)), error


def test_shannons_bound_is_the_rate_distortion_function_from_two_bits_up() -> None:
    for slope in (3.5, 12.0):
        bits, error = rate_distortion(slope)
        assert bits > 1.8
        assert abs(10 * math.log10(error / laplacian_bound(bits, 1.0))) < 0.02


@pytest.mark.parametrize(("trellis", "most"), [(0, 1.62), (8, 0.6), (32, 0.46)])
def test_gap_to_the_rate_distortion_function(trellis: int, most: float) -> None:
    x = np.random.default_rng(0).laplace(size=(500, 500)).astype(np.float32)
    for step in (1.2, 0.55, 0.27):
        found = optimise(x, step, trellis=trellis)
        np.testing.assert_array_equal(decode_levels(found.encode()), found.levels)
        assert 0 < gap_db(found, x) < most


@pytest.mark.parametrize("states", [8, 32])
def test_a_column_is_the_nearest_path(states: int) -> None:
    targets = (np.random.default_rng(1).laplace(size=(300, 2)) * 5).astype(np.float32)
    first = np.rint(targets).astype(np.int32)
    columns = ColumnQuantizer(first, states)
    assert (columns.rows, columns.columns, columns.chains) == (300, 2, 2)
    levels = np.zeros_like(first)
    for column in range(2):
        columns.quantize(column, targets[:, column], levels)
        assert levels[:, column].tolist() == nearest_path(targets[:, column], states)
    found = Optimised(levels, rdq.Deadzone(1.0, 0.5), states, columns.chains)
    np.testing.assert_array_equal(decode_levels(found.encode()), levels)


@pytest.mark.parametrize("states", [0, 8, 32])
def test_columns_refuse_targets_that_no_level_is_near_to(states: int) -> None:
    columns = ColumnQuantizer((np.arange(300, dtype=np.int32) % 21 - 10)[:, None], states)
    levels = np.zeros((300, 1), np.int32)
    targets = np.zeros(300, np.float32)
    for value in (8183.0, -8183.0):
        targets[7] = value
        columns.quantize(0, targets, levels)
        assert abs(levels[7, 0] - value) <= 1
    for value, message in [
        (8184.0, r"targets\[7\]: expected at most ±8183, got 8184"),
        (-1e9, r"targets\[7\]: expected at most ±8183, got -1000000000"),
        (np.nan, r"targets\[7\] is not finite"),
    ]:
        targets[7] = value
        with pytest.raises(InvalidArgument, match=message):
            columns.quantize(0, targets, levels)
    with pytest.raises(InvalidArgument, match=r"levels\[1\]: expected at most ±8183, got 8184"):
        ColumnQuantizer(np.array([[3], [8184]], np.int32), states)


@pytest.mark.parametrize("states", [0, 8, 32])
def test_columns_after_each_other_cost_as_much_as_the_whole(states: int) -> None:
    rng = np.random.default_rng(2)
    smooth = rng.normal(size=(400, 40, 1)) + 0.5 * rng.normal(size=(400, 40, 9))
    x = (3 * smooth).astype(np.float32).reshape(400, 40, 3, 3)
    whole = optimise(x, 1.0, trellis=states, refine=False)
    fine = 0.5 if states else 1.0
    columns = ColumnQuantizer(whole.levels, states)
    levels = np.zeros(x.shape, np.int32)
    for column in range(columns.columns):
        targets = x.reshape(400, -1)[:, column] / np.float32(fine)
        columns.quantize(column, targets, levels, rdo=0.1 / fine**2)
    found = Optimised(levels, rdq.Deadzone(fine, 0.5), states, columns.chains)
    cost = [
        float(np.square(x - o.dequantize()).sum()) + 0.1 * 8 * len(o.encode("max")) for o in (whole, found)
    ]
    assert cost[1] < 1.02 * cost[0]


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=12),
        elements=st.floats(-20_000, 20_000, width=32),
    ),
    st.sampled_from([0, 8, 32]),
    st.sampled_from(["fast", "max"]),
    st.floats(0, 0.5),
)
def test_any_path_comes_back(x: np.ndarray, trellis: int, effort: str, rdo: float) -> None:
    found = optimise(x, 1.5, rdo, trellis)
    np.testing.assert_array_equal(decode_levels(found.encode(effort)), found.levels)


def test_paths_of_similar_rows_come_back() -> None:
    rng = np.random.default_rng(4)
    x = rng.laplace(size=(700, 800)).astype(np.float32)  # two paths, one part
    for row in range(1, 700):
        x[row] += 0.8 * x[rng.integers(row)]
    found = optimise(x, 0.8, 0.08, 8)
    coded = found.encode("max")
    assert coded[0] >> 4 == 5
    np.testing.assert_array_equal(decode_levels(coded, 2), found.levels)
    shuffled = optimise(rng.permuted(x, axis=1), 0.8, 0.08, 8)
    assert len(coded) < 0.95 * len(shuffled.encode("max"))


@pytest.mark.parametrize("trellis", [0, 8])
def test_outliers_are_not_clipped(trellis: int) -> None:
    x = np.random.default_rng(8).laplace(size=(64, 64)).astype(np.float32)
    x[3, 5] = 90_000.0
    found = optimise(x, 1.0, trellis=trellis)
    assert np.abs(x - found.dequantize()).max() <= 0.5
    assert found.states == 0
    np.testing.assert_array_equal(decode_levels(found.encode()), found.levels)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 1000), st.floats(0.2, 1.3), st.sampled_from([(60, 900), (128, 30, 3, 3), (4000, 1, 3, 3)])
)
def test_a_trellis_is_never_worse_than_scalar_levels(seed: int, step: float, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(seed).laplace(size=shape).astype(np.float32)
    assert gap_db(optimise(x, step, trellis=8), x) < gap_db(optimise(x, step, trellis=0), x) - 0.4


@pytest.mark.parametrize("trellis", [0, 8, 32])
@pytest.mark.parametrize("step", [2.0, 0.8])
def test_what_is_made_small_is_small(trellis: int, step: float) -> None:
    x = np.random.default_rng(3).laplace(size=(300, 300)).astype(np.float32)
    found = {rdo: optimise(x, step, rdo, trellis) for rdo in (0.0, 0.1, 0.3)}
    for rdo in (0.1, 0.3):
        cost = {
            used: float(np.square(x - o.dequantize()).sum()) + rdo * step**2 * 8 * len(o.encode())
            for used, o in found.items()
        }
        assert cost[rdo] < 1.003 * min(cost.values())
        assert rdo < 0.3 or cost[rdo] < cost[0.0]


@pytest.mark.parametrize("trellis", [0, 8, 32])
def test_weights_shift_the_error(trellis: int) -> None:
    x = np.random.default_rng(4).laplace(size=(64, 80, 3, 3)).astype(np.float32)
    weights = np.where(np.arange(80) < 40, 0.1, 10.0).astype(np.float32)[None, :, None, None]
    found = optimise(x, 2.0, 0.4, trellis, weights)
    error = np.square(x - found.dequantize()).mean(axis=(0, 2, 3))
    assert error[40:].mean() < 0.85 * error[:40].mean()
    alike = optimise(x, 2.0, 0.4, trellis, np.ones_like(x))
    np.testing.assert_array_equal(alike.levels, optimise(x, 2.0, 0.4, trellis).levels)


def test_levels_do_not_depend_on_threads() -> None:
    x = np.random.default_rng(5).laplace(size=(900, 700)).astype(np.float32)
    one, two = (optimise(x, 0.5, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.levels, two.levels)
    assert one.encode(threads=1) == two.encode(threads=2)


PROBE = """
import hashlib, numpy as np
from rdquant._core import isa
from rdquant.codec import decode_levels, optimise
digest = hashlib.sha256()
rng = np.random.default_rng(3)
for shape in [(70, 40, 3, 3), (300, 333), (8000,), (500, 1, 3, 3)]:
    x = rng.laplace(size=shape).astype(np.float32)
    for states in (0, 8, 32):
        found = optimise(x, 0.5, trellis=states)
        coded = found.encode()
        assert np.array_equal(decode_levels(coded), found.levels)
        digest.update(coded)
print(isa(), digest.hexdigest())
"""


def test_every_instruction_set_chooses_and_decodes_the_same() -> None:
    from rdquant._core import available_isa

    names = ["baseline", "avx2", "avx512"]
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**os.environ, "RDQUANT_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for name in names[: names.index(available_isa()) + 1]
    ]
    assert len({digest for _, digest in runs}) == 1


@pytest.mark.parametrize("effort", ["fast", "max"])
def test_a_file_restores_the_weights_exactly(cnn_path: Path, tmp_path: Path, effort: str) -> None:
    path = tmp_path / "m.rdq"
    result = rdq.compress(cnn_path, path, bits=6, trellis=8, effort=effort)
    plain = rdq.compress(cnn_path, tmp_path / "plain.rdq", bits=6, effort=effort)
    assert result.sqnr_db > plain.sqnr_db
    file = rdq.CompressedFile(path)
    restored = rdq.load(path).weights()
    sections = {s.name: Tensor(file.section(s), s.name) for s in file.sections if s.kind == 3}
    coded = [t for t in result.tensors if t.coding == "quantized"]
    assert any(sections[t.name].trellis == 8 for t in coded)
    original = rdq.load(cnn_path).weights()
    for t in coded:
        error = np.square(original[t.name].astype(np.float64) - restored[t.name]).sum()
        assert error == pytest.approx(t.squared_error, rel=1e-9)
    assert file.facts()["trellis"] == 8


@pytest.mark.parametrize("trellis", [0, 8])
def test_targets_are_reached(cnn_path: Path, tmp_path: Path, trellis: int) -> None:
    result = rdq.compress_to_size(
        cnn_path, tmp_path / "m.rdq", quantizer="deadzone:0.5", bits_per_weight=8.0, trellis=trellis
    )
    assert 7.7 < result.bits_per_weight <= 8.0
    result = rdq.compress_to_size(cnn_path, tmp_path / "m.rdq", mse=1e-5, trellis=trellis, rdo=True)
    quantized = [t for t in result.tensors if t.coding == "quantized"]
    mse = sum(t.squared_error for t in quantized) / sum(t.size for t in quantized)
    assert 0.9e-5 < mse <= 1e-5
    wanted = (tmp_path / "m.rdq").stat().st_size - 200
    result = rdq.compress_to_size(cnn_path, tmp_path / "m.rdq", bytes=wanted, trellis=trellis)
    assert 0.98 * wanted < (tmp_path / "m.rdq").stat().st_size == result.bytes <= wanted


@pytest.mark.parametrize("effort", ["fast", "max"])
def test_damage_is_told_or_decoded(effort: str) -> None:
    x = np.random.default_rng(6).laplace(size=(48, 16, 3, 3)).astype(np.float32)
    coded = optimise(x, 0.7).encode(effort)
    rng = np.random.default_rng(7)
    told = 0
    for _ in range(400):
        damaged = bytearray(coded)
        damaged[int(rng.integers(0, min(60, len(coded))))] ^= 1 << int(rng.integers(0, 8))
        try:
            decode_levels(bytes(damaged), memory_limit=1 << 24)
        except (CorruptFile, Unsupported):
            told += 1
    assert told > 200


def own_steps(weights: np.ndarray) -> rdq.Midtread:
    return rdq.Midtread(np.full(len(weights), 0.1, np.float32), axis=0)


def test_wrong_arguments_are_named(cnn_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.rdq"
    x = np.ones((4, 4), np.float32)
    for call, message in [
        (lambda: optimise(x, 0.1, trellis=7), r"trellis: expected one of \(0, 8, 32\) states, got 7"),
        (lambda: optimise(x, 0.0), "step: expected a finite number above 0, got 0.0"),
        (lambda: optimise(x, 0.1, -1.0), "rdo: expected a finite number of at least 0"),
        (lambda: optimise(x * np.nan, 0.1), r"x\[0\] is not finite"),
        (lambda: optimise(x, 0.1, weights=-x), "weights: expected finite values of at least 0"),
        (lambda: rdq.compress(cnn_path, path, trellis=8), "trellis: it needs bits or a quantizer"),
        (lambda: rdq.compress(cnn_path, path, rdo=0.1), "rdo: it needs bits or a quantizer"),
        (
            lambda: rdq.compress(cnn_path, path, rdq.MuLaw(255, 6), trellis=8),
            "trellis: levels can be chosen for midtread and deadzone only, got µ-law",
        ),
        (
            lambda: rdq.compress(cnn_path, path, bits=6, trellis=8, scope="channel"),
            "^trellis, scope: .* one step, not one a channel; take scope 'tensor' or 'model', or leave out trellis",
        ),
        (
            lambda: rdq.compress(cnn_path, path, bits=6, rdo=True, scope="channel"),
            "^rdo, scope: .* or leave out rdo",
        ),
        (lambda: rdq.compress(cnn_path, path, lambda _, w: own_steps(w), rdo=0.1), "tensor .*: rdo, scope: "),
        (
            lambda: rdq.compress(cnn_path, path, "midtread:6"),
            r"'midtread:6' is not understood \(bits are given beside it",
        ),
        (
            lambda: rdq.compress_to_size(cnn_path, path),
            "bits_per_weight, bytes, mse: expected one of them, got none",
        ),
        (
            lambda: rdq.compress_to_size(cnn_path, path, bits_per_weight=2.0, mse=1.0),
            "expected one of them, got bits_per_weight and mse",
        ),
        (
            lambda: rdq.compress_to_size(cnn_path, path, bits_per_weight=-2.0),
            "bits_per_weight: expected a finite number above 0",
        ),
        (
            lambda: rdq.compress_to_size(cnn_path, path, bits_per_weight=0.001),
            "bits_per_weight: 0.001 cannot be reached",
        ),
        (
            lambda: rdq.compress_to_size(cnn_path, path, quantizer="half", bits_per_weight=2.0),
            "quantizer: expected 'midtread'",
        ),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            call()
    levels = np.ones((64, 64), np.int32)
    levels[0, 0] = 2
    with pytest.raises(InvalidArgument, match="not a path of the trellis"):
        Optimised(levels, rdq.Deadzone(1.0, 0.5), 8, 1).encode()


def test_the_command_line_takes_and_shows_it(cnn_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.rdq"
    run = CliRunner().invoke(
        app,
        [
            "compress-to-size",
            str(cnn_path),
            "-o",
            str(path),
            "--bits-per-weight",
            "9",
            "--trellis",
            "32",
            "--json",
        ],
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["bits_per_weight"] <= 9
    shown = CliRunner().invoke(app, ["info", str(path)])
    assert shown.exit_code == 0
    assert "trellis 32" in shown.stdout
