"""Results show themselves in a line, as a table, and in a notebook; what holds a file or threads is closed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import public_names
import rdquant as rdq
from argument_measures import small_map
from classifier import classifier
from rdquant import RdquantError, calibrate, codec


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


def made(folder: Path) -> dict[type, Any]:
    """One of every public class, with names as long and arrays as large as they come."""
    model, long = classifier(), "a_very_long_name/of_a.tensor_" * 12
    proto = onnx.ModelProto.FromString(model.proto.SerializeToString())
    proto.graph.name = long
    named = rdq.load(proto)
    data, photos = (
        rdq.Digits("test").head(40),
        np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), np.uint8),
    )
    x = np.random.default_rng(0).laplace(size=(64, 65)).astype(np.float32)
    packed = rdq.compress(named, folder / "m.rdq", bits=6)
    static = rdq.quantize_static(named, data, rounding="nearest", equalize=0)
    dynamic = rdq.quantize_dynamic(named)
    layer = calibrate.layers_of(model)[0]
    covariance = calibrate.covariances(model, [data.get([0, 1])[0]], [layer])[layer.weight]
    weight = model.weights()[layer.weight]
    sensitivity = calibrate.sensitivities(model, [data.get([0, 1])[0]], [layer])[layer.weight]
    optimised = codec.optimise(x, 0.1)
    boxes = rdq.Detections(np.zeros((300, 4)), np.zeros(300, np.int64), np.zeros(300))
    frame = rdq.data.Frame(0.123456789012, 1 / 3, 2 / 3)
    counts = {long + str(i): np.arange(50) for i in range(5)}
    tensor = dataclasses.replace(packed.tensors[0], name=long, shape=(1,) * 40)
    found = [
        layer, covariance, sensitivity, optimised, packed, tensor, boxes, frame, named, static, static.report,
        calibrate.LayerRounder(weight, None, layer, covariance),
        calibrate.RowRounder(weight, None, layer, covariance),
        calibrate.Rounded(optimised, optimised, 1.0),
        codec.ColumnQuantizer(optimised.levels),
        rdq.CompressedFile(packed.path), rdq.CompressedFile(packed.path).sections[0], rdq.rate(x, rdq.Midtread(0.1)),
        rdq.ArrayDataset(x, np.zeros(64, np.int64), name=long), rdq.data.ImageArray(photos, np.arange(4), "unit"),
        rdq.data.Scene(640, 480, boxes.boxes, boxes.classes, frame), rdq.data.PRESETS["imagenet"],
        rdq.data.PRESETS["yolox"], rdq.Detector(), rdq.detection.Decoded(np.zeros((9, 9, 4)), np.zeros((9, 9, 80))),
        rdq.graph.open_for_engine(packed.path), dataclasses.replace(named.parameters[0], name=long),
        rdq.graph.TensorInfo(long, np.dtype("float32"), ("batch", 3, "height", "width")),
        rdq.BestPreset("imagenet", 128, dict.fromkeys(rdq.data.PRESETS, 1 / 3), dict.fromkeys(rdq.data.PRESETS, 2 / 3)),
        rdq.metrics.Confidences(np.linspace(0, 1, 51), counts, dict.fromkeys(counts, 1 / 3), 5000),
        rdq.metrics.METRICS["top1"], rdq.metrics.DETECTION_METRICS["map50"],
        rdq.ptq.Damage(1 / 3, 2 / 3, 1 / 7), rdq.ptq.Grid(1 / 3, 127, "u8"), rdq.Digits("test"), dynamic, dynamic.report,
        dataclasses.replace(dynamic.report.layers[0], node=long, reason=long),
        dataclasses.replace(static.report.layers[0], node=long, reason=long), static.report.steps[0],
        rdq.Codebook(tuple(range(1000))), rdq.Deadzone(1 / 3), rdq.Midrise(1 / 3), rdq.Midtread(1 / 3),
        rdq.Minifloat(8, 4, 3), rdq.MuLaw(1 / 3), rdq.parse_quantizers("deadzone:0.7")[0],
        rdq.Session(named), rdq.fit(named)[0], rdq.fit(named)[0].distribution, rdq.fit(named, per="tensor"),
        *significant(), rdq.Histogram.of(x), rdq.moments(x), rdq.sweep(named, data, "midtread", [4], progress=False),
    ]  # fmt: skip
    return {type(one): one for one in found}


def significant() -> list[Any]:
    found, model, data = small_map(), classifier(), rdq.Digits("test").head(40)
    chosen = rdq.allocate(model, found, mean_bits=3)
    compared = rdq.significance.compare(model, [chosen], data, resamples=4)
    scores = np.linspace(-1, 1, 60).reshape(6, 10)
    return [found, chosen, compared, compared.effects[0], rdq.significance.refit(scores, np.arange(6))]


ELSEWHERE = {
    rdq.Dataset: "abstract",
    calibrate.Moments: "a protocol", rdq.Quantizer: "abstract", rdq.CocoFolder: "needs photos", rdq.ImageFolder: "needs photos",
    rdq.Profile: "test_profile.py", rdq.Firmware: "test_emit.py", rdq.McuFit: "test_mcu.py",
    rdq.quant.Recipe: "a base",
}  # fmt: skip


def test_every_public_object_shows_itself_in_a_short_line(tmp_path: Path) -> None:
    """At most 200 characters, one line, no address in memory; what has rows, as a table too."""
    objects = made(tmp_path)
    public = {name.value for name in public_names.names() if name.kind == "class"}
    public = {cls for cls in public if not cls.__module__.startswith("rdquant.train")}
    assert {c.__name__ for c in public - objects.keys() - ELSEWHERE.keys()} == set()
    lines = {cls.__name__: repr(one) for cls, one in objects.items()}
    bad = {n: t for n, t in lines.items() if len(t) > 200 or "\n" in t or re.search(r" at 0x|\barray\(", t)}
    assert bad == {}
    assert [n for n, t in lines.items() if n not in t] == []
    for cls, one in objects.items():
        assert hasattr(cls, "to_pandas") <= hasattr(cls, "_repr_html_"), cls
        if hasattr(cls, "to_pandas"):
            assert len(one.to_pandas()) > 0
            assert "<table" in one._repr_html_()


def test_a_study_is_closed_at_the_end_of_its_block() -> None:
    with rdq.sweep(classifier(), rdq.Digits("test").head(20), "midtread", [4], progress=False) as study:
        study.to_pandas()
    assert repr(study) == "<rdquant.Study closed>"
    with pytest.raises(RdquantError, match="the study is closed"):
        study.to_pandas()


def test_the_package_lists_its_public_names_and_nothing_else() -> None:
    listed = set(dir(rdq))
    assert listed == {*rdq.__all__, *public_names.modules(), "__version__"}
    assert [name for name in listed if getattr(rdq, name, None) is None] == []
    assert rdq.sweep.Study is rdq.Study
    assert rdq.profile.Profile is rdq.Profile
    assert callable(rdq.demo.run_demo)


@pytest.mark.parametrize("from_file", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_a_session_is_closed_at_the_end_of_its_block(from_file: bool, used: bool, tmp_path: Path) -> None:
    x = np.zeros((1, 1, 8, 8), np.float32)
    model = classifier()
    weights = model.weights()
    model.save(tmp_path / "m.onnx")
    with rdq.Session(tmp_path / "m.onnx" if from_file else model, backend="native") as session:
        if used:
            session.run({"x": x})
    for call in (
        lambda: session.run({"x": x}),
        lambda: session.set_weights(weights),
        session.plan,
        session.profile,
        lambda: session.model,
    ):
        with pytest.raises(RdquantError, match=r"the session of .* is closed"):
            call()
    session.close()
    assert repr(session).endswith("closed>")


def test_weights_of_int8_models_are_counted(tmp_path: Path) -> None:
    model = classifier()
    wanted = model.summary()["parameters"]
    static = rdq.quantize_static(model, rdq.Digits("test").head(8), rounding="nearest", equalize=0, max_kl=10)
    for quantized in (static, rdq.quantize_dynamic(model)):
        facts = quantized.summary()
        quantized.save(tmp_path / "q.onnx")
        assert quantized.ratio == quantized.original_bytes / (tmp_path / "q.onnx").stat().st_size
        assert quantized.original_bytes == model.summary()["file_bytes"]
        assert facts["parameters"] >= wanted
        assert facts["roles"]["levels"] > 0.9 * wanted
        assert wanted < facts["weight_bytes"] < 1.5 * wanted
        assert f" {facts['parameters']:,} weights in" in repr(quantized)
        packed = rdq.compress(quantized, tmp_path / "m.rdq")
        assert 4 < packed.bits_per_weight < 9
        assert packed.to_dict()["bits_per_weight"] == packed.bits_per_weight
