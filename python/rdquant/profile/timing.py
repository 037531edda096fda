"""Several networks side by side: their outputs compared, then their times taken in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument

__all__ = ["COMPARISONS", "compared", "interleaved", "latency", "speed_interval"]

_TURN = (4, 32)  # runs of one network before the next has its turn: at least, at most
_TURN_SECONDS = 0.005  # after which a turn ends that has had its least
_PAUSE = 0.02  # seconds: idle threads of the network before spin for a while, and go to sleep
_Z_MEDIAN = 2.2414  # quantile of the normal distribution for 97.5 %
_LEAST_ROUNDS = 3

COMPARISONS = ("max_difference", "sqnr_db", "agreement")
"""How `compared` judges two networks' outputs."""

Outputs = Mapping[str, NDArray[Any]]


def compared(outputs: Outputs, reference: Outputs) -> dict[str, Any]:
    """How outputs differ from those of the first network, matched by position.

    Keys: finite (whether all outputs are); max_difference (largest |difference| over the largest magnitude of the
    reference's output, the worst of the outputs); sqnr_db (energy of the reference over that of the differences,
    decibels); agreement (share of rows with the same largest value, 0..1, for one output [n, k], k > 1). The last three
    are None where shapes differ or a value is not finite; sqnr_db also where there is no difference.
    """
    mine, theirs = list(outputs.values()), list(reference.values())
    result: dict[str, Any] = {"finite": all(np.isfinite(y).all() for y in mine)}
    result |= dict.fromkeys(COMPARISONS)
    comparable = (
        result["finite"]
        and [y.shape for y in mine] == [y.shape for y in theirs]
        and all(np.isfinite(y).all() for y in theirs)
    )
    if not comparable:
        return result
    worst = signal = noise = 0.0
    for y, wanted in zip(mine, theirs, strict=True):
        exact = wanted.astype(np.float64)
        error = y.astype(np.float64) - exact
        most, scale = float(np.abs(error).max(initial=0.0)), float(np.abs(exact).max(initial=0.0))
        worst = max(worst, most / scale if scale else most)
        signal += float(np.square(exact).sum())
        noise += float(np.square(error).sum())
    result["max_difference"] = worst
    result["sqnr_db"] = 10 * float(np.log10(signal / noise)) if signal and noise else None
    if len(mine) == 1 and _is_table(mine[0]):
        flat = [y.reshape(len(y), -1) for y in (mine[0], theirs[0])]
        result["agreement"] = float(np.mean(flat[0].argmax(axis=1) == flat[1].argmax(axis=1)))
    return result


def _is_table(output: NDArray[Any]) -> bool:
    """Whether it holds a row of scores for each image, as classifiers give them; a detector's has more dimensions."""
    return (
        output.ndim > 1
        and output.size > len(output) > 0
        and max(output.shape[1:]) == output.size // len(output)
    )


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    samples: Mapping[str, list[float]],
    repeat: int | None,
    seconds: float,
) -> None:
    """Append the seconds of every run to `samples`, network by network in turns of a few runs.

    A turn begins with a run that does not count, when the threads of the one before have gone to sleep; every round begins
    with another network. So whatever disturbs the machine disturbs all alike. Ends when each has `repeat` runs; without
    `repeat` when each has had `seconds`, and three rounds.
    """
    if repeat is not None and repeat < 1:
        raise InvalidArgument(f"repeat: expected an integer ≥ 1, got {repeat}")
    names = list(runs)
    begin = time.perf_counter()
    turn = 0
    while not _enough(samples, repeat, seconds * len(names), time.perf_counter() - begin, turn):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            _turn(runs[name], samples[name], repeat)
        turn += 1


def _turn(run: Callable[[], object], samples: list[float], repeat: int | None) -> None:
    """A few runs of one network."""
    time.sleep(_PAUSE)
    run()
    begin = time.perf_counter()
    for i in range(_TURN[1] if repeat is None else min(_TURN[1], repeat - len(samples))):
        start = time.perf_counter()
        if i >= _TURN[0] and start - begin > _TURN_SECONDS:
            break
        run()
        samples.append(time.perf_counter() - start)


def _enough(
    samples: Mapping[str, list[float]], repeat: int | None, seconds: float, elapsed: float, rounds: int
) -> bool:
    if repeat is not None:
        return all(len(values) >= repeat for values in samples.values())
    return elapsed >= seconds and rounds >= _LEAST_ROUNDS


def speed_interval(first: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """95 % interval, at most as wide, of how many times as fast as `first` the middle run of `other` is: the quotients of the
    ends of two 97.5 % intervals of medians, which are order statistics (any distribution; runs taken as independent).

    first, other: times of single runs, one or more each, in one unit.
    """
    (low, high), (least, most) = _median_interval(first), _median_interval(other)
    return low / most, high / least


def _median_interval(times: Sequence[float]) -> tuple[float, float]:
    """97.5 % interval of the median; of fewer than six runs all that was seen."""
    ordered, n = np.sort(np.asarray(times, np.float64)), len(times)
    place = max(0, int((n - _Z_MEDIAN * np.sqrt(n)) / 2) - 1)
    return float(ordered[place]), float(ordered[n - 1 - place])


def latency(samples: Sequence[float], rows: int) -> dict[str, Any]:
    """Figures of runs over `rows` rows each: runs, best_ms, p50_ms, p90_ms, p99_ms, mean_ms, throughput (rows a second).

    Quantiles are interpolated linearly between the samples; p99 of fewer than a hundred runs is about the slowest.
    """
    times = np.asarray(samples)
    p50, p90, p99 = np.quantile(times, (0.5, 0.9, 0.99))
    return {
        "runs": len(times),
        "best_ms": 1e3 * float(times.min()),
        "p50_ms": 1e3 * float(p50),
        "p90_ms": 1e3 * float(p90),
        "p99_ms": 1e3 * float(p99),
        "mean_ms": 1e3 * float(times.mean()),
        "throughput": rows * len(times) / float(times.sum()),
    }
