"""Quantizers against their formulas, in exact rational arithmetic where that is possible."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rdquant as rdq
from rdquant import Codebook, Deadzone, InvalidArgument, Midrise, Midtread, Minifloat, MuLaw
from rdquant.quant import MINIFLOATS, parse_quantizers

finite = st.floats(-10000, 10000, width=32, allow_nan=False)
arrays = st.lists(finite, min_size=0, max_size=200).map(lambda v: np.array(v, np.float32))
steps = st.floats(1e-4, 1e3)
deltas = st.floats(0, 1, exclude_max=True)


def deadzone_level(x: float, step: float, delta: float) -> int:
    """Equation 2.25, exactly."""
    magnitude = abs(Fraction(x)) / Fraction(step)
    if magnitude < Fraction(delta):
        return 0
    level = math.ceil(magnitude - Fraction(delta))
    return level if x > 0 else -level


def deadzone_value(level: int, step: float, delta: float) -> np.float32:
    """Equation 2.26."""
    if level == 0:
        return np.float32(0)
    return np.float32(
        np.sign(level) * float(Fraction(step) * (abs(level) + Fraction(delta) - Fraction(1, 2)))
    )


@given(arrays, steps, deltas)
def test_deadzone_is_equation_2_25(x: np.ndarray, step: float, delta: float) -> None:
    levels = Deadzone(step, delta).quantize(x)
    for value, level in zip(x.tolist(), levels.tolist(), strict=True):
        exact = deadzone_level(value, step, delta)
        if (
            level != exact
        ):  # double precision may take the other side of a tie that is nearer than its resolution
            distance = abs(Fraction(value)) / Fraction(step) - Fraction(delta) - min(abs(level), abs(exact))
            assert abs(level - exact) == 1
            assert abs(distance) < Fraction(1, 2**48) * (1 + abs(exact))


@given(arrays, steps, deltas)
def test_deadzone_restores_equation_2_26(x: np.ndarray, step: float, delta: float) -> None:
    quantizer = Deadzone(step, delta)
    levels = quantizer.quantize(x)
    restored = quantizer.dequantize(levels)
    expected = np.array([deadzone_value(level, step, delta) for level in levels.tolist()], np.float32)
    np.testing.assert_allclose(restored, expected, rtol=1.2e-7)
    assert restored.dtype == np.float32


@given(arrays, st.integers(-10, 10), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_dyadic_steps_are_exact(x: np.ndarray, exponent: int, delta: float) -> None:
    step = 2.0**exponent
    levels = Deadzone(step, delta).quantize(x)
    assert levels.tolist() == [deadzone_level(value, step, delta) for value in x.tolist()]


@given(arrays, steps)
def test_half_is_midtread_and_zero_is_midrise_bit_for_bit(x: np.ndarray, step: float) -> None:
    for plain, delta in ((Midtread(step), 0.5), (Midrise(step), 0.0)):
        zoned = Deadzone(step, delta)
        levels = plain.quantize(x)
        np.testing.assert_array_equal(levels, zoned.quantize(x))
        assert plain.dequantize(levels).tobytes() == zoned.dequantize(levels).tobytes()


def test_midtread_and_midrise_on_a_few_numbers() -> None:
    x = np.array([0, 0.2, 0.5, 0.51, 1.0, 1.5, 1.51, -0.5, -0.51, -2.0], np.float32)
    assert Midtread(1.0).quantize(x).tolist() == [0, 0, 0, 1, 1, 1, 2, 0, -1, -2]
    assert Midrise(1.0).quantize(x).tolist() == [0, 1, 1, 1, 1, 2, 2, -1, -1, -2]
    np.testing.assert_array_equal(Midrise(1.0).dequantize([0, 1, 2, -2]), np.float32([0, 0.5, 1.5, -1.5]))


@given(arrays, steps, deltas)
def test_error_is_bounded_and_levels_are_odd_and_monotone(x: np.ndarray, step: float, delta: float) -> None:
    quantizer = Deadzone(step, delta)
    levels = quantizer.quantize(x)
    np.testing.assert_array_equal(quantizer.quantize(-x), -levels)
    assert np.all(np.diff(levels[np.argsort(x, kind="stable")]) >= 0)
    bound = max(0.5, delta) * step * (1 + 1e-6) + np.abs(x) * 2e-7
    assert np.all(np.abs(x - quantizer.dequantize(levels)) <= bound)


@given(arrays)
def test_restoring_is_idempotent(x: np.ndarray) -> None:
    for quantizer in (Midtread(0.25), Midrise(0.25), Deadzone(0.25, 0.7), MuLaw(bits=6), Minifloat(8, 4, 3)):
        levels = quantizer.quantize(x)
        np.testing.assert_array_equal(quantizer.quantize(quantizer.dequantize(levels)), levels)


def test_from_levels_spans_the_range() -> None:
    assert Midtread.from_levels(bits=8).step == 2 / 256
    assert Midrise.from_levels(bits=3, range=2.0).step == 0.5
    weights = np.array([[0.5, -3.0], [0.0, 0.0]], np.float32)
    assert Midtread.from_levels(bits=2, range="max", x=weights).step == 1.5
    assert Deadzone.from_levels(bits=2, range="max", x=weights, axis=0, delta=0.25).step == (1.5, 0.5)


@pytest.mark.parametrize(
    "make", [Midtread.from_levels, Midrise.from_levels, Deadzone.from_levels, MuLaw.from_levels]
)
@pytest.mark.parametrize("bits", [1, 2, 5, 12])
def test_levels_beyond_the_range_are_kept_unless_clipped(make, bits: int) -> None:
    quantizer = make(bits=bits, range=1.0)
    x = np.linspace(-200, 200, 1001, dtype=np.float32)
    kept, clipped = quantizer.quantize(x), quantizer.quantize(x, clip=True)
    most = 2 ** (bits - 1)
    assert np.abs(kept).max() > most
    assert np.abs(clipped).max() == most
    np.testing.assert_array_equal(clipped, np.clip(kept, -most, most))
    np.testing.assert_array_equal(clipped, quantizer.quantize(np.clip(x, -1, 1)))


def test_a_quantizer_can_be_made_to_clip() -> None:
    for make in (Midtread.from_levels, Midrise.from_levels, Deadzone.from_levels, MuLaw.from_levels):
        clipping, keeping = make(bits=3, clip=True), make(bits=3)
        x = np.float32([-300.0, 0.3, 300.0])
        np.testing.assert_array_equal(clipping.quantize(x), keeping.quantize(x, clip=True))
        np.testing.assert_array_equal(clipping.quantize(x, clip=False), keeping.quantize(x))


def test_clip_needs_a_range() -> None:
    with pytest.raises(InvalidArgument, match="from_levels"):
        Midtread(0.1).quantize([1.0], clip=True)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_channels_are_quantized_each_with_its_own_step(axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    for make in (Midtread.from_levels, MuLaw.from_levels):
        whole = make(bits=5, range="max", x=x, axis=axis)
        levels = whole.quantize(x)
        restored = whole.dequantize(levels)
        for channel in range(x.shape[axis]):
            part = np.take(x, channel, axis)
            one = make(bits=5, range=float(np.abs(part).max()))
            np.testing.assert_array_equal(np.take(levels, channel, axis), one.quantize(part))
            np.testing.assert_array_equal(
                np.take(restored, channel, axis), one.dequantize(one.quantize(part))
            )


@pytest.mark.parametrize("threads", [0, 2, 7])
def test_threads_change_nothing(threads: int) -> None:
    x = np.random.default_rng(1).normal(size=700_001).astype(np.float32)
    quantizer = Deadzone(0.01, 0.3)
    levels = quantizer.quantize(x)
    np.testing.assert_array_equal(quantizer.quantize(x, threads=threads), levels)
    np.testing.assert_array_equal(quantizer.dequantize(levels, threads=threads), quantizer.dequantize(levels))


def test_large_outputs_are_written_around_the_caches_alike() -> None:
    x = np.random.default_rng(2).normal(size=9_000_003).astype(np.float32)
    quantizer = Midtread(0.01)
    backing = np.zeros(x.size + 16, np.int32)
    for offset in (0, 1, 5):
        out = backing[offset : offset + x.size]
        assert quantizer.quantize(x, out=out) is out
        np.testing.assert_array_equal(out, quantizer.quantize(x))
        assert backing[:offset].sum() == 0
        assert backing[offset + x.size :].sum() == 0
        backing[:] = 0


@given(arrays, st.floats(0.5, 1e4), st.integers(2, 16), st.floats(0.1, 10))
def test_mulaw_is_equation_2_27(x: np.ndarray, mu: float, bits: int, span: float) -> None:
    quantizer = MuLaw(mu, bits, span)
    step = 2 * span / 2**bits
    y = span * np.log1p(mu * np.abs(x.astype(np.float64)) / span) / np.log1p(mu) / step
    levels = quantizer.quantize(x)
    expected = np.where(x < 0, -1, 1) * np.ceil(y - 0.5)
    differs = levels != expected
    assert np.all(np.abs(y - 0.5 - np.rint(y - 0.5))[differs] < 1e-9 * (1 + y[differs]))
    magnitude = np.abs(levels) * step
    restored = np.sign(levels) * span / mu * np.expm1(magnitude / span * np.log1p(mu))
    np.testing.assert_allclose(quantizer.dequantize(levels), restored.astype(np.float32), rtol=2e-7)


def minifloat_values(exponent: int, mantissa: int, bias: int) -> np.ndarray:
    """All positive numbers of equation 2.30, in order."""
    return np.array(
        [2.0 ** (e - bias) * (1 + m / 2**mantissa) for e in range(2**exponent) for m in range(2**mantissa)]
    )


@pytest.mark.parametrize(("exponent", "mantissa"), MINIFLOATS)
def test_minifloats_round_to_the_nearest_number(exponent: int, mantissa: int) -> None:
    quantizer = Minifloat(1 + exponent + mantissa, exponent, mantissa)
    assert quantizer.bias == (2 ** (exponent - 1) - 1 if exponent else 0)
    values = minifloat_values(exponent, mantissa, quantizer.bias)
    codes = np.arange(1, len(values) + 1)
    np.testing.assert_array_equal(quantizer.dequantize(codes), values.astype(np.float32))
    np.testing.assert_array_equal(quantizer.quantize(values), codes)
    middles = (values[1:] + values[:-1]) / 2
    ties = quantizer.quantize(middles)  # to the even code: levels are code + 1
    np.testing.assert_array_equal(ties, np.where((codes[:-1] - 1) % 2 == 0, codes[:-1], codes[1:]))
    x = np.random.default_rng(3).normal(size=2000).astype(np.float32) * values[-1]
    nearest = values[np.argmin(np.abs(np.abs(x)[:, None] - values), axis=1)]
    np.testing.assert_allclose(np.abs(quantizer.dequantize(quantizer.quantize(x))), nearest, rtol=1e-6)


def test_minifloats_have_no_zero_and_saturate() -> None:
    quantizer = Minifloat(8, 4, 3)
    x = np.array([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30], np.float32)
    smallest, largest = 2.0**-7, 2.0**8 * 1.875
    expected = [smallest, smallest, smallest, -smallest, largest, -largest]
    assert quantizer.dequantize(quantizer.quantize(x)).tolist() == expected


def test_half_is_numpys_float16_for_every_number() -> None:
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = bits[np.isfinite(bits)].astype(np.float32)
    half = Minifloat.half()
    np.testing.assert_array_equal(half.dequantize(half.quantize(x)), x)
    y = np.random.default_rng(4).normal(size=20000).astype(np.float32) * np.float32(2.0) ** np.arange(
        -30, 10
    ).repeat(500)
    np.testing.assert_array_equal(half.dequantize(half.quantize(y)), y.astype(np.float16).astype(np.float32))
    assert half.dequantize(half.quantize([1e9])).tolist() == [65504.0]


def test_bfloat16_keeps_the_upper_half_rounded_to_even() -> None:
    x = np.random.default_rng(5).normal(size=20000).astype(np.float32)
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    bfloat16 = Minifloat.bfloat16()
    np.testing.assert_array_equal(bfloat16.dequantize(bfloat16.quantize(x)), rounded)


def test_fitted_bias_is_the_best_of_all() -> None:
    x = np.random.default_rng(6).laplace(size=3000).astype(np.float32) * 0.03

    def error(bias: int) -> float:
        quantizer = Minifloat(6, 2, 3, bias)
        return float(np.square(x - quantizer.dequantize(quantizer.quantize(x)).astype(np.float64)).sum())

    fitted = Minifloat.fitted(x, 2, 3)
    assert fitted.bias is not None
    assert error(fitted.bias) == min(error(bias) for bias in range(-20, 30))


@given(st.lists(finite, min_size=1, max_size=40, unique=True).map(sorted), arrays)
def test_codebook_takes_the_nearest_value(values: list[float], x: np.ndarray) -> None:
    quantizer = Codebook(tuple(values))
    table = np.array(values, np.float64)
    restored = quantizer.dequantize(quantizer.quantize(x)).astype(np.float64)
    best = np.abs(x.astype(np.float64)[:, None] - table).min(axis=1, initial=np.inf)
    np.testing.assert_array_equal(np.abs(restored - x), best)


def test_codebook_ties_go_down() -> None:
    assert Codebook((0.0, 1.0, 3.0)).quantize([0.5, 2.0, 0.50001]).tolist() == [0, 1, 1]


@pytest.mark.parametrize(("bits", "known"), [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_lloyd_max_reaches_the_known_error_of_a_gaussian(bits: int, known: float) -> None:
    # J. Max, "Quantizing for minimum distortion", 1960, table I.
    x = np.random.default_rng(7).normal(size=400_000).astype(np.float32)
    quantizer = Codebook.from_levels(bits, x)
    error = float(np.square(x - quantizer.dequantize(quantizer.quantize(x))).mean())
    assert len(quantizer.levels) == 2**bits
    assert error == pytest.approx(known, rel=0.01)


def test_codebook_of_few_distinct_values_is_those_values() -> None:
    assert Codebook.from_levels(4, np.float32([3, 1, 1, 2])).levels == (1.0, 2.0, 3.0)
    assert Codebook.from_levels(1, np.zeros(9)).levels == (0.0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "quantizer",
    [Midtread(0.1), MuLaw(), Minifloat(8, 4, 3), Minifloat.half(), Codebook((0.0, 1.0))],
    ids=lambda q: q.label,
)
def test_weights_that_are_no_numbers_are_refused(quantizer: rdq.Quantizer, bad: float) -> None:
    x = np.ones(3000, np.float32)
    x[2345] = bad
    with pytest.raises(InvalidArgument, match="index 2345 is"):
        quantizer.quantize(x)


def test_levels_beyond_32_bits_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"index 1 .* does not fit 32 bits"):
        Midtread(1e-6).quantize([1.0, 1e9])
    assert Midtread(1e-6).quantize([1.0, 1e3]).tolist() == [1_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Midtread(0.0), "step"),
        (lambda: Midtread(-1.0), "step"),
        (lambda: Midtread(math.nan), "step"),
        (lambda: Midtread("a"), "expected a positive number, or one a channel, got the text 'a'"),
        (lambda: Midtread(1e-45), "got 1.*e-45"),
        (lambda: MuLaw(bits="8"), "whole number"),
        (lambda: Codebook(3), "list of numbers, got 3"),
        (lambda: Midtread((1.0, 2.0)), "axis"),
        (lambda: Deadzone(1.0, 1.0), r"delta must be in \[0, 1\), got 1"),
        (lambda: Deadzone(1.0, -0.1), "delta"),
        (lambda: Midtread.from_levels(bits=0), "bits"),
        (lambda: Midtread.from_levels(bits=32), "1 to 31"),
        (lambda: Midtread.from_levels(bits=8, range="min"), "'max'"),
        (lambda: Midtread.from_levels(bits=8, range="max"), "needs the weights"),
        (lambda: MuLaw(mu=0.0), "mu"),
        (lambda: Minifloat(9, 4, 3), "1 \\+ exponent \\+ mantissa = 8, got 9"),
        (lambda: Minifloat(13, 9, 3), "exponent"),
        (lambda: Minifloat(8, 4, 3, 200), "bias must be between -112 and 126"),
        (lambda: Codebook((1.0, 1.0)), "strictly increasing"),
        (lambda: Codebook(()), "1 to 65536"),
        (lambda: Codebook.from_levels(4, np.zeros(0)), "empty"),
        (lambda: Midtread(1.0).quantize(["a"]), "real numbers"),
        (lambda: Midtread(1.0).quantize(np.zeros(2, complex)), "real numbers"),
        (lambda: Midtread(1.0).quantize(np.zeros(3), out=np.zeros(2, np.int32)), "shape"),
        (lambda: Midtread(1.0).quantize(np.zeros(3), out=np.zeros(3, np.int64)), "int32"),
        (lambda: Midtread((1.0, 2.0), axis=0).quantize(np.zeros((3, 2))), r"2 channels along axis 0"),
        (lambda: Minifloat(8, 4, 3).dequantize([0]), "-128..128"),
        (lambda: Codebook((0.0, 1.0)).dequantize([2]), "0..1"),
        (lambda: Midtread(1.0).dequantize([0.5]), "integers"),
    ],
)
def test_wrong_arguments_are_explained(make, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what):
        make()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 0, 3), (2, 3, 4)])
def test_any_dtype_and_shape(dtype: type, shape: tuple[int, ...]) -> None:
    x = np.full(shape, 3, dtype)
    levels = Midtread(0.5).quantize(x)
    assert levels.shape == shape
    assert levels.dtype == np.int32
    assert np.all(levels == 6)
    assert Midtread(0.5).dequantize(levels).shape == shape


def test_strided_and_read_only_views_are_read_as_they_are() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    x.flags.writeable = False
    np.testing.assert_array_equal(Midtread(1.0).quantize(x.T[::2]), x.T[::2])


def test_whole_floats_and_generators_are_taken() -> None:
    assert MuLaw.from_levels(bits=8.0).quantize([0.5]) == MuLaw.from_levels(bits=np.int64(8)).quantize([0.5])
    assert Codebook(v / 2 for v in range(3)).levels == (0.0, 0.5, 1.0)


def test_quantizers_are_values() -> None:
    for quantizer in (Midtread(0.5), Deadzone(0.1, 0.4), MuLaw(), Minifloat.half(), Codebook((0.0, 1.0))):
        quantizer.quantize([0.5])
        again = pickle.loads(pickle.dumps(quantizer))
        assert again == quantizer
        assert hash(again) == hash(quantizer)
        np.testing.assert_array_equal(again.quantize([0.7]), quantizer.quantize([0.7]))


def test_parse_quantizers() -> None:
    specs = parse_quantizers("midtread, deadzone:.4,mulaw,minifloat:4/3:best,half,midtread")
    assert [s.text for s in specs] == ["midtread", "deadzone:0.4", "mulaw:255", "minifloat:4/3:best", "half"]
    assert [s.takes_bits for s in specs] == [True, True, True, False, False]
    assert len(parse_quantizers("minifloat")) == len(MINIFLOATS)
    assert parse_quantizers([Midtread, "midrise", Midtread(0.3)])[2].build() == Midtread(0.3)
    for wrong in ("", "midtred", "deadzone:2", "minifloat:4", "minifloat:9/3", "deadzone:x", [3]):
        with pytest.raises(InvalidArgument, match="allowed are midtread"):
            parse_quantizers(wrong)


@settings(max_examples=20)
@given(st.integers(2, 12))
def test_more_bits_never_raise_the_error_bound(bits: int) -> None:
    x = np.random.default_rng(8).normal(size=5000).astype(np.float32) / 4
    errors = []
    for b in (bits, bits + 1):
        quantizer = Midtread.from_levels(bits=b)
        errors.append(np.abs(x - quantizer.dequantize(quantizer.quantize(x))).max())
    assert errors[1] <= errors[0] * (1 + 1e-6)
