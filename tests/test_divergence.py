"""The KL divergence of outputs: against SciPy, of float32 probabilities, finite whatever comes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rdquant import metrics
from rdquant.errors import InvalidArgument


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, (4, 5), elements=st.floats(-20, 20, width=32)), st.integers(0, 2**32 - 1))
def test_kl_divergence(logits, seed):
    from scipy.special import rel_entr, softmax

    other = (logits + np.random.default_rng(seed).normal(size=logits.shape)).astype(np.float32)
    p, q = softmax(logits.astype(np.float64), axis=1), softmax(other.astype(np.float64), axis=1)
    expected = rel_entr(p, q).sum(axis=1).mean()
    assert metrics.kl_divergence(logits, other, probabilities=False) == pytest.approx(expected, abs=1e-9)
    assert metrics.kl_divergence(p, q) == pytest.approx(expected, abs=1e-9)
    assert metrics.kl_divergence(logits, logits) == 0


def test_kl_of_probabilities_in_float32_is_not_that_of_their_sums():
    from scipy.special import softmax

    random = np.random.default_rng(3)
    logits = random.normal(size=(200, 100))
    for scale in (1e-4, 1e-5):
        other = logits + scale * random.normal(size=logits.shape)
        expected = metrics.kl_divergence(logits, other, probabilities=False)
        p, q = (softmax(scores, axis=1).astype(np.float32) for scores in (logits, other))
        assert metrics.kl_divergence(p, q) == pytest.approx(expected, rel=0.02)


def test_kl_stays_finite():
    p = np.array([[0.5, 0.5], [1.0, 0.0]])
    certain = metrics.kl_divergence(p, np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert np.isfinite(certain)
    assert certain > 50
    assert metrics.kl_divergence(p, np.full((2, 2), np.nan)) >= certain
    assert np.isfinite(metrics.kl_divergence([[3.0, -2.0]], [[np.inf, -1.0]]))
    with pytest.raises(InvalidArgument, match="finite"):
        metrics.kl_divergence([[np.nan, 1.0]], [[0.0, 1.0]])
