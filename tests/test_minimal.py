"""One tiny model through the whole flow: what every wheel must pass, without a browser and without real data."""

from __future__ import annotations

from contextlib import closing
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import rdquant as rdq
from rdquant.report import write_report


def test_from_a_file_to_a_report(cnn_path: Path, tmp_path: Path) -> None:
    model = rdq.load(cnn_path)
    weights = np.concatenate([w.ravel() for w in model.weights().values()])
    assert len(weights) == model.summary()["parameters"]

    fits = rdq.fit(model, ["laplace", "gaussian"]).to_pandas()
    assert set(fits["family"]) == {"laplace", "gaussian"}
    assert np.isfinite(fits[["kl", "aic", "ks"]].to_numpy()).all()

    quantizer = rdq.Midtread.from_levels(bits=8)
    restored = {name: quantizer.dequantize(quantizer.quantize(w)) for name, w in model.weights().items()}
    error = max(np.abs(restored[name] - w).max() for name, w in model.weights().items())
    assert 0 < error <= quantizer.step / 2 * (1 + 1e-6)
    entropy = rdq.entropy(quantizer.quantize(weights))
    assert 0 < entropy < 8

    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, *model.inputs[0].shape[1:])).astype(np.float32)
    scores = rdq.Session(model).run({model.inputs[0].name: x})[model.outputs[0].name]
    dataset = rdq.ArrayDataset(x, scores.argmax(axis=1), classes=scores.shape[1])
    assert rdq.evaluate(model, dataset)["top1"] == 1
    loss = 1 - rdq.evaluate(model.replace_weights(restored), dataset)["top1"]
    assert 0 <= loss < 0.3

    with closing(
        rdq.sweep(model, dataset, "midtread", [2, 8], store=tmp_path / "study", progress=False)
    ) as study:
        rows = study.to_pandas().set_index("bits")
        assert list(study.to_pandas()["quantizer"]) == ["float32", "midtread", "midtread"]
        assert rows.loc[8, "entropy"] == pytest.approx(entropy)
        assert rows.loc[8, "top1"] == pytest.approx(1 - loss)
        assert rows.loc[2, "mse"] > rows.loc[8, "mse"] > 0
        page = write_report(study, tmp_path / "report")
    assert "midtread" in page.read_text("utf-8")


def test_the_package_is_whole(root: Path) -> None:
    """Types, stubs, the demo's network, the page's style and script are installed, not the Python files only."""
    source = root / "python"
    wanted = {p.relative_to(source).as_posix() for p in (source / "rdquant").rglob("*") if p.is_file()}
    wanted = {name for name in wanted if not name.endswith((".md", ".pyc"))}
    assert {"rdquant/py.typed", "rdquant/report/page.css", "rdquant/assets/digits.onnx"} < wanted
    installed = {path.as_posix() for path in metadata.files("rdquant") or []}
    assert not wanted - installed
    assert any(name.startswith("rdquant/_core.") for name in installed)
