"""`prune_quantize` against its NumPy reference, bit for bit, and the efficiency score against paper 002's tables."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import prune_reference
import rdquant as rdq
from rdquant._core import available_isa
from rdquant.errors import InvalidArgument
from rdquant.train import paper

SIZES = (0, 1, 2, 15, 16, 17, 511, 513, 4095, 4096, 4097, 100_003)


def weights(n: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).laplace(scale=0.05, size=n).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_bits_are_those_of_the_reference(n: int, dtype: Any) -> None:
    w = weights(n, dtype)
    for gamma in (0, 0.125, 0.375, 0.75, 5, 1e300):
        for bits in (2, 3, 4, 8, 16, 24, 31, 32):
            wanted = prune_reference.prune_quantize(w, gamma, bits)
            assert rdq.prune_quantize(w, gamma, bits).tobytes() == wanted.tobytes(), (gamma, bits)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
        hnp.array_shapes(max_dims=3, max_side=20),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.floats(0, 4),
    st.integers(2, 32),
)
def test_any_weights(w: np.ndarray, gamma: float, bits: int) -> None:
    done = rdq.prune_quantize(w, gamma, bits)
    assert done.tobytes() == prune_reference.prune_quantize(w, gamma, bits).tobytes()
    assert done.shape == w.shape


def test_the_reference_has_numpys_deviation() -> None:
    for offset in (0.0, 1000.0):
        w = weights(100_003, np.float64) + offset
        assert prune_reference.deviation(w) == pytest.approx(w.std(), rel=1e-10)


def test_how_many_levels_occur() -> None:
    """Magnitudes count from zero but start at β: beyond 2^(bits−1) − 1, yet at most 2^(bits−1) of them."""
    for bits in (2, 3, 4, 6):
        for gamma in (0.1, 0.5, 1.0, 2.0):
            magnitudes = np.unique(np.abs(rdq.prune_quantize(weights(200_000, np.float64), gamma, bits)))
            assert len(magnitudes) - 1 <= 2 ** (bits - 1)


def test_rounding_and_not_floor() -> None:
    w = np.array([-1.0, 1.0, -0.26, 0.26, 0.0])
    done = rdq.prune_quantize(w, 0, 3)  # β = 0, q = 1/3
    assert done == pytest.approx([-1, 1, -1 / 3, 1 / 3, 0])
    assert np.floor(w[2] * 3) / 3 == pytest.approx(-1 / 3)
    assert np.floor(w[3] * 3) / 3 == 0, "floor is not symmetric"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_place_threads_and_layout(dtype: Any) -> None:
    w = weights(300_000, dtype).reshape(300, 1000)
    wanted = rdq.prune_quantize(w, 0.5, 4)
    assert not np.shares_memory(w, wanted)
    out = np.empty_like(w)
    assert rdq.prune_quantize(w, 0.5, 4, out=out, threads=2) is out
    assert np.array_equal(out, wanted)
    same = w.copy()
    assert rdq.prune_quantize(same, 0.5, 4, out=same, threads=0) is same
    assert np.array_equal(same, wanted)
    strided = np.repeat(w, 2, axis=1)[:, ::2]
    assert np.array_equal(rdq.prune_quantize(strided, 0.5, 4), wanted)
    dense = np.asfortranarray(w)
    rdq.prune_quantize(dense, 0.5, 4, out=dense)
    assert np.array_equal(dense, prune_reference.prune_quantize(np.ascontiguousarray(w.T), 0.5, 4).T)


def test_other_numbers_become_float32() -> None:
    assert rdq.prune_quantize([1.0, -2.0, 0.0], 0, 8).dtype == np.float32
    assert rdq.prune_quantize(np.array([1, -2], np.int64), 0, 8).dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gamma": -1}, "gamma"),
        ({"gamma": float("nan")}, "gamma"),
        ({"gamma": "much"}, "gamma"),
        ({"bits": 1}, "from 2 to 32"),
        ({"bits": 33}, "got 33"),
        ({"bits": 4.5}, "got 4.5"),
        ({"bits": True}, "got True"),
        ({"out": np.empty(3, np.float32)}, "shape"),
        ({"out": np.empty(4)}, "float64"),
        ({"out": [0.0] * 4}, "list"),
        ({"out": np.empty((4, 2), np.float32)[:, 0]}, "C-contiguous"),
        ({"w": np.array([0, np.nan], np.float32)}, "index 1 is NaN"),
        ({"w": np.array([np.inf, 0])}, "index 0 is infinite"),
        ({"w": np.array([1e200, -1e200])}, "overflows"),
        ({"w": np.array(["a"])}, "real numbers"),
    ],
)
def test_errors(changes: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"w": np.ones(4, np.float32), "gamma": 0.5, "bits": 8} | changes
    with pytest.raises(InvalidArgument, match=words):
        rdq.prune_quantize(**arguments)


def test_what_cannot_be_written_is_refused() -> None:
    fixed = np.ones(4, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(InvalidArgument, match="read-only"):
        rdq.prune_quantize(fixed, 0.5, 8, out=fixed)
    gaps = np.ones((4, 4), np.float32)[:, ::2]
    with pytest.raises(InvalidArgument, match="gaps"):
        rdq.prune_quantize(gaps, 0.5, 8, out=gaps)


def test_every_instruction_set_gives_the_same_bits() -> None:
    code = (
        "import hashlib, numpy as np, rdquant as rdq\n"
        "r = np.random.default_rng(0); d = hashlib.sha256()\n"
        "for t in (np.float32, np.float64):\n"
        "  for n in (1, 15, 17, 4097, 50021):\n"
        "    for b in (2, 4, 8, 16, 32):\n"
        "      d.update(rdq.prune_quantize(r.laplace(size=n).astype(t), 0.5, b).tobytes())\n"
        "print(d.hexdigest())"
    )
    sets = ["baseline", "avx2", "avx512"]
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RDQUANT_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in sets[: sets.index(available_isa()) + 1]
    }
    assert len(printed) == 1


# --- efficiency score ----------------------------------------------------------------------------


def test_score_is_the_formula() -> None:
    assert rdq.efficiency_score(0.8, 0.9, 0.1, 4, rho=2) == pytest.approx((8 / 9) ** 2 / (0.1 * 4 / 32))
    assert rdq.efficiency_score(0.9, 0.9, 1.0, 32) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"density": 0},
        {"density": 8.68},
        {"bits": 0},
        {"rho": 0},
        {"base_acc": 0},
        {"acc": -1},
        {"base_bits": float("inf")},
    ],
    ids=str,
)
def test_score_refuses(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(changes))):
        rdq.efficiency_score(**({"acc": 0.8, "base_acc": 0.9, "density": 0.1, "bits": 8} | changes))


def test_table_two_of_the_paper() -> None:
    """All 54 cells follow from Table I within what its two printed decimals allow; none is further off than 0.063."""
    cells = paper.table_2_again()
    assert len(cells) == 54
    assert [c for c in cells if not c["agrees"]] == []
    assert max(abs(c["again"] - c["printed"]) for c in cells) == pytest.approx(0.0627, abs=5e-5)


def test_a_wrong_cell_of_table_two_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(paper.TABLE_2[2], 0.625, (49.30, 95.37, 43.10))
    (wrong,) = [c for c in paper.table_2_again() if not c["agrees"]]
    assert (wrong["gamma"], wrong["bits"], wrong["rho"]) == (0.625, 4, 2)
    assert wrong["beyond"] == pytest.approx(95.37 - 95.29994 - 0.005, abs=1e-4)
