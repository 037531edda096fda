"""Families of densities and their fits: the part of rdquant.stats that ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_numbers
from .._core import stats as _core
from .._tables import Brief, html_table, short
from ..errors import (
    InvalidArgument,
    axes_or_none,
    count,
    described,
    flag,
    needed,
    one_of,
    several,
    threads_of,
)
from .histograms import Histogram, Moments, interval_of, named_values, number_of_bins, range_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

FAMILIES: tuple[str, ...] = tuple(_core.families())
"""The eight families of the thesis (equations 2.32 to 2.40), then the four beyond it."""

CRITERIA = ("mle", "kl", "kl_reverse", "sse")
"""What `fit` can make best: likelihood, either divergence, or squared differences of densities."""
_RANKED_BY = {"mle": "bic", "kl": "kl", "kl_reverse": "kl_reverse", "sse": "sse"}


@dataclass(frozen=True)
class Distribution:
    """A family with parameters under SciPy's names.

    Attributes:
        family: one of `FAMILIES`.
        parameters: loc and scale in the values' unit and, where the family has one, a shape: `a` (gamma, alpha), `beta`
            (generalized_gaussian, SciPy's gennorm), `df` (student_t) or `zero`, the probability of exactly 0 in
            spike_laplace and spike_gaussian. Those two have the density of their continuous part, which integrates to
            1 - zero; their cdf and quantile include the jump.

    Raises InvalidArgument for anything else.
    """

    family: str
    parameters: Mapping[str, float]

    def __post_init__(self) -> None:
        one_of("family", self.family, FAMILIES)
        named = isinstance(self.parameters, Mapping) and all(isinstance(n, str) for n in self.parameters)
        if not named or not all(isinstance(v, Real) for v in self.parameters.values()):
            raise InvalidArgument(f"parameters: expected numbers by name, got {described(self.parameters)}")

    def _evaluate(self, function: str, x: ArrayLike, name: str = "x") -> NDArray[np.float64]:
        array = np.ascontiguousarray(as_numbers(x, name)).reshape(np.shape(x))
        return _core.evaluate(self.family, dict(self.parameters), function, array)

    def pdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """Density at `x`, numbers of any shape: float64 of that shape. Raises InvalidArgument for anything else."""
        return self._evaluate("pdf", x)

    def logpdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """Natural logarithm of the density at `x`, numbers of any shape: float64 of that shape; -inf outside the support.

        Raises InvalidArgument for anything else.
        """
        return self._evaluate("logpdf", x)

    def cdf(self, x: ArrayLike) -> NDArray[np.float64]:
        """Probability of values up to `x`, numbers of any shape: float64 of that shape, 0..1.

        Raises InvalidArgument for anything else.
        """
        return self._evaluate("cdf", x)

    def quantile(self, p: ArrayLike) -> NDArray[np.float64]:
        """The x with cdf(x) = `p`, numbers of any shape: float64 of that shape; NaN for p outside 0..1.

        Raises InvalidArgument for anything else.
        """
        return self._evaluate("quantile", p, "p")


@dataclass(frozen=True, repr=False)
class Fit(Brief):
    """One row of a FitTable.

    Attributes:
        tensor: its name; "" for all values together.
        rank: from 1 within the tensor and criterion.
        family, parameters: as for `Distribution`.
        kl, kl_reverse: divergences between histogram and family, nats; see `fit`.
        sse: sum of squared differences of the densities over the bins.
        loglik, aic, bic: of all values; see `fit`.
        ks: largest difference of the distribution functions, 0..1.
        criterion: what the parameters make best.
        count: number of values.
        degenerate: all values are equal, the scale is 0.
    """

    tensor: str
    rank: int
    family: str
    parameters: dict[str, float]
    kl: float
    kl_reverse: float
    sse: float
    loglik: float
    aic: float
    bic: float
    ks: float
    criterion: str
    count: int
    degenerate: bool

    @property
    def distribution(self) -> Distribution:
        """The fitted density; where `degenerate`, evaluating it raises InvalidArgument."""
        return Distribution(self.family, self.parameters)


class FitTable:
    """Fitted families, best first: a sequence of `Fit`, with the histograms and moments that they come from. Made by `fit`."""

    def __init__(
        self, fits: Sequence[Fit], histograms: dict[str, Histogram], moments: dict[str, Moments]
    ) -> None:
        self.fits = tuple(fits)
        self.histograms = histograms
        """Tensor ("" for all values) -> the named histogram."""
        self.moments = moments
        """Tensor ("" for all values) -> its moments."""

    def __len__(self) -> int:
        return len(self.fits)

    def __getitem__(self, i: int) -> Fit:
        return self.fits[i]

    def best(self, tensor: str = "", criterion: str | None = None) -> Fit:
        """The fit of rank 1 for `tensor` ("": all together), by `criterion` (default: the first one).

        Raises InvalidArgument where there is none.
        """
        return self._select(tensor, criterion)[0]

    def _select(self, tensor: str, criterion: str | None) -> list[Fit]:
        wanted: Any = self.fits[0].criterion if criterion is None else criterion
        name: Any = tensor
        if not isinstance(name, str) or not isinstance(wanted, str):
            found = f"{described(tensor)} and {described(criterion)}"
            raise InvalidArgument(f"tensor, criterion: expected names, got {found}")
        chosen = [f for f in self.fits if f.tensor == tensor and f.criterion == wanted]
        if not chosen:
            known = sorted({(f.tensor, f.criterion) for f in self.fits})
            raise InvalidArgument(
                f"tensor, criterion: no fit of {tensor!r} by {wanted!r}; there are {known[:8]}"
            )
        return chosen

    def to_pandas(self) -> pd.DataFrame:
        """One row per fit: tensor, rank, family, parameters (dict), kl, kl_reverse, sse, loglik, aic, bic,
        ks, criterion, count, degenerate."""
        with needed():
            import pandas as pd

        frame: pd.DataFrame = pd.DataFrame(
            [vars(f) for f in self.fits], columns=list(Fit.__dataclass_fields__)
        )
        return frame

    def plot(
        self,
        tensor: str = "",
        criterion: str | None = None,
        top: int = 3,
        log: bool = False,
        ax: Axes | None = None,
    ) -> Axes:
        """Draws a tensor's histogram and the densities of its `top` best fits with Matplotlib; returns the axes.

        Args:
            tensor, criterion: as for `best`; errors as there.
            top: number of fits.
            log: logarithmic density axis, which shows the tails.
            ax: axes to draw on; new ones by default. InvalidArgument for anything but axes.
        """
        axes_or_none(ax)
        chosen = self._select(tensor, criterion)[: count("top", top)]
        log = flag("log", log)
        if ax is None:
            with needed():
                import matplotlib.pyplot as plt

            ax = plt.subplots(layout="constrained")[1]
        histogram = self.histograms[tensor]
        ax.stairs(histogram.density, histogram.edges, fill=True, alpha=0.35, label="weights")
        x = np.linspace(histogram.low, histogram.high, 2001)
        for f in chosen:
            if not f.degenerate:
                ax.plot(x, f.distribution.pdf(x), label=f"{f.family} (KL {f.kl:.3g}, SSE {f.sse:.3g})")
        if log:
            filled = histogram.density[histogram.counts > 0]
            ax.set_yscale("log")
            ax.set_ylim(0.3 * filled.min(), 3 * filled.max())
        ax.set_xlabel("weight")
        ax.set_ylabel("density")
        ax.set_title(tensor or "all weights")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        first = self.fits[0] if self.fits else None
        best = f", first {first.family} (KL {first.kl:.3g} nats)" if first is not None else ""
        tensors = len({f.tensor for f in self.fits} - {""})
        return short(self, f"{len(self.fits)} fits of {tensors or 'all'} tensors{best}")

    def __str__(self) -> str:
        return str(self.to_pandas().to_string(max_rows=40))

    def _repr_html_(self) -> str:
        return html_table(self)


def _choose(names: str | Iterable[str] | None, known: Sequence[str], what: str) -> list[str]:
    if names is None:
        return list(known)
    wanted = several(names)
    if not wanted:
        raise InvalidArgument(f"{what}: expected at least one of {', '.join(known)}, got none")
    return [one_of(what, name, known) for name in wanted]


def fit(
    values: Any,
    families: str | Iterable[str] | None = None,
    criterion: str | Sequence[str] = "mle",
    bins: int | str = 100,
    range: tuple[float, float] | None = None,
    per: str = "model",
    threads: int | None = 1,
) -> FitTable:
    """Fits families of densities to weights and ranks them (thesis 004, section 3.1).

    Args:
        values: array of real numbers, mapping of named tensors, or a model: a `Model`, or what `rdquant.load` takes.
            Tensors without values are passed over; no values at all, NaN and infinity raise InvalidArgument (as does
            every argument outside what is said here), naming tensor and flat index.
        families: names out of `FAMILIES`, default all twelve.
        criterion: what the parameters make best, or several of these (the values are then read only once). "mle":
            greatest likelihood of all values, ranked by BIC. "kl": least KL(P‖Q), thesis 004, equation 2.41, ranked by
            it. "kl_reverse": least KL(Q‖P), the order of arguments in the package `fitter`, ranked by it. "sse": least
            sum of (q - y)² over the bins, as in the thesis' ranking, ranked by it.
        bins, range: the named histogram, by default 100 bins over the values' own range; see `Histogram.of`.
        per: "model" fits all tensors together (tensor ""); "tensor" fits each tensor beside that.
        threads: for reading the values; None or 0: all cores.

    y is the histogram's density (of the values inside its range), q the family's density at the bins'
    centres (a spike's probability / width is added in the bin of 0), and

        P = (y + ε) / Σ(y + ε),   Q = (q + ε) / Σ(q + ε),   KL(P‖Q) = Σ P ln(P / Q) in nats,   ε = 1e-10.

    These are `fitter`'s formulas, so the figures compare. The floor ε, in units of density, keeps empty
    bins and bins beyond the support of a family finite: a fit by "kl" or "sse" may leave out far values,
    at a price, where the likelihood may not. Fits by these criteria are never worse in them than the one
    of greatest likelihood.

    loglik, aic and bic are of all values at the fitted parameters (-inf where one lies outside the
    support). Spike families count an exact zero with its probability. ks is the largest difference between
    the distribution functions of values and family.

    Up to 16384 values the likelihood is exact; beyond, values are gathered in thousands of fine bins,
    which moves a log-likelihood by less than 1e-6 per value and ks by at most the probability of one fine
    bin. Where a likelihood has no maximum (gamma with a < 1 at loc = min; gamma and alpha on their way to
    the normal limit), loc stays below the minimum by (mean - min) / count up to 1000 standard deviations.
    Equal values give every family loc = the value, scale 0, kl = sse = ks = 0, loglik = inf, `degenerate`.

    Time is linear in the number of values, memory constant beside them.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    chosen = _choose(families, FAMILIES, "families")
    criteria = _choose(criterion, CRITERIA, "criterion")
    one_of("per", per, ("model", "tensor"))
    used = threads_of(threads)
    if range is not None:
        range = interval_of(range)
    if not isinstance(bins, str):
        bins = count("bins", bins, 1, 1 << 24)
    named = named_values(values)
    groups = {"": named}
    if per == "tensor":
        groups |= {
            name.removeprefix("tensor '").removesuffix("'"): [(name, a)] for name, a in named if a.size
        }
    fits: list[Fit] = []
    histograms: dict[str, Histogram] = {}
    found: dict[str, Moments] = {}
    for tensor, group in groups.items():
        number = bins
        if isinstance(bins, str):
            m = _core.moments(group, used)
            number = number_of_bins(bins, group, m, range_of(m) if range is None else range) if m.count else 1
        result = _core.fit(group, chosen, criteria, int(number), range, used)
        histograms[tensor] = Histogram._wrap(result["histogram"])
        found[tensor] = result["moments"]
        for c in criteria:
            rows = [row for row in result["fits"] if row["criterion"] == c]
            rows.sort(key=lambda row: row[_RANKED_BY[row["criterion"]]])
            fits += [
                Fit(tensor=tensor, rank=i, count=found[tensor].count, **row) for i, row in enumerate(rows, 1)
            ]
    return FitTable(fits, histograms, found)


def distances(
    histogram: Histogram, family: str, parameters: Mapping[str, float]
) -> tuple[float, float, float]:
    """(kl, kl_reverse, sse) by the formulas of `fit`, the first two in nats.

    Args:
        histogram: any.
        family, parameters: as for `Distribution`.

    Raises InvalidArgument for an unknown family or other parameters.
    """
    return _core.distances(histogram._core, family, dict(parameters))
