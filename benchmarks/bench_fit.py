"""How long does it take to fit the eight families to a model's weights, and is the answer at least as good?

    python benchmarks/bench_fit.py [model.onnx] [--largest 100000000] [--repeat 7] [--no-peer]

The peer is `fitter` (scipy.stats), on the same weights in the same run, one thread each. Before anything of
ours is timed, our fits by kl, kl_reverse and sse are compared with its fits on its own histogram, by its own
formulas, family by family. Then linear scaling is measured on Laplace samples. Writes results/fit.json,
scaling.png and scaling.svg.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import scipy.stats
from onnx import numpy_helper

from machine import describe
from rdquant import Midtread, stats

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent.parent / "shared/data/models/squeezenet1.1-7.onnx"
SCIPY = {
    "gaussian": "norm",
    "uniform": "uniform",
    "cauchy": "cauchy",
    "exponential": "expon",
    "gamma": "gamma",
    "laplace": "laplace",
    "alpha": "alpha",
    "logistic": "logistic",
}
EIGHT = tuple(SCIPY)
THREE = ("mle", "kl", "sse")


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """All floating-point initializers of an ONNX model."""
    arrays = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    return {name: a for name, a in arrays.items() if a.dtype.kind == "f"}


def fastest(work: Callable[[], Any], repeat: int) -> float:
    """Seconds of the fastest of `repeat` runs: the one that other processes disturbed least."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def run_peer(weights: np.ndarray) -> tuple[Any, float]:
    """A fitted `fitter.Fitter` and the seconds of its fit, in this process and one thread."""
    import fitter

    peer = fitter.Fitter(weights, distributions=list(SCIPY.values()), bins=100, timeout=600, verbose=False)
    start = time.perf_counter()
    peer.fit(max_workers=1)
    return peer, time.perf_counter() - start


def compare(peer: Any, weights: np.ndarray) -> list[dict[str, Any]]:
    """Both fits on the peer's histogram (x, y) by the peer's formulas; AssertionError if ours is worse."""
    epsilon = 1e-10
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "kl": lambda q: float(scipy.stats.entropy(peer.y + epsilon, q + epsilon)),
        "kl_reverse": lambda q: float(scipy.stats.entropy(q + epsilon, peer.y + epsilon)),
        "sse": lambda q: float(np.sum((q - peer.y) ** 2)),
    }
    ours = stats.fit(weights, EIGHT, ("mle", *measures))
    rows = []
    for family, name in SCIPY.items():
        distribution = getattr(scipy.stats, name)
        parameters = [float(p) for p in peer.fitted_param[name]]
        theirs = distribution.pdf(peer.x, *parameters)
        row: dict[str, Any] = {"family": family}
        for criterion, measure in measures.items():
            fit = next(f for f in ours if f.family == family and f.criterion == criterion)
            row[criterion] = measure(distribution.pdf(peer.x, **fit.parameters))
            row[f"fitter_{criterion}"] = measure(theirs)
            assert row[criterion] <= row[f"fitter_{criterion}"] * (1 + 1e-9), (family, criterion, row)
        row["loglik"] = next(f.loglik for f in ours if f.family == family and f.criterion == "mle")
        row["fitter_loglik"] = float(np.sum(distribution.logpdf(weights.astype(np.float64), *parameters)))
        assert row["loglik"] >= row["fitter_loglik"] - 1e-6 * abs(row["loglik"]), (family, row)
        rows.append(row)
    return rows


def scaling(largest: int, repeat: int) -> list[dict[str, float]]:
    """Seconds of the eight families by three criteria, and of midtread, for 1e4, 1e5, … weights, one thread."""
    generator = np.random.default_rng(1)
    base = generator.laplace(scale=0.04, size=min(largest, 10**7)).astype(np.float32)
    quantizer = Midtread.from_levels(bits=8)
    rows = []
    n = 10**4
    while n <= largest:
        weights = np.resize(base, n)
        seconds = fastest(lambda w=weights: stats.fit(w, EIGHT, THREE), repeat if n < 10**7 else 2)
        levels = quantizer.quantize(weights)
        quantize = fastest(lambda w=weights, out=levels: quantizer.quantize(w, out=out), repeat)
        rows.append({"weights": n, "seconds": seconds, "quantize_seconds": quantize})
        print(
            f"{n:>12,} weights  fit {seconds * 1e3:10.2f} ms  {seconds / n * 1e9:8.2f} ns per weight"
            f"   quantize {quantize * 1e3:10.3f} ms  {quantize / n * 1e9:6.3f} ns per weight"
        )
        n *= 10
    return rows


def plot(rows: list[dict[str, float]], to: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    n = np.array([row["weights"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    figure, ax = plt.subplots(layout="constrained")
    quantize = np.array([row["quantize_seconds"] for row in rows])
    ax.loglog(n, seconds, "o-", label="fit eight families by likelihood, KL and SSE")
    ax.loglog(n, quantize, "s-", label="quantize (midtread, 8 bits)")
    for line in (seconds, quantize):
        ax.loglog(n, line[-1] * n / n[-1], "--", color="grey")
    ax.plot([], [], "--", color="grey", label="proportional to the number of weights")
    ax.set_xlabel("weights")
    ax.set_ylabel("seconds, one thread")
    ax.legend()
    for ending in ("png", "svg"):
        figure.savefig(to.with_suffix(f".{ending}"), dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--largest", type=int, default=10**8)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--no-peer", action="store_true", help="leave out fitter, which takes half a minute")
    arguments = parser.parse_args()

    weights = np.concatenate([w.ravel() for w in load_weights(arguments.model).values()])
    result: dict[str, Any] = {
        "machine": describe(["fitter"]),
        "model": arguments.model.name,
        "weights": weights.size,
    }
    if not arguments.no_peer:
        peer, peer_seconds = run_peer(weights)
        result["quality"] = compare(peer, weights)
        for row in result["quality"]:
            pairs = "  ".join(
                f"{c} {row[c]:.5g} (fitter {row['fitter_' + c]:.5g})" for c in ("kl", "kl_reverse", "sse")
            )
            print(f"{row['family']:>12}  {pairs}")
    timings = {
        "together": fastest(lambda: stats.fit(weights, EIGHT, THREE), arguments.repeat),
        "three calls": fastest(lambda: [stats.fit(weights, EIGHT, c) for c in THREE], arguments.repeat),
    }
    result["seconds"] = timings
    for how, seconds in timings.items():
        print(f"eight families by {', '.join(THREE)}, {how}: {seconds * 1e3:.2f} ms")
    if not arguments.no_peer:
        result["fitter_seconds"] = peer_seconds
        result["ratio"] = {how: peer_seconds / seconds for how, seconds in timings.items()}
        ratios = ", ".join(f"{ratio:.0f} ({how})" for how, ratio in result["ratio"].items())
        print(f"fitter {peer_seconds:.1f} s; times as fast: {ratios}; bar 500, aim 2000")
    result["scaling"] = scaling(arguments.largest, arguments.repeat)
    plot(result["scaling"], HERE / "results/scaling")
    (HERE / "results/fit.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
