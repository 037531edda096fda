"""rdquant.stats.fit against SciPy and the thesis."""

from __future__ import annotations

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import scipy.stats

from fits import EIGHT, SCIPY, row
from rdquant import stats
from rdquant.errors import InvalidArgument

matplotlib.use("agg")


# --- fits --------------------------------------------------------------------------------------

SAMPLES = {
    "gaussian": {"loc": 1.0, "scale": 0.2},
    "uniform": {"loc": -1.0, "scale": 3.0},
    "cauchy": {"loc": 0.1, "scale": 0.02},
    "exponential": {"loc": -0.5, "scale": 2.0},
    "gamma": {"a": 3.0, "loc": 0.5, "scale": 1.5},
    "laplace": {"loc": 0.01, "scale": 0.05},
    "alpha": {"a": 3.0, "loc": -1.0, "scale": 2.0},
    "logistic": {"loc": 5.0, "scale": 0.1},
    "generalized_gaussian": {"beta": 0.8, "loc": 0.0, "scale": 0.1},
    "student_t": {"df": 3.5, "loc": 0.0, "scale": 0.04},
}


@pytest.mark.parametrize("n", [400, 30_000])
@pytest.mark.parametrize("family", SAMPLES)
def test_likelihood_is_the_maximum(family: str, n: int) -> None:
    peer = SCIPY[family]
    x = peer.rvs(**SAMPLES[family], size=n, random_state=11)
    ours = stats.fit(x, family).best()
    theirs = peer.logpdf(x, *peer.fit(x)).sum()
    truth = peer.logpdf(x, **SAMPLES[family]).sum()
    exact = peer.logpdf(x, **ours.parameters).sum()  # on the values themselves, whatever bins were used
    assert exact >= max(theirs, truth) - (1e-9 if n == 400 else 1e-7) * abs(theirs) - 1e-6
    assert ours.loglik == pytest.approx(exact, abs=1e-6 * n if n > 16384 else 1e-7)
    assert ours.aic == pytest.approx(2 * len(ours.parameters) - 2 * ours.loglik)
    assert ours.bic == pytest.approx(len(ours.parameters) * np.log(n) - 2 * ours.loglik)
    assert ours.ks == pytest.approx(scipy.stats.kstest(x, peer(**ours.parameters).cdf).statistic, abs=2e-3)


@pytest.mark.parametrize("family", EIGHT)
def test_fits_move_with_the_values(family: str) -> None:
    x = scipy.stats.laplace.rvs(size=3000, random_state=2) + 0.3
    base = stats.fit(x, family, ("mle", "sse"))
    moved = stats.fit(5.0 * x - 2.0, family, ("mle", "sse"))
    for criterion, free in (("mle", 1e-6), ("sse", 1e-3)):
        a, b = row(base, family, criterion), row(moved, family, criterion)
        assert b.parameters["scale"] == pytest.approx(5 * a.parameters["scale"], rel=0.02)
        assert b.sse == pytest.approx(a.sse / 25, rel=free)
        if criterion == "mle":
            assert b.loglik == pytest.approx(a.loglik - x.size * np.log(5), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_histogram_criteria_follow_their_formulas_and_never_lose_to_mle(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.standard_t(2 + seed, 5000) * 0.05 + generator.gamma(2.0, 0.03, 5000) * (seed % 2)
    table = stats.fit(x, criterion=stats.CRITERIA, bins=60)
    y, edges = np.histogram(x, 60, density=True)
    centres, e = 0.5 * (edges[1:] + edges[:-1]), 1e-10
    for f in table:
        q = f.distribution.pdf(centres)
        q[np.searchsorted(edges, 0.0) - 1] += f.parameters.get("zero", 0.0) / (edges[1] - edges[0])
        assert f.kl == pytest.approx(scipy.stats.entropy(y + e, q + e), rel=1e-6, abs=1e-12)
        assert f.kl_reverse == pytest.approx(scipy.stats.entropy(q + e, y + e), rel=1e-6, abs=1e-12)
        assert f.sse == pytest.approx(np.sum((q - y) ** 2), rel=1e-6, abs=1e-9)
        if f.criterion != "mle":
            assert getattr(f, f.criterion) <= getattr(row(table, f.family), f.criterion)
    for c in stats.CRITERIA:
        key = "bic" if c == "mle" else c
        values = [getattr(f, key) for f in table if f.criterion == c]
        assert values == sorted(values)


def test_spike_is_found() -> None:
    generator = np.random.default_rng(6)
    x = generator.laplace(0.02, 0.1, 50_000).astype(np.float32)
    x[generator.random(x.size) < 0.4] = 0.0
    fit = row(stats.fit(x, bins=200), "spike_laplace")
    rest = x[x != 0].astype(np.float64)
    assert fit.parameters["zero"] == np.mean(x == 0)
    assert fit.parameters["loc"] == np.median(rest)
    assert fit.parameters["scale"] == pytest.approx(np.abs(rest - np.median(rest)).mean(), rel=1e-6)
    assert stats.fit(x, criterion="kl", bins=200).best().family.startswith("spike")
    gaussian = row(stats.fit(x), "spike_gaussian")
    assert gaussian.parameters["scale"] == pytest.approx(rest.std(), rel=1e-9)


def test_laplace_median_is_exact_on_a_grid_and_with_outliers() -> None:
    generator = np.random.default_rng(7)
    for x in (
        np.round(generator.normal(0, 20, 40_001)) / 128,
        np.append(generator.laplace(3.0, 1e-3, 40_000), 1e6),
        np.where(generator.random(30_000) < 0.7, 0.25, generator.random(30_000)),
    ):
        fit = stats.fit(x, "laplace").best()
        assert fit.parameters["loc"] == np.median(x)
        assert fit.parameters["scale"] == pytest.approx(np.abs(x - np.median(x)).mean(), rel=1e-9)


def test_equal_values_are_answered() -> None:
    for x in (np.full(7, 3.0), np.zeros(5, np.float32), np.array([2.5]), np.full(20_000, -1e-3)):
        table = stats.fit(x, criterion=stats.CRITERIA)
        assert len(table) == 12 * 4
        for f in table:
            assert f.degenerate
            assert f.parameters["loc"] == x[0]
            assert f.parameters["scale"] == 0.0
            assert (f.kl, f.sse, f.ks, f.loglik) == (0.0, 0.0, 0.0, np.inf)
        assert table.histograms[""].counts.sum() == x.size
    assert stats.moments(np.full(3, 2.0)).kurtosis == 0.0


def test_few_values_are_answered() -> None:
    for x in ([1.0, 2.0], [0.0, 1.0], [0, 0, 0, 5], [1e-30, 2e-30], [-1e30, 1e30], [1.0, 1.0 + 1e-12]):
        for f in stats.fit(np.array(x, np.float64), criterion=stats.CRITERIA):
            assert not f.degenerate
            assert f.parameters["scale"] > 0
            assert not np.isnan([f.kl, f.kl_reverse, f.sse, f.loglik, f.ks]).any(), f


def test_bad_values_are_named() -> None:
    weights = {"a": np.ones(3), "conv1.weight": np.array([[0.5, np.nan]], np.float32)}
    for call in (stats.fit, stats.moments, stats.Histogram.of):
        with pytest.raises(InvalidArgument, match=r"tensor 'conv1\.weight': element 1 is NaN"):
            call(weights)
    h = stats.Histogram(0.0, 1.0)
    with pytest.raises(InvalidArgument, match="element 20000 is infinite"):
        h.add(np.append(np.zeros(20_000), -np.inf))
    assert h.counts.sum() == 0
    for empty in ([], np.zeros((0, 3)), {}, {"a": np.zeros(0)}):
        with pytest.raises(InvalidArgument, match="no values"):
            stats.fit(empty)
    with pytest.raises(InvalidArgument, match="real numbers"):
        stats.fit(np.array([1j]))
    for options in (
        {"bins": 0},
        {"range": (1, 1)},
        {"criterion": "ml"},
        {"families": ["x"]},
        {"per": "layer"},
    ):
        with pytest.raises(InvalidArgument, match="expected"):
            stats.fit([1.0, 2.0], **options)
    with pytest.raises(InvalidArgument, match="no value lies in"):
        stats.fit([1.0, 2.0], range=(5.0, 6.0))
    with pytest.raises(InvalidArgument, match="same range"):
        h.merge(stats.Histogram(0.0, 2.0))


def test_fit_per_tensor() -> None:
    generator = np.random.default_rng(8)
    weights = {
        "a": generator.normal(size=(20, 30)),
        "empty": np.zeros((0, 2)),
        "b": generator.laplace(size=500),
    }
    table = stats.fit(weights, ["gaussian", "laplace"], per="tensor")
    assert {f.tensor for f in table} == {"", "a", "b"}
    assert table.best("a").family == "gaussian"
    assert table.best("b").family == "laplace"
    assert table.best().count == 1100
    frame = table.to_pandas()
    assert list(frame.columns[:4]) == ["tensor", "rank", "family", "parameters"]
    assert list(frame["rank"]) == [1, 2] * 3
    assert "laplace" in repr(table)
    assert "<table" in table._repr_html_()
    alone = stats.fit(weights["b"], ["gaussian", "laplace"])
    assert row(table, "laplace", tensor="b").parameters == row(alone, "laplace").parameters


def test_plot_draws_histogram_and_fits() -> None:
    table = stats.fit(np.random.default_rng(9).normal(size=1000), criterion="sse")
    ax = table.plot(top=2, log=True)
    assert len(ax.lines) == 2
    assert ax.get_yscale() == "log"
    assert [t.get_text().split(" ")[0] for t in ax.get_legend().get_texts()][1:] == [
        f.family for f in table[:2]
    ]
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_instruction_sets_agree_to_the_bit(isa: str) -> None:
    from rdquant import _core

    if isa == "avx2" and _core.available_isa() == "baseline":
        pytest.skip("this processor has no AVX2")
    code = (
        "import numpy as np\nfrom rdquant import stats\n"
        "x = np.random.default_rng(1).standard_t(3, 50_003)\n"
        "for v in (x, x.astype(np.float32)):\n"
        "    m = stats.moments(v)\n"
        "    print(m.mean.hex(), m.variance.hex(), m.kurtosis.hex(), m.mean_abs.hex())\n"
        "    print([(f.family, f.loglik.hex(), f.kl.hex()) for f in stats.fit(v, criterion=('mle', 'kl'))])\n"
    )
    run = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RDQUANT_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in (isa, _core.available_isa())
    ]
    assert run[0] == run[1] != ""


# --- the thesis' SqueezeNet --------------------------------------------------------------------


def test_squeezenet_is_never_worse_than_scipys_likelihood_fits(squeezenet: dict[str, np.ndarray]) -> None:
    table = stats.fit(squeezenet, EIGHT, stats.CRITERIA)
    w = np.concatenate([t.ravel() for t in squeezenet.values()]).astype(np.float64)
    y, edges = np.histogram(w, 100, density=True)
    centres, e = 0.5 * (edges[1:] + edges[:-1]), 1e-10
    assert w.size == 1_235_496
    # scipy.stats.<family>.fit of these weights (SciPy 1.17), which fitter takes.
    known = {
        "cauchy": (-0.0007803301296852816, 0.025692898236217256),
        "gamma": (134.42098911048453, -1.7420190919589054, 0.012948050824843578),
        "alpha": (25.17447996915015, -1.3947843304740823, 35.09168721503663),
        "logistic": (0.0003680268882785423, 0.02709990389016467),
    }
    for family in EIGHT:
        parameters = known[family] if family in known else SCIPY[family].fit(w)
        q = SCIPY[family].pdf(centres, *parameters)
        assert row(table, family, "kl").kl <= scipy.stats.entropy(y + e, q + e) + 1e-9
        assert row(table, family, "kl_reverse").kl_reverse <= scipy.stats.entropy(q + e, y + e) + 1e-9
        assert row(table, family, "sse").sse <= np.sum((q - y) ** 2) + 1e-6
        theirs = SCIPY[family].logpdf(w, *parameters).sum()
        assert row(table, family).loglik >= theirs - 1e-6 * abs(theirs)


def test_squeezenet_ranks_as_in_the_thesis(squeezenet: dict[str, np.ndarray]) -> None:
    """Tables 3.2 and 3.3 do not name their bins. Both orders hold together from 50 to 66 bins (and in
    narrower
    windows up to 188), that of KL also from 200 to 384. Alpha and gamma are left out: the Gaussian is their
    limit, so a true maximum of their likelihood is never behind its, as the thesis' local one was."""
    others = [f for f in EIGHT if f not in ("alpha", "gamma")]
    fits = stats.fit(squeezenet, others)

    def ranking(bins: int, which: int) -> list[str]:
        histogram = stats.Histogram.of(squeezenet, bins)
        return sorted(others, key=lambda f: stats.distances(histogram, f, row(fits, f).parameters)[which])[:3]

    for bins in range(50, 67, 2):
        assert ranking(bins, 2) == ["logistic", "laplace", "gaussian"]
    for bins in (*range(50, 67, 2), 200, 256, 300, 384):
        assert ranking(bins, 0) == ["laplace", "logistic", "gaussian"]
