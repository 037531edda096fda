"""Results show themselves in a line, as a table, and in a notebook; what holds a file or threads is closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rdquant as rdq
from classifier import classifier
from rdquant import RdquantError


def test_results_are_shown_in_a_line_and_as_tables(tmp_path: Path) -> None:
    model, data = classifier(), rdq.Digits("test").head(60)
    packed = rdq.compress(model, tmp_path / "m.rdq", bits=6)
    static = rdq.quantize_static(model, data.head(8), rounding="nearest", equalize=0).report
    dynamic = rdq.quantize_dynamic(model).report
    with rdq.sweep(model, data, "midtread", [4], progress=False) as study:
        for shown in (packed, static, dynamic, study):
            assert len(repr(shown)) < 200
            assert repr(shown).startswith(f"<rdquant.{type(shown).__name__}")
            assert "<table" in shown._repr_html_()
        assert len(study.to_pandas()) == 2
    assert len(packed.to_pandas()) == len(packed.tensors) == 4
    assert packed.to_pandas()["bytes"].sum() < packed.bytes
    assert packed.ratio == packed.original_bytes / packed.bytes > 3
    assert Path(packed.path) == tmp_path / "m.rdq"
    assert list(static.to_pandas()["node"]) == [layer.node for layer in static.layers]
    assert len(dynamic.to_pandas()) == 2


def test_a_session_is_closed_at_the_end_of_its_block() -> None:
    x = np.zeros((1, 1, 8, 8), np.float32)
    with rdq.Session(classifier()) as session:
        session.run({"x": x})
    with pytest.raises(RdquantError, match="the session is closed"):
        session.run({"x": x})
    assert repr(session).endswith("closed>")


def test_weights_of_int8_models_are_counted(tmp_path: Path) -> None:
    model = classifier()
    wanted = model.summary()["parameters"]
    static = rdq.quantize_static(model, rdq.Digits("test").head(8), rounding="nearest", equalize=0, max_kl=10)
    for quantized in (static, rdq.quantize_dynamic(model)):
        facts = quantized.summary()
        assert facts["parameters"] >= wanted
        assert facts["roles"]["levels"] > 0.9 * wanted
        assert wanted < facts["weight_bytes"] < 1.5 * wanted
        assert f" {facts['parameters']:,} weights in" in repr(quantized)
        packed = rdq.compress(quantized, tmp_path / "m.rdq")
        assert 4 < packed.bits_per_weight < 9
        assert packed.to_dict()["bits_per_weight"] == packed.bits_per_weight
