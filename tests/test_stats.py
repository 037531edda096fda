"""rdquant.stats against NumPy, SciPy and the thesis."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fits import EIGHT, SCIPY
from rdquant import stats
from rdquant.errors import InvalidArgument

matplotlib.use("agg")

SHAPES = {
    "gamma": ("a", (0.4, 1.0, 3.0, 60.0, 1500.0, 3000.0, 5e4)),
    "alpha": ("a", (0.05, 1.0, 4.0, 40.0)),
    "generalized_gaussian": ("beta", (0.3, 1.0, 2.0, 7.0)),
    "student_t": ("df", (0.5, 2.0, 9.0, 400.0)),
}
CASES = [(f, {"loc": 0.3, "scale": 0.7}) for f in SCIPY if f not in SHAPES]
CASES += [(f, {name: v, "loc": -0.2, "scale": 1.3}) for f, (name, values) in SHAPES.items() for v in values]

floats = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 70),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


# --- moments and histograms --------------------------------------------------------------------


@given(floats, floats)
@settings(max_examples=60, deadline=None)
def test_moments_are_numpys_and_merge(a: np.ndarray, b: np.ndarray) -> None:
    x = np.concatenate([a, b]).astype(np.float64)
    merged = stats.moments(a)
    merged.merge(stats.moments(b))
    for m in (merged, stats.moments(x), stats.moments({"a": a, "b": b})):
        assert m.count == x.size
        assert m.zeros == np.sum(x == 0)
        size = np.abs(x).max() + 1e-300
        assert m.min == x.min()
        assert m.max == x.max()
        assert abs(m.mean - x.mean()) <= 1e-13 * size
        assert abs(m.mean_abs - np.abs(x).mean()) <= 1e-13 * size
        assert abs(m.variance - x.var()) <= 1e-12 * size**2


def test_moments_are_stable_far_from_zero() -> None:
    x = np.random.default_rng(3).gamma(2.0, 1e-3, 300_001)
    near, far = stats.moments(x), stats.moments(x + 1e3)
    assert near.skewness == pytest.approx(scipy.stats.skew(x), rel=1e-10)
    assert near.kurtosis == pytest.approx(scipy.stats.kurtosis(x), rel=1e-10)
    assert far.std == pytest.approx(near.std, rel=1e-8)
    assert far.kurtosis == pytest.approx(near.kurtosis, rel=1e-6)


def test_results_do_not_depend_on_threads() -> None:
    x = np.random.default_rng(4).standard_t(3, 1_200_000).astype(np.float32)
    one, three = stats.moments(x, threads=1), stats.moments(x, threads=3)
    assert (one.mean, one.variance, one.kurtosis) == (three.mean, three.variance, three.kurtosis)
    h1, h3 = (stats.Histogram.of(x, 77, threads=t) for t in (1, 3))
    np.testing.assert_array_equal(h1.counts, h3.counts)
    f1, f3 = (stats.fit(x, EIGHT, threads=t) for t in (1, 3))
    for a, b in zip(f1, f3, strict=True):
        assert a.family == b.family
        assert a.loglik == pytest.approx(b.loglik, rel=1e-12)


@given(floats, st.integers(1, 300), st.floats(-1e5, 1e5), st.floats(1e-3, 1e6))
@settings(max_examples=80, deadline=None)
def test_histogram_is_numpys(x: np.ndarray, bins: int, low: float, width: float) -> None:
    h = stats.Histogram(low, low + width, bins).add(x)
    wide = x.astype(np.float64)
    np.testing.assert_array_equal(h.edges, np.histogram_bin_edges([], bins, (low, low + width)))
    np.testing.assert_array_equal(h.counts, np.histogram(wide, bins, (low, low + width))[0])
    assert h.below == np.sum(wide < low)
    assert h.above == np.sum(wide > low + width)
    assert h.counts.dtype == np.int64


@given(floats, floats)
@settings(max_examples=40, deadline=None)
def test_histograms_merge_exactly(a: np.ndarray, b: np.ndarray) -> None:
    merged = stats.Histogram(-2.0, 3.0, 64).add(a).merge(stats.Histogram(-2.0, 3.0, 64).add(b))
    whole = stats.Histogram(-2.0, 3.0, 64).add({"a": a, "b": b})
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert (merged.below, merged.above) == (whole.below, whole.above)


def test_values_on_edges_fall_as_in_numpy() -> None:
    grid = np.repeat(np.arange(-128, 129) / 128, 50)  # quantized weights: every value is an edge
    for bins in (7, 64, 100, 256, 1000):
        h = stats.Histogram.of(grid, bins)
        np.testing.assert_array_equal(h.counts, np.histogram(grid, bins)[0])
        assert np.sum(h.density) * (h.edges[1] - h.edges[0]) == pytest.approx(1.0)


@pytest.mark.parametrize("rule", ["sqrt", "sturges", "rice", "scott", "fd"])
def test_rules_for_bins_are_numpys(rule: str) -> None:
    x = np.random.default_rng(5).laplace(size=20_000)
    assert abs(stats.Histogram.of(x, rule).bins - (np.histogram_bin_edges(x, rule).size - 1)) <= 1


# --- families ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "parameters"), CASES)
def test_families_are_scipys(family: str, parameters: dict[str, float]) -> None:
    d, peer = stats.Distribution(family, parameters), SCIPY[family](**parameters)
    p = np.array([1e-9, 1e-3, 0.1, 0.35, 0.5, 0.77, 0.95, 0.999, 1 - 1e-7])
    x = peer.ppf(p)
    outside = np.array([parameters["loc"] - 1e-3, parameters["loc"] + 1e3 * parameters["scale"]])
    everywhere = np.concatenate([x, outside])
    np.testing.assert_allclose(d.pdf(everywhere), peer.pdf(everywhere), rtol=2e-9, atol=1e-290)
    np.testing.assert_allclose(d.logpdf(x), peer.logpdf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(d.cdf(everywhere), peer.cdf(everywhere), rtol=1e-9, atol=2e-9)
    spread = x[-2] - x[1]
    np.testing.assert_allclose(d.quantile(p[1:-1]), x[1:-1], rtol=1e-6, atol=1e-6 * spread)
    assert np.isnan(d.quantile([-0.1, 1.1])).all()


@pytest.mark.parametrize(("family", "base"), [("spike_laplace", "laplace"), ("spike_gaussian", "gaussian")])
def test_spikes_jump_at_zero(family: str, base: str) -> None:
    d = stats.Distribution(family, {"zero": 0.3, "loc": 0.1, "scale": 0.5})
    b = stats.Distribution(base, {"loc": 0.1, "scale": 0.5})
    x = np.array([-1.0, -1e-12, 0.0, 0.4])
    np.testing.assert_allclose(d.pdf(x), 0.7 * b.pdf(x))
    np.testing.assert_allclose(d.cdf(x), 0.7 * b.cdf(x) + [0.0, 0.0, 0.3, 0.3])
    jump = d.cdf([-1e-300, 0.0])
    assert d.quantile([jump.mean()])[0] == 0.0
    for p in (0.05, 0.9):
        assert d.cdf(d.quantile([p]))[0] == pytest.approx(p, abs=1e-12)


def test_bad_parameters_are_refused() -> None:
    for family, parameters, message in [
        ("gaussian", {"loc": 0.0, "scale": 0.0}, "scale = 0"),
        ("gamma", {"a": -1.0, "loc": 0.0, "scale": 1.0}, "a = -1"),
        ("spike_laplace", {"zero": 1.0, "loc": 0.0, "scale": 1.0}, "zero < 1"),
        ("normal", {}, "expected one of 'gaussian'"),
        ("laplace", {"df": 3.0}, "parameter 'df' of laplace"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            stats.Distribution(family, parameters).pdf([0.0])


# --- dependence --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"), [((40, 7, 3), 0), ((40, 7, 3), 1), ((4, 300), 1), ((2000,), None)]
)
@pytest.mark.parametrize("lags", [1, None])
def test_autocovariance_is_its_definition(shape: tuple[int, ...], axis: int | None, lags: int | None) -> None:
    x = np.random.default_rng(10).normal(2.0, 1.0, shape).astype(np.float32)
    lines = np.moveaxis(x, axis, -1) if axis is not None else x.reshape(1, -1)
    got = stats.autocovariance(x, axis, lags)
    assert got.size == min(lines.shape[-1] - 1, 64 if lags is None else lags) + 1
    d = lines.astype(np.float64) - x.mean(dtype=np.float64)
    n = d.shape[-1]
    for k, value in enumerate(got):
        assert value == pytest.approx(np.mean(d[..., : n - k] * d[..., k:]), abs=1e-10)
    assert stats.autocovariance(x, axis, lags, normalised=True)[0] == 1.0


def test_dependence_tells_noise_from_smooth() -> None:
    generator = np.random.default_rng(12)
    noise = generator.normal(size=(64, 64))
    smooth = np.cumsum(noise, axis=0)
    frame = stats.dependence({"noise": noise, "smooth": smooth, "bias": np.zeros(1), "same": np.ones((4, 4))})
    table = frame.set_index(["tensor", "axis"])
    assert len(table) == 6
    assert not table.loc[("smooth", 0), "memoryless"]
    assert table.loc[("smooth", 0), "correlation"] > 0.9
    assert table.loc[("smooth", 0), "mutual_information"] > 1.0
    assert abs(table.loc[("noise", 1), "mutual_information"]) < 0.03
    assert table.loc[("same", 0), "correlation"] == 0.0


@pytest.mark.parametrize("size", [32, 144, 1280, 9216])
def test_dependence_seldom_doubts_independent_weights(size: int) -> None:
    generator = np.random.default_rng(14)
    frame = stats.dependence({str(i): generator.normal(size=size) for i in range(300)})
    assert (frame["mutual_information"] > frame["information_bound"]).mean() < 0.15
    assert (frame["correlation"].abs() > frame["bound"]).mean() < 0.1


def test_mutual_information_of_a_known_chain() -> None:
    generator = np.random.default_rng(13)
    flips = generator.random(200_000) < 0.1  # a binary symmetric chain: 1 - H(0.1) bits
    chain = np.cumsum(flips) % 2 + generator.uniform(-0.4, 0.4, flips.size)
    expected = 1 + 0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)
    assert stats.mutual_information(chain, bins=2) == pytest.approx(
        expected, abs=0.03
    )  # the median is not just between
    independent = [stats.mutual_information(generator.normal(size=4000), bins=16) for _ in range(20)]
    plain = [
        stats.mutual_information(generator.normal(size=4000), bins=16, corrected=False) for _ in range(20)
    ]
    assert abs(np.mean(independent)) < 0.004
    assert np.mean(plain) == pytest.approx(225 / (2 * 4000 * np.log(2)), rel=0.1)


def test_bad_axes_are_refused() -> None:
    for call in (stats.autocovariance, stats.mutual_information):
        with pytest.raises(InvalidArgument, match=r"axis: a tensor of shape \(3, 3\) has no axis 2"):
            call(np.ones((3, 3)), 2)
        with pytest.raises(InvalidArgument, match="no values"):
            call(np.zeros((0, 3)), 1)
    with pytest.raises(InvalidArgument, match=r"lags: expected an integer 0\.\.3, got 4"):
        stats.autocovariance(np.ones(4), lags=4)
    with pytest.raises(InvalidArgument, match=r"lags: expected .* got -1"):
        stats.autocovariance(np.ones(4), lags=-1)


def test_squeezenet_dependence(squeezenet: dict[str, np.ndarray]) -> None:
    frame = stats.dependence(squeezenet)
    kernels = frame[frame["length"] == 3]
    # Neighbours in a 3 x 3 kernel depend on each other; the thesis could only guess at the opposite.
    assert (kernels["correlation"] > kernels["bound"]).mean() > 0.5
